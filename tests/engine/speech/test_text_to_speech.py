"""Texts to speech, with voices that need nothing installed."""

import wave

import numpy as np
import pytest

from engine.speech.toy_voices import RATE, Hummer, hum, until
from lipstream.errors import BackendUnavailable, InputError, LipstreamError, MediaError
from lipstream.speech import (
    SpeechChunk,
    SpeechQueue,
    SpeechSettings,
    list_voices,
    open_voice,
    read_aloud,
    write_speech,
)
from lipstream.speech.text_to_speech import AHEAD_MS, PIECE_MS

TEXT = "Good morning. How do you do?"


def whole(text):
    return np.concatenate([piece.pcm for piece in read_aloud(Hummer(), text)])


def taken(reading):
    """Take to the end."""
    pieces = []
    while not reading.ended:
        if (piece := reading.take()) is not None:
            pieces.append(piece)
    return pieces


@pytest.mark.slow
def test_a_reading_gives_the_whole_speech_in_short_pieces():
    with SpeechQueue(Hummer(), TEXT) as reading:
        pieces = taken(reading)
    assert np.array_equal(np.concatenate([piece.pcm for piece in pieces]), whole(TEXT))
    assert max(len(piece.pcm) for piece in pieces) <= RATE * PIECE_MS // 1000


@pytest.mark.slow
def test_marks_keep_their_place_in_pieces():
    with SpeechQueue(Hummer(), TEXT) as reading:
        at, marks = 0, []
        for piece in taken(reading):
            marks += [(m.kind, TEXT[m.start : m.stop], at + m.sample) for m in piece.marks]
            at += len(piece.pcm)
    second = len(hum(len("Good morning.") / 10))
    assert marks == [
        ("sentence", "Good morning.", 0),
        ("word", "G", 0),
        ("sentence", "How do you do?", second),
        ("word", "H", second),
    ]


def test_a_long_text_is_made_only_so_far_ahead():
    voice = Hummer()
    with SpeechQueue(voice, "Ten letter. " * 200) as reading:
        until(lambda: len(voice.said) >= 2)
        until(reading._queue.full)
        assert len(voice.said) <= 3  # a second each
        first = reading.take()
    assert len(first.pcm) == RATE * PIECE_MS // 1000
    assert AHEAD_MS == 2000


def test_closing_ends_the_thread_and_stops_the_voice():
    voice = Hummer()
    reading = SpeechQueue(voice, "Ten letter. " * 200)
    until(reading._queue.full)
    reading.close()
    reading.join(5)
    assert voice.stopped
    assert reading.take() is None
    assert not reading._thread.is_alive()
    reading.close()


def test_a_voice_that_fails_in_the_middle_is_heard_so_far_and_then_named():
    class Fails(Hummer):
        def say(self, sentence):
            yield SpeechChunk(hum(0.05))
            raise BackendUnavailable("the speech server hung up")

    with SpeechQueue(Fails(), "Hello.") as reading:
        until(lambda: (piece := reading.take()) is not None and len(piece.pcm) > 0)
        with pytest.raises(BackendUnavailable, match="hung up"):
            taken(reading)
        assert reading.ended
        assert reading.take() is None


def test_a_fault_of_a_voice_ends_the_reading_with_an_error():
    class Broken(Hummer):
        def say(self, sentence):
            raise ZeroDivisionError

    with SpeechQueue(Broken(), "Hello.") as reading, pytest.raises(LipstreamError, match="its log"):
        taken(reading)


@pytest.mark.parametrize("text", ["", " \n", "...", "—", "😀", "\0"])
def test_a_text_without_words_is_refused(text):
    with pytest.raises(InputError, match="no words"):
        SpeechQueue(Hummer(), text)


def test_half_characters_are_refused():
    with pytest.raises(InputError, match="UTF-8"):
        list(read_aloud(Hummer(), "a \ud800"))


def test_a_script_that_the_voice_cannot_read_is_named():
    with pytest.raises(InputError, match=r"'مرحبا', which is Arabic"):
        list(read_aloud(Hummer(), "They say مرحبا there."))


def test_speech_is_written_as_a_sound_file(tmp_path):
    path, told = tmp_path / "a.wav", []
    samples = write_speech(Hummer(), TEXT, path, on_progress=told.append)
    with wave.open(str(path)) as written:
        assert written.getparams()[:4] == (1, 2, RATE, samples)
        sound = np.frombuffer(written.readframes(samples), "<i2")
    assert np.array_equal(sound, whole(TEXT))
    assert told == [pytest.approx(1.3), pytest.approx(2.7)]


def test_a_speech_that_fails_leaves_no_file(tmp_path):
    class Fails(Hummer):
        def say(self, sentence):
            yield from super().say(sentence)
            if len(self.said) == 2:
                raise BackendUnavailable("the speech server hung up")

    with pytest.raises(BackendUnavailable):
        write_speech(Fails(), TEXT, tmp_path / "a.wav")
    with pytest.raises(InputError, match="longer than 1 s"):
        write_speech(Hummer(), TEXT, tmp_path / "a.wav", longest_s=1)
    with pytest.raises(MediaError, match="cannot be written"):
        write_speech(Hummer(), TEXT, tmp_path / "nowhere" / "a.wav")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            SpeechSettings("parrot"),
            "no provider of speech 'parrot': give auto or espeak-ng or piper",
        ),
        (SpeechSettings(speed=9), "0.5 to 2"),
        (SpeechSettings("openai", url="http://a/v1", rate=100), "100 Hz"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, says):
    with pytest.raises(InputError, match=says):
        open_voice(settings)


def test_voices_of_an_unknown_provider_are_refused():
    with pytest.raises(InputError, match="parrot"):
        list_voices(SpeechSettings("parrot"))
