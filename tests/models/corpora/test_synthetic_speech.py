"""Made-up speech: phonemes with times, and the lips that go with them."""

import shutil

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream_models.corpora.synthetic_speech import (
    Phoneme,
    SpeechSynthesizer,
    SyntheticVoice,
    random_voice,
)
from lipstream_models.synthetic.body.visemes import VISEME_NAMES, viseme_track, visemes_of


def weight(track, viseme):
    return track[:, VISEME_NAMES.index(viseme)]


def test_lips_close_fully_for_a_p_between_open_vowels():
    phonemes = (
        Phoneme("", 0.0),
        Phoneme("A", 0.4),
        Phoneme("p", 0.6),
        Phoneme("A", 0.7),
        Phoneme("", 0.9),
    )
    track = viseme_track(phonemes, 32, 25)
    assert np.allclose(track.sum(1), 1.0, atol=1e-5)
    closed = weight(track, "MBP")
    assert closed.argmax() in (15, 16)  # the middle of the p, 30 ms early
    assert closed.max() > 0.7
    assert weight(track, "AA")[12] > 0.5


def test_without_speech_the_mouth_rests():
    track = viseme_track((Phoneme("", 0.0), Phoneme("", 0.5)), 25, 25)
    assert np.allclose(weight(track, "rest"), 1.0)


@pytest.mark.parametrize(
    ("phoneme", "visemes"),
    [
        ("p", ["MBP"]),
        ("tS", ["SH"]),
        ("3:", ["UH"]),
        ("A:", ["AA"]),
        ("aI", ["AA", "EE"]),
        ("oU", ["OH", "OO"]),
        ("t2", ["S"]),
        ("", ["rest"]),
        ("unheard of", ["OO"]),
    ],
)
def test_a_phoneme_has_its_visemes(phoneme, visemes):
    assert [viseme for viseme, _, _ in visemes_of(phoneme)] == visemes


@pytest.fixture(scope="module")
def speaker():
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed: apt-get install espeak-ng")
    return SpeechSynthesizer()


def test_speech_comes_with_its_phonemes_in_order(speaker):
    spoken = speaker.say("Bob may move.", SyntheticVoice("en-us+f3", 160, 60))
    names = [phoneme.name for phoneme in spoken.phonemes if phoneme.name]
    assert names[:3] == ["b", "0", "b"] or names[0] == "b"
    assert names.count("m") == 2
    starts = [phoneme.start_s for phoneme in spoken.phonemes]
    assert starts == sorted(starts)
    assert starts[-1] <= len(spoken.sound) / 16_000
    assert 0.1 < np.abs(spoken.sound).max() <= 1.0
    assert np.abs(spoken.sound[:4000]).max() < 0.01


def test_a_voice_that_is_not_there_is_named(speaker):
    with pytest.raises(InputError, match="no voice xx-nobody"):
        speaker.say("Hello", SyntheticVoice("xx-nobody", 160, 50))


def test_random_voices_all_speak(speaker):
    rng = np.random.default_rng(0)
    voices = [random_voice(rng) for _ in range(8)]
    assert all(len(speaker.say("ba", voice).sound) > 8000 for voice in voices)
    assert len({voice.name for voice in voices}) > 3
