"""Following the faces of a video from picture to picture, one face or several.

The mesh looks where each face was; the detector looks when one is lost, now and then for further
faces, and thoroughly while there is none. With S3FD every picture is searched anew instead.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import cv2
import numpy as np

from lipstream.face.crop import Region, fit_crop
from lipstream.face.detector import (
    Detector,
    FaceBox,
    FaceDetector,
    S3fdDetector,
    crop_of_box,
    merge_boxes,
    overlap_of,
    rank_faces,
)
from lipstream.face.landmarks import (
    LEFT_EYE,
    NOSE,
    RIGHT_EYE,
    FaceMesh,
    Landmarks,
    region_of_box,
    region_of_points,
)
from lipstream.lips.shape import measure_lips
from lipstream.types import Array, Float32, Image

MOST_FACES = 8
"""Faces followed at once where several are wanted, the largest first."""
_SETTLE, _STILL = 5, 0.01
"""Further looks at a face just found, at most, and the shift in eye distances that ends them."""
_JUMP = 0.1
"""A shift from frame to frame, in eye distances, that calls the detector: ten times what speakers
do at 25 frames a second (99 % below 0.014)."""
_SAME = 0.3
"""Overlap above which two boxes are one face."""
_FURTHER_EVERY = 12
"""Frames between looks for further faces while there are some."""
_SEARCH_EVERY = 25
"""While there is no face, the slow search of the whole picture runs once in so many frames."""
_COARSE = (144, 256)
"""Rows and columns, at least, of what a picture's thumbnail is made from."""
_THUMBNAIL, _CUT_LEVELS = (32, 18), 28.0
"""Size at which pictures are compared, and the mean difference in levels that is always a cut."""
_LEAST_CUT, _CUT_TIMES, _USUAL_OVER = 6.0, 6.0, 12
"""A smaller difference is a cut when it is so many times what the film moved in so many pictures
before, and no smaller than this."""
_STILLEST = 0.7
"""Movement that a film is taken to have at least, levels: noise and compression."""


class FaceTracker:
    """Follow faces from frame to frame by their landmarks. Used by one thread.

    A face is found by the detector and followed by its own points. When the mesh is no longer sure
    of one, or its points jump, the detector looks again in the same frame; a face that jumped and
    that the detector does not see stays where the mesh saw it.
    """

    def __init__(self, detector: Detector, mesh: FaceMesh, most_faces: int = 1) -> None:
        """Follow ``most_faces`` at most: of several the main one, or the largest ones."""
        self._detector, self._mesh, self._most = detector, mesh, most_faces
        self._faces: dict[int, Landmarks] = {}
        self._lost: dict[int, Landmarks] = {}
        self._just_lost = False
        self._tracks = self._frame = self._faceless = 0

    @classmethod
    def open(cls, *, threads: int = 1, most_faces: int = 1) -> Self:
        """Open the embedded networks. Raises ModelError."""
        detector, mesh = FaceDetector.open(threads=threads), FaceMesh.open(threads=threads)
        return cls(detector, mesh, most_faces)

    def step(self, image: Image) -> Landmarks | None:
        """Return the points of the face in the next (H, W, 3) uint8 BGR frame, or None.

        Of several faces it is the one followed for longest.
        """
        return next(iter(self.step_all(image).values()), None)

    def step_all(self, image: Image) -> dict[int, Landmarks]:
        """Return the points of all faces in the next (H, W, 3) uint8 BGR frame by track number.

        The number stays while the face does; one lost comes back under its own near the same place.
        """
        jumped = self._follow(image)
        if len(self._faces) < self._most:
            if not self._faces:
                self._search(image, thorough=self._faceless % _SEARCH_EVERY == 0)
            elif self._just_lost or self._frame % _FURTHER_EVERY == 0:
                self._search(image, thorough=False)
        self._keep(jumped)
        self._frame += 1
        self._faceless = 0 if self._faces else self._faceless + 1
        return dict(self._faces)

    def reset(self) -> None:
        """Forget all faces, as at a cut: the next frame is searched as a first one."""
        self._faces, self._lost = {}, {}
        self._just_lost = False
        self._frame = self._faceless = 0

    def close(self) -> None:
        """Free the networks; closing twice is fine."""
        self._detector.close()
        self._mesh.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, image: Image) -> dict[int, Landmarks]:
        """Look again at every face; return those that jumped, which count as lost for now."""
        near: dict[int, Landmarks] = {}
        jumped: dict[int, Landmarks] = {}
        for track, last in self._faces.items():
            face = self._mesh_in(image, region_of_points(last.points))
            if face is None or any(_overlap(face, other) > _SAME for other in near.values()):
                continue
            (near if face.shift_from(last) < _JUMP else jumped)[track] = face
        lost = {track: face for track, face in self._faces.items() if track not in near}
        self._lost |= lost
        self._just_lost = bool(lost)
        self._faces = near
        return jumped

    def _search(self, image: Image, *, thorough: bool) -> None:
        for box in self._candidates(image, thorough=thorough):
            face = None if self._known(box) else self._settle(image, box)
            if face is not None and not self._known(face.box):
                self._faces[self._number(face)] = face
            if len(self._faces) >= self._most:
                return

    def _candidates(self, image: Image, *, thorough: bool) -> Iterator[FaceBox]:
        """Yield boxes, best first; for one face, search wider only if none before would do."""
        searches = self._detector.search(image, thorough=thorough)
        if self._most == 1:
            for boxes in searches:
                yield from rank_faces(boxes, image, 1)
        else:
            merged = merge_boxes([box for boxes in searches for box in boxes], _SAME)
            yield from rank_faces(merged, image, self._most)

    def _keep(self, jumped: dict[int, Landmarks]) -> None:
        """Keep the faces that jumped, where the detector has found no others."""
        for track, face in jumped.items():
            if track in self._lost and len(self._faces) < self._most and not self._known(face.box):
                self._faces[track] = face
                del self._lost[track]

    def _number(self, face: Landmarks) -> int:
        """Return the number of a face lost since the last cut near this place, or a new one."""
        for track, last in self._lost.items():
            if _overlap(face, last) > _SAME:
                del self._lost[track]
                return track
        self._tracks += 1
        return self._tracks - 1

    def _known(self, box: FaceBox) -> bool:
        return any(overlap_of(box, face.box) > _SAME for face in self._faces.values())

    def _settle(self, image: Image, box: FaceBox) -> Landmarks | None:
        """Look again where the points are, until they stay: the box is only rough."""
        face = self._mesh_in(image, region_of_box(box))
        for _ in range(_SETTLE):
            if face is None:
                return None
            last, face = face, self._mesh_in(image, region_of_points(face.points))
            if face is not None and face.shift_from(last) < _STILL:
                return face
        return face

    def _mesh_in(self, image: Image, region: Region) -> Landmarks | None:
        seen = self._mesh.landmarks(image, region)
        return seen if seen.is_face_in(image) else None


@dataclass(frozen=True, slots=True)
class TrackedFace:
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
    lips: Float32 | None = None
    """(17,) how the lips stand (``measure_lips``); None where no mesh was seen."""

    @classmethod
    def of(cls, track: int, face: Landmarks) -> Self:
        """Return the face of these landmarks, its crop fitted to points that rest in speech."""
        crop = fit_crop(face.points)
        right, left = face.points[RIGHT_EYE], face.points[LEFT_EYE]
        across = (left - right).astype(np.float64)
        nose = (face.points[NOSE] - (left + right) / 2) @ across / max(1e-6, across @ across)
        height = float(np.linalg.norm(crop[:, 1]))
        return cls(track, crop, height, float(nose), face.score, measure_lips(face.points))


class CropTracker(Protocol):
    """Follows the crops of faces through the pictures of one film, in order. One thread."""

    def step(self, image: Image) -> list[TrackedFace]:
        """Return the faces of the next picture."""
        ...

    def reset(self) -> None:
        """Forget all faces: the next picture begins a shot."""
        ...

    def close(self) -> None:
        """Free the networks; closing twice is fine."""
        ...


def open_crop_tracker(s3fd: Path | None = None, *, most_faces: int = MOST_FACES) -> CropTracker:
    """Open the embedded networks, or the ``s3fd.onnx`` given. Raises ModelError."""
    if s3fd is None:
        return LandmarkCropTracker(FaceTracker.open(most_faces=most_faces))
    return S3fdCropTracker(S3fdDetector.open(s3fd), most_faces)


class LandmarkCropTracker:
    """Crops fitted to points of the mesh that rest in speech."""

    def __init__(self, tracker: FaceTracker) -> None:
        self._tracker = tracker

    def step(self, image: Image) -> list[TrackedFace]:
        """Return the faces of the next picture."""
        return [TrackedFace.of(*one) for one in self._tracker.step_all(image).items()]

    def reset(self) -> None:
        """Forget all faces."""
        self._tracker.reset()

    def close(self) -> None:
        """Free the networks; closing twice is fine."""
        self._tracker.close()


class S3fdCropTracker:
    """The crops that Wav2Lip's scripts cut, each picture searched anew."""

    def __init__(self, detector: S3fdDetector, most_faces: int) -> None:
        self._detector, self._most = detector, most_faces
        self._tracks = 0
        self._boxes: dict[int, FaceBox] = {}

    def step(self, image: Image) -> list[TrackedFace]:
        """Return the faces of the next picture."""
        boxes = rank_faces(self._detector.detect(image), image, self._most)[: self._most]
        self._boxes = dict(self._numbered(boxes))
        return [
            TrackedFace(track, crop_of_box(box), box.bottom - box.top, 0.0, box.score)
            for track, box in self._boxes.items()
        ]

    def reset(self) -> None:
        """Forget all faces."""
        self._boxes = {}

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._detector.close()

    def _numbered(self, boxes: Sequence[FaceBox]) -> Iterator[tuple[int, FaceBox]]:
        before = dict(self._boxes)
        for box in boxes:
            track = max(before, key=lambda t: overlap_of(before[t], box), default=None)
            if track is not None and overlap_of(before[track], box) > _SAME:
                del before[track]
                yield track, box
            else:
                self._tracks += 1
                yield self._tracks - 1, box


class CutDetector:
    """Tells when a film cuts to another shot."""

    def __init__(self) -> None:
        self._last: Array | None = None
        self._moved: deque[float] = deque(maxlen=_USUAL_OVER)

    def step(self, image: Image) -> bool:
        """Return whether the next picture begins a shot; the first one does.

        What counts is how much more it differs from the picture before than those before it did.
        """
        small = cv2.resize(_coarse(image), _THUMBNAIL, interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32)
        last, self._last = self._last, small
        if last is None:
            return True
        moved = float(np.abs(small - last).mean())
        usual = max(_STILLEST, *self._moved) if self._moved else _CUT_LEVELS
        if moved > _CUT_LEVELS or moved > max(_LEAST_CUT, _CUT_TIMES * usual):
            self._moved.clear()
            return True
        self._moved.append(moved)
        return False


def _coarse(image: Image) -> Image:
    """Return every n-th pixel and row: 144 to 287 rows, 256 to 511 columns of larger pictures."""
    height, width = image.shape[:2]
    down, across = max(1, height // _COARSE[0]), max(1, width // _COARSE[1])
    rows, columns = height // down, width // across
    part = image[: rows * down, : columns * across]  # whole steps: OpenCV takes the first of each
    return np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_NEAREST), np.uint8)


def _overlap(one: Landmarks, other: Landmarks) -> float:
    return overlap_of(one.box, other.box)
