"""Made-up speech: sound and phonemes with their times."""

import shutil

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream_models.corpora.synthetic_sound import SpeechSynthesizer, SyntheticVoice, random_voice


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
