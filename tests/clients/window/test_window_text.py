"""A text in place of the microphone, in virtual time."""

import threading
import time

import numpy as np
import pytest

from lipstream import LipSync, Options
from lipstream.cli import main
from lipstream.errors import BackendUnavailable, InputError
from lipstream.lips.phones import Phone
from lipstream.speech import SpeechChunk
from lipstream_clients.window.devices import SilentSink, TextSource
from lipstream_clients.window.playback import Playback, PlaybackDevices
from media_files import tone

RATE = 16_000


class Hummer:
    """A voice that hums half a second a sentence, when it is let."""

    name, language, rate = "hummer", "en", RATE

    def __init__(self):
        self.may_speak = threading.Event()
        self.may_speak.set()
        self.said, self.closed, self.error = [], False, None

    def say(self, sentence):
        self.may_speak.wait(10)
        if self.error:
            raise self.error
        self.said.append(tone(RATE, RATE // 2, len(self.said)))
        spoken = Phone((1,), RATE // 10, RATE // 5)
        yield SpeechChunk(self.said[-1], phones=(spoken,))

    def stop(self):
        self.may_speak.set()

    def close(self):
        self.closed = True


def taken_at(source, now):
    """Take as soon as the thread has something, for at most two seconds."""
    until = time.monotonic() + 2
    while not (taken := source.take(now)) and not source.ended() and time.monotonic() < until:
        time.sleep(0.001)
    return taken


def test_a_text_is_given_whole_and_in_its_own_time():
    voice = Hummer()
    with TextSource(voice, "One. Two. Three.") as source:
        now, given = 100.0, []
        while not source.ended() and now < 110:
            given += taken_at(source, now)
            assert sum(map(len, given)) <= (now - 100) * RATE + RATE // 10 + 1
            now += 0.101
    assert now == pytest.approx(101.6, abs=0.13)
    assert np.array_equal(np.concatenate(given), np.concatenate(voice.said))
    assert voice.closed


def test_a_voice_that_stalls_is_waited_for_and_does_not_rush_afterwards():
    voice = Hummer()
    voice.may_speak.clear()
    with TextSource(voice, "One. Two.") as source:
        assert source.take(100.0) == []
        assert source.take(105.0) == []
        assert not source.ended()
        voice.may_speak.set()
        assert len(taken_at(source, 106.0)) == 1


def test_a_voice_that_fails_is_heard_of():
    voice = Hummer()
    voice.error = BackendUnavailable("the speech server went away")
    with TextSource(voice, "One.") as source, pytest.raises(BackendUnavailable, match="went away"):
        taken_at(source, 100.0)
    assert voice.closed


def test_a_text_without_words_is_refused_before_a_window_opens():
    with pytest.raises(InputError, match="no words"):
        TextSource(Hummer(), " ... ")


class Screen:
    def __init__(self):
        self.shown = 0

    def show(self, image):
        self.shown += 1

    def set_title(self, title):
        pass

    def closed(self):
        return False


class Inline:
    """The engine on the caller's thread."""

    def __init__(self, lips, show):
        self._lips, self._show, self.known = lips, show, []
        self.look_ahead_ms = lips.timing.look_ahead_ms

    def feed(self, pcm):
        for frame in self._lips.feed(pcm):
            self._show.arrive(frame)
        return True

    def know(self, phones):
        self.known += phones

    def flush(self):
        for frame in self._lips.flush():
            self._show.arrive(frame)


def test_every_picture_of_a_text_is_shown(toy_folder, toy_pack):
    voice = Hummer()
    source, screen, now = TextSource(voice, "One. Two. Three."), Screen(), 100.0
    show = Playback(PlaybackDevices(source, SilentSink(RATE), screen), clock=lambda: now)
    with LipSync.open(Options(toy_folder, toy_pack, RATE)) as lips, source:
        session = Inline(lips, show)
        pacer = show.begin(session)
        while len(voice.said) < 3:
            time.sleep(0.001)
        while show.step(session, pacer) and now < 110:
            now += 0.01
    assert screen.shown == 38
    said = RATE // 2
    begins = [number * said + RATE // 10 for number in range(3)]
    assert [phone.start for phone in session.known] == begins  # told in samples of the session


def test_the_command_refuses_two_sources_at_once(capsys):
    assert main(["window", "--text", "Hello", "--input", "a.wav"]) == 2
    assert "not both" in capsys.readouterr().err
