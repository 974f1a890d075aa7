"""Lay a rendered part of a picture onto a still plate, with a feathered edge."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import smooth_step
from lipstream.types import Image


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of a picture in pixels, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def scaled(self, scale: float) -> "Frame":
        """Return the same rectangle of the picture drawn ``scale`` as large."""
        sides = (self.left, self.top, self.right, self.bottom)
        return Frame(*(round(side * scale) for side in sides))


# Parts of the rendered picture, as if it were 512 wide.
MOUTH = Frame(152, 214, 360, 408)
"""What a speaking mouth moves: nose base to neck."""
EYES = Frame(172, 184, 340, 242)
"""What a blink moves."""

VIEW = Frame(23, 12, 489, 478)
"""What the avatar shows of the picture: the face large, the edges cut off."""
SIZE = 512
"""Side of the avatar's frames."""


def feather(height: int, width: int, border: int) -> NDArray[np.float64]:
    """Return weights (height, width, 1): 0 at the edge, 1 from ``border`` pixels inward."""
    y = np.minimum(np.arange(height), np.arange(height)[::-1]) / border
    x = np.minimum(np.arange(width), np.arange(width)[::-1]) / border
    return smooth_step(np.minimum(y[:, None], x[None]))[..., None]


def lay(plate: Image, patch: Image, at: Frame, *, border: int) -> Image:
    """Return a copy of the plate with the patch blended onto a rectangle of its size."""
    height, width = patch.shape[:2]
    weight = feather(height, width, border)
    out = plate.copy()
    area = out[at.top : at.top + height, at.left : at.left + width]
    area[:] = np.rint(area * (1 - weight) + patch * weight)
    return out


def shown(picture: Image) -> Image:
    """Return a view of the part of a (1024, 1024, 3) picture that the avatar shows."""
    area = VIEW.scaled(2)
    return picture[area.top : area.bottom, area.left : area.right]


def fit(picture: Image) -> Image:
    """Return the square picture averaged down to the avatar's size."""
    return np.asarray(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)
