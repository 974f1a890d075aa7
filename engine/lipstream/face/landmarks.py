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

from lipstream.face.crop import Region, cut_region
from lipstream.face.detector import Detector, FaceBox, FaceDetector, main_face, open_face_network
from lipstream.inference.backends import Backend
from lipstream.inference.manifest import embedded_folder
from lipstream.types import Float32, Image

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
_SETTLE, _STILL = 5, 0.01
"""Further looks at a face just found, at most, and the shift in eye distances that ends them."""
_JUMP = 0.1
"""A shift from frame to frame, in eye distances, that calls the detector: ten times what speakers
do at 25 frames a second (99 % below 0.014)."""
_SEARCH_EVERY = 10
"""While there is no face, the slow search of the whole picture runs once in so many frames."""


def region_of_box(box: FaceBox) -> Region:
    """Return where the mesh looks for a detected face."""
    return Region(*box.centre, _MARGIN * box.size, box.roll)


def region_of_points(points: Float32) -> Region:
    """Return where the mesh looks for the same face again, from its (468, 2) points."""
    across = points[_LEFT_EYE] - points[_RIGHT_EYE]
    roll = math.atan2(float(across[1]), float(across[0]))
    cosine, sine = math.cos(roll), math.sin(roll)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    upright = points.astype(np.float64) @ turn.T
    low, high = upright.min(0), upright.max(0)
    x, y = turn.T @ ((low + high) / 2)
    return Region(float(x), float(y), _MARGIN * float((high - low).max()), roll)


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
        sight = cut_region(image, region, _SIDE, border=cv2.BORDER_REPLICATE)
        rgb = cv2.cvtColor(sight, cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
        outputs = self._network.run({"image": rgb[None]})
        back = region.to_image(_SIDE)
        points = outputs["points"][0, :, :2].astype(np.float64) @ back[:, :2].T + back[:, 2]
        logit = float(np.clip(outputs["score"][0], -80.0, 80.0))
        return Landmarks(points.astype(np.float32), 1.0 / (1.0 + math.exp(-logit)))

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._network.close()


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
        near = self._near(image)
        if near is not None and self._last is not None and _moved(self._last, near) < _JUMP:
            self._last = near
        else:  # lost, or a cut to another face, that the mesh meets off its middle
            self._last = self._find(image) or near
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

    def _near(self, image: Image) -> Landmarks | None:
        """Return the face where the last one was."""
        return self._look(image, region_of_points(self._last.points)) if self._last else None

    def _find(self, image: Image) -> Landmarks | None:
        thorough = self._missed % _SEARCH_EVERY == 0
        for boxes in self._detector.search(image, thorough=thorough):
            left_over = boxes
            while (box := main_face(left_over, image)) is not None:
                found = self._settle(image, box)
                if found is not None:
                    return found
                left_over = [other for other in left_over if other is not box]
        return None

    def _settle(self, image: Image, box: FaceBox) -> Landmarks | None:
        """Look again where the points are, until they stay: the box is only rough."""
        found = self._look(image, region_of_box(box))
        for _ in range(_SETTLE):
            if found is None:
                return None
            last, found = found, self._look(image, region_of_points(found.points))
            if found is not None and _moved(last, found) < _STILL:
                return found
        return found

    def _look(self, image: Image, region: Region) -> Landmarks | None:
        seen = self._mesh.landmarks(image, region)
        eyes = float(np.linalg.norm(seen.points[_LEFT_EYE] - seen.points[_RIGHT_EYE]))
        sure = seen.score >= _SCORE and eyes >= _SMALLEST and _holds(image, seen.points)
        return seen if sure else None


def _moved(one: Landmarks, other: Landmarks) -> float:
    """Return the mean shift of the points, in outer-eye distances."""
    eyes = np.linalg.norm(other.points[_LEFT_EYE] - other.points[_RIGHT_EYE])
    return float(np.linalg.norm(one.points - other.points, axis=1).mean() / eyes)


def _holds(image: Image, points: Float32) -> bool:
    """Return whether the middle of the face lies in the picture."""
    x, y = points.mean(0)
    return bool(0 <= x < image.shape[1] and 0 <= y < image.shape[0])
