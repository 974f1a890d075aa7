"""The 468 points of a face, from MediaPipe's mesh network.

It sees the face upright in 192 x 192 pixels. In a video the first look goes where the detector
says; every later one where the previous frame's points were, which is faster and steadier.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from lipstream.face.crop import Region, cut_region
from lipstream.face.detector import FaceBox, open_face_network
from lipstream.inference.backends import Backend
from lipstream.inference.manifest import embedded_folder
from lipstream.types import Float32, Image

POINTS = 468
_SIDE = 192
"""Side of the mesh network's input, pixels."""
_MARGIN = 1.5
"""Side of the region looked at, over the longer side of the face: as MediaPipe's, so as trained."""
RIGHT_EYE, LEFT_EYE, NOSE = 33, 263, 4
"""Outer corners of the person's right and left eye, and the tip of the nose."""
_SCORE = 0.5
"""Below this there is no face where the mesh looked."""
_SMALLEST = 8.0
"""Least distance of the outer eye corners, pixels: below it the points are noise."""


def region_of_box(box: FaceBox) -> Region:
    """Return where the mesh looks for a detected face."""
    return Region(*box.centre, _MARGIN * box.size, box.roll)


def region_of_points(points: Float32) -> Region:
    """Return where the mesh looks for the same face again, from its (468, 2) points."""
    across = points[LEFT_EYE] - points[RIGHT_EYE]
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

    @property
    def eye_distance(self) -> float:
        """Distance of the outer eye corners, pixels."""
        return float(np.linalg.norm(self.points[LEFT_EYE] - self.points[RIGHT_EYE]))

    @property
    def box(self) -> FaceBox:
        """The smallest upright box round the points."""
        low, high = self.points.min(0), self.points.max(0)
        return FaceBox(self.score, float(low[0]), float(low[1]), float(high[0]), float(high[1]))

    def shift_from(self, other: "Landmarks") -> float:
        """Return the mean distance to the points of another look, in outer-eye distances."""
        return float(np.linalg.norm(other.points - self.points, axis=1).mean() / self.eye_distance)

    def is_face_in(self, image: Image) -> bool:
        """Return whether the network is sure, the points large enough and their middle inside."""
        x, y = self.points.mean(0)
        inside = 0 <= x < image.shape[1] and 0 <= y < image.shape[0]
        return bool(self.score >= _SCORE and self.eye_distance >= _SMALLEST and inside)


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
