"""Pipecat: a processor that gives a pipeline's voice a face.

It stands between the speech synthesis and the transport's output::

    Pipeline([transport.input(), stt, llm, tts, AvatarProcessor(engine), transport.output()])

    TransportParams(audio_out_enabled=True, video_out_enabled=True,
                    video_out_width=engine.avatar.width, video_out_height=engine.avatar.height)

Synthesized sound goes in; out come pictures, each followed by the sound of its moment, so that the
transport, which shows a picture once the sound before it was sent, keeps them in step. A
``TTSStoppedFrame`` is held until its reply was heard. An interruption leaves nothing of it.
"""

import asyncio
import importlib
import logging
import time
from fractions import Fraction
from typing import Any

from lipstream.errors import EngineFailed, InputError
from lipstream.live.conversation import Conversation
from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream_clients.integrations import AvatarEngine, end_reply, fall_due, missing, rgb, say

try:
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        Frame,
        InterruptionFrame,
        OutputImageRawFrame,
        StartFrame,
        TTSAudioRawFrame,
        TTSStoppedFrame,
    )
    from pipecat.processors.frame_processor import (
        FrameDirection,
        FrameProcessor,
        FrameProcessorSetup,
    )
except ImportError as error:
    raise missing("Pipecat", "pipecat") from error

log = logging.getLogger(__name__)

LEAD_MS = 30.0
"""By how much sound is before its picture: browsers take so much longer over it."""
VIDEO_TICKS = 90_000
"""Ticks a second of a picture's timestamp."""
CUSHION_BLOCKS = 3
"""Blocks of 20 ms that are gathered before a reply begins: a transport that runs dry between two of
them puts silence there.
"""


class AvatarProcessor(FrameProcessor):
    """See the module."""

    def __init__(self, engine: AvatarEngine, *, lead_ms: float = LEAD_MS, **settings: Any) -> None:
        """Take an engine with a free place; ``settings`` are Pipecat's own."""
        super().__init__(**settings)
        self._engine, self._lead_ms = engine, lead_ms
        self._gathered: list[Frame] = []
        self._blocks = 0
        self._conversation: Conversation | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Take a place of the engine's; raises AtCapacity where there is none."""
        await super().setup(setup)
        self._conversation = self._engine.converse(setup.audio_out_sample_rate, self._lead_ms)

    async def cleanup(self) -> None:
        """Give it back."""
        await super().cleanup()
        await self._stop()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take what the pipeline says, and pass on the rest; all of it once the engine failed."""
        await super().process_frame(frame, direction)
        conversation = self._conversation
        if direction is FrameDirection.DOWNSTREAM and conversation is not None:
            if isinstance(frame, TTSAudioRawFrame):
                await self._say(frame, conversation)
                return
            if isinstance(frame, TTSStoppedFrame):
                end_reply(conversation, frame)
                return
            if isinstance(frame, InterruptionFrame):
                conversation.interrupt()
                self._gathered, self._blocks = [], 0
            elif isinstance(frame, EndFrame | CancelFrame):
                self._ending = True
                if isinstance(frame, EndFrame) and self._task is not None:
                    await asyncio.wait([self._task])  # until all is said
                await self._stop()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame) and conversation is not None:
            self._task = self.create_task(self._show(conversation))

    async def _say(self, frame: TTSAudioRawFrame, conversation: Conversation) -> None:
        try:
            await say(conversation, frame.audio, frame.sample_rate, frame.num_channels)
        except InputError as error:
            await self.push_error(f"a frame of speech is not said: {error}", error)

    async def _show(self, conversation: Conversation) -> None:
        try:
            async for item in fall_due(conversation, self._all_is_said):
                if isinstance(item, ShownPicture):
                    self._gathered.append(_picture(item))
                elif isinstance(item, SoundBlock):
                    self._blocks = self._blocks + 1 if item.spoken else 0
                    if item.spoken:
                        sound = item.pcm.tobytes()
                        rate = conversation.settings.rate
                        self._gathered.append(TTSAudioRawFrame(sound, rate, 1))
                elif isinstance(item.cue, Frame):
                    self._gathered.append(item.cue)
                if not 0 < self._blocks < CUSHION_BLOCKS:
                    await self._pass_on()
            await self._pass_on()
        except EngineFailed as error:
            log.error("the avatar ends: %s", error)
            self._conversation = None
            conversation.close()
            await self.push_error(str(error), error)

    async def _pass_on(self) -> None:
        while self._gathered:  # an interruption empties it
            await self.push_frame(self._gathered.pop(0))

    def _all_is_said(self) -> bool:
        conversation = self._conversation
        return self._ending and (conversation is None or not conversation.speech_active)

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await self.cancel_task(task)
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None


def stamp_pictures_by_the_clock() -> None:
    """Have ``SmallWebRTCTransport`` say when its pictures were shown. Call it once, at the start.

    Its track counts a thirtieth of a second from each picture to the next, whenever they come
    (aiortc 1.16, ``VideoStreamTrack.next_timestamp``). At another rate browsers conclude that
    pictures are late, and hold the sound back by as much, tenths of a second.
    """
    transport = importlib.import_module("pipecat.transports.smallwebrtc.transport")

    async def next_timestamp(track: Any) -> tuple[int, Fraction]:
        now = time.monotonic()
        begun = track.__dict__.setdefault("_begun", now)
        return round((now - begun) * VIDEO_TICKS), Fraction(1, VIDEO_TICKS)

    transport.RawVideoTrack.next_timestamp = next_timestamp


def _picture(shown: ShownPicture) -> OutputImageRawFrame:
    height, width = shown.frame.shape[:2]
    frame = OutputImageRawFrame(image=rgb(shown.frame), size=(width, height), format="RGB")
    frame.sync_with_audio = True
    return frame
