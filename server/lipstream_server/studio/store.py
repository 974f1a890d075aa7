"""The films and files of one studio: all of them in memory as read at the start, and on disk.

The event loop's, but for the copying and deleting of files, which is done on threads.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lipstream_server.metrics import Counts, Figures, bytes_under
from lipstream_server.studio.errors import NotNow, QueueFull, Unknown
from lipstream_server.studio.folder import Folder, link_or_copy, remove, write_json
from lipstream_server.studio.records import Job, Media, Order
from lipstream_server.studio.settings import StudioLimits

log = logging.getLogger(__name__)

MOST_STARTS = 4
"""A film whose making outlived the server this often has probably ended it."""
_DAY, _HOUR = 86_400.0, 3_600.0
FILM, POSTER = "film.mp4", "poster.jpg"


class Store:
    """What is kept. ``now`` gives seconds since 1970."""

    def __init__(self, folder: Folder, limits: StudioLimits, now: Callable[[], float]) -> None:
        self.folder, self.now = folder, now
        self.counts = Counts()
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

    async def figures(self) -> Figures:
        """Return how the studio stands; files are counted on a thread."""
        states = [job.state for job in self._jobs.values()]
        kept = await asyncio.to_thread(bytes_under, self.folder.path)
        return Figures(states.count("waiting"), states.count("working"), self.counts, kept)

    def jobs(self) -> list[Job]:
        """Return all films, the newest order first."""
        return sorted(self._jobs.values(), key=lambda job: job.asked, reverse=True)

    def waiting(self) -> list[Job]:
        """Return the films to be made, in the order in which they are."""
        return [job for job in reversed(self.jobs()) if job.state == "waiting"]

    def job(self, name: str) -> Job:
        """Return a film; raises Unknown."""
        if name not in self._jobs:
            raise Unknown("there is no such film: it may have been deleted")
        return self._jobs[name]

    def media(self, name: str) -> Media:
        """Return a file taken in; raises Unknown."""
        if name not in self._media:
            raise Unknown("there is no such file here any more: add it again")
        return self._media[name]

    def place(self, kept: Job | Media) -> Path:
        """Return the folder that holds a film or file."""
        kind = "jobs" if isinstance(kept, Job) else "media"
        return self.folder.path / kind / kept.id

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

    async def add_job(self, order: Order) -> Job:
        """Keep an order with files of its own. Raises QueueFull, Unknown and DiskFull."""
        self.check_queue()
        try:
            job = await asyncio.to_thread(self._lay_out, order)
        except FileNotFoundError as error:  # deleted this very moment
            raise Unknown("a file of this film is no longer kept: add it again") from error
        self._jobs[job.id] = job
        return job

    def put(self, job: Job) -> None:
        """Keep the newest state of a film. Raises DiskFull; then it is kept in memory."""
        self._jobs[job.id] = job
        write_json(self.place(job) / "job.json", job.to_json())

    async def delete(self, kept: Job | Media) -> None:
        """Delete a film that is over, or a file. Raises NotNow."""
        if isinstance(kept, Job):
            if not kept.over:
                raise NotNow("the film is still being made: cancel it first")
            self._jobs.pop(kept.id, None)
        else:
            self._media.pop(kept.id, None)
        await asyncio.to_thread(remove, self.place(kept))

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

    def _lay_out(self, order: Order) -> Job:
        with self.folder.new("jobs") as new:
            face = order.face
            if face is not None:
                moved = replace(face, file=f"face{Path(face.file).suffix}")
                link_or_copy(self.place(face) / face.file, new.place / moved.file)
                link_or_copy(self.place(face) / POSTER, new.place / POSTER)
                order = replace(order, face=moved)
            pieces = []
            for number, piece in enumerate(order.pieces, 1):
                moved = replace(piece.sound, file=f"sound-{number}{Path(piece.sound.file).suffix}")
                link_or_copy(self.place(piece.sound) / piece.sound.file, new.place / moved.file)
                pieces.append(replace(piece, sound=moved))
            job = Job(new.id, replace(order, pieces=tuple(pieces)), self.now())
            write_json(new.place / "job.json", job.to_json())
            new.keep()
            return job

    def _read(self, kind: str, parse: Callable[[Mapping[str, Any]], Any]) -> Iterator[Any]:
        for place, written in self.folder.entries(kind):
            try:
                yield place.name, parse(written)
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                log.warning("studio: %s %s cannot be read: %r", kind, place.name, error)
