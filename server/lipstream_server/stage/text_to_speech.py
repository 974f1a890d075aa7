"""Texts that a peer sends, spoken one after the other, with events as they are heard.

A text is refused when ``MOST_TEXTS`` wait. Speech is fed to the live avatar at most ``AHEAD``
before its time; beyond that the voice itself waits (see ``lipstream.speech.SpeechQueue``).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from lipstream.errors import InputError, LipstreamError
from lipstream.speech import SpeechChunk, SpeechQueue, SpeechSettings, Voice, open_voice
from lipstream.types import Pcm
from lipstream_server.stage.audio_input import Cue, SpeechResampler
from lipstream_server.stage.live_avatar import LiveAvatar
from lipstream_server.stage.messages import SpeakText, error_event, mark_event, text_event
from lipstream_server.stage.schedule import RATE, samples

log = logging.getLogger(__name__)

MOST_TEXTS = 20
"""Texts that may wait to be spoken."""
AHEAD = samples(1000)
"""Samples of speech that the live avatar is given before their time."""
_FAULT = "the text could not be spoken by a fault of the server: see its log"
_TAIL = np.zeros(samples(20), np.int16)
"""Silence that carries the event of a text's end."""


class TextToSpeechQueue:
    """Has a live avatar speak texts. The event loop's; voices speak on threads of their own."""

    def __init__(
        self, live_avatar: LiveAvatar, speech: SpeechSettings, send: Callable[[str], None]
    ) -> None:
        self._live_avatar, self._speech, self._send = live_avatar, speech, send
        self._unfinished: deque[SpeakText] = deque()  # the oldest first, until its end is heard
        self._waiting: deque[SpeakText] = deque()  # those of them that are still to be spoken
        self._task: asyncio.Task[None] | None = None
        live_avatar.on_cue = self._on_cue

    @property
    def speaking(self) -> bool:
        """Whether a text is being heard, or waits."""
        return bool(self._unfinished)

    def add(self, text: SpeakText) -> None:
        """Speak a text after those that wait. Raises InputError when too many do."""
        if len(self._waiting) >= MOST_TEXTS:
            raise InputError(f"{MOST_TEXTS} texts wait already: send the rest later")
        self._waiting.append(text)
        self._unfinished.append(text)
        self._live_avatar.ignores_live = True
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="text to speech")

    def interrupt(self) -> None:
        """Forget the texts that are not heard to their end, and say so."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for text in self._unfinished:
            self._send(text_event(text, "interrupted"))
        self._unfinished.clear()
        self._waiting.clear()
        self._live_avatar.ignores_live = False

    def _on_cue(self, cue: Cue) -> None:
        self._send(cue.event)
        if cue.is_last:
            self._unfinished.popleft()
            self._live_avatar.ignores_live = self.speaking

    async def _run(self) -> None:
        while self._waiting:
            text = self._waiting.popleft()
            try:
                await self._speak(text)
                last = text_event(text, "ended")
            except LipstreamError as error:
                last = error_event(error, text.name)
            except Exception:
                log.exception("a text could not be spoken")
                last = error_event(LipstreamError(_FAULT), text.name)
            await self._push(_TAIL, [Cue(0, last, is_last=True)])
        self._task = None

    async def _speak(self, text: SpeakText) -> None:
        settings = replace(self._speech, voice=text.voice or self._speech.voice)
        with closing(await asyncio.to_thread(open_voice, settings)) as voice:
            made, loop, spoken_text = (
                asyncio.Event(),
                asyncio.get_running_loop(),
                _SpokenText(text, voice),
            )

            def wake() -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(made.set)

            with SpeechQueue(voice, text.text, wake) as reading:
                while not reading.ended:
                    made.clear()
                    while (spoken := reading.take()) is not None:
                        await self._push(*spoken_text.resample(spoken))
                    if not reading.ended:
                        await made.wait()

    async def _push(self, pcm: Pcm, cues: Sequence[Cue]) -> None:
        """Give a piece to the live avatar once little enough waits there."""
        while (early := self._live_avatar.speech_queued - AHEAD) > 0:
            await asyncio.sleep(early / RATE)
        fits = self._live_avatar.push_speech(pcm, cues)
        assert fits, "spoken further ahead than the queue is long"


class _SpokenText:
    """One text on its way from the voice's rate to the session's, marks and all."""

    def __init__(self, text: SpeakText, voice: Voice) -> None:
        self._text = text
        self._resampler = SpeechResampler(voice.rate)
        self._scale = RATE / voice.rate
        self._samples_in = self._samples_out = 0
        self._cues = [Cue(0, text_event(text, "begun"))]

    def resample(self, spoken: SpeechChunk) -> tuple[Pcm, list[Cue]]:
        """Return a piece at the session's rate, perhaps empty, and the events in it."""
        pcm = self._resampler.resample(spoken.pcm)
        for mark in spoken.marks:
            sample = round((self._samples_in + mark.sample) * self._scale) - self._samples_out
            self._cues.append(Cue(max(0, sample), mark_event(self._text, mark)))
        self._samples_in += len(spoken.pcm)
        self._samples_out += len(pcm)
        if len(pcm) == 0:  # too little for the resampler: the events wait with it
            return pcm, []
        cues, self._cues = self._cues, []
        return pcm, cues
