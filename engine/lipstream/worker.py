"""The engine thread: it alone runs the model, for all sessions.

Sessions hand over sound by a queue and get frames by a callback on the engine thread. Frames are
made one at a time, the one that has been ready longest first, so a session's pictures do not depend
on who else is served (a batch rounds differently with its size) and nobody is starved.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from typing import Self, TypeVar

from lipstream.audio import check_pcm
from lipstream.avatar import Avatar
from lipstream.errors import ServerError
from lipstream.lips import make_timing
from lipstream.model import MouthModel
from lipstream.pipeline import (
    MouthRequest,
    Pipeline,
    PreparedAvatar,
    make_compositor,
    paint,
    pieces,
)
from lipstream.types import AvFrame, Pcm

log = logging.getLogger(__name__)
_T = TypeVar("_T")

INBOX_SECONDS = 4.0
"""Sound a session may have waiting; beyond it ``feed`` refuses the block and counts it."""
_SMOOTHING = 0.05
_CLOSE_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Counters of one session."""

    frames: int
    """Frames made."""
    waiting_ms: float
    """Sound handed over and not yet taken by the engine."""
    refused_samples: int
    """Samples refused because too much was waiting."""
    making_ms: float
    """Time the engine spends on one frame, smoothed."""


class SessionHandle:
    """One session of a worker. Its public methods may be called on any thread."""

    def __init__(
        self, worker: "Worker", pipeline: Pipeline, on_frame: Callable[[AvFrame], None]
    ) -> None:
        self._worker, self._pipeline, self._on_frame = worker, pipeline, on_frame
        self._lock = threading.Lock()  # guards the counters and _closed
        self._waiting = self._refused = self._frames = 0
        self._making_seconds = 0.0
        self._closed = False
        self._inbox: deque[Pcm | Callable[[], None]] = deque()  # engine thread only, as is _request
        self._request: MouthRequest | None = None
        self._ready_since = 0.0

    @property
    def rate(self) -> int:
        """Samples a second of the session's sound."""
        return self._pipeline.timing.rate

    @property
    def look_ahead_ms(self) -> float:
        """Sound the model needs past the start of a frame, milliseconds."""
        return self._pipeline.timing.look_ahead_ms

    @property
    def closed(self) -> bool:
        """Whether the session has ended, by ``close`` or by a failure that was logged."""
        return self._closed

    def feed(self, pcm: Pcm) -> bool:
        """Hand over (n,) int16 mono, which is copied. Returns False when it was refused."""
        check_pcm(pcm)
        with self._lock:
            if self._closed or self._waiting + len(pcm) > INBOX_SECONDS * self.rate:
                self._refused += len(pcm)
                return False
            self._waiting += len(pcm)
        copy = pcm.copy()
        self._worker.post(lambda: self._inbox.extend(pieces(copy, self.rate)))
        return True

    def flush(self) -> None:
        """End the sound: the frames that cover it to the last sample follow."""
        self._worker.post(lambda: self._inbox.append(self._pipeline.flush))

    def reset(self) -> None:
        """Forget the sound that is waiting or taken; frames count from 0 again."""
        self._worker.post(self._forget_sound)

    def close(self) -> None:
        """End the session. A frame that is being made may still arrive."""
        with self._lock:
            self._closed = True
        self._worker.post(lambda: self._worker.remove(self))

    def stats(self) -> SessionStats:
        """Return the counters."""
        with self._lock:
            waiting_ms = self._pipeline.timing.milliseconds(self._waiting)
            making_ms = self._making_seconds * 1000
            return SessionStats(self._frames, waiting_ms, self._refused, making_ms)

    def _forget_sound(self) -> None:
        self._inbox.clear()
        with self._lock:
            self._waiting = 0
        self._request = None
        self._pipeline.reset()

    def advance(self, now: float) -> float | None:
        """Take sound until a frame is ready; return since when it is, or None. Engine thread."""
        while self._request is None:
            self._request = self._pipeline.next_request()
            self._ready_since = now
            if self._request is None:
                if not self._inbox:
                    return None
                self._take(self._inbox.popleft())
        return self._ready_since

    def _take(self, item: Pcm | Callable[[], None]) -> None:
        if callable(item):
            item()
            return
        with self._lock:
            self._waiting -= len(item)
        self._pipeline.feed(item)

    def make_frame(self, model: MouthModel) -> None:
        """Make the frame that ``advance`` found ready and hand it over. Engine thread."""
        assert self._request is not None, "advance() said a frame is ready"
        begun = self._worker.clock()
        frame = self._pipeline.complete(self._request, paint(model, self._request))
        self._request = None
        with self._lock:
            self._frames += 1
            spent = self._worker.clock() - begun
            self._making_seconds += _SMOOTHING * (spent - self._making_seconds)
        if not self._closed:
            self._on_frame(frame)


class Worker:
    """Owns the engine thread and the model, and closes both."""

    def __init__(
        self,
        model: MouthModel,
        *,
        capacity: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread. ``capacity`` is the number of sessions served at once."""
        self.clock = clock
        self._model, self._capacity = model, capacity
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._sessions: list[SessionHandle] = []  # engine thread only, as is _prepared
        self._prepared: dict[int, PreparedAvatar] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="lipstream-engine", daemon=True)
        self._thread.start()

    @property
    def manifest_name(self) -> str:
        """Name of the model in use."""
        return self._model.manifest.name

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return self._model.backend

    @property
    def capacity(self) -> int:
        """Sessions served at once, at most."""
        return self._capacity

    def session_count(self) -> int:
        """Return the number of open sessions."""
        return self._call(lambda: len(self._sessions))

    def prepare(self, avatar: Avatar) -> PreparedAvatar:
        """Run the face graph over an avatar, once for the worker's life; blocks until done."""
        return self._call(lambda: self._prepare(avatar))

    def open_session(
        self,
        avatar: Avatar,
        *,
        rate: int,
        fps: Fraction | int = 25,
        on_frame: Callable[[AvFrame], None],
    ) -> SessionHandle:
        """Open a session for sound at ``rate`` Hz; ``on_frame`` is called on the engine thread.

        Raises ServerError when ``capacity`` sessions are open, InputError for an unusable rate.
        """
        timing = make_timing(self._model, rate, fps)

        def open_on_engine() -> SessionHandle:
            if len(self._sessions) >= self._capacity:
                raise ServerError(
                    f"all {self._capacity} places are taken: try again when a session has ended"
                )
            pipeline = Pipeline(self._prepare(avatar), timing, make_compositor(self._model))
            self._sessions.append(SessionHandle(self, pipeline, on_frame))
            return self._sessions[-1]

        return self._call(open_on_engine)

    def post(self, command: Callable[[], None]) -> None:
        """Have a command run on the engine thread, in order. Not for users of a session."""
        self._commands.put(command)

    def remove(self, session: SessionHandle) -> None:
        """Drop a closed session. Engine thread."""
        if session in self._sessions:
            self._sessions.remove(session)

    def close(self) -> None:
        """End all sessions, the thread and the model. Closing twice is fine."""
        if self._closing:
            return
        self._closing = True
        self.post(lambda: None)
        self._thread.join(_CLOSE_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, avatar: Avatar) -> PreparedAvatar:
        if id(avatar) not in self._prepared:  # the value holds the avatar, so the id stays its own
            self._prepared[id(avatar)] = PreparedAvatar.prepare(avatar, self._model)
        return self._prepared[id(avatar)]

    def _call(self, function: Callable[[], _T]) -> _T:
        future: Future[_T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001  goes to the caller
                future.set_exception(error)

        if self._closing:
            raise ServerError("the engine is closed: open a new worker")
        self.post(run)
        return future.result()

    def _run(self) -> None:
        busy = False
        while not self._closing:
            if not busy:
                self._commands.get()()
            while not self._commands.empty():
                self._commands.get()()
            busy = self._step()
        self._sessions.clear()
        self._model.close()

    def _step(self) -> bool:
        """Make the frame that has been ready longest; return whether there was one."""
        first: SessionHandle | None = None
        since = float("inf")
        for session in list(self._sessions):
            ready = self._guarded(session, lambda s: s.advance(self.clock()))
            if ready is not None and ready < since:
                first, since = session, ready
        if first is None:
            return False
        self._guarded(first, lambda s: s.make_frame(self._model))
        return True

    def _guarded(self, session: SessionHandle, action: Callable[[SessionHandle], _T]) -> _T | None:
        try:
            return action(session)
        except Exception:  # the root of a session: logged, and that session alone ends
            log.exception("a session failed and was closed")
            session.close()
            self.remove(session)
            return None
