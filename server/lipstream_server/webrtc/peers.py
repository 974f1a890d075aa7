"""The sessions of one server: opened, counted, closed."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from lipstream import Avatar, Worker
from lipstream.errors import AtCapacity
from lipstream.speech import SpeechSettings
from lipstream_server.avatars import Avatars
from lipstream_server.stage.live_avatar import LiveAvatar
from lipstream_server.webrtc.offer import Offer
from lipstream_server.webrtc.peer import PeerSession

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters over all sessions since the server started."""

    pictures: int
    """Pictures sent, repeats included."""
    repeated: int
    """Pictures sent again because the next was late."""
    dropped: int
    """Samples of live sound lost."""


class PeerSessions:
    """All peers of one worker. The event loop's."""

    def __init__(
        self, worker: Worker, avatar: Avatar, speech: SpeechSettings | None = None
    ) -> None:
        """``avatar`` is shown unless a peer names another; ``speech`` says who speaks texts."""
        self.worker, self.avatars = worker, Avatars(avatar)
        self._speech = speech or SpeechSettings()
        self.opened = 0
        """PeerSessions answered since the server started."""
        self.refused = 0
        """Offers for which there was no place."""
        self._ended = Totals(0, 0, 0)
        self._by_name: dict[str, PeerSession] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[PeerSession]:
        return iter(list(self._by_name.values()))

    async def open(self, offer: Offer, avatar: str | None = None) -> tuple[PeerSession, str]:
        """Answer an offer; return the session and the SDP answer. ``avatar`` is its name.

        Raises AtCapacity when no place is free, EngineFailed when none will be, AvatarError for an
        avatar that cannot be read, InputError when the offer cannot be answered or there is no such
        avatar.
        """
        await self._ask(self.worker.check_place)  # before an avatar is opened for nobody
        shown = await self.avatars.open(avatar)
        live_avatar = await self._ask(lambda: LiveAvatar(self.worker, shown))
        name = secrets.token_urlsafe(16)
        session = PeerSession(name, live_avatar, self._forget, self._speech)
        self._by_name[session.name] = session
        try:
            answer = await session.answer(offer)
        except BaseException:
            await session.end()
            raise
        self.opened += 1
        return session, answer

    async def close(self, name: str) -> bool:
        """End a session; return whether there was one of this name."""
        session = self._by_name.get(name)
        if session is not None:
            await session.end()
        return session is not None

    async def close_all(self) -> None:
        """End every session."""
        await asyncio.gather(*(session.end() for session in self), return_exceptions=True)

    @property
    def fault(self) -> str | None:
        """What keeps pictures from being made; None while they are."""
        if self.worker.fault is not None:
            return self.worker.fault
        stalled = sum(session.live_avatar.stalled for session in self)
        return f"{stalled} of {len(self)} sessions get no pictures" if stalled else None

    def totals(self) -> Totals:
        """Return the counters over all sessions, ended ones included."""
        total = self._ended
        for session in self:
            total = _add(total, session.live_avatar)
        return total

    async def _ask(self, question: Callable[[], _T]) -> _T:
        """Ask the engine for a place, in a thread, and count it when there is none."""
        try:
            return await asyncio.to_thread(question)
        except AtCapacity:
            self.refused += 1
            raise

    def _forget(self, session: PeerSession) -> None:
        if self._by_name.pop(session.name, None) is not None:
            self._ended = _add(self._ended, session.live_avatar)


def _add(total: Totals, live_avatar: LiveAvatar) -> Totals:
    return Totals(
        total.pictures + live_avatar.picture_count,
        total.repeated + live_avatar.repeated_count,
        total.dropped + live_avatar.dropped_samples,
    )
