"""The engine: its threads alone run the model, for all sessions.

Sessions whose next frame is complete stand in one line, and each is served by one thread: it takes
the sound, paints, pastes and calls back. The frame that has been ready longest goes first, so
nobody is starved. On a processor each frame is made by itself: a batch gains nothing there, and a
session's pictures do not depend on who else is served. A model that several threads may run has as
many of them, each with a runner of its own and none waiting for another, which keeps all cores busy
also while mouths are pasted. On a GPU one thread makes the frames that are ready together, up to
the backend's ``best_batch``, and none is waited for, so no deadline passes meanwhile; a batch may
round differently with its size. TensorRT pastes there, too, and patches alone come back.

Sessions are opened and ended on the first thread. An avatar is prepared on the thread that asks for
it, with a runner of its own, and frames go on meanwhile; on a GPU, where there is one runner, the
first thread prepares it and everything else waits.
"""

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from fractions import Fraction
from typing import Self, TypeVar

import cv2

from lipstream.avatar.pack import Avatar
from lipstream.errors import AtCapacity, EngineFailed, ServerError
from lipstream.inference.model import MouthModel
from lipstream.live.compositor import make_compositor
from lipstream.live.frame_source import AvatarCache, PreparedAvatar
from lipstream.live.pipeline import Pipeline, paint_together
from lipstream.live.session import SessionHandle
from lipstream.types import AvFrame

log = logging.getLogger(__name__)
_T = TypeVar("_T")

_CLOSE_TIMEOUT_SECONDS = 10.0
_LOOK_SECONDS = 1.0
"""How often who waits for the engine thread looks whether it still runs."""


def leave_out_of_collections() -> None:
    """Have Python's garbage collector look no more at what is loaded and stays, in this process.

    A whole collection walks through some 100,000 objects and stops every thread for a tenth of a
    second, in which no picture is made; sessions leave cycles behind, which now are all that there
    is to look at. That is little, so it is done more often: a session that ended leaves a quarter
    of a megabyte. The last collection has Python count what is left to look at: before a quarter
    as many objects are new, it does not walk through all again.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 2)
    gc.collect()


class Worker:
    """Owns the engine's threads and the model, and closes both.

    OpenCV is told to start no threads of its own, in the whole program: beside ours they only
    wait for a core, and cost a quarter of a millisecond a frame.
    """

    def __init__(
        self,
        model: MouthModel,
        *,
        capacity: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the threads. ``capacity`` is the number of sessions served at once.

        The model is closed with the worker, and also when it cannot be started.
        """
        self.clock = clock
        self._model, self._capacity = model, capacity
        frame_threads = min(model.frame_threads, capacity)
        self._others = _clones(model, frame_threads - 1)
        self._turn = threading.Condition()  # guards _commands, _ready and _closing
        self._commands: deque[Callable[[], None]] = deque()
        self._ready: deque[SessionHandle] = deque()  # longest ready first, each of them once
        self._closing = False
        self._fault: str | None = None
        self._over = threading.Event()  # set when the engine thread does no more commands
        self._sessions: dict[SessionHandle, PreparedAvatar] = {}  # engine thread only
        self._avatars = AvatarCache(self._prepare)
        cv2.setNumThreads(1)
        self._thread = threading.Thread(target=self._run, name="lipstream-engine", daemon=True)
        self._other_threads = [
            threading.Thread(
                target=self._serve_line, args=(one,), name=f"lipstream-frames_{k}", daemon=True
            )
            for k, one in enumerate(self._others)
        ]
        self._start()

    @property
    def manifest_name(self) -> str:
        """Name of the model in use."""
        return self._model.manifest.name

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return self._model.backend

    @property
    def frame_threads(self) -> int:
        """Frames made at once, each by a thread of its own; 1 on a GPU."""
        return 1 + len(self._others)

    @property
    def capacity(self) -> int:
        """Sessions served at once, at most."""
        return self._capacity

    @property
    def fault(self) -> str | None:
        """What ended the engine; None while it runs, and when it was closed."""
        if self._fault is None and not self._closing:
            ended = [one.name for one in (self._thread, *self._other_threads) if not one.is_alive()]
            return f"the engine failed: {ended[0]} ended" if ended else None
        return self._fault

    def session_count(self) -> int:
        """Return the number of open sessions."""
        return self._call(lambda: len(self._sessions))

    def prepare(self, avatar: Avatar) -> PreparedAvatar:
        """Prepare an avatar, which is kept for the worker's life; blocks until done.

        Raises ServerError from within ``on_frame``.
        """
        self._refuse_in_callback("prepare an avatar")
        return self._avatars.take(avatar)

    def check_place(self) -> None:
        """Raise AtCapacity when ``capacity`` sessions are open, EngineFailed when it is over."""
        self._call(self._check_place)

    def open_session(
        self,
        avatar: Avatar,
        *,
        rate: int,
        fps: Fraction | int = 25,
        on_frame: Callable[[AvFrame], None],
        most_late_ms: float | None = None,
    ) -> SessionHandle:
        """Open a session for sound at ``rate`` Hz; blocks until its avatar is prepared.

        ``on_frame`` is called on one of the engine's threads, never twice at a time.
        A frame that could have been made more than ``most_late_ms`` ago is skipped, so that a mouth
        the engine has no time for stays in step; None makes every frame.

        ``on_frame`` may feed, flush, reset and close sessions and ask the worker for its counts. It
        may not open sessions, prepare avatars or wait for frames: it would wait for itself.

        Raises AtCapacity when ``capacity`` sessions are open, EngineFailed when the engine is over,
        InputError for an unusable rate, ServerError from within ``on_frame``.
        """
        self._refuse_in_callback("open a session")
        timing = self._model.timing(rate, fps)
        self.check_place()  # before something is prepared for nobody
        prepared = self._avatars.take(avatar)
        try:
            pipeline = Pipeline(prepared, timing, make_compositor(self._model))
            session = SessionHandle(self, pipeline, on_frame, most_late_ms)
            self._call(lambda: self._add(session, prepared))
        except Exception:
            self._avatars.give_back(prepared)
            raise
        return session

    def post(self, command: Callable[[], None]) -> None:
        """Have a command run on the engine thread, in order. Not for users of a session."""
        with self._turn:
            self._commands.append(command)
            self._turn.notify_all()  # the engine thread among them

    def enqueue(self, session: SessionHandle) -> None:
        """Have a session served after those that wait. Called by the session, once a turn."""
        with self._turn:
            self._ready.append(session)
            self._turn.notify()

    def remove(self, session: SessionHandle) -> None:
        """Drop a closed session. Engine thread."""
        prepared = self._sessions.pop(session, None)
        if prepared is not None:
            self._avatars.give_back(prepared)

    def close(self) -> None:
        """End all sessions, the threads and the model. Closing twice is fine.

        From within ``on_frame`` it does not wait for that. A thread that does not end in ten
        seconds is given up, and the log says so.
        """
        with self._turn:
            self._closing = True
            self._turn.notify_all()
        if self._in_callback():
            return
        self._thread.join(_CLOSE_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            log.warning("the engine did not end in %.0f s: it is given up", _CLOSE_TIMEOUT_SECONDS)
        self._avatars.wait(_CLOSE_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        """Start the threads; where the system has none to give, end those that run."""
        try:
            for thread in (*self._other_threads, self._thread):
                thread.start()
        except BaseException:
            with self._turn:
                self._closing = True
                self._turn.notify_all()
            for thread in self._other_threads:
                if thread.ident is not None:
                    thread.join()
            for model in (*self._others, self._model):
                model.close()
            raise

    def _prepare(self, avatar: Avatar) -> PreparedAvatar:
        if self._model.device != "cpu":
            prepare = PreparedAvatar.prepare
            return self._call(lambda: prepare(avatar, self._model, paste_on_gpu=True))
        with self._call(self._model.clone) as runner:
            return PreparedAvatar.prepare(avatar, runner)

    def _check_place(self) -> None:
        if len(self._sessions) >= self._capacity:
            raise AtCapacity(
                f"all {self._capacity} places are taken: try again when a session has ended"
            )

    def _add(self, session: SessionHandle, prepared: PreparedAvatar) -> None:
        self._check_place()  # again: others may have come meanwhile
        self._sessions[session] = prepared

    def _in_callback(self) -> bool:
        return threading.current_thread() in (self._thread, *self._other_threads)

    def _refuse_in_callback(self, what: str) -> None:
        if self._in_callback():
            raise ServerError(f"on_frame cannot {what}: do it on another thread")

    def _call(self, function: Callable[[], _T]) -> _T:
        """Have the engine thread call a function, and return what it does. Any thread."""
        if threading.current_thread() is self._thread:
            return function()  # asked from within on_frame: nobody else would
        future: Future[_T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001  goes to the caller
                future.set_exception(error)

        if self._closing:
            raise EngineFailed(self._fault or "the engine is closed: open a new worker")
        self.post(run)
        while not wait([future], _LOOK_SECONDS).done:
            if self._over.is_set() or not self._thread.is_alive():
                raise EngineFailed(self._fault or "the engine closed meanwhile: open a new worker")
        return future.result()

    def _run(self) -> None:
        self._serve_line(self._model, commands=True)
        self._over.set()
        for session in list(self._sessions):
            session.close()
        for thread in self._other_threads:
            thread.join()
        self._sessions.clear()
        for model in (*self._others, self._model):
            model.close()

    def _serve_line(self, model: MouthModel, *, commands: bool = False) -> None:
        """Serve until the worker closes; a fault that no session is to blame for closes it."""
        try:
            self._serve_until_closed(model, commands=commands)
        except Exception as error:  # the root of the thread
            log.critical("the engine failed, and all sessions end", exc_info=True)
            with self._turn:
                self._fault = f"the engine failed: {error!r}"
                self._closing = True
                self._turn.notify_all()

    def _serve_until_closed(self, model: MouthModel, *, commands: bool) -> None:
        """Serve whose turn it is, and do commands before, until the worker closes."""
        while True:
            with self._turn:
                while not (self._closing or self._ready or (commands and self._commands)):
                    self._turn.wait()
                if self._closing:
                    return
                command = self._commands.popleft() if commands and self._commands else None
                sessions = self._next() if command is None else []
                if self._ready:  # who does a command may have been woken for a frame
                    self._turn.notify()
            if command is not None:
                command()
            else:
                self._serve(sessions, model)

    def _next(self) -> list[SessionHandle]:
        """Take who has been ready longest, on a GPU several, out of the line. Under the lock."""
        together = min(len(self._ready), max(1, self._model.best_batch))
        return [self._ready.popleft() for _ in range(together)]

    def _serve(self, sessions: list[SessionHandle], model: MouthModel) -> None:
        """Make a frame of each session that has one, and put those with more behind the others."""
        ready = [one for one in sessions if self._guarded(one, lambda s: s.advance())]
        if len(ready) > 1:
            self._make_together(ready)
        elif ready:
            self._guarded(ready[0], lambda s: s.make_frame(model))
        for session in sessions:
            if session.release():
                self.enqueue(session)

    def _make_together(self, sessions: list[SessionHandle]) -> None:
        """Make a frame of each, the network run once for all. Nobody is waited for."""
        begun = self.clock()
        try:
            mouths = paint_together(self._model, [session.request for session in sessions])
        except Exception:  # the root of these sessions: what fails for all, fails for each
            log.exception("the network failed; %d sessions were closed", len(sessions))
            for session in sessions:
                session.close()
            return
        for session, mouth in zip(sessions, mouths, strict=True):
            self._guarded(session, lambda s, m=mouth: s.finish_frame(m, begun))  # type: ignore[misc]

    def _guarded(self, session: SessionHandle, action: Callable[[SessionHandle], _T]) -> _T | None:
        try:
            return action(session)
        except Exception:  # the root of a session: logged, and that session alone ends
            log.exception("a session failed and was closed")
            session.close()
            return None


def _clones(model: MouthModel, count: int) -> list[MouthModel]:
    """Return as many more runners of a model; closes it and them when one cannot be had."""
    made: list[MouthModel] = []
    try:
        for _ in range(count):
            made.append(model.clone())
    except BaseException:
        for one in (*made, model):
            one.close()
        raise
    return made


@dataclass(frozen=True, slots=True)
class FrameThreads:
    """How many frames are made at once on a processor, and why so many."""

    count: int
    threads: int
    """CPU threads that make one frame, 0 for the runtime's own choice."""
    reason: str


def choose_frame_threads(sessions: int, cores: int) -> FrameThreads:
    """Return what serves ``sessions`` peers at most on ``cores`` cores.

    One thread a frame does it for less than two do, which wait for each other whenever an encoder
    takes a core.
    """
    if cores == 1:
        return FrameThreads(1, 1, "there is one core")
    if sessions == 1:
        return FrameThreads(1, 0, "one session has one frame to make at a time: all cores share it")
    if sessions < cores:
        return FrameThreads(sessions, 1, f"one for each of {sessions} sessions")
    if cores == 2:
        return FrameThreads(2, 1, "one for each of 2 cores, which encoding shares")
    return FrameThreads(cores - 1, 1, f"{cores} cores, one of them left for encoding")
