"""The sessions of one server: opened, counted, closed."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from lipstream import Avatar, Worker
from lipstream.errors import AtCapacity
from lipstream.speech import SpeechSettings
from lipstream_server.avatars import Avatars
from lipstream_server.metrics import MetricValue, ServerMetrics
from lipstream_server.stage.live_avatar import LiveAvatar
from lipstream_server.stage.messages import Stats
from lipstream_server.stage.schedule import milliseconds
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
        self,
        worker: Worker,
        avatar: Avatar,
        speech: SpeechSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``avatar`` is shown unless a peer names another; ``speech`` says who speaks texts."""
        self.worker, self.avatars = worker, Avatars(avatar)
        self._speech = speech or SpeechSettings()
        self.opened = 0
        """Sessions answered since the server started."""
        self.refused = 0
        """Offers for which there was no place."""
        self.metrics = ServerMetrics()
        self.metrics.ask(self)
        self._ended = Totals(0, 0, 0)
        self._by_name: dict[str, PeerSession] = {}
        self._answered: dict[str, float] = {}
        self._clock = clock

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
        begun = self._clock()
        await self._ask(self.worker.check_place)  # before an avatar is opened for nobody
        pack = await self.avatars.open(avatar)
        live_avatar = await self._ask(lambda: LiveAvatar(self.worker, pack))
        name = secrets.token_urlsafe(16)
        session = PeerSession(name, live_avatar, self._forget, self._speech)
        session.on_stats = self._observe
        self._by_name[session.name] = session
        try:
            answer = await session.answer(offer)
        except BaseException:
            await session.end()
            raise
        self.opened += 1
        self._answered[name] = self._clock()
        self.metrics.answer_time.observe(self._answered[name] - begun)
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

    def metric_values(self) -> Iterator[MetricValue]:
        """Yield what a monitoring system is told."""
        totals = self.totals()
        dropped_s = milliseconds(totals.dropped) / 1000
        delay_s = max((session.live_avatar.delay_ms for session in self), default=0.0) / 1000
        for kind, name, about, value in (
            ("gauge", "sessions", "Sessions open now.", len(self)),
            ("gauge", "session_capacity", "Sessions served at once.", self.worker.capacity),
            ("counter", "sessions_opened_total", "Sessions opened.", self.opened),
            ("counter", "sessions_refused_total", "Offers refused: full.", self.refused),
            ("counter", "pictures_total", "Pictures sent, repeats included.", totals.pictures),
            ("counter", "pictures_repeated_total", "Pictures sent again.", totals.repeated),
            ("counter", "sound_dropped_seconds_total", "Live sound lost: too much.", dropped_s),
            ("gauge", "delay_seconds", "Longest delay of a session.", delay_s),
        ):
            yield MetricValue(kind, f"lipstream_{name}", about, value)

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
        if (answered := self._answered.pop(session.name, None)) is not None:
            self.metrics.session_length.observe(self._clock() - answered)

    def _observe(self, stats: Stats) -> None:
        self.metrics.session_delay.observe(stats.delay_ms / 1000)


def _add(total: Totals, live_avatar: LiveAvatar) -> Totals:
    return Totals(
        total.pictures + live_avatar.picture_count,
        total.repeated + live_avatar.repeated_count,
        total.dropped + live_avatar.dropped_samples,
    )
