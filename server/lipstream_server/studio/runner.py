"""The tasks that make the waiting films and previews, and say how long each still takes."""

import asyncio
import contextlib
import json
import logging
import os
import re
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lipstream.errors import InputError, LipstreamError
from lipstream.speech.openai_speech import KEY_NAME
from lipstream_server.config import StudioConfig
from lipstream_server.studio.errors import WrongState
from lipstream_server.studio.records import FinishedFilm, Job
from lipstream_server.studio.store import CAPTIONS, FILM, GROWING, TRACKS, Store, remove

log = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "lipstream_server.studio.subprocess_worker")
_LINE_BYTES = 1_000_000
_LOG_TAIL = 4_000


_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_\w+|PYTHON\w*|VIRTUAL_ENV|LD_LIBRARY_PATH"
    r"|(OMP|MKL|OPENBLAS|CUDA|NVIDIA|TENSORRT|ORT|OPENVINO|ESPEAK|PIPER)_?\w*|SSL_CERT_\w+|\w+_proxy",
    re.IGNORECASE,
)
"""Variables that a subprocess needs; the server's token and what else an operator may have set
are none of its business."""
_SPEECH_TASKS = {"speak", "voices"}


class SubprocessDied(LipstreamError):
    """A subprocess ended without an answer: killed, or by a fault of the program."""


def environment_for(task: str) -> dict[str, str]:
    """Return the environment for a task; the key of the speech provider is for speech alone."""
    passed_on = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    if task in _SPEECH_TASKS and KEY_NAME in os.environ:
        passed_on[KEY_NAME] = os.environ[KEY_NAME]
    return passed_on


async def run_in_subprocess(
    request: Mapping[str, Any],
    *,
    on_progress: Callable[[int, int], None] = lambda *_: None,
    log_file: Path | None = None,
    limit_s: float | None = None,
) -> dict[str, Any]:
    """Have a subprocess do a task; return its answer.

    Raises InputError with its sentence when it cannot, SubprocessDied when it dies, and InputError
    when it takes longer than ``limit_s``. When the caller is cancelled it is killed.
    """
    errors = None if log_file is None else log_file.open("wb")
    try:
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors or DEVNULL,
            limit=_LINE_BYTES,
            env=environment_for(str(request["task"])),
            process_group=0,  # Ctrl-C is for the server; a new session would void the low priority
        )
    finally:
        if errors is not None:
            errors.close()
    try:
        async with asyncio.timeout(limit_s):
            return await _read_answers(process, request, on_progress)
    except TimeoutError:
        raise InputError(f"this took longer than {limit_s:.0f} s: give a shorter one") from None
    except SubprocessDied:
        _log_end(process, log_file)
        raise
    finally:
        await asyncio.shield(_end(process))


async def _read_answers(
    process: Process, request: Mapping[str, Any], on_progress: Callable[[int, int], None]
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    while line := await process.stdout.readline():
        answer = json.loads(line)
        if "progress" in answer:
            on_progress(*answer["progress"])
        elif "error" in answer:
            raise InputError(answer["error"])
        else:
            result: dict[str, Any] = answer["result"]
            return result
    await process.wait()
    raise SubprocessDied("the work on it ended unexpectedly on the server: try again")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _log_end(process: Process, log_file: Path | None) -> None:
    tail = b""
    if log_file is not None:
        with log_file.open("rb") as opened:
            opened.seek(max(0, log_file.stat().st_size - _LOG_TAIL))
            tail = opened.read()
    text = tail.decode("utf-8", "replace").strip()
    log.error("studio: subprocess ended with code %s\n%s", process.returncode, text)


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


SWEEP_SECONDS = 600.0
_WORK = f".{FILM}.work"
_LOG = "render.log"


@dataclass(frozen=True, slots=True)
class _FilmUnderWay:
    """A film under way."""

    task: asyncio.Task[None]
    estimator: ProgressEstimator


class JobRunner:
    """Makes the store's waiting films, and previews beside them. The event loop's."""

    def __init__(
        self,
        store: Store,
        config: StudioConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._awake = {preview: asyncio.Event() for preview in (False, True)}
        self._tasks: list[asyncio.Task[None]] = []
        self._works: dict[str, _FilmUnderWay] = {}

    def start(self) -> None:
        """Begin."""
        self._tasks = [
            asyncio.create_task(self._run(preview=False), name="studio"),
            asyncio.create_task(self._run(preview=True), name="studio previews"),
        ]

    async def close(self) -> None:
        """Stop; a film under way is taken up again by the next server. Twice is fine."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    def wake(self) -> None:
        """Look for waiting films."""
        for awake in self._awake.values():
            awake.set()

    def progress(self, job: Job) -> JobProgress | None:
        """Return how far a film under way is; None when it is not."""
        work = self._works.get(job.id)
        return None if work is None else work.estimator.progress(self._clock())

    async def cancel(self, job: Job) -> Job:
        """Make no more of a film, and delete what there is.

        Raises WrongState when it is over.
        """
        if job.over:
            raise WrongState("the film is not being made any more")
        job = replace(job, state="cancelled", ended=self._store.now())
        self._store.put(job)
        work = self._works.get(job.id)
        if work is not None:
            work.task.cancel()
            await asyncio.wait([work.task])
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

    async def _run(self, *, preview: bool) -> None:
        """Make the films that wait, or the previews: those never wait for a film."""
        awake = self._awake[preview]
        while True:
            if not preview:
                await self._sweep()
            while job := self._next(preview=preview):
                await self._make(job)
            awake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(awake.wait(), SWEEP_SECONDS)

    def _next(self, *, preview: bool) -> Job | None:
        return next((one for one in self._store.waiting() if one.order.preview == preview), None)

    async def _sweep(self) -> None:
        try:
            await self._store.sweep()
        except OSError:
            log.exception("studio: old films cannot be deleted")

    async def _make(self, job: Job) -> None:
        """Make a film; whatever happens, it does not wait any more afterwards."""
        estimator = ProgressEstimator()
        task = asyncio.create_task(self._film(job, estimator), name=f"film {job.id[:6]}")
        self._works[job.id] = _FilmUnderWay(task, estimator)
        try:
            await asyncio.wait([task])
        finally:
            if not task.done():  # the server stops
                task.cancel()
                await asyncio.wait([task])
            del self._works[job.id]

    async def _film(self, job: Job, estimator: ProgressEstimator) -> None:
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
                "preview": job.order.preview,
                "tracks": self._tracks(job),
            }

            def step(done: int, of: int) -> None:
                estimator.step(self._clock(), done, of)

            made = await run_in_subprocess(request, on_progress=step, log_file=folder / _LOG)
        except SubprocessDied as error:  # what is done is kept, for another try
            self._failed(job, str(error))
        except LipstreamError as error:
            await asyncio.to_thread(self._clear, job)  # first: the disk may be full
            self._failed(job, _with_owner_names(str(error), job))
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

    def _tracks(self, job: Job) -> str | None:
        """Return where the faces of a film are noted while it is kept, for the next one of it."""
        face = job.order.face
        if face is None or face.kind != "film" or not self._store.folder_of(face).is_dir():
            return None
        return str(self._store.folder_of(face) / TRACKS)

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
        for name in (FILM, GROWING, CAPTIONS, f".{FILM}.part.mp4", _LOG):
            (folder / name).unlink(missing_ok=True)


def _with_owner_names(message: str, job: Job) -> str:
    """Name files as their owner does, not as they are kept."""
    order = job.order
    media = [piece.sound for piece in order.pieces]
    for one in [order.face, *media] if order.face is not None else media:
        message = message.replace(one.file, one.name)
    return message
