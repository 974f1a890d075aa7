"""Adaptors to what voice agents are built with, each an extra, each over a ``Conversation``.

Here belongs what translates a framework's frames and events, and nothing that decides when a
picture is due: that is the conversation's. A framework's own package is imported by its adaptor,
which says what comes with ``say`` and ``end_reply``, and gives out what ``fall_due`` yields.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from lipstream.avatar.making import open_avatar
from lipstream.avatar.pack import Avatar
from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.manifest import LIVE
from lipstream.inference.model import MouthModel
from lipstream.live.conversation import (
    Conversation,
    ConversationEvent,
    ConversationSettings,
    Output,
)
from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream.live.speech_input import SpeechCue
from lipstream.live.worker import Worker, leave_out_of_collections
from lipstream.types import AvFrame

RATE = 48_000
"""Samples a second of the sound that adaptors give out."""
FPS = 25
"""Pictures a second."""
MOST_QUEUED_MS = 60_000.0
"""Speech that may wait; a framework is kept waiting with more."""


class AvatarEngine:
    """An avatar, and the engine that moves its lips for ``capacity`` conversations at once."""

    def __init__(self, worker: Worker, avatar: Avatar) -> None:
        """Take a worker whose avatar is prepared; it is closed with this."""
        self.worker, self.avatar = worker, avatar

    @classmethod
    def open(
        cls, avatar: str | Path | None = None, *, model: Path | None = None, capacity: int = 1
    ) -> Self:
        """Load everything, which blocks for seconds: ``await asyncio.to_thread(...)`` on a loop.

        What the process has loaded by then, Python's garbage collector looks at no more.

        ``avatar`` is an embedded one's name, a pack, a picture or a short film; None the default.
        Raises AvatarError, ModelError, InputError.
        """
        opened_avatar = open_avatar(None if avatar is None else Path(avatar))
        worker = Worker(MouthModel.open(model or Path(LIVE)), capacity=capacity)
        worker.prepare(opened_avatar)
        leave_out_of_collections()
        return cls(worker, opened_avatar)

    def converse(self, rate: int = RATE, lead_ms: float = 0.0) -> Conversation:
        """Return a conversation whose sound, at ``rate``, comes ``lead_ms`` before its pictures.

        Raises AtCapacity when ``capacity`` of them are open, EngineFailed when it is over.
        """
        settings = ConversationSettings(rate=rate, lead_ms=lead_ms)
        return Conversation(self.worker, self.avatar, settings)

    def close(self) -> None:
        """End it, and every conversation. Closing twice is fine."""
        self.worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


async def fall_due(
    conversation: Conversation, over: Callable[[], bool] = lambda: False
) -> AsyncIterator[Output]:
    """Yield what falls due, as it does, until ``over``, which is asked when all of it was yielded.

    Pictures come before the sound of their moment, as receivers want them that show a picture when
    the sound before it was played. What an interruption has overtaken on its way is left out, and
    so are a picture's further showings within its time: what is put out is steady, 25 a second.
    Raises EngineFailed.
    """
    last_index = -1
    while not over():
        for item in sorted(conversation.advance(), key=_place):
            if isinstance(item, ShownPicture):
                if item.frame.index == last_index and not item.repeated:
                    continue  # lips half closed at once, by an interruption
                last_index = item.frame.index
            elif item.generation != conversation.generation and not _is_interruption(item):
                continue
            yield item
        await asyncio.sleep(conversation.seconds_to_next)


def _is_interruption(item: Output) -> bool:
    return isinstance(item, ConversationEvent) and item.kind == "interrupted"


def _place(item: Output) -> tuple[float, bool]:
    if isinstance(item, ConversationEvent):
        return math.inf, False
    return item.sample, isinstance(item, SoundBlock)


async def say(
    conversation: Conversation, sound: bytes | memoryview, rate: int, channels: int
) -> None:
    """Add int16 sound, its channels interleaved, to the reply, once there is room for it.

    An interruption that comes before leaves it out. Raises InputError, and adds none.
    """
    try:
        pcm = np.frombuffer(sound, np.int16).reshape(-1, channels)
    except ValueError as error:
        raise InputError(f"its samples are not complete: {error}") from error
    generation = conversation.generation
    while (too_many_ms := conversation.queued_ms - MOST_QUEUED_MS) > 0:
        await asyncio.sleep(too_many_ms / 1000)
    if generation == conversation.generation:
        conversation.push(pcm[:, 0] if channels == 1 else pcm.mean(axis=1).astype(np.int16), rate)


def end_reply(conversation: Conversation, told: object) -> None:
    """End the reply; ``told`` is the cue of an event once all of it was heard.

    Nothing is told of a reply that is interrupted. One of which nothing was said, or whose sound
    stayed away for so long that it ended by itself, is told of with what falls due next.
    """
    conversation.push(b"", conversation.settings.rate, [SpeechCue(0, told)])
    conversation.end_of_speech()


def rgb(frame: AvFrame) -> bytes:
    """Return a picture as frameworks take it that know no planes: (H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(frame.image[..., ::-1]).tobytes()


def missing(framework: str, extra: str) -> BackendUnavailable:
    """Return the error of an adaptor whose framework is not installed."""
    return BackendUnavailable(f"{framework} is not installed: pip install 'lipstream[{extra}]'")
