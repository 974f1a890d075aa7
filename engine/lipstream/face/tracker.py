"""All the faces of a film, each followed from picture to picture.

The mesh looks where each face was; the detector looks for further faces now and then, at once when
one is lost, and thoroughly after a cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lipstream.face.crop import fit_crop
from lipstream.face.detector import FaceBox, FaceDetector, merge_boxes, overlap_of
from lipstream.face.landmarks import FaceMesh, Landmarks, region_of_box, region_of_points
from lipstream.face.s3fd import S3fdDetector, crop_of_box
from lipstream.types import Array, Float32, Image

MOST_FACES = 8
"""Faces followed at once, the largest first."""
_RIGHT_EYE, _LEFT_EYE, _NOSE = 33, 263, 4
_SCORE = 0.5
_SMALLEST = 8.0
"""Least distance of the outer eye corners, pixels: below it the points are noise."""
_SETTLE = 4
"""Looks at a face just found, at most."""
_STILL, _JUMP = 0.01, 0.1
"""Shifts of the points in eye distances: below the first they have settled, above the second it is
another face, as in ``landmarks.FaceTracker``."""
_SAME = 0.3
"""Overlap above which two boxes are one face."""
_GLANCE_EVERY, _SEARCH_EVERY = 12, 25
"""Frames between looks for further faces, and between thorough searches while there is none."""
_COARSE = (144, 256)
"""Rows and columns, at least, of what a picture's thumbnail is made from."""
_THUMBNAIL, _CUT_LEVELS = (32, 18), 28.0
"""Size at which pictures are compared, and the mean difference in levels that is a cut."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One face in one picture."""

    track: int
    """Number of the face: the same while it stays, or comes back, in one shot."""
    crop: Float32
    """(2, 3) unit crop."""
    size: float
    """Height of the crop, pixels."""
    turn: float
    """How far the nose lies off the middle of the eyes, in eye distances: 0.45 tan(yaw) or so."""
    score: float
    """0 to 1: how sure it is that this is a face."""


class Crowd(Protocol):
    """Finds all faces in the pictures of one film, in order. Used by one thread."""

    def step(self, image: Image, *, cut: bool) -> list[Seen]:
        """Return the faces of the next picture; ``cut`` says that it begins a shot."""
        ...

    def close(self) -> None:
        """Free the networks; closing twice is fine."""
        ...


def open_crowd(s3fd: Path | None = None) -> Crowd:
    """Open the embedded face finder, or the ``s3fd.onnx`` given. Raises ModelError."""
    return MeshCrowd() if s3fd is None else BoxCrowd(S3fdDetector.open(s3fd))


class CutWatch:
    """Tells when a film cuts to another shot."""

    def __init__(self) -> None:
        self._last: Array | None = None

    def step(self, image: Image) -> bool:
        """Return whether the next picture begins a shot; the first one does."""
        small = cv2.resize(_coarse(image), _THUMBNAIL, interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32)
        last, self._last = self._last, small
        return last is None or float(np.abs(small - last).mean()) > _CUT_LEVELS


def _coarse(image: Image) -> Image:
    """Return every n-th pixel and row: 144 to 287 rows, 256 to 511 columns of larger pictures."""
    height, width = image.shape[:2]
    down, across = max(1, height // _COARSE[0]), max(1, width // _COARSE[1])
    rows, columns = height // down, width // across
    part = image[: rows * down, : columns * across]  # whole steps: OpenCV takes the first of each
    return np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_NEAREST), np.uint8)


class MeshCrowd:
    """Faces by BlazeFace and the 468-point mesh."""

    def __init__(self) -> None:
        self._detector, self._mesh = FaceDetector.open(), FaceMesh.open()
        self._faces: dict[int, Landmarks] = {}
        self._lost: dict[int, Landmarks] = {}
        self._tracks = 0
        self._frame = 0
        self._faceless = 0

    def step(self, image: Image, *, cut: bool) -> list[Seen]:
        """Return the faces of the next picture."""
        if cut:
            self._faces, self._lost, self._faceless = {}, {}, 0
        lost = self._follow(image)
        if not self._faces:
            self._search(image, thorough=self._faceless % _SEARCH_EVERY == 0)
        elif lost or self._frame % _GLANCE_EVERY == 0:
            self._search(image, thorough=False)
        self._frame += 1
        self._faceless = 0 if self._faces else self._faceless + 1
        return [_seen(track, face) for track, face in self._faces.items()]

    def close(self) -> None:
        """Free the networks; closing twice is fine."""
        self._detector.close()
        self._mesh.close()

    def _follow(self, image: Image) -> bool:
        """Look again at every face; return whether one was lost."""
        kept: dict[int, Landmarks] = {}
        for track, last in self._faces.items():
            near = self._look(image, last)
            if near is None or _moved(last, near) >= _JUMP:
                continue
            if not any(_overlap(near, other) > _SAME for other in kept.values()):
                kept[track] = near
        lost = {track: face for track, face in self._faces.items() if track not in kept}
        self._lost |= lost
        self._faces = kept
        return bool(lost)

    def _search(self, image: Image, *, thorough: bool) -> None:
        looks = list(self._detector.search(image, thorough=thorough))
        boxes = merge_boxes([box for boxes in looks for box in boxes], _SAME)
        for box in sorted(boxes, key=lambda box: -box.size):
            if len(self._faces) >= MOST_FACES:
                return
            found = None if self._known(box) else self._settle(image, box)
            if found is not None and not self._known(_box_of(found)):
                self._faces[self._number(found)] = found

    def _number(self, face: Landmarks) -> int:
        """Return the number of a face lost in this shot near this place, or a new one."""
        for track, last in self._lost.items():
            if _overlap(face, last) > _SAME:
                del self._lost[track]
                return track
        self._tracks += 1
        return self._tracks - 1

    def _known(self, box: FaceBox) -> bool:
        return any(overlap_of(box, _box_of(face)) > _SAME for face in self._faces.values())

    def _settle(self, image: Image, box: FaceBox) -> Landmarks | None:
        found = _sure(image, self._mesh.landmarks(image, region_of_box(box)))
        for _ in range(_SETTLE):
            if found is None:
                return None
            last, found = found, self._look(image, found)
            if found is not None and _moved(last, found) < _STILL:
                break
        return found

    def _look(self, image: Image, last: Landmarks) -> Landmarks | None:
        return _sure(image, self._mesh.landmarks(image, region_of_points(last.points)))


class BoxCrowd:
    """Faces by S3FD, each picture searched anew, and the crops that Wav2Lip's scripts cut."""

    def __init__(self, detector: S3fdDetector) -> None:
        self._detector = detector
        self._boxes: dict[int, FaceBox] = {}
        self._tracks = 0

    def step(self, image: Image, *, cut: bool) -> list[Seen]:
        """Return the faces of the next picture."""
        if cut:
            self._boxes = {}
        found = sorted(self._detector.detect(image), key=lambda box: -box.size)[:MOST_FACES]
        self._boxes = dict(self._numbered(found))
        return [
            Seen(track, crop_of_box(box), box.bottom - box.top, 0.0, box.score)
            for track, box in self._boxes.items()
        ]

    def close(self) -> None:
        """Free the network."""
        self._detector.close()

    def _numbered(self, found: list[FaceBox]) -> Iterator[tuple[int, FaceBox]]:
        before = dict(self._boxes)
        for box in found:
            track = max(before, key=lambda t: overlap_of(before[t], box), default=None)
            if track is not None and overlap_of(before[track], box) > _SAME:
                del before[track]
                yield track, box
            else:
                self._tracks += 1
                yield self._tracks - 1, box


def _seen(track: int, face: Landmarks) -> Seen:
    crop = fit_crop(face.points)
    right, left = face.points[_RIGHT_EYE], face.points[_LEFT_EYE]
    across = (left - right).astype(np.float64)
    nose = (face.points[_NOSE] - (left + right) / 2) @ across / max(1e-6, across @ across)
    return Seen(track, crop, float(np.linalg.norm(crop[:, 1])), float(nose), face.score)


def _sure(image: Image, face: Landmarks) -> Landmarks | None:
    eyes = float(np.linalg.norm(face.points[_LEFT_EYE] - face.points[_RIGHT_EYE]))
    x, y = face.points.mean(0)
    inside = 0 <= x < image.shape[1] and 0 <= y < image.shape[0]
    return face if face.score >= _SCORE and eyes >= _SMALLEST and inside else None


def _moved(one: Landmarks, other: Landmarks) -> float:
    eyes = np.linalg.norm(other.points[_LEFT_EYE] - other.points[_RIGHT_EYE])
    return float(np.linalg.norm(one.points - other.points, axis=1).mean() / eyes)


def _box_of(face: Landmarks) -> FaceBox:
    low, high = face.points.min(0), face.points.max(0)
    return FaceBox(face.score, float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _overlap(one: Landmarks, other: Landmarks) -> float:
    return overlap_of(_box_of(one), _box_of(other))
