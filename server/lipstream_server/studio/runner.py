"""The one task that makes the waiting films, and says how long each still takes."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from lipstream.errors import LipstreamError
from lipstream_server.config import StudioConfig
from lipstream_server.studio.errors import WrongState
from lipstream_server.studio.records import FinishedFilm, Job
from lipstream_server.studio.store import FILM, Store, remove
from lipstream_server.studio.subprocess_client import SubprocessDied, run_in_subprocess

WINDOW_SECONDS = 10.0
"""Steps older than this say nothing of the speed now."""
LEAST_SECONDS = 1.0
"""Below this much evidence nothing is said."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a film is."""

    done: int
    of: int
    """Steps in all; 0 while nobody knows."""
    left_s: float | None
    """Seconds it still takes, about; None while nobody knows."""


class ProgressEstimator:
    """How long a film still takes, by the steps of the last seconds, since phases differ in speed.

    Pure: the caller says what time it is.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._of = 0

    def step(self, now: float, done: int, of: int) -> None:
        """Note that ``done`` of ``of`` steps were done at ``now`` seconds."""
        self._of = of
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    def progress(self, now: float) -> JobProgress:
        """Return how far it is; what is left counts down between steps."""
        if not self._seen:
            return JobProgress(0, 0, None)
        (first, begun), (last, done) = self._seen[0], self._seen[-1]
        if last - first < LEAST_SECONDS or done <= begun:
            return JobProgress(done, self._of, None)
        left = (self._of - done) * (last - first) / (done - begun) - (now - last)
        return JobProgress(done, self._of, max(0.0, left))


log = logging.getLogger(__name__)

SWEEP_SECONDS = 600.0
_WORK = f".{FILM}.work"
_LOG = "render.log"


class JobRunner:
    """Makes the store's waiting films. The event loop's."""

    def __init__(
        self,
        store: Store,
        config: StudioConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._current: str | None = None
        self._making: asyncio.Task[None] | None = None
        self._estimator = ProgressEstimator()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="studio")

    async def close(self) -> None:
        """Stop; a film under way is taken up again by the next server. Twice is fine."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def wake(self) -> None:
        """Look for waiting films."""
        self._awake.set()

    def progress(self, job: Job) -> JobProgress | None:
        """Return how far a film under way is; None when it is not."""
        return self._estimator.progress(self._clock()) if job.id == self._current else None

    async def cancel(self, job: Job) -> Job:
        """Make no more of a film, and delete what there is.

        Raises WrongState when it is over.
        """
        if job.over:
            raise WrongState("the film is not being made any more")
        job = replace(job, state="cancelled", ended=self._store.now())
        self._store.put(job)
        if job.id == self._current and self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])
        await asyncio.to_thread(self._clear, job)
        return job

    def retry(self, job: Job) -> Job:
        """Let a film that failed or was cancelled wait again. Raises WrongState and QueueFull."""
        if job.state not in {"failed", "cancelled"}:
            raise WrongState("only a film that failed or was cancelled can be tried again")
        self._store.check_queue()
        job = replace(job, state="waiting", ended=None, message=None, starts=0)
        self._store.put(job)
        self.wake()
        return job

    async def _run(self) -> None:
        while True:
            await self._sweep()
            while waiting := self._store.waiting():
                await self._make(waiting[0])
            self._awake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), SWEEP_SECONDS)

    async def _sweep(self) -> None:
        try:
            await self._store.sweep()
        except OSError:
            log.exception("studio: old films cannot be deleted")

    async def _make(self, job: Job) -> None:
        """Make a film; whatever happens, it does not wait any more afterwards."""
        self._current, self._estimator = job.id, ProgressEstimator()
        self._making = asyncio.create_task(self._film(job), name=f"film {job.id[:6]}")
        try:
            await asyncio.wait([self._making])
        finally:
            if not self._making.done():  # the server stops
                self._making.cancel()
                await asyncio.wait([self._making])
            self._current = None

    async def _film(self, job: Job) -> None:
        folder, begun = self._store.folder_of(job), self._clock()
        try:
            file_bytes = await self._store.space.left()
            self._store.space.check()
            job = replace(job, state="working", starts=job.starts + 1)
            self._store.put(job)
            engine = self._config
            request = {
                "task": "film",
                "folder": str(folder),
                "model": None if engine.model is None else str(engine.model),
                "backend": engine.backend,
                "precision": engine.precision,
                "file_bytes": file_bytes,
            }
            made = await run_in_subprocess(request, on_progress=self._step, log_file=folder / _LOG)
        except SubprocessDied as error:  # what is done is kept, for another try
            self._failed(job, str(error))
        except LipstreamError as error:
            self._failed(job, _with_owner_names(str(error), job))
            await asyncio.to_thread(self._clear, job)
        except Exception:
            log.exception("studio: film %s failed", job.id[:6])
            self._failed(job, "the film could not be made by a fault of the program: see its log")
        else:
            now = self._store.now()
            job = replace(job, state="done", ended=now, made=FinishedFilm(**made))
            metrics = self._store.metrics
            metrics.films_finished.inc()
            metrics.film_seconds.inc(made["seconds"])
            metrics.film_work.observe(self._clock() - begun)
            self._store.put(job)

    def _step(self, done: int, of: int) -> None:
        self._estimator.step(self._clock(), done, of)

    def _failed(self, job: Job, message: str) -> None:
        self._store.metrics.films_failed.inc()
        failed = replace(job, state="failed", ended=self._store.now(), message=message)
        try:
            self._store.put(failed)
        except (LipstreamError, OSError):  # it is known in memory, at least
            log.warning("studio: that film %s failed cannot be written", job.id[:6])

    def _clear(self, job: Job) -> None:
        """Delete what was made so far."""
        folder = self._store.folder_of(job)
        remove(folder / _WORK)
        for name in (FILM, f".{FILM}.part.mp4", _LOG):
            (folder / name).unlink(missing_ok=True)


def _with_owner_names(message: str, job: Job) -> str:
    """Name files as their owner does, not as they are kept."""
    order = job.order
    media = [piece.sound for piece in order.pieces]
    for one in [order.face, *media] if order.face is not None else media:
        message = message.replace(one.file, one.name)
    return message
