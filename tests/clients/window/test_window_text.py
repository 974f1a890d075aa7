"""A text in place of the microphone, in virtual time."""

import threading
import time
from typing import ClassVar

import numpy as np
import pytest

from engine.live.inline_worker import InlineWorker, VirtualClock
from lipstream.cli import main
from lipstream.errors import BackendUnavailable, InputError
from lipstream.lips.phones import Phone
from lipstream.live.conversation import Conversation, ConversationSettings
from lipstream.speech import SpeechChunk
from lipstream_clients.window.devices import SilentSink, TextSource
from lipstream_clients.window.playback import LEAD_MS, Playback, PlaybackDevices
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


class Listener:
    """Stands before a conversation: it takes speech as it is pushed."""

    def __init__(self):
        self.pushed, self.cues, self.ends = [], [], 0
        self.queued_ms = 0.0

    def push(self, pcm, rate, cues):
        assert rate == RATE
        begun = sum(map(len, self.pushed))
        self.cues += [begun + cue.sample for cue in cues]
        self.pushed.append(pcm)
        self.queued_ms += len(pcm) * 1000 / rate

    def end_of_speech(self):
        self.ends += 1


def supplied(source, listener, enough=lambda: False):
    """Supply until the source has ended or there is enough, for at most two seconds."""
    until = time.monotonic() + 2
    while not source.ended and not enough() and time.monotonic() < until:
        source.supply(listener)
        time.sleep(0.001)


def test_a_text_is_given_whole_and_not_far_ahead():
    voice, listener = Hummer(), Listener()
    with TextSource(voice, "One. Two. Three. Four.") as source:
        supplied(source, listener, lambda: listener.queued_ms >= 500)
        assert listener.queued_ms <= 1000
        while not source.ended:
            listener.queued_ms = 0.0
            supplied(source, listener, lambda: listener.queued_ms > 0)
    assert np.array_equal(np.concatenate(listener.pushed), np.concatenate(voice.said))
    assert listener.ends == 1
    assert listener.cues == [number * RATE // 2 + RATE // 10 for number in range(4)]
    assert voice.closed


def test_a_voice_that_stalls_is_waited_for():
    voice, listener = Hummer(), Listener()
    voice.may_speak.clear()
    with TextSource(voice, "One. Two.") as source:
        source.supply(listener)
        assert listener.pushed == []
        assert not source.ended
        voice.may_speak.set()
        supplied(source, listener, lambda: listener.pushed)
        assert listener.pushed


def test_a_text_that_is_stopped_says_no_more():
    voice, listener = Hummer(), Listener()
    with TextSource(voice, "One. Two. Three. Four.") as source:
        supplied(source, listener, lambda: listener.pushed)
        source.stop()
        pushed = len(listener.pushed)
        source.supply(listener)
        assert source.ended
        assert len(listener.pushed) == pushed


def test_a_voice_that_fails_is_heard_of():
    voice = Hummer()
    voice.error = BackendUnavailable("the speech server went away")
    with (
        TextSource(voice, "One.") as source,
        pytest.raises(BackendUnavailable, match="went away"),
    ):
        supplied(source, Listener())
    assert voice.closed


def test_a_text_without_words_is_refused_before_a_window_opens():
    with pytest.raises(InputError, match="no words"):
        TextSource(Hummer(), " ... ")


class Screen:
    def show(self, image):
        pass

    def set_title(self, title):
        pass

    def commands(self):
        return set()


def test_a_text_is_played_whole_and_its_sounds_shape_the_lips(toy_model, toy_avatar):
    voice, clock, told = Hummer(), VirtualClock(), []

    class Speaker(SilentSink):
        played: ClassVar = []

        def play(self, pcm):
            self.played.append(pcm)

    speaker = Speaker(clock)
    settings = ConversationSettings(RATE, lead_ms=LEAD_MS)
    worker = InlineWorker(toy_model, clock)
    conversation = Conversation(worker, toy_avatar, settings, clock=speaker.taken)
    know = conversation._session.know
    conversation._session.know = lambda phones: (told.extend(phones), know(phones))
    with TextSource(voice, "One. Two. Three.") as source:
        playback = Playback(PlaybackDevices(source, speaker, Screen()), conversation)
        while playback.step() and clock.now < 110:
            clock.now += 0.01
            time.sleep(0.001)  # the voice speaks on a thread of its own
    heard, said = np.concatenate(speaker.played), np.concatenate(voice.said)
    first = int(np.flatnonzero(heard)[0]) - int(np.flatnonzero(said)[0])
    assert np.array_equal(heard[first : first + len(said)], said)
    assert np.diff([phone.start for phone in told]).tolist() == [RATE // 2] * 2


def test_the_command_refuses_two_sources_at_once(capsys):
    assert main(["window", "--text", "Hello", "--input", "a.wav"]) == 2
    assert "not both" in capsys.readouterr().err
