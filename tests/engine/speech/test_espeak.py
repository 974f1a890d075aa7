"""Real voices of espeak-ng."""

import tempfile
import threading
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from lipstream.errors import BackendUnavailable, InputError
from lipstream.lips.phones import CLASSES
from lipstream.speech import (
    SpeechSettings,
    list_voices,
    load_phones,
    open_voice,
    read_aloud,
    write_speech,
)
from lipstream.speech.espeak import EspeakLibrary, espeak_library
from lipstream.speech.text_to_speech import cut


@pytest.fixture(autouse=True)
def library():
    try:
        return espeak_library()
    except BackendUnavailable as error:
        pytest.skip(str(error))


def read(text, voice=None, **more):
    opened = open_voice(SpeechSettings(voice=voice, **more))
    return opened.rate, list(read_aloud(opened, text))


def words(text, spoken):
    at, found = 0, []
    for piece in spoken:
        found += [(text[m.start : m.stop], at + m.sample) for m in piece.marks if m.kind == "word"]
        at += len(piece.pcm)
    return found


def test_every_word_is_marked_where_it_begins():
    text = "Hello there, my good friend. They’re 42, we may have them."
    rate, spoken = read(text)
    found = words(text, spoken)
    assert [word for word, _ in found] == (
        ["Hello", "there", "my", "good", "friend", "They’re", "42", "we", "may", "have", "them"]
    )
    times = [sample for _, sample in found]
    assert times == sorted(times)
    # the pause after the first sentence ends where the sixth word begins
    pcm = np.concatenate([piece.pcm for piece in spoken])
    begin = times[5]
    assert np.abs(pcm[begin - rate // 10 : begin].astype(int)).max() < 300
    assert np.abs(pcm[begin : begin + rate // 5].astype(int)).max() > 3000


def test_sentences_come_one_by_one_with_their_place_in_the_text():
    text = "  One.   Two?\n\nThree "
    _, spoken = read(text)
    marks = [piece.marks[0] for piece in spoken]
    assert [text[m.start : m.stop] for m in marks] == ["One.", "Two?", "Three"]
    assert all(m.kind == "sentence" and m.sample == 0 for m in marks)


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("ar", "مرحبا بكم في عالمنا."),
        ("hi", "नमस्ते, आप कैसे हैं?"),
        ("cmn", "你好，今天天气很好。"),
        ("ur", "سلام دنیا"),
        ("en-in", "The weather in Mumbai is very good today."),
        ("en-in+f3", "Thank you."),
        ("fr", "Bonjour à tous."),
    ],
)
def test_languages_are_spoken_with_a_mark_at_each_word(voice, text):
    rate, spoken = read(text, voice)
    pcm = np.concatenate([piece.pcm for piece in spoken])
    assert rate // 2 < len(pcm) < 5 * rate
    assert np.abs(pcm.astype(int)).max() > 3000
    letters = "".join(c for c in text if unicodedata.category(c)[0] not in "PZ")
    assert "".join(word for word, _ in words(text, spoken)) == letters


def test_indian_english_differs_from_british():
    text = "Three women think the weather is very good."
    lengths = {voice: len(read(text, voice)[1][0].pcm) for voice in ("en-in", "en-gb")}
    assert lengths["en-in"] != pytest.approx(lengths["en-gb"], rel=0.02)


def test_twice_the_speed_takes_about_half_the_time():
    text = "A quick quiet queen quit the square."
    usual, fast = (len(read(text, speed=speed)[1][0].pcm) for speed in (1.0, 2.0))
    assert 0.35 < fast / usual < 0.65


@pytest.mark.parametrize("voice", ["xx", "en-xx", "en-us+nobody", "mb-en1", "../en", "variant"])
def test_a_voice_that_is_not_there_is_named(voice):
    with pytest.raises(InputError, match="espeak-ng") as caught:
        open_voice(SpeechSettings(voice=voice))
    assert voice in str(caught.value)


def test_a_hundred_languages_are_listed_and_each_can_be_opened():
    voices = list_voices(SpeechSettings())
    assert len({voice.language.split("-")[0] for voice in voices}) > 90
    assert {"ar", "hi", "en-in", "en-us"} <= {voice.name for voice in voices}
    for voice in voices:
        open_voice(SpeechSettings(voice=voice.name))


def test_two_who_speak_at_once_do_not_mix():
    def speak(voice, text, into):
        for _ in range(10):
            into.append([len(piece.pcm) for piece in read(text, voice)[1]])

    alone = len(read("Good morning.", "en-us")[1][0].pcm)
    one, two = [], []
    threads = [
        threading.Thread(target=speak, args=("en-us", "Good morning.", one)),
        threading.Thread(target=speak, args=("ar", "صباح الخير", two)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A voice varies by up to an eighth by itself; the other text is half as long again.
    assert one == [[pytest.approx(alone, rel=0.2)]] * 10
    assert two == [[pytest.approx(two[0][0], rel=0.2)]] * 10


def test_a_voice_of_our_own_leaves_no_file_behind(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        read("Good morning.", "en-in")
        assert list(Path(folder).iterdir()) == []


def test_without_the_library_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(BackendUnavailable, match="apt install espeak-ng"):
        EspeakLibrary()


def test_what_is_spoken_when_comes_along_and_is_parted_with_the_speech(tmp_path):
    voice = open_voice(SpeechSettings(voice="en-us"))
    (spoken,) = read_aloud(voice, "Papa may bake.")
    pressed = [one for one in spoken.phones if one.classes == (CLASSES.index("MBP"),)]
    assert len(pressed) == 4
    assert all(0 <= one.start < one.stop <= len(spoken.pcm) for one in spoken.phones)
    at, again = 0, []
    for piece in cut(spoken, 1000):
        again += [one.later(at) for one in piece.phones]
        at += len(piece.pcm)
    assert tuple(again) == spoken.phones
    write_speech(voice, "Papa may bake. Bob.", tmp_path / "a.wav")
    written = load_phones(tmp_path / "a.wav", voice.rate)
    assert len([one for one in written if one.classes == pressed[0].classes]) == 6
