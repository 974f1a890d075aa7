"""LiveKit Agents: an avatar in the agent's own process, or as a worker of its own in the room.

``AvatarVideo`` is the ``VideoGenerator`` that LiveKit's ``AvatarRunner`` asks for. In the agent::

    avatar = LipstreamAvatar(engine)
    await avatar.start(session, ctx.room)      # before session.start()

or, where the engine is on another machine, ``RemoteAvatar("face").start(session, room)`` here, and
there, in the same room under the name ``face``, ``await speak_in_room(room, engine)``.

Sound is given out while something is said, and counted by what of it is speech: the position that
an agent keeps of an interrupted reply is the reply's own, to the sample. A frame counts nothing
once an interruption has overtaken it. ``AvatarRunner`` reads its duration after it was handed over:
otherwise it would take the last of the old reply for the first of the next one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from lipstream.errors import InputError
from lipstream.live.compositor import i420
from lipstream.live.conversation import Conversation
from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream.types import AvFrame
from lipstream_clients.integrations import (
    FPS,
    RATE,
    AvatarEngine,
    end_reply,
    fall_due,
    missing,
    rgb,
    say,
)

try:
    from livekit import rtc
    from livekit.agents import AgentSession
    from livekit.agents.voice import avatar as lk
except ImportError as error:
    raise missing("LiveKit Agents", "livekit") from error

log = logging.getLogger(__name__)

LATE_SECONDS = 0.03
"""Lateness from which pictures of silence are left out, so that the schedule is caught up with."""


class CountedSound(rtc.AudioFrame):
    """A block of sound whose duration is that of the speech in it, while that counts."""

    def __init__(self, block: SoundBlock, conversation: Conversation) -> None:
        super().__init__(bytearray(block.pcm.tobytes()), RATE, 1, len(block.pcm))
        self._block, self._conversation = block, conversation

    @property
    def duration(self) -> float:
        """Seconds of speech that was not interrupted."""
        counts = self._block.generation == self._conversation.generation
        return self._block.spoken / RATE if counts else 0.0


class AvatarVideo(lk.VideoGenerator):
    """What ``AvatarRunner`` pushes a reply's sound into, and takes pictures and sound from."""

    def __init__(self, engine: AvatarEngine) -> None:
        """Raise AtCapacity when the engine's places are taken."""
        self._conversation = engine.converse()
        self._over = asyncio.Event()
        self.options = lk.AvatarOptions(engine.avatar.width, engine.avatar.height, FPS, RATE, 1)

    async def push_audio(self, frame: rtc.AudioFrame | lk.AudioSegmentEnd) -> None:
        """Say a frame of any rate; return when more may come, after an end when all was heard.

        ``AvatarRunner`` takes what it pushes before that for a part of the same reply.
        """
        if isinstance(frame, lk.AudioSegmentEnd):
            end_reply(self._conversation, frame)
            self._over = over = asyncio.Event()
            await over.wait()
            return
        try:
            await say(self._conversation, frame.data, frame.sample_rate, frame.num_channels)
        except InputError as error:
            log.warning("a frame of the agent's is not said: %s", error)

    def clear_buffer(self) -> None:
        """Silence what is said, and forget what waits."""
        self._conversation.interrupt()
        self._over.set()

    async def __aiter__(
        self,
    ) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | lk.AudioSegmentEnd]:
        """Yield what falls due, for as long as the conversation is open. Raises EngineFailed."""
        async for item in fall_due(self._conversation):
            if isinstance(item, ShownPicture):
                late = self._conversation.seconds_since(item.sample) > LATE_SECONDS
                if not late or self._conversation.speech_active:
                    yield _picture(item.frame)
            elif isinstance(item, SoundBlock):
                if item.spoken or item.pcm.any():
                    yield CountedSound(item, self._conversation)
            elif isinstance(item.cue, lk.AudioSegmentEnd):
                over = self._over
                yield item.cue
                over.set()

    def close(self) -> None:
        """Give the place back. Closing twice is fine."""
        self._conversation.close()


class LipstreamAvatar(lk.AvatarSession[str]):
    """An avatar in the agent's own process: the agent's own tracks show it."""

    def __init__(self, engine: AvatarEngine) -> None:
        super().__init__()
        self._engine = engine
        self._video: AvatarVideo | None = None
        self._runner: lk.AvatarRunner | None = None

    @property
    def avatar_identity(self) -> str:
        """The agent's own identity."""
        return self._room.local_participant.identity if self._room else ""

    @property
    def provider(self) -> str:
        """Who makes it."""
        return "lipstream"

    async def start(self, agent_session: AgentSession[Any], room: rtc.Room) -> None:
        """Have the agent speak through it; before the session's own start.

        Raises AtCapacity when the engine's places are taken.
        """
        self._video = AvatarVideo(self._engine)
        sound = lk.QueueAudioOutput(wait_playback_start=True)
        self._runner = lk.AvatarRunner(
            room, audio_recv=sound, video_gen=self._video, options=self._video.options
        )
        await super().start(agent_session, room)
        await self._runner.start()
        agent_session.output.audio = sound

    async def aclose(self) -> None:
        """End it. The agent stays in the room. Closing twice is fine."""
        if self._room is not None:  # the base takes it for another participant, and removes it
            self._room.off("connection_state_changed", self._on_connection_state_changed)
            self._room = None
        await super().aclose()
        if self._runner is not None and self._video is not None:
            runner, self._runner = self._runner, None
            self._video.close()
            await runner.aclose()


class RemoteAvatar(lk.AvatarSession[str]):
    """An avatar that is another participant of the room, where ``speak_in_room`` runs."""

    def __init__(self, identity: str) -> None:
        super().__init__()
        self._identity = identity

    @property
    def avatar_identity(self) -> str:
        """The worker's identity."""
        return self._identity

    @property
    def provider(self) -> str:
        """Who makes it."""
        return "lipstream"

    async def start(self, agent_session: AgentSession[Any], room: rtc.Room) -> None:
        """Have the agent speak through it; before the session's own start."""
        await super().start(agent_session, room)
        agent_session.output.audio = lk.DataStreamAudioOutput(
            room,
            destination_identity=self._identity,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
            wait_playback_start=True,
        )


async def speak_in_room(room: rtc.Room, engine: AvatarEngine, *, agent: str | None = None) -> None:
    """Speak in a room that is connected, for the agent in it, until cancelled.

    ``agent`` is its identity; None takes the first agent that comes. Raises AtCapacity.
    """
    video = AvatarVideo(engine)
    receiver = lk.DataStreamAudioReceiver(room, sender_identity=agent)
    runner = lk.AvatarRunner(room, audio_recv=receiver, video_gen=video, options=video.options)
    try:
        await runner.start()
        await runner.wait_for_complete()
    finally:
        await runner.aclose()
        video.close()


def _picture(frame: AvFrame) -> rtc.VideoFrame:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        return rtc.VideoFrame(width, height, rtc.VideoBufferType.RGB24, rgb(frame))
    return rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, i420(frame).tobytes())
