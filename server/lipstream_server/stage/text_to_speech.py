"""Texts spoken on a stage one after the other, with events as they are heard.

A text is refused when ``MOST_TEXTS`` wait. Speech is pushed at most ``AHEAD_MS`` before its time;
beyond that the voice itself waits (see ``lipstream.speech.SpeechQueue``).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np

from lipstream.errors import InputError, LipstreamError
from lipstream.live.conversation import Conversation, ConversationEvent
from lipstream.live.speech_input import SpeechCue, speech_cues
from lipstream.speech import (
    SpeechChunk,
    SpeechQueue,
    SpeechSettings,
    Voice,
    check_text,
    open_voice,
)
from lipstream_server.stage.messages import SpeakText, error_event, interrupted_event, mark_event

log = logging.getLogger(__name__)

MOST_TEXTS = 20
"""Texts that may wait to be spoken."""
AHEAD_MS = 1000.0
"""Speech that is pushed before its time."""
_FAULT = "the text could not be spoken by a fault of the server: see its log"
_NO_SOUND = np.zeros(0, np.int16)


class TextToSpeechQueue:
    """Has a conversation speak texts. The event loop's; voices speak on threads of their own."""

    def __init__(
        self, conversation: Conversation, speech: SpeechSettings, send: Callable[[str], None]
    ) -> None:
        self._conversation, self._speech, self._send = conversation, speech, send
        self._waiting: deque[SpeakText] = deque()
        self._pushed: deque[str | int] = deque()  # names of utterances not heard to their end
        self._current: SpeakText | None = None
        self._begun = False  # whether the current one has an utterance
        self._numbers = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def speaking(self) -> bool:
        """Whether a text is being heard, or waits."""
        return bool(self._waiting or self._pushed or self._current is not None)

    def add(self, text: SpeakText) -> None:
        """Speak a text after those that wait. Raises InputError when too many do."""
        if len(self._waiting) >= MOST_TEXTS:
            raise InputError(f"{MOST_TEXTS} texts wait already: send the rest later")
        self._waiting.append(text)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="text to speech")

    async def check(self, text: SpeakText) -> None:
        """Raise LipstreamError when a text cannot be spoken, or its voice does not exist."""
        await asyncio.to_thread(self._check, text)

    def interrupt(self) -> None:
        """Forget the texts that are not heard to their end.

        Those of which nothing was pushed are told to be interrupted here, the others by the
        conversation, whose interruption follows.
        """
        if self._task is not None:
            self._task.cancel()
            self._task = None
        unbegun = [] if self._current is None or self._begun else [self._current]
        for text in (*unbegun, *self._waiting):
            self._send(interrupted_event(text.name))
        self._current = None
        self._waiting.clear()
        self._pushed.clear()

    def on_event(self, event: ConversationEvent) -> None:
        """Take note of what has been heard."""
        if event.kind == "ended" and self._pushed and self._pushed[0] == event.utterance:
            self._pushed.popleft()

    async def _run(self) -> None:
        while self._waiting:
            self._current, self._begun = self._waiting.popleft(), False
            text = self._current
            try:
                await self._speak(text)
            except LipstreamError as error:
                self._fail(text, error)
            except Exception:
                log.exception("a text could not be spoken")
                self._fail(text, LipstreamError(_FAULT))
            if self._begun:
                self._conversation.end_of_speech()
            self._current = None
        self._task = None

    def _fail(self, text: SpeakText, error: LipstreamError) -> None:
        """Tell what was wrong, after what has been said of the text already."""
        event = error_event(error, text.name)
        if self._begun:
            self._conversation.push(_NO_SOUND, 48_000, [SpeechCue(0, event)])
        else:
            self._send(event)

    def _open(self, text: SpeakText) -> Voice:
        return open_voice(replace(self._speech, voice=text.voice or self._speech.voice))

    def _check(self, text: SpeakText) -> None:
        with closing(self._open(text)) as voice:
            check_text(text.text, voice)

    async def _speak(self, text: SpeakText) -> None:
        with closing(await asyncio.to_thread(self._open, text)) as voice:
            made, loop = asyncio.Event(), asyncio.get_running_loop()

            def wake() -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(made.set)

            with SpeechQueue(voice, text.text, wake) as reading:
                while not reading.ended:
                    made.clear()
                    while (spoken := reading.take()) is not None:
                        await self._push(text, spoken, voice.rate)
                    if not reading.ended:
                        await made.wait()

    async def _push(self, text: SpeakText, spoken: SpeechChunk, rate: int) -> None:
        """Give a piece to the conversation once little enough waits there."""
        while (early_ms := self._conversation.queued_ms - AHEAD_MS) > 0:
            await asyncio.sleep(early_ms / 1000)
        if not self._begun:
            self._begun = True
            self._numbers += 1
            name = f"text {self._numbers}" if text.name is None else text.name
            self._pushed.append(name)
            self._conversation.begin(name)
        cues = [SpeechCue(mark.sample, mark_event(text, mark)) for mark in spoken.marks]
        cues += speech_cues(spoken.phones, rate)
        self._conversation.push(spoken.pcm, rate, sorted(cues, key=lambda cue: cue.sample))
