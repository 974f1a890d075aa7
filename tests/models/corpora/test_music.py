"""Made-up music: loud enough to hear, different every time, and repeatable."""

import numpy as np

from lipstream_models.corpora.synthetic_sound import music_mels, music_piece


def test_a_piece_has_its_length_and_loudness():
    sound = music_piece(np.random.default_rng(3), 2.0)
    assert sound.shape == (32_000,)
    assert sound.dtype == np.float32
    assert np.abs(sound).max() == np.float32(0.3)


def test_pieces_differ_and_the_same_seed_repeats_them():
    one, again = music_mels(2, 5, 1.0), music_mels(2, 5, 1.0)
    assert one.shape == (2, 80, 81)
    assert np.array_equal(one, again)
    assert np.abs(one[0] - one[1]).mean() > 0.2


def test_music_sounds_and_moves():
    mels = music_mels(6, 1, 2.0)
    assert (mels.max((1, 2)) > 0).all()
    assert (mels.std(2).mean(1) > 0.1).all()
