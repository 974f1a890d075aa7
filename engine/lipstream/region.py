"""A square of a picture, upright or turned, as a network wants to see it."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from lipstream.types import Array, Image


@dataclass(frozen=True, slots=True)
class Region:
    """A square of a picture; it may reach outside. Pixel i covers [i, i + 1)."""

    x: float
    """Middle, pixels."""
    y: float
    size: float
    """Side, pixels."""
    roll: float = 0.0
    """Turn in the picture's plane, radians, clockwise as seen."""

    def to_image(self, side: int) -> Array:
        """Return the (2, 3) float64 affine from the region drawn ``side`` wide to the picture."""
        step = self.size / side
        cosine, sine = math.cos(self.roll) * step, math.sin(self.roll) * step
        turn = np.array([[cosine, -sine], [sine, cosine]])
        middle = np.array([self.x, self.y])
        return np.column_stack([turn, middle - turn @ np.full(2, side / 2)])


def cut_region(image: Image, region: Region, side: int, *, border: int) -> Image:
    """Return the region of a (H, W, 3) uint8 picture as (side, side, 3) uint8.

    ``border`` is OpenCV's name for what lies outside. Only the part of the picture round the region
    is touched, and a large region is shrunk by an area filter first, so that nothing aliases.
    """
    part, left, top = _part(image, region)
    shrink = max(1, int(region.size / side))
    size = (max(1, part.shape[1] // shrink), max(1, part.shape[0] // shrink))
    small = part if shrink == 1 else cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    back = region.to_image(side)
    ratio = np.array([small.shape[1] / part.shape[1], small.shape[0] / part.shape[0]])
    corner = (back[:, 2] + back[:, :2] @ np.full(2, 0.5) - [left, top]) * ratio - 0.5
    into = np.column_stack([back[:, :2] * ratio[:, None], corner])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(small, into, (side, side), flags=flags, borderMode=border)
    return np.asarray(cut, np.uint8)


def _part(image: Image, region: Region) -> tuple[Image, int, int]:
    """Return a view of the picture round the region, never empty, and its left and top."""
    height, width = image.shape[:2]
    reach = region.size * 0.75 + 2.0  # half the diagonal, and room for the interpolation
    left = int(np.clip(region.x - reach, 0, width - 1))
    top = int(np.clip(region.y - reach, 0, height - 1))
    right = int(np.clip(region.x + reach + 1, left + 1, width))
    bottom = int(np.clip(region.y + reach + 1, top + 1, height))
    return image[top:bottom, left:right], left, top
