"""Sounds without a voice."""

import numpy as np
import pytest

from lipstream.audio.mel import SILENCE
from lipstream_models.corpora.grid_corpus import COLUMNS
from lipstream_models.evaluation import evaluate as sounds


@pytest.mark.parametrize("make", [sounds.room_noise, sounds.music, sounds.vowel])
def test_a_sound_is_the_same_for_the_same_seed_and_another_for_another(make):
    first, again, other = (make(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (80, COLUMNS)
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.05


def test_silence_is_silent():
    assert (sounds.silence() == SILENCE).all()


def test_a_quiet_room_is_quieter_than_music():
    rng = np.random.default_rng(0)
    rooms = [sounds.room_noise(rng).mean() for _ in range(5)]
    assert max(rooms) < sounds.music(rng).mean()


def test_a_held_vowel_holds_and_music_beats():
    rng = np.random.default_rng(3)

    def restless(mel):
        return float(np.abs(np.diff(mel[:, 10:-10], axis=1)).mean())

    assert restless(sounds.vowel(rng)) < 0.2 * restless(sounds.music(rng))
