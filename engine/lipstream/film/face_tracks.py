"""Where faces were seen in a whole film: one row for each face in each frame."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.errors import InputError
from lipstream.face.crop import cut_crop
from lipstream.face.tracker import CropTracker, CutDetector, TrackedFace
from lipstream.film.concurrency import pictures_in_budget, prefetch
from lipstream.film.video_source import VideoSource
from lipstream.storage.atomic_files import written_whole
from lipstream.types import Array, Float32, Image

_SIDE = 48
_CALM_LOOKS_A_SECOND = 12.5
"""How often a face is looked at that hardly moves."""
_CALM = 0.008
"""Movement in heights of the crop a frame, below which a face is calm."""
UPPER, LOWER = (8, 8), (6, 4)
"""Width and height of the two views stored of a face, in tiles: upper half and lower half."""
_ROW = np.dtype(
    [
        ("frame", np.int32),
        ("track", np.int32),
        ("crop", np.float32, (2, 3)),
        ("size", np.float32),
        ("turn", np.float32),
        ("score", np.float32),
        ("upper", np.uint8, (UPPER[1], UPPER[0], 3)),
        ("lower", np.uint8, (LOWER[1], LOWER[0], 3)),
    ]
)


class FaceTracks:
    """Rows of what was seen, in order of frames. About 300 bytes a face and frame."""

    def __init__(self, rows: Array, frames: int, cuts: frozenset[int] = frozenset({0})) -> None:
        self.rows = rows
        self.frames = frames
        """Frames of the video."""
        self.cuts = cuts
        """Frames that begin a shot."""

    @property
    def crops(self) -> Float32:
        """(n, 2, 3) float32, a view."""
        return np.asarray(self.rows["crop"], np.float32)

    def save(self, path: Path) -> None:
        """Write the rows, whole or not at all. Raises OSError."""
        cuts = np.array(sorted(self.cuts))
        with written_whole(path) as unfinished, unfinished.open("wb") as opened:
            np.savez(opened, rows=self.rows, cuts=cuts, frames=self.frames)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote. Raises OSError, KeyError or ValueError."""
        with np.load(path, allow_pickle=False) as stored:
            cuts = frozenset(int(cut) for cut in stored["cuts"])
            return cls(stored["rows"], int(stored["frames"]), cuts)


def track_faces(
    video: VideoSource,
    tracker: CropTracker,
    spans: Sequence[range],
    on_frame: Callable[[], None] = lambda: None,
) -> FaceTracks:
    """Look for faces in some spans of the video, in order of time."""
    watcher = _SparseTracker(tracker, max(1, round(video.fps / _CALM_LOOKS_A_SECOND)))
    waiting = pictures_in_budget(video.width, video.height, 4)
    for span in spans:
        watcher.begin()
        with closing(prefetch(_shots(video.pictures(span.start)), waiting, "decode")) as pictures:
            for frame, shot in zip(span, pictures, strict=False):
                watcher.step(frame, shot)
                on_frame()
        watcher.catch_up()
    return FaceTracks(watcher.rows, video.count, frozenset(watcher.cuts))


@dataclass(frozen=True, slots=True)
class _ShotFrame:
    """A picture of a film."""

    image: Image
    cut: bool
    """Whether it begins a shot."""


def _shots(images: Iterator[Image]) -> Iterator[_ShotFrame]:
    """Tell where shots begin: beside the search for faces, which is the longer work."""
    watch_cuts = CutDetector()
    for image in images:
        yield _ShotFrame(image, watch_cuts.step(image))


class _SparseTracker:
    """Looks at every picture while faces move, and at some of them while they are calm.

    What lies between two looks is interpolated later. The pictures on both sides of a cut, and the
    last of a span, are always looked at.
    """

    def __init__(self, tracker: CropTracker, stride: int) -> None:
        self._tracker, self._stride = tracker, stride
        self._rows = np.zeros(1024, _ROW)
        self._count = 0
        self.cuts: set[int] = set()
        self.begin()

    @property
    def rows(self) -> Array:
        """All rows so far, new."""
        return self._rows[: self._count].copy()

    def begin(self) -> None:
        """Begin a span."""
        self._places: dict[int, Float32] = {}
        self._looked: int | None = None
        self._calm = False
        self._passed: tuple[int, Image] | None = None

    def step(self, frame: int, picture: _ShotFrame) -> None:
        """Take the next picture."""
        if picture.cut:
            self.catch_up()
            self.cuts.add(frame)
        due = self._looked is None or frame - self._looked >= self._stride
        if picture.cut or due or not self._calm:
            self._look(frame, picture.image, cut=picture.cut)
        else:
            self._passed = (frame, picture.image)

    def catch_up(self) -> None:
        """Look at the picture before, if it was passed over."""
        if self._passed is not None:
            self._look(*self._passed, cut=False)

    def _look(self, frame: int, image: Image, *, cut: bool) -> None:
        passed = 1 if self._looked is None else frame - self._looked
        self._passed, self._looked = None, frame
        if cut:
            self._tracker.reset()
        faces = self._tracker.step(image)
        places = {seen.track: seen.crop for seen in faces}
        self._calm = not cut and places.keys() == self._places.keys()
        for seen in faces:
            before = self._places.get(seen.track, seen.crop)
            moved = float(np.abs(seen.crop - before).max()) / (seen.size * passed)
            self._calm = self._calm and moved < _CALM
            self._add(_row(frame, image, seen))
        self._places = places

    def _add(self, row: Array) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros(len(self._rows), _ROW)])
        self._rows[self._count] = row
        self._count += 1


def find_faces(image: Image, tracker: CropTracker) -> FaceTracks:
    """Look for faces in one picture, as if it were a film of one frame."""
    tracker.reset()
    seen = tracker.step(image)
    return FaceTracks(np.array([_row(0, image, face) for face in seen], _ROW), 1)


def track_of_box(box: tuple[int, int, int, int], video: VideoSource) -> FaceTracks:
    """Return the same face in every frame: a box of top, bottom, left and right in pixels."""
    rows = np.zeros(video.count, _ROW)
    rows["frame"] = np.arange(video.count)
    rows["crop"] = box_crop(box, video.width, video.height)
    rows["size"], rows["score"] = box[1] - box[0], 1.0
    return FaceTracks(rows, video.count)


def box_crop(box: tuple[int, int, int, int], width: int, height: int) -> Float32:
    """Return the (2, 3) crop of a box; raises InputError when it is not in the picture."""
    top, bottom, left, right = box
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(
            f"--box {top} {bottom} {left} {right} does not lie in the picture, which is"
            f" {width}x{height}: give top, bottom, left and right in pixels"
        )
    return np.array([[right - left, 0, left], [0, bottom - top, top]], np.float32)


def _row(frame: int, image: Image, seen: TrackedFace) -> Array:
    every = max(1, int(seen.size / (2 * _SIDE)))
    look = cut_crop(image[::every, ::every], seen.crop / np.float32(every), _SIDE)
    row = np.zeros((), _ROW)
    row["frame"], row["track"], row["crop"] = frame, seen.track, seen.crop
    row["size"], row["turn"], row["score"] = seen.size, seen.turn, seen.score
    row["upper"] = _tiles(look[: _SIDE // 2], UPPER)
    row["lower"] = _tiles(look[_SIDE // 2 :], LOWER)
    return row


def _tiles(image: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
