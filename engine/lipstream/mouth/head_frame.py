"""The frame of a head: places on a face that do not change with its place, size or roll.

Unit: the distance of the outer eye corners; origin midway between the eyes, x to the viewer's
right, y down. It is the frame that the crop of a face is fitted in, so a crop tells it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import CROP_HEIGHT, CROP_LEFT, CROP_TOP, CROP_WIDTH
from lipstream.types import Float32

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeadFrame:
    """A similarity transform between a head and the pixels of one picture."""

    to_pixels: Float64
    """(2, 3) float64: head units to pixels; pixel i covers [i - 0.5, i + 0.5)."""

    @classmethod
    def of_crop(cls, crop: Float32) -> "HeadFrame":
        """Return the frame of the head that a (2, 3) unit crop (``fit_crop``) lies on."""
        columns = crop[:, :2].astype(np.float64) / [CROP_WIDTH, CROP_HEIGHT]
        offset = crop[:, 2] - columns @ np.array([CROP_LEFT, CROP_TOP]) - 0.5
        return cls(np.column_stack([columns, offset]))

    @property
    def eye_px(self) -> float:
        """Pixels a head unit: the distance of the outer eye corners."""
        return float(np.sqrt(abs(np.linalg.det(self.to_pixels[:, :2]))))

    @property
    def to_head(self) -> Float64:
        """(2, 3) float64: pixels to head units."""
        return np.asarray(cv2.invertAffineTransform(self.to_pixels), np.float64)

    def pixels(self, places: Float64) -> Float64:
        """Return where (..., 2) places of the head are in the picture, pixels."""
        return places @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]

    def places(self, pixels: Float64) -> Float64:
        """Return where (..., 2) pixels are on the head."""
        back = self.to_head
        return pixels @ back[:, :2].T + back[:, 2]


@dataclass(frozen=True, slots=True)
class Layer:
    """One picture at the scale of a face: premultiplied, and how far its tip is from the top."""

    picture: Float32
    """(h, w, 4) float32: BGR levels times alpha, alpha 0 to 1."""
    pixels: float
    """Pixels a head unit."""
    tip: float
    """Head units from the top of the picture to the biting edge or the tip."""


@dataclass(frozen=True, slots=True)
class PixelBox:
    """A rectangle of a picture, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top


def place(layer: Layer, frame: HeadFrame, tip: tuple[float, float], box: PixelBox) -> Float32:
    """Return (h, w, 4) float32: a layer in a box of the picture, its tip at a place of the head."""
    back = frame.to_head
    linear = back[:, :2] * layer.pixels
    corner = back[:, :2] @ np.array([box.left, box.top], np.float64) + back[:, 2] - np.array(tip)
    middle = np.array([layer.picture.shape[1] / 2 - 0.5, layer.tip * layer.pixels - 0.5])
    matrix = np.column_stack([linear, corner * layer.pixels + middle])
    return np.asarray(
        cv2.warpAffine(
            layer.picture,
            matrix,
            (box.width, box.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        ),
        np.float32,
    )
