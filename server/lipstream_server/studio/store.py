"""The films and files of one studio: all of them in memory as read at the start, and on disk.

``media/ID/`` holds a file taken in and ``media.json``; ``jobs/ID/`` a film, what it is made of and
``job.json``. Each is made under a name that begins with a dot, then renamed; on deletion it gets
such a name first. So whatever has no dot is whole, and the rest is thrown away at the next start.

The event loop's, but for the copying and deleting of files, which is done on threads.
"""

import asyncio
import fcntl
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lipstream.storage import atomic_write
from lipstream_server.config import StudioLimits
from lipstream_server.metrics import ServerMetrics
from lipstream_server.studio.errors import (
    DiskSpace,
    NotFound,
    QueueFull,
    StudioBusy,
    WrongState,
    bytes_in,
    disk_full_error,
    is_disk_full,
)
from lipstream_server.studio.records import FilmOrder, Job, Media

log = logging.getLogger(__name__)

_UNFINISHED = ".unfinished-"
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
"""Modes of folders and files: they are their owner's alone."""


class Folder:
    """The folder of one studio. Opened when something is there or is to be kept, then locked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def exists(self) -> bool:
        """Return whether anything was ever kept here."""
        return self.path.is_dir()

    def open(self) -> None:
        """Make the folder ours and clear what was left unfinished; twice is fine.

        Raises StudioBusy when another server works in it or it cannot be written.
        """
        if self._lock is not None:
            return
        try:
            for name in ("media", "jobs", "avatars"):
                (self.path / name).mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
            self.path.chmod(PRIVATE_FOLDER)  # an older version made it for all to read
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if is_disk_full(error):
                raise disk_full_error() from error
            raise StudioBusy(f"the studio cannot write to its folder: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StudioBusy(
                "the studio's folder is used by another lipstream server: stop that one, or give"
                " this one a folder of its own"
            ) from error
        self._lock = lock
        for unfinished in self.path.glob(f"*/{_UNFINISHED}*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def close(self) -> None:
        """Let others have the folder; twice is fine."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def entries(self, kind: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        """Yield what is kept of a kind, ``media`` or ``jobs``: its folder and its JSON."""
        note = "job.json" if kind == "jobs" else "media.json"
        for folder in sorted((self.path / kind).glob("[0-9a-f]*")):
            try:
                record = json.loads((folder / note).read_text("utf-8"))
            except (OSError, ValueError) as error:
                log.warning("studio: %s in %s cannot be read: %s", note, folder.name, error)
                continue
            if isinstance(record, dict):
                yield folder, record

    @contextmanager
    def new(self, kind: str) -> Generator["NewFolder"]:
        """Give a folder to fill and a name for it; it vanishes unless its ``keep`` was called.

        Raises DiskFull when the disk fills up meanwhile.
        """
        self.open()
        name = secrets.token_hex(16)
        path = self.path / kind / (_UNFINISHED + name)
        try:
            path.mkdir(PRIVATE_FOLDER)
            yield NewFolder(name, path, self.path / kind / name)
        except OSError as error:
            if is_disk_full(error):
                raise disk_full_error() from error
            raise
        finally:
            shutil.rmtree(path, ignore_errors=True)


class NewFolder:
    """A folder being filled, which is not there yet for others."""

    def __init__(self, name: str, path: Path, final: Path) -> None:
        self.id, self.path, self._final = name, path, final

    def keep(self) -> Path:
        """Let it appear under its name; returns its folder."""
        self.path.rename(self._final)
        return self._final


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file so that it is there whole or not at all. Raises DiskFull."""
    text = json.dumps(content, ensure_ascii=False, indent=1)
    try:
        with atomic_write(path) as unfinished:
            unfinished.touch(PRIVATE_FILE)
            unfinished.write_text(text, "utf-8")
    except OSError as error:
        if is_disk_full(error):
            raise disk_full_error() from error
        raise


def remove(folder: Path) -> None:
    """Take something away at once, and its bytes as fast as the disk allows."""
    hidden = folder.with_name(_UNFINISHED + folder.name)
    try:
        folder.rename(hidden)
    except FileNotFoundError:
        return
    shutil.rmtree(hidden, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system cannot, copy it. Raises OSError."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if is_disk_full(error):
            raise
        shutil.copy2(source, target)


MOST_STARTS = 4
"""A film whose making outlived the server this often has probably ended it."""
_DAY, _HOUR = 86_400.0, 3_600.0
CAPTIONS = "captions.vtt"
FILM, POSTER, TRACKS = "film.mp4", "poster.jpg", "faces.npz"
GROWING = "growing.mp4"
"""A preview as far as it has come, while it is made."""


class Store:
    """What is kept. ``now`` gives seconds since 1970."""

    def __init__(
        self,
        folder: Folder,
        limits: StudioLimits,
        metrics: ServerMetrics,
        now: Callable[[], float],
    ) -> None:
        self.folder, self.now = folder, now
        self.metrics = metrics
        self.space = DiskSpace(folder.path, limits)
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._media: dict[str, Media] = {}

    def open(self) -> None:
        """Read what an earlier server left, if anything; its unfinished films wait again."""
        if not self.folder.exists():
            return
        self.folder.open()
        self._media = dict(self._read("media", Media.from_json))
        self._jobs = dict(self._read("jobs", Job.from_json))
        for job in list(self._jobs.values()):
            if job.state == "working" and job.starts < MOST_STARTS:
                self.put(replace(job, state="waiting"))
            elif job.state == "working":
                message = f"the server stopped {job.starts} times while it was made"
                self.put(replace(job, state="failed", ended=self.now(), message=message))

    def close(self) -> None:
        """Leave the folder to others."""
        self.folder.close()

    async def measure(self) -> None:
        """Bring the gauges up to date; files are counted on a thread."""
        states = [job.state for job in self._jobs.values()]
        self.metrics.films_waiting.set(states.count("waiting"))
        self.metrics.films_working.set(states.count("working"))
        self.metrics.kept_bytes.set(await asyncio.to_thread(bytes_in, self.folder.path))

    def jobs(self) -> list[Job]:
        """Return all films, the newest order first."""
        return sorted(self._jobs.values(), key=lambda job: job.asked, reverse=True)

    def waiting(self) -> list[Job]:
        """Return the films to be made, in the order in which they are."""
        return [job for job in reversed(self.jobs()) if job.state == "waiting"]

    def job(self, name: str) -> Job:
        """Return a film; raises NotFound."""
        if name not in self._jobs:
            raise NotFound("there is no such film: it may have been deleted")
        return self._jobs[name]

    def media(self, name: str) -> Media:
        """Return a file taken in; raises NotFound."""
        if name not in self._media:
            raise NotFound("there is no such file here any more: add it again")
        return self._media[name]

    def folder_of(self, record: Job | Media) -> Path:
        """Return the folder that holds a film or file."""
        kind = "jobs" if isinstance(record, Job) else "media"
        return self.folder.path / kind / record.id

    def add_media(self, media: Media) -> None:
        """Take up a file whose folder is there."""
        self._media[media.id] = media

    def check_queue(self) -> None:
        """Raise QueueFull when no more films may wait."""
        under_way = sum(not job.over for job in self._jobs.values())
        if under_way >= self._limits.waiting:
            raise QueueFull(
                f"{under_way} films are being made or wait, which is the most that may: try again"
                " when one is finished"
            )

    async def add_job(self, order: FilmOrder) -> Job:
        """Keep an order with files of its own. Raises QueueFull, NotFound and DiskFull."""
        self.check_queue()
        await self.space.measure()
        self.space.check()
        try:
            job = await asyncio.to_thread(self._create_job, order)
        except FileNotFoundError as error:  # deleted this very moment
            raise NotFound("a file of this film is no longer kept: add it again") from error
        self._jobs[job.id] = job
        return job

    def put(self, job: Job) -> None:
        """Keep the newest state of a film. Raises DiskFull; then it is kept in memory."""
        self._jobs[job.id] = job
        write_json(self.folder_of(job) / "job.json", job.to_json())

    async def delete(self, record: Job | Media) -> None:
        """Delete a film that is over, or a file. Raises WrongState."""
        if isinstance(record, Job):
            if not record.over:
                raise WrongState("the film is still being made: cancel it first")
            self._jobs.pop(record.id, None)
        else:
            self._media.pop(record.id, None)
        await asyncio.to_thread(remove, self.folder_of(record))

    async def sweep(self) -> None:
        """Delete what is old enough, as the limits say."""
        now = self.now()
        keep_s, upload_s = self._limits.keep_days * _DAY, self._limits.upload_hours * _HOUR
        for media in list(self._media.values()):
            if media.kept + upload_s < now:
                await self.delete(media)
        for job in list(self._jobs.values()):
            if job.ended is not None and job.over and job.ended + keep_s < now:
                await self.delete(job)

    def _create_job(self, order: FilmOrder) -> Job:
        with self.folder.new("jobs") as new:
            face = order.face
            if face is not None:
                moved = replace(face, file=f"face{Path(face.file).suffix}")
                link_or_copy(self.folder_of(face) / face.file, new.path / moved.file)
                link_or_copy(self.folder_of(face) / POSTER, new.path / POSTER)
                order = replace(order, face=moved)
            pieces = []
            for number, piece in enumerate(order.pieces, 1):
                moved = replace(piece.sound, file=f"sound-{number}{Path(piece.sound.file).suffix}")
                link_or_copy(self.folder_of(piece.sound) / piece.sound.file, new.path / moved.file)
                pieces.append(replace(piece, sound=moved))
            job = Job(new.id, replace(order, pieces=tuple(pieces)), self.now())
            write_json(new.path / "job.json", job.to_json())
            new.keep()
            return job

    def _read(self, kind: str, parse: Callable[[Mapping[str, Any]], Any]) -> Iterator[Any]:
        for folder, record in self.folder.entries(kind):
            try:
                yield folder.name, parse(record)
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                log.warning("studio: %s %s cannot be read: %r", kind, folder.name, error)
