"""Work in progress on disk, so that a render that was killed goes on where it was.

Beside ``out.mp4`` stands ``.out.mp4.work``: ``job.txt`` says which job it is of, ``faces.npz`` who
was seen, and ``000000.mp4`` and so on are finished parts. Everything is written under another name
first, so that what is there is whole.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from zipfile import BadZipFile

from lipstream.errors import LipstreamError, MediaError
from lipstream.face.detector import DIGESTS
from lipstream.face.landmarks import FaceIdentity
from lipstream.face.tracker import open_crop_tracker
from lipstream.film.concurrency import prefetch
from lipstream.film.face_tracks import (
    FaceTracks,
    FoundFaces,
    faces_in_parts,
    track_faces,
    track_of_box,
)
from lipstream.film.job import RenderJob
from lipstream.film.plan import RenderPlan
from lipstream.film.video_source import VideoSource
from lipstream.inference.manifest import embedded_folder, model_folder
from lipstream.storage import atomic_write, sha256_of

PART_FRAMES = 250
"""Frames in a part: what a kill can cost, and one group of pictures of the codecs."""
DRAFT_PART_FRAMES = 24
"""Frames in a part of a draft, which is watched part by part."""


_WITHOUT_EFFECT = {"output", "sheet", "units", "captions", "tracks", "growing", "certificate"}
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
            self._folder.mkdir(exist_ok=True)
            self._lock = _locked(self._folder / "lock")
        except OSError as error:
            raise _unwritable(output, error) from error
        if self._lock is None:
            raise MediaError(
                f"{output} is being written by another render: choose another name with -o"
            )
        try:
            if not (note.is_file() and note.read_text("utf-8") == job):
                self._clear()
                with atomic_write(note) as unfinished:
                    unfinished.write_text(job, "utf-8")
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise _unwritable(output, error) from error

    def _clear(self) -> None:
        """Remove what another job left, but for the lock. Raises OSError."""
        for file in self._folder.iterdir():
            if file.name != "lock":
                file.unlink()

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
        return _loaded(self._folder / "faces.npz")

    def save_face_tracks(self, face_tracks: FaceTracks) -> None:
        """Keep who was seen. Raises MediaError."""
        try:
            face_tracks.save(self._folder / "faces.npz")
        except OSError as error:
            raise MediaError(f"cannot write to {self._folder}: {error.strerror}") from error

    def remove(self) -> None:
        """Throw the work away; doing so twice is fine."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Let others write here; closing twice is fine."""
        if self._lock is not None:
            self._lock.close()

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
        self.close()


def find_faces(
    plan: RenderPlan, video: VideoSource, checkpoint: Checkpoint, on_frame: Callable[[], None]
) -> Iterator[FoundFaces]:
    """Yield where faces are in a plan's video, as found before or now, and keep it.

    They are looked for in the film's own pictures, however these are sized; those of a draft in the
    pictures as shown, part by part, one ahead of the caller. ``on_frame`` is called for each of
    ``plan.frames_to_search``.
    """
    job = plan.job
    if job.box is not None:
        yield FoundFaces(track_of_box(job.box, video), video.count)
        return
    unsized = video.unsized
    key = _tracks_key(plan, unsized) if job.tracks is not None else ""
    stored = checkpoint.face_tracks()
    if stored is None and job.tracks is not None:
        stored = _loaded(job.tracks, key)
    if stored is not None:
        for _ in range(sum(map(len, plan.frames_to_search))):
            on_frame()
    else:
        with closing(open_crop_tracker(job.s3fd)) as tracker, closing(FaceIdentity.open()) as who:
            if job.draft:
                parts = faces_in_parts(video, tracker, plan.frames_to_search, who)
                with closing(prefetch(parts, 1, "faces")) as ahead:
                    for part in ahead:
                        for _ in part.pictures:
                            on_frame()
                        yield part
                return
            stored = track_faces(unsized, tracker, plan.frames_to_search, on_frame, who)
        if job.tracks is not None:
            with contextlib.suppress(OSError):  # it costs only time later
                stored.save(job.tracks, key)
    checkpoint.save_face_tracks(stored)
    yield FoundFaces(stored.placed(video.affine_from(unsized)), video.count)


def _loaded(path: Path, key: str = "") -> FaceTracks | None:
    try:
        return FaceTracks.load(path, key)
    except (OSError, EOFError, KeyError, ValueError, BadZipFile):  # cut short as power failed
        return None


def _tracks_key(plan: RenderPlan, video: VideoSource) -> str:
    """Return a text that changes with all that where faces are depends on, and with no more."""
    job = plan.job
    film = (sha256_of(video.film.path), video.width, video.height, video.fps)
    networks = (embedded_folder() / "faces" / DIGESTS).read_text("utf-8")
    settings = [*film, job.face_cut, job.view.crop, plan.frames_to_search, networks]
    return fingerprint(settings, [] if job.s3fd is None else [job.s3fd])


def _unwritable(output: Path, error: OSError) -> MediaError:
    return MediaError(
        f"cannot write beside {output}: {error.strerror}; choose another place with -o"
    )


def _locked(path: Path) -> IO[bytes] | None:
    """Return the open file, which nobody else gets until it is closed; None if somebody has it.

    The lock goes with its process, however that ends. Windows has none of this kind.
    """
    opened = path.open("ab")
    try:
        import fcntl  # noqa: PLC0415  POSIX has it
    except ImportError:
        return opened
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        opened.close()
        return None
    return opened
