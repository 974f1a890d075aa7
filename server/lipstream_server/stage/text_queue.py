"""Texts that a peer sends, spoken one after the other, with events as they are heard.

A text is refused when ``MOST_TEXTS`` wait. Speech is fed to the performance at most
``AHEAD`` before its time; beyond that the voice itself waits (see ``lipstream.speech.Reading``).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from lipstream.errors import InputError, LipstreamError
from lipstream.speech import Reading, SpeechSettings, Spoken, Voice, open_voice
from lipstream.types import Pcm
from lipstream_server.stage.input_buffer import Cue
from lipstream_server.stage.messages import SpeakText, error_event, mark_event, text_event
from lipstream_server.stage.performance import Performance
from lipstream_server.webrtc.audio_input import SpeechSound
from lipstream_server.webrtc.sample_clock import RATE, samples

log = logging.getLogger(__name__)

MOST_TEXTS = 20
"""Texts that may wait to be spoken."""
AHEAD = samples(1000)
"""Samples of speech that the performance is given before their time."""
_FAULT = "the text could not be spoken by a fault of the server: see its log"
_TAIL = np.zeros(samples(20), np.int16)
"""Silence that carries the event of a text's end."""


class Narrator:
    """Speaks texts into a performance. The event loop's; voices speak on threads of their own."""

    def __init__(
        self, performance: Performance, speech: SpeechSettings, tell: Callable[[str], None]
    ) -> None:
        self._performance, self._speech, self._tell = performance, speech, tell
        self._unheard: deque[SpeakText] = deque()  # the oldest first, until its end is heard
        self._waiting: deque[SpeakText] = deque()  # those of them that are still to be spoken
        self._task: asyncio.Task[None] | None = None
        performance.on_cue = self._heard

    @property
    def speaking(self) -> bool:
        """Whether a text is being heard, or waits."""
        return bool(self._unheard)

    def say(self, order: SpeakText) -> None:
        """Speak a text after those that wait. Raises InputError when too many do."""
        if len(self._waiting) >= MOST_TEXTS:
            raise InputError(f"{MOST_TEXTS} texts wait already: send the rest later")
        self._waiting.append(order)
        self._unheard.append(order)
        self._performance.narrated = True
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="narrate")

    def interrupt(self) -> None:
        """Forget the texts that are not heard to their end, and say so."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for order in self._unheard:
            self._tell(text_event(order, "interrupted"))
        self._unheard.clear()
        self._waiting.clear()
        self._performance.narrated = False

    def _heard(self, cue: Cue) -> None:
        self._tell(cue.event)
        if cue.is_last:
            self._unheard.popleft()
            self._performance.narrated = self.speaking

    async def _run(self) -> None:
        while self._waiting:
            order = self._waiting.popleft()
            try:
                await self._speak(order)
                last = text_event(order, "ended")
            except LipstreamError as error:
                last = error_event(error, order.name)
            except Exception:
                log.exception("a text could not be spoken")
                last = error_event(LipstreamError(_FAULT), order.name)
            await self._narrate(_TAIL, [Cue(0, last, is_last=True)])
        self._task = None

    async def _speak(self, order: SpeakText) -> None:
        settings = replace(self._speech, voice=order.voice or self._speech.voice)
        with closing(await asyncio.to_thread(open_voice, settings)) as voice:
            made, loop, line = asyncio.Event(), asyncio.get_running_loop(), _Line(order, voice)

            def wake() -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(made.set)

            with Reading(voice, order.text, wake) as reading:
                while not reading.ended:
                    made.clear()
                    while (spoken := reading.take()) is not None:
                        await self._narrate(*line.next(spoken))
                    if not reading.ended:
                        await made.wait()

    async def _narrate(self, pcm: Pcm, cues: Sequence[Cue]) -> None:
        """Give a piece to the performance once little enough waits there."""
        while (early := self._performance.speech_waiting - AHEAD) > 0:
            await asyncio.sleep(early / RATE)
        self._performance.narrate(pcm, cues)


class _Line:
    """One text on its way from the voice's rate to the session's, marks and all."""

    def __init__(self, order: SpeakText, voice: Voice) -> None:
        self.order = order
        self._sound = SpeechSound(voice.rate)
        self._scale = RATE / voice.rate
        self._heard = self._given = 0
        self._cues = [Cue(0, text_event(order, "begun"))]

    def next(self, spoken: Spoken) -> tuple[Pcm, list[Cue]]:
        """Return a piece at the session's rate, perhaps empty, and the events in it."""
        pcm = self._sound.read(spoken.pcm)
        for mark in spoken.marks:
            sample = round((self._heard + mark.sample) * self._scale) - self._given
            self._cues.append(Cue(max(0, sample), mark_event(self.order, mark)))
        self._heard += len(spoken.pcm)
        self._given += len(pcm)
        if len(pcm) == 0:  # too little for the resampler: the events wait with it
            return pcm, []
        cues, self._cues = self._cues, []
        return pcm, cues
