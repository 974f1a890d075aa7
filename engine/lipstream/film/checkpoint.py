"""Work in progress on disk, so that a render that was killed goes on where it was.

Beside ``out.mp4`` stands ``.out.mp4.work``: ``job.txt`` says which job it is of, ``faces.npz`` who
was seen, and ``000000.mp4`` and so on are finished parts. Everything is written under another name
first, so that what is there is whole.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from zipfile import BadZipFile

from lipstream.errors import LipstreamError, MediaError
from lipstream.film.face_tracks import FaceTracks
from lipstream.film.job import RenderJob
from lipstream.film.plan import RenderPlan
from lipstream.inference.manifest import model_folder
from lipstream.storage.atomic_files import written_whole

PART_FRAMES = 250
"""Frames in a part: what a kill can cost, and one group of pictures of the codecs."""


_WITHOUT_EFFECT = {"output", "sheet", "certificate"}
"""What a job names that its frames do not depend on."""


def fingerprint(settings: Sequence[object], files: Sequence[Path]) -> str:
    """Return a text that changes with any setting, and with any file's place, size or time."""
    stamps = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(repr((list(settings), stamps)).encode()).hexdigest()


def open_checkpoint(plan: RenderPlan) -> "Checkpoint":
    """Take up the work of a plan, or begin it. Raises MediaError."""
    job = plan.job
    names = [name for name in RenderJob.__slots__ if name not in _WITHOUT_EFFECT]
    settings = {name: getattr(job, name) for name in names}
    model_file = model_folder(job.model) / "model.toml"  # it has the digests of the graphs
    named = (*job.sources, job.s3fd, job.restore, model_file)
    files = [file for file in named if file is not None and file.is_file()]
    key = fingerprint([settings, plan.model.manifest, plan.shape, plan.timeline], files)
    return Checkpoint(job.output, key, plan.shape.part_suffix)


class Checkpoint:
    """The work folder of one film. Used by one thread; leaving it after an error removes it."""

    def __init__(self, output: Path, job: str, suffix: str) -> None:
        """Take up the work of the same job, or begin anew. Raises MediaError."""
        self._folder = output.with_name(f".{output.name}.work")
        self._suffix = suffix
        note = self._folder / "job.txt"
        try:
            if not (note.is_file() and note.read_text("utf-8") == job):
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder.mkdir()
                with written_whole(note) as unfinished:
                    unfinished.write_text(job, "utf-8")
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise MediaError(
                f"cannot write beside {output}: {error.strerror}; choose another place with -o"
            ) from error

    def part(self, number: int) -> Path:
        """Return the place of a part."""
        return self._folder / f"{number:06d}{self._suffix}"

    def parts_done(self) -> int:
        """Return how many parts are there, from the first on without a gap."""
        count = 0
        while self.part(count).is_file():
            count += 1
        return count

    @property
    def joined(self) -> Path:
        """Place of a film that is still to be signed."""
        return self._folder / "joined"

    def face_tracks(self) -> FaceTracks | None:
        """Return who was seen, when all the film was looked at already."""
        try:
            return FaceTracks.load(self._folder / "faces.npz")
        except (OSError, EOFError, KeyError, ValueError, BadZipFile):  # cut short as power failed
            return None

    def save_face_tracks(self, face_tracks: FaceTracks) -> None:
        """Keep who was seen. Raises MediaError."""
        try:
            face_tracks.save(self._folder / "faces.npz")
        except OSError as error:
            raise MediaError(f"cannot write to {self._folder}: {error.strerror}") from error

    def remove(self) -> None:
        """Throw the work away; doing so twice is fine."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # after Ctrl-C or a crash the parts stay, and the next run goes on from them
        if kind is None or issubclass(kind, LipstreamError):
            self.remove()
