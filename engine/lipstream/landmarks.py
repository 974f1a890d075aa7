"""The 468 points of a face, and following one face through a video.

The mesh network sees the face upright in 192 x 192 pixels. The first look goes where the detector
says; every later one where the previous frame's points were, which is faster and steadier.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from lipstream.backends import Backend
from lipstream.detection import Detector, FaceBox, FaceDetector, main_face, open_face_network
from lipstream.model import embedded_folder
from lipstream.types import Array, Float32, Image

POINTS = 468
_SIDE = 192
"""Side of the mesh network's input, pixels."""
_MARGIN = 1.5
"""Side of the region looked at, over the longer side of the face: as MediaPipe's, so as trained."""
_RIGHT_EYE, _LEFT_EYE = 33, 263
"""Outer corners of the person's right and left eye."""
_SCORE = 0.5
"""Below this there is no face where the mesh looked."""
_SMALLEST = 8.0
"""Least distance of the outer eye corners, pixels: below it the points are noise."""
_SETTLE = 2
"""Further looks at a face just found."""
_SEARCH_EVERY = 10
"""While there is no face, the slow search of the whole picture runs once in so many frames."""


@dataclass(frozen=True, slots=True)
class Region:
    """The upright square round a face that the mesh network looks at."""

    x: float
    """Middle, pixels."""
    y: float
    size: float
    """Side, pixels."""
    roll: float
    """Turn of the head in the picture's plane, radians."""

    @classmethod
    def of_box(cls, box: FaceBox) -> Self:
        """Return the region of a detected face."""
        return cls(*box.centre, _MARGIN * box.size, box.roll)

    @classmethod
    def of_points(cls, points: Float32) -> Self:
        """Return the region of the same face in the next frame, from its (468, 2) points."""
        across = points[_LEFT_EYE] - points[_RIGHT_EYE]
        roll = math.atan2(float(across[1]), float(across[0]))
        cosine, sine = math.cos(roll), math.sin(roll)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        upright = points.astype(np.float64) @ turn.T
        low, high = upright.min(0), upright.max(0)
        x, y = turn.T @ ((low + high) / 2)
        return cls(float(x), float(y), _MARGIN * float((high - low).max()), roll)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The points of one face."""

    points: Float32
    """(468, 2) float32, x and y in image pixels; pixel i covers [i, i + 1)."""
    score: float
    """0 to 1: how sure the network is that it saw a face."""


class FaceMesh:
    """The 468-point face mesh of MediaPipe. Used by one thread."""

    def __init__(self, network: Backend) -> None:
        self._network = network

    @classmethod
    def open(cls, path: Path | None = None, *, threads: int = 1) -> Self:
        """Open the embedded network, or another copy of it. Raises ModelError."""
        path = path or embedded_folder() / "faces" / "mesh.onnx"
        return cls(open_face_network(path, {"points": (POINTS, 3), "score": ()}, threads))

    def landmarks(self, image: Image, region: Region) -> Landmarks:
        """Return the points of the face in a region of a (H, W, 3) uint8 BGR picture."""
        sight, back = _cut_region(image, region)
        rgb = cv2.cvtColor(sight, cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
        outputs = self._network.run({"image": rgb[None]})
        points = outputs["points"][0, :, :2].astype(np.float64) @ back[:, :2].T + back[:, 2]
        logit = float(np.clip(outputs["score"][0], -80.0, 80.0))
        return Landmarks(points.astype(np.float32), 1.0 / (1.0 + math.exp(-logit)))

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._network.close()


def _cut_region(image: Image, region: Region) -> tuple[Image, Array]:
    """Cut the region as (192, 192, 3) uint8, and return the (2, 3) affine from it to the image.

    Only the part of the picture round the region is touched; what lies outside repeats the edge.
    A large region is shrunk by an area filter first, so that nothing aliases.
    """
    part, left, top = _part(image, region)
    shrink = max(1, int(region.size / _SIDE))
    size = (max(1, part.shape[1] // shrink), max(1, part.shape[0] // shrink))
    small = part if shrink == 1 else cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    step = region.size / _SIDE
    cosine, sine = math.cos(region.roll) * step, math.sin(region.roll) * step
    turn = np.array([[cosine, -sine], [sine, cosine]])
    middle = np.array([region.x, region.y])
    back = np.column_stack([turn, middle - turn @ np.full(2, _SIDE / 2)])
    ratio = np.array([small.shape[1] / part.shape[1], small.shape[0] / part.shape[0]])
    corner = (back[:, 2] + turn @ np.full(2, 0.5) - [left, top]) * ratio - 0.5  # pixel centres
    into = np.column_stack([turn * ratio[:, None], corner])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sight = cv2.warpAffine(
        small, into, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(sight, np.uint8), back


def _part(image: Image, region: Region) -> tuple[Image, int, int]:
    """Return a view of the picture round the region, and its left and top."""
    height, width = image.shape[:2]
    reach = region.size * 0.75 + 2.0  # half the diagonal, and room for the interpolation
    left = int(np.clip(region.x - reach, 0, width - 1))
    top = int(np.clip(region.y - reach, 0, height - 1))
    right = int(np.clip(region.x + reach + 1, left + 1, width))
    bottom = int(np.clip(region.y + reach + 1, top + 1, height))
    return image[top:bottom, left:right], left, top


class FaceTracker:
    """Follow one face from frame to frame. Used by one thread.

    A face is found by the detector and followed by its own points; when the mesh is no longer sure,
    the detector looks again in the same frame.
    """

    def __init__(self, detector: Detector, mesh: FaceMesh) -> None:
        self._detector, self._mesh = detector, mesh
        self._last: Landmarks | None = None
        self._missed = 0

    @classmethod
    def open(cls, *, threads: int = 1) -> Self:
        """Open the embedded networks. Raises ModelError."""
        return cls(FaceDetector.open(threads=threads), FaceMesh.open(threads=threads))

    def step(self, image: Image) -> Landmarks | None:
        """Return the points of the face in the next (H, W, 3) uint8 BGR frame, or None."""
        found = self._follow(image) if self._last is not None else None
        self._last = found or self._find(image)
        self._missed = 0 if self._last is not None else self._missed + 1
        return self._last

    def reset(self) -> None:
        """Forget the face: the next frame is searched as a first one."""
        self._last, self._missed = None, 0

    def close(self) -> None:
        """Free the networks; closing twice is fine."""
        self._detector.close()
        self._mesh.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, image: Image) -> Landmarks | None:
        assert self._last is not None
        return self._look(image, Region.of_points(self._last.points))

    def _find(self, image: Image) -> Landmarks | None:
        boxes = self._detector.detect(image, thorough=self._missed % _SEARCH_EVERY == 0)
        while (best := main_face(boxes, image)) is not None:
            found = self._look(image, Region.of_box(best))
            for _ in range(_SETTLE if found else 0):  # the box is rough: let the region settle
                found = found and self._look(image, Region.of_points(found.points))
            if found is not None:
                return found
            boxes = [box for box in boxes if box is not best]
        return None

    def _look(self, image: Image, region: Region) -> Landmarks | None:
        seen = self._mesh.landmarks(image, region)
        eyes = float(np.linalg.norm(seen.points[_LEFT_EYE] - seen.points[_RIGHT_EYE]))
        sure = seen.score >= _SCORE and eyes >= _SMALLEST and _holds(image, seen.points)
        return seen if sure else None


def _holds(image: Image, points: Float32) -> bool:
    """Return whether the middle of the face lies in the picture."""
    x, y = points.mean(0)
    return bool(0 <= x < image.shape[1] and 0 <= y < image.shape[0])
