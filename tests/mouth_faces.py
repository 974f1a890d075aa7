"""Faces for the tests of the mouth: an embedded avatar at any size, and lips to move it with."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from lipstream.avatar.pack import Avatar
from lipstream.face.crop import fit_crop
from lipstream.face.tracker import FaceTracker
from lipstream.lips.shape import MEASURES, NAMES, LipFrame
from lipstream.mouth.compositor import ShapeCompositor, ShapeTarget
from lipstream.types import Float32, Image


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    image: Image
    points: Float32

    @property
    def crop(self) -> Float32:
        return fit_crop(self.points)


def found(image: Image) -> Face:
    tracker = FaceTracker.open()
    try:
        seen = tracker.step(image)
    finally:
        tracker.close()
    assert seen is not None, "there is a face"
    return Face(image, seen.points)


@cache
def portrait(name: str = "ada") -> Face:
    return found(np.array(Avatar.open(Path(name)).frames[0]))


@cache
def resized(face: Face, factor: float) -> Face:
    size = [round(side * factor) for side in face.image.shape[1::-1]]
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    image = np.asarray(cv2.resize(face.image, size, interpolation=way), np.uint8)
    return Face(image, (face.points * np.float32(factor)).astype(np.float32))


@cache
def compositor() -> ShapeCompositor:
    return ShapeCompositor.open()


@cache
def target(face: Face) -> ShapeTarget:
    """Return a face prepared, the same for the same face."""
    return compositor().target(face.image, face.crop, face.points)


def opened(spreads: float, **events: float) -> LipFrame:
    """Return lips opened as a jaw opens them."""
    measures = np.zeros(MEASURES, np.float32)
    for name in ("gap", "gap_middle", "gap_sides", "lower_lip", "chin", "chin_fold"):
        measures[NAMES.index(name)] = spreads
    for name in ("corners_below_top", "corners_above_bottom", "lower_thickness"):
        measures[NAMES.index(name)] = 0.8 * spreads
    return LipFrame(measures, **events)


PURSED = LipFrame(
    np.float32([1, 1, 1, -3, -3, 1, 1.5, 1, 2, 2, 2, 1, -3, 0, 2, 1, -3]), rounded=1.0
)
