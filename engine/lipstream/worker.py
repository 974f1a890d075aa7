"""The engine thread: it alone runs the model, for all sessions.

Sessions hand over sound by a queue and get frames by a callback on the engine thread. The frame
that has been ready longest goes first, so nobody is starved. On a processor each frame is made by
itself: a batch gains nothing there, and a session's pictures do not depend on who else is served. A
model with several lanes has as many frames made at once, each by one thread, which keeps all cores
busy also while mouths are pasted; the engine thread is one of them and waits for the others. On a
GPU the frames that are ready are made together, up to the backend's ``best_batch``, and none is
waited for, so no deadline passes meanwhile; a batch may round differently with its size.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from fractions import Fraction
from typing import Self, TypeVar

from lipstream.avatar import Avatar
from lipstream.errors import ServerError
from lipstream.lips import make_timing
from lipstream.model import MouthModel
from lipstream.pipeline import Pipeline, PreparedAvatar, make_compositor, paint_together
from lipstream.session import SessionHandle
from lipstream.types import AvFrame

log = logging.getLogger(__name__)
_T = TypeVar("_T")

_CLOSE_TIMEOUT_SECONDS = 10.0
_LOOK_SECONDS = 1.0
"""How often who waits for the engine thread looks whether it still runs."""


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
        lanes = min(model.lanes, capacity)
        self._others = [model.beside() for _ in range(lanes - 1)]
        self._pool = ThreadPoolExecutor(max(1, lanes - 1), "lipstream-lane")
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
        most_late_ms: float | None = None,
    ) -> SessionHandle:
        """Open a session for sound at ``rate`` Hz.

        ``on_frame`` is called on the engine thread or one of its lanes, never twice at a time.
        A frame that could have been made more than ``most_late_ms`` ago is skipped, so that a mouth
        the engine has no time for stays in step; None makes every frame.

        Raises ServerError when ``capacity`` sessions are open, InputError for an unusable rate.
        """
        timing = make_timing(self._model, rate, fps)

        def open_on_engine() -> SessionHandle:
            if len(self._sessions) >= self._capacity:
                raise ServerError(
                    f"all {self._capacity} places are taken: try again when a session has ended"
                )
            pipeline = Pipeline(self._prepare(avatar), timing, make_compositor(self._model))
            self._sessions.append(SessionHandle(self, pipeline, on_frame, most_late_ms))
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
        while not wait([future], _LOOK_SECONDS).done:
            if not self._thread.is_alive():
                raise ServerError("the engine closed meanwhile: open a new worker")
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
        self._pool.shutdown()
        for model in (*self._others, self._model):
            model.close()

    def _step(self) -> bool:
        """Make the frames that have been ready longest; return whether there was one."""
        ready: list[tuple[float, SessionHandle]] = []
        for session in list(self._sessions):
            since = self._guarded(session, lambda s: s.advance(self.clock()))
            if since is not None:
                ready.append((since, session))
        ready.sort(key=lambda one: one[0])
        together = self._model.best_batch
        chosen = [one for _, one in ready[: together if together > 1 else 1 + len(self._others)]]
        if len(chosen) > 1 and together > 1:
            self._make_together(chosen)
        elif chosen:
            self._make_at_once(chosen)
        return bool(chosen)

    def _make_at_once(self, sessions: list[SessionHandle]) -> None:
        """Make a frame of each, the first on this thread, each other one on a lane of its own."""

        def make(session: SessionHandle, model: MouthModel) -> None:
            self._guarded(session, lambda s: s.make_frame(model))

        others = zip(sessions[1:], self._others, strict=False)
        begun = [self._pool.submit(make, session, model) for session, model in others]
        make(sessions[0], self._model)
        wait(begun)

    def _make_together(self, sessions: list[SessionHandle]) -> None:
        """Make a frame of each, the network run once for all. Nobody is waited for."""
        begun = self.clock()
        try:
            mouths = paint_together(self._model, [session.request for session in sessions])
        except Exception:  # the root of these sessions: what fails for all, fails for each
            log.exception("the network failed; %d sessions were closed", len(sessions))
            for session in sessions:
                session.close()
                self.remove(session)
            return
        for session, mouth in zip(sessions, mouths, strict=True):
            self._guarded(session, lambda s, m=mouth: s.finish_frame(m, begun))  # type: ignore[misc]

    def _guarded(self, session: SessionHandle, action: Callable[[SessionHandle], _T]) -> _T | None:
        try:
            return action(session)
        except Exception:  # the root of a session: logged, and that session alone ends
            log.exception("a session failed and was closed")
            session.close()
            self.remove(session)
            return None
