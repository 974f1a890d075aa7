"""Examples: windows that fit their frames, and the right pictures beside them."""

import numpy as np
import pytest

from lipstream.audio.mel import SILENCE, mel_columns, mel_spectrogram
from lipstream.timing import HOP, WINDOW, Timing
from lipstream_models.corpora.grid_corpus import Window, mel_window, split_rows, window_column
from lipstream_models.training.mouth_examples import ClipSource, MixedSource, PictureSource
from lipstream_models.training.sound import SoundMix, VoiceSource, silent_mel
from prepared_clips import CLIPS, make_clip, make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("clips") / "prepared")


def test_a_window_starts_one_frame_before_its_frame_as_wav2lip_trained():
    assert [window_column(frame, Window()) for frame in (1, 2, 3, 26, 74)] == [
        int(80 * (frame - 1) / 25) for frame in (1, 2, 3, 26, 74)
    ]


def test_a_window_of_a_clip_is_what_the_live_engine_computes():
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    whole = mel_spectrogram(sound)
    span = Timing(16_000, 25).mel_span(9)
    assert len(span) == 1 + WINDOW + 15 * HOP
    live = mel_columns(sound[span.start : span.stop])
    assert np.abs(mel_window(whole, 9) - live).max() < 1e-5


@pytest.mark.parametrize(("frame", "before", "after"), [(0, 4, 0), (74, 0, 8)])
def test_outside_a_clip_there_is_silence(frame, before, after):
    window = mel_window(np.zeros((80, 241), np.float32), frame)
    assert window.shape == (80, 16)
    assert (window[:, :before] == SILENCE).all()
    assert (window[:, 16 - after :] == SILENCE).all()
    assert (window[:, before : 16 - after] == 0).all()


def test_every_twentieth_clip_is_held_out(folder):
    trained_on, held_out = split_rows(folder)
    assert held_out.tolist() == [0, 20]
    assert len(trained_on) == CLIPS - 2


def test_clips_without_a_face_are_in_neither_part(tmp_path):
    folder = make_folder(tmp_path / "prepared", clips=3)
    folder.write(1, None)
    trained_on, held_out = split_rows(folder)
    assert (trained_on.tolist(), held_out.tolist()) == ([2], [0])


def test_the_same_seed_draws_the_same_examples(folder):
    source = ClipSource(folder, split_rows(folder)[0], Window())
    one, other = (source.draw(np.random.default_rng(5), 6) for _ in range(2))
    assert np.array_equal(one.mel, other.mel)
    assert np.array_equal(one.target, other.target)


def test_references_are_of_the_same_clip(folder):
    source = ClipSource(folder, split_rows(folder)[0], Window())
    examples = source.draw(np.random.default_rng(1), 24)
    assert (examples.target[:, 0, 0] == examples.reference[:, 0, 0]).all()


def test_lip_shapes_follow_the_mouth_of_the_target(folder):
    source = ClipSource(folder, split_rows(folder)[0], Window())
    examples = source.draw(np.random.default_rng(1), 40)
    open_rows = (examples.target[:, 64:80, 48, 0] < 60).sum(1)
    assert np.corrcoef(open_rows, examples.lips[:, 0])[0, 1] > 0.97
    assert examples.heard.all()


def test_the_noise_of_a_quiet_room_stays_in_the_range_of_a_mel():
    rng = np.random.default_rng(0)
    for _ in range(20):
        window = silent_mel(rng)
        assert window.shape == (80, 16)
        assert window.min() >= -4.0
        assert window.max() <= 4.0


def pictured():
    """Five shades of one face whose lower lip hangs ever lower."""
    crops = np.stack([np.full((96, 96, 3), 10 * shape, np.uint8) for shape in range(5)])
    points = np.tile(np.linspace(0.2, 0.8, 468)[:, None], (5, 1, 2)).astype(np.float32)
    points[:, 14, 1] += 0.01 * np.arange(5)
    return crops, points


def test_pictures_come_with_their_own_lip_shape_and_mostly_the_resting_reference():
    source = PictureSource(*pictured(), Window())
    examples = source.draw(np.random.default_rng(0), 80)
    shades, gaps = examples.target[:, 0, 0, 0], examples.lips[:, 0]
    assert set(shades) == {0, 10, 20, 30, 40}
    assert np.corrcoef(shades, gaps)[0, 1] > 0.999
    assert np.median(examples.reference) == 0
    assert not examples.heard.any()


def test_sources_mix_by_their_shares(folder):
    clips = ClipSource(folder, split_rows(folder)[0], Window())
    mixed = MixedSource([clips, PictureSource(*pictured(), Window())], [0.25, 0.75])
    examples = mixed.draw(np.random.default_rng(0), 400)
    assert abs((~examples.heard).mean() - 0.75) < 0.08


def test_the_sound_of_a_clip_comes_with_its_lips(folder):
    only_speech = SoundMix(silent=0.0, music=0.0, over_music=0.0)
    source = VoiceSource([folder], [1.0], np.zeros((1, 80, 60), np.float32), Window(), only_speech)
    heard = source.draw(np.random.default_rng(0), 60)
    assert heard.mel.shape == (60, 80, 16)
    assert np.corrcoef(heard.mel[:, 0, 5], heard.lips[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("mix", [SoundMix(silent=1.0), SoundMix(silent=0.0, music=1.0)])
def test_lips_rest_in_silence_and_in_music(folder, mix):
    music = np.full((2, 80, 60), 1.5, np.float32)
    heard = VoiceSource([folder], [1.0], music, Window(), mix).draw(np.random.default_rng(0), 9)
    assert (heard.lips == 0).all()
    assert (heard.mel == 1.5).all() == (mix.music == 1.0)


def test_softer_music_does_not_hide_speech(folder):
    mix = SoundMix(silent=0.0, music=0.0, over_music=1.0)
    music = np.full((1, 80, 60), 2.0, np.float32)
    heard = VoiceSource([folder], [1.0], music, Window(), mix).draw(np.random.default_rng(0), 40)
    assert heard.mel.min() >= 2.0 - 0.08 * 26 - 1e-5
    assert heard.lips.std() > 0


def test_the_made_up_clips_hold_what_the_tests_rely_on():
    clip = make_clip(0)
    assert clip.crops.shape == (75, 96, 96, 3)
    assert clip.mel.shape == (80, 241)
