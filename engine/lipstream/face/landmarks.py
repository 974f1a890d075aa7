"""The 468 points of a face, from MediaPipe's mesh network, and whose face it is, from dlib's.

It sees the face upright in 192 x 192 pixels. In a video the first look goes where the detector
says; every later one where the previous frame's points were, which is faster and steadier.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from lipstream.face.crop import (
    CROP_HEIGHT,
    CROP_LEFT,
    CROP_TOP,
    CROP_WIDTH,
    Region,
    cut_crop,
    cut_region,
)
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
    def open(cls, path: Path | None = None, *, threads: int = 1, frame_threads: int = 1) -> Self:
        """Open the embedded network, or another copy of it. Raises ModelError.

        With ``frame_threads`` so many threads may look at once, each by a clone of its own.
        """
        path = path or embedded_folder() / "faces" / "mesh.onnx"
        shapes: dict[str, tuple[int | None, ...]] = {"points": (POINTS, 3), "score": ()}
        return cls(open_face_network(path, shapes, threads, frame_threads))

    def clone(self) -> Self:
        """Return the same network for one other thread; closed by itself."""
        return type(self)(self._network.clone())

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


_OUTER_LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    *(409, 270, 269, 267, 0, 37, 39, 40, 185),
)
_INNER_LIPS = (
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    *(415, 310, 311, 312, 13, 82, 81, 80, 191),
)
_ROUND_LIPS = (
    *(57, 43, 106, 182, 83, 18, 313, 406, 335, 273, 287),
    *(410, 322, 391, 393, 164, 167, 165, 92, 186),
)
_FACE_HEIGHT = 200
"""Pixels from the brow to the chin at which colours are compared."""
_NO_LIPS = 0.75
"""Contrast below which there are no lips: those of 501 photographs, black and white and dark ones
among them, have 0.84 at least; plain cloth and a flat hand over the mouth leave less than 0.7."""


_FOREHEAD = (109, 10, 338, 337, 336, 9, 107, 108)
_EYES = (33, 133, 362, 263, 159, 386)
_LOOKS = (
    (0.06, 0.03, 1.0, 0.0),
    (-0.06, 0.03, 1.0, 0.0),
    (0.0, -0.06, 1.1, 0.0),
    (0, 0, 0.92, 0.1),
)
"""Further looks at one face: shifts in eye distances, times the region's size, radians."""
_UNSHAKEN, _FAR, _CLEAR = 50.0, 25.0, 25.0
"""Sureness, and differences in CIELAB of skin and of lips, above which more tells nothing."""
_SURE, _SHAKES, _PALER, _LIPPED = -0.163, 127.0, 0.292, -0.083
_EYES_SHAKE, _TURNED, _OFFSET = -255.0, -21.2, 1.89
"""Logistic regression on 260 covered mouths of 87 people (cloth of nine patterns, scarves, hands,
cups, microphones), those people's 218 bare ones and 259 portraits with beards, sunglasses, hats and
hard light. Fitted to half of the people it finds 90 % of the covers of the other half and refuses
none of them bare; of the portraits it refuses three, one a beard that hides all of the mouth."""


def is_mouth_covered(image: Image, face: Landmarks, mesh: FaceMesh) -> bool:
    """Return whether something covers the mouth of a face in a (H, W, 3) BGR picture.

    Plain covers have the colour of what is round them. In others the mesh is unsure of the face and
    sees the lips, but not the eyes, elsewhere with each look, and round them is no skin.
    """
    lab, scale = _lab_of(image, face)
    lips = _colour(lab, face.points * scale, _OUTER_LIPS, _INNER_LIPS)
    ring = _colour(lab, face.points * scale, _ROUND_LIPS, _OUTER_LIPS)
    forehead = _colour(lab, face.points * scale, _FOREHEAD)
    if lips is None or ring is None or forehead is None:
        return False
    contrast = float(np.linalg.norm((lips - ring) * (0.5, 1.0, 1.0)))
    if contrast < _NO_LIPS:
        return True
    region, size = region_of_points(face.points), face.eye_distance
    looks = [
        mesh.landmarks(
            image,
            Region(
                region.x + x * size, region.y + y * size, region.size * grow, region.roll + roll
            ),
        )
        for x, y, grow, roll in _LOOKS
    ]
    sure = float(np.mean([_logit(one.score) for one in (face, *looks)]))
    off = np.stack([np.linalg.norm(one.points - face.points, axis=1) / size for one in looks])
    right, left, nose = (face.points[one].astype(np.float64) for one in (RIGHT_EYE, LEFT_EYE, NOSE))
    turned = abs(float((nose - (right + left) / 2) @ (left - right))) / size**2
    evidence = (
        _SURE * min(sure, _UNSHAKEN)
        + _SHAKES * float(off[:, list(_OUTER_LIPS + _INNER_LIPS)].mean())
        + _PALER * min(float(np.linalg.norm((ring - forehead)[1:])), _FAR)
        + _LIPPED * min(contrast, _CLEAR)
        + _EYES_SHAKE * float(off[:, list(_EYES)].mean(1).max())
        + _TURNED * turned
        + _OFFSET
    )
    return evidence > 0.0


def _logit(score: float) -> float:
    return math.log(max(score, 1e-16) / max(1.0 - score, 1e-16))


def _lab_of(image: Image, face: Landmarks) -> tuple[Float32, float]:
    """Return a picture in CIELAB, the face ``_FACE_HEIGHT`` high, and how much it was scaled."""
    scale = _FACE_HEIGHT / max(1.0, float(np.linalg.norm(face.points[10] - face.points[152])))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    return np.asarray(lab, np.float32), scale


def _colour(
    lab: Float32, points: Float32, outer: tuple[int, ...], inner: tuple[int, ...] = ()
) -> Float32 | None:
    """Return the (3,) median inside one outline and outside another; None where nothing is."""
    area: Image = np.zeros(lab.shape[:2], np.uint8)
    cv2.fillPoly(area, [points[list(outer)].astype(np.int32)], 1)
    if inner:
        cv2.fillPoly(area, [points[list(inner)].astype(np.int32)], 0)
    return np.asarray(np.median(lab[area > 0], 0), np.float32) if area.any() else None


IDENTITY = 128
"""Numbers that stand for a face."""
OTHER_PERSON = 0.5
"""Distance of two faces from which they are two people's: that of photographs of 87 people, whose
own faces are at most 0.44 apart, and between whom all but 0.1 % of pairs are at least 0.51."""
_IDENTITY_SIDE = 150
_EYES_APART, _EYES_Y = 0.5926, 0.3090
"""Where dlib's chips with a quarter of padding have the outer corners of the eyes, in sides."""


class FaceIdentity:
    """Tells faces apart: dlib's residual network. Used by one thread."""

    def __init__(self, network: Backend) -> None:
        self._network = network
        # from the chip, 0 to 1, to the crop, 0 to 1: both are upright and share the eyes' line
        unit = 1 / _EYES_APART
        self._into_crop = np.array(
            [
                [unit / CROP_WIDTH, 0, (-0.5 * unit - CROP_LEFT) / CROP_WIDTH],
                [0, unit / CROP_HEIGHT, (-_EYES_Y * unit - CROP_TOP) / CROP_HEIGHT],
                [0, 0, 1],
            ]
        )

    @classmethod
    def open(cls, path: Path | None = None, *, threads: int = 1) -> Self:
        """Open the embedded network, or another copy of it. Raises ModelError."""
        path = path or embedded_folder() / "faces" / "identity.onnx"
        return cls(open_face_network(path, {"identity": (IDENTITY,)}, threads))

    def of(self, image: Image, crop: Float32) -> Float32:
        """Return the (128,) float32 numbers of the face in a (2, 3) unit crop of a BGR picture.

        Those of one person are nearer to each other than ``OTHER_PERSON``.
        """
        chip = cut_crop(image, (crop @ self._into_crop).astype(np.float32), _IDENTITY_SIDE)
        rgb = chip[..., ::-1].transpose(2, 0, 1).astype(np.float32)
        return np.asarray(self._network.run({"image": rgb[None].copy()})["identity"][0], np.float32)

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._network.close()
