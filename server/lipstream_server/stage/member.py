"""One who takes part in a stage by words, over a data channel or a WebSocket.

Texts are read and answered, sound goes into the member's utterance. What cannot be used is told
the sender alone. What a member may do is its rights: ``watch``, ``speak``, ``control``.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Collection

import av
import numpy as np
from av import AudioFrame, Packet
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError
from starlette.status import WS_1000_NORMAL_CLOSURE, WS_1008_POLICY_VIOLATION
from starlette.websockets import WebSocket, WebSocketDisconnect

from lipstream.errors import InputError, LipstreamError
from lipstream.speech import list_voices
from lipstream.types import Pcm
from lipstream_server.limits import RIGHTS, TokenBucket
from lipstream_server.stage.messages import (
    OPUS_RATE,
    AskVoices,
    BeginSpeech,
    EndSpeech,
    SpeakText,
    StageMessage,
    WatchFace,
    error_event,
    parse_sound,
    parse_text,
    voices_event,
)
from lipstream_server.stage.stage import Stage

MESSAGES_PER_SECOND, MESSAGE_BURST = 20.0, 40.0
"""Texts that a member may send; more are dropped, and it is told once a second. Sound is bounded by
what waits to be spoken."""
MOST_EVENTS = 500
"""Events that wait for a WebSocket to read those before: some ten seconds of an utterance's."""
CLOSE_SECONDS = 1.0
"""How long the last events may take before a WebSocket is closed."""
_numbers = itertools.count(1)


class Member:
    """Takes part in a stage until it is closed. The event loop's."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        send: Callable[[str], None],
        rights: Collection[str] = RIGHTS,
    ) -> None:
        """``send`` takes events; it must not block."""
        self.name, self.stage = name, stage
        self.wants_face = False
        self.on_stage_end: Callable[[], None] = lambda: None
        """Called when the stage is no more."""
        self.rights = frozenset(rights)
        self._send = send
        self._begun: BeginSpeech | None = None
        self._dropping = False
        self._opus: AudioCodecContext | None = None
        self._allowed = TokenBucket(MESSAGES_PER_SECOND, MESSAGE_BURST)
        self._told = TokenBucket(1.0, 1.0)
        self._listing: asyncio.Task[None] | None = None
        stage.join(self)

    def receive(self, message: str | bytes) -> None:
        """Do what a message asks for, or say why not."""
        if isinstance(message, str) and not self._allowed.take():
            if self._told.take():
                told = f"too many messages: send {MESSAGES_PER_SECOND:.0f} a second at most"
                self._send(error_event(InputError(told)))
            return
        name = None if self._begun is None else self._begun.name
        try:
            if isinstance(message, bytes):
                self._push(message)
            else:
                self._handle(parse_text(message))
        except InputError as error:
            self._send(error_event(error, name if isinstance(message, bytes) else None))

    def tell(self, event: str) -> None:
        """Pass an event on."""
        self._send(event)

    def interrupted(self) -> None:
        """Drop what is still sent of the utterance that was interrupted, until the next begins."""
        self._begun, self._dropping = None, True

    def stage_ended(self, error: LipstreamError | None) -> None:  # noqa: ARG002  told before
        """Pass on that the stage is no more."""
        self.on_stage_end()

    def close(self) -> None:
        """Leave. What was pushed is still said. Closing twice is fine."""
        if self._listing is not None:
            self._listing.cancel()
        self.stage.leave(self)

    def _handle(self, message: StageMessage) -> None:
        if isinstance(message, AskVoices):
            if self._listing is None or self._listing.done():
                self._listing = asyncio.create_task(self._list_voices(), name="voices")
        elif isinstance(message, WatchFace):
            self.wants_face = message.on
        else:
            self._check_may_speak()
            self._speak(message)

    def _speak(self, message: StageMessage) -> None:
        if isinstance(message, BeginSpeech):
            self.stage.begin_speech(self, message.name)
            self._begun, self._dropping = message, False
            self._opus = open_opus() if message.opus else None
        elif isinstance(message, EndSpeech):
            if self._begun is None:
                raise InputError("end without begin: nothing is being pushed")
            self.stage.end_speech(self)
            self._begun = None
        elif isinstance(message, SpeakText):
            try:
                self.stage.say(message)
            except InputError as error:
                self._send(error_event(error, message.name))
        else:
            self.stage.interrupt()

    def _push(self, sent: bytes) -> None:
        self._check_may_speak()
        if self._dropping:
            return
        if self._begun is None:
            raise InputError("sound without a rate: send begin first")
        pcm = parse_sound(sent) if self._opus is None else decode_opus(self._opus, sent)
        self.stage.push_speech(self, pcm, self._begun.rate)

    def _check_may_speak(self) -> None:
        if not self.rights & {"speak", "control"}:
            raise InputError("this token may watch, and not speak: ask for one that may")

    async def _list_voices(self) -> None:
        speech = self.stage.speech
        try:
            voices = await asyncio.to_thread(list_voices, speech)
        except LipstreamError as error:
            self._send(voices_event(speech, [], str(error)))
        else:
            self._send(voices_event(speech, voices))


class SpeechSocket:
    """A WebSocket that takes part in a stage: ``/stages/NAME/speech``.

    Events wait in a bounded queue; who does not read them is told so and closed.
    """

    def __init__(self, socket: WebSocket, stage: Stage, rights: Collection[str]) -> None:
        self._socket = socket
        self._events: asyncio.Queue[str] = asyncio.Queue(MOST_EVENTS)
        self._ending = asyncio.Event()
        self._unread = False
        self._member = Member(stage, f"speech {next(_numbers)}", self._send, rights)
        self._member.on_stage_end = self._ending.set

    async def run(self) -> None:
        """Take part until the other side closes, or stops reading, or the stage ends."""
        ways = [
            asyncio.create_task(work, name=f"{what} {self._member.name}")
            for what, work in (
                ("read", self._read()),
                ("write", self._write()),
                ("end", self._wait_for_end()),
            )
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._member.close()
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
        for way in ways:
            error = None if way.cancelled() else way.exception()
            if error is not None and not isinstance(error, WebSocketDisconnect):
                raise error

    def _send(self, event: str) -> None:
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            self._unread = True
            self._ending.set()

    async def _wait_for_end(self) -> None:
        await self._ending.wait()
        code, reason = WS_1000_NORMAL_CLOSURE, "the stage has ended"
        if self._unread:
            code, reason = WS_1008_POLICY_VIOLATION, "events were not read: read them"
        with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_SECONDS):
                if not self._unread:
                    await self._events.join()
                await self._socket.close(code, reason)

    async def _write(self) -> None:
        while True:
            await self._socket.send_text(await self._events.get())
            self._events.task_done()

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            text = message.get("text")
            self._member.receive(message.get("bytes") or b"" if text is None else text)


def open_opus() -> AudioCodecContext:
    """Return a decoder for the Opus packets of one utterance."""
    decoder = av.CodecContext.create("opus", "r")
    assert isinstance(decoder, AudioCodecContext), "opus is a codec of sound"
    decoder.sample_rate = OPUS_RATE
    decoder.layout = "mono"
    return decoder


def decode_opus(decoder: AudioCodecContext, sent: bytes) -> Pcm:
    """Return what an Opus packet holds: (n,) int16 mono, 48 kHz. Raises InputError."""
    try:
        frames = decoder.decode(Packet(sent))
    except (FFmpegError, ValueError) as error:
        raise InputError(f"{len(sent)} bytes are no Opus packet: {error}") from None
    parts = [_mono(frame) for frame in frames if isinstance(frame, AudioFrame)]  # pyright: ignore[reportUnnecessaryIsInstance]
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _mono(frame: AudioFrame) -> Pcm:
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    mono = samples.mean(axis=0)
    if samples.dtype.kind == "f":
        mono = mono * 32767.0
    return np.asarray(np.clip(np.rint(mono), -32768, 32767), np.int16)
