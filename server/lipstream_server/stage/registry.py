"""The stages of one server, by name, and the avatars that may be shown on them."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from lipstream import Avatar, Worker
from lipstream.avatar.pack import embedded_avatars
from lipstream.errors import AtCapacity, AvatarError, InputError
from lipstream.speech import SpeechSettings
from lipstream_server.config import MOST_NAME, check_stage_name
from lipstream_server.stage.messages import Stats
from lipstream_server.stage.stage import Stage

log = logging.getLogger(__name__)

KEEP_SECONDS = 30.0
"""How long a stage that was asked for by name is kept after the last member has left."""
_T = TypeVar("_T")


class Avatars:
    """Avatars by name, each opened when it is asked for and shared while somebody has it.

    Of the event loop. The engine has those that are shown and a few more (``AvatarCache``).
    """

    def __init__(self, default: Avatar) -> None:
        """``default`` is shown to who names none; an embedded one of its name gives way to it."""
        self.default = default
        self._packs = {
            name: path for name, path in embedded_avatars().items() if name != default.name
        }
        self._opened: WeakValueDictionary[str, Avatar] = WeakValueDictionary()
        self._opening = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """Names of all, the default one's first."""
        return [self.default.name, *self._packs]

    @property
    def opened(self) -> list[str]:
        """Names of those in memory."""
        return [self.default.name, *self._opened]

    async def open(self, name: str | None) -> Avatar:
        """Return an avatar; None is the default one.

        Raises InputError for a name that nobody has, AvatarError when a pack cannot be read.
        """
        if name is None or name == self.default.name:
            return self.default
        if name not in self.names:
            raise InputError(
                f"there is no avatar '{name[:40]}' here: choose one of {', '.join(self.names)}"
            )
        opened = self._opened.get(name)
        if opened is not None:
            return opened
        async with self._opening:  # who asks for one on its way waits for that
            opened = self._opened.get(name)
            return await self._open(name) if opened is None else opened

    async def _open(self, name: str) -> Avatar:
        try:
            opened = await asyncio.to_thread(Avatar.open, self._packs[name])
        except AvatarError as error:
            log.error("avatar %s cannot be opened: %s", name, error)
            others = ", ".join(one for one in self.names if one != name)
            raise AvatarError(
                f"avatar {name} cannot be read on the server: choose one of {others}"
            ) from error
        self._opened[name] = opened
        return opened


class NoSuchStage(InputError):
    """A stage that was named is not open."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters over all stages since the server started."""

    pictures: int
    """Pictures shown, repeats included."""
    repeated: int
    """Pictures shown again because the next was late."""
    dropped: int
    """Samples of live sound lost."""


class Stages:
    """The stages of one worker, opened, found by name, kept a while, ended. The event loop's."""

    def __init__(self, worker: Worker, avatars: Avatars, speech: SpeechSettings) -> None:
        self.worker, self.avatars, self._speech = worker, avatars, speech
        self.on_stats: Callable[[Stats], None] = lambda _: None
        """Called with the statistics of each stage, once a second."""
        self.refused = 0
        """Times that there was no place."""
        self.draining = False
        """Whether the server waits for its stages to end, and opens no more."""
        self._by_name: dict[str, Stage] = {}
        self._opening: dict[str, asyncio.Future[Stage]] = {}
        self._expiries: dict[Stage, asyncio.TimerHandle] = {}
        self._past = Totals(0, 0, 0)

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Stage]:
        return iter(list(self._by_name.values()))

    @property
    def in_use(self) -> int:
        """Stages in which somebody takes part; the others make room."""
        return sum(not stage.empty for stage in self)

    @property
    def free(self) -> int:
        """Stages that may still be opened."""
        return 0 if self.draining else max(0, self.worker.capacity - self.in_use)

    def find(self, name: str) -> Stage:
        """Return a stage that is open; raises NoSuchStage."""
        stage = self._by_name.get(name)
        if stage is None:
            raise NoSuchStage(
                f"there is no stage {name[:MOST_NAME]!r}: it begins when a speaker joins it, or by"
                " POST /stages"
            )
        return stage

    async def open(self, name: str | None = None, avatar: str | None = None) -> Stage:
        """Return the stage of a name, opened when there is none; None makes one of its own.

        ``avatar`` is the name of who is shown by a new one. Raises AtCapacity when no place is
        free, EngineFailed when none will be, AvatarError for an avatar that cannot be read,
        InputError for one that is not there, or a name that cannot be one.
        """
        if name is None:
            return await self._new(secrets.token_urlsafe(16), avatar)
        check_stage_name(name)
        if name in self._by_name:
            return self._by_name[name]
        if name not in self._opening:
            self._opening[name] = asyncio.ensure_future(self._new(name, avatar))
            self._opening[name].add_done_callback(lambda _: self._opening.pop(name))
        return await asyncio.shield(self._opening[name])

    def release(self, stage: Stage, *, named: bool) -> None:
        """End a stage that nobody takes part in: at once, or, asked for by name, after a while."""
        if stage.ended or not stage.empty:
            return
        if not named:
            stage.end()
        elif stage not in self._expiries:
            loop = asyncio.get_running_loop()
            self._expiries[stage] = loop.call_later(KEEP_SECONDS, self._expire, stage)

    def end_all(self) -> None:
        """End every stage."""
        for stage in self:
            stage.end()

    def totals(self) -> Totals:
        """Return the counters over all stages, ended ones included."""
        total = self._past
        for stage in self:
            total = _add(total, stage)
        return total

    async def _new(self, name: str, avatar: str | None) -> Stage:
        if self.draining:
            self.refused += 1
            raise AtCapacity("this server begins no more sessions, since it ends: try another")
        await self._ask(self.worker.check_place)  # before an avatar is opened for nobody
        pack = await self.avatars.open(avatar)
        stage = await self._ask(lambda: Stage.open(name, self.worker, pack, self._speech))
        stage.on_end, stage.on_stats = self._forget, self._observe
        self._by_name[name] = stage
        stage.start()
        return stage

    async def _ask(self, question: Callable[[], _T]) -> _T:
        """Ask the engine for a place, in a thread; an empty stage makes room."""
        try:
            return await asyncio.to_thread(question)
        except AtCapacity:
            empty = next((stage for stage in self if stage.empty and stage in self._expiries), None)
            if empty is not None:
                empty.end()
                with contextlib.suppress(AtCapacity):
                    return await asyncio.to_thread(question)
            self.refused += 1
            raise

    def _expire(self, stage: Stage) -> None:
        del self._expiries[stage]
        if stage.empty:
            stage.end()

    def _forget(self, stage: Stage) -> None:
        self._past = _add(self._past, stage)
        self._by_name.pop(stage.name, None)
        if (timer := self._expiries.pop(stage, None)) is not None:
            timer.cancel()

    def _observe(self, stats: Stats) -> None:
        self.on_stats(stats)


def _add(total: Totals, stage: Stage) -> Totals:
    how = stage.conversation.stats()
    return Totals(
        total.pictures + how.playout.pictures,
        total.repeated + how.playout.repeated,
        total.dropped + how.live.dropped,
    )
