"""Where the mouth network looks: the crop of a face, fitted to points that rest in speech.

The crop is a similarity transform (no shear) of a fixed rectangle round a mean face, so it follows
shift, size and roll of the head, and an opening jaw leaves it where it is. Thin plates, which carry
what a face's points do to the places between them, stand here as well.
"""

import math
from dataclasses import dataclass, field
from typing import Self

import cv2
import numpy as np

from lipstream.types import Array, Float32, Float64, Image

CROP_LEFT, CROP_TOP = -0.768, -0.45
CROP_WIDTH, CROP_HEIGHT = 1.536, 1.92
"""The crop's rectangle in outer-eye distances, origin midway between the eyes, y down.

The proportions (0.8 : 1, forehead to below the chin) are those of S3FD boxes padded as Wav2Lip's
``inference.py`` pads them, so that published weights see the framing they were trained on.
"""

# Rigid points of the 468-point mesh (eye corners, bridge, tip and base of the nose) and their mean
# place over 240 frontal frames of one speaker, mirrored and averaged. Units as for the crop.
_RIGID = {
    33: (-0.500, -0.009),
    133: (-0.192, 0.009),
    362: (0.192, 0.009),
    263: (0.500, -0.009),
    168: (0.0, -0.053),
    6: (0.0, 0.043),
    197: (0.0, 0.130),
    195: (0.0, 0.212),
    5: (0.0, 0.299),
    4: (0.0, 0.403),
    2: (0.0, 0.551),
    98: (-0.196, 0.524),
    327: (0.196, 0.524),
    129: (-0.237, 0.439),
    358: (0.237, 0.439),
}
_POINTS = np.array(list(_RIGID))
_TEMPLATE = np.array(list(_RIGID.values()))
_SPARE = 2
"""Pixels round a crop that interpolating at its edge may touch."""


def fit_crop(landmarks: Float32) -> Float32:
    """Fit the crop to a face.

    ``landmarks`` is (468, 2) float32 in image pixels. Returns (2, 3) float32: the affine from unit
    crop coordinates (u right, v down, both 0 to 1) to image pixels. Least-squares similarity after
    Umeyama, "Least-squares estimation of transformation parameters between two point patterns"
    (1991), in its closed form for the plane.
    """
    seen = landmarks[_POINTS, :2].astype(np.float64)
    seen_centre, centre = seen.mean(0), _TEMPLATE.mean(0)
    p, q = _TEMPLATE - centre, seen - seen_centre
    spread = float((p * p).sum())
    a = float((p * q).sum()) / spread
    b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / spread
    turn = np.array([[a, -b], [b, a]])
    shift = seen_centre - turn @ centre
    corner = turn @ np.array([CROP_LEFT, CROP_TOP]) + shift
    columns = turn * np.array([CROP_WIDTH, CROP_HEIGHT])
    return np.column_stack([columns, corner]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class HeadFrame:
    """The frame of a head: places on a face that do not change with its place, size or roll.

    Unit: the distance of the outer eye corners; origin midway between the eyes, x to the viewer's
    right, y down: what the crop's rectangle is given in. A similarity transform to the pixels of
    one picture.
    """

    to_pixels: Float64
    """(2, 3) float64: head units to pixels; pixel i covers [i - 0.5, i + 0.5)."""
    to_head: Float64 = field(init=False)
    """(2, 3) float64: pixels to head units."""
    eye_px: float = field(init=False)
    """Pixels a head unit: the distance of the outer eye corners."""

    def __post_init__(self) -> None:
        """Work out what every frame asks for, once."""
        (a, b), (c, d) = self.to_pixels[:, :2].tolist()
        back = np.asarray(cv2.invertAffineTransform(self.to_pixels), np.float64)
        object.__setattr__(self, "to_head", back)
        object.__setattr__(self, "eye_px", math.sqrt(abs(a * d - b * c)))

    @classmethod
    def of_crop(cls, crop: Float32) -> "HeadFrame":
        """Return the frame of the head that a (2, 3) unit crop (``fit_crop``) lies on."""
        columns = crop[:, :2].astype(np.float64) / [CROP_WIDTH, CROP_HEIGHT]
        offset = crop[:, 2] - columns @ np.array([CROP_LEFT, CROP_TOP]) - 0.5
        return cls(np.column_stack([columns, offset]))

    def pixels(self, places: Float64) -> Float64:
        """Return where (..., 2) places of the head are in the picture, pixels."""
        return places @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]

    def places(self, pixels: Float64) -> Float64:
        """Return where (..., 2) pixels are on the head."""
        return pixels @ self.to_head[:, :2].T + self.to_head[:, 2]


@dataclass(frozen=True, slots=True)
class FacePicture:
    """A picture and where the face lies in it; never written."""

    image: Image
    """(H, W, 3) uint8 BGR."""
    crop: Float32
    """(2, 3) float32: unit crop coordinates to pixels."""


def pixel_affine(crop: Float32, size: int, row: int = 0) -> Float32:
    """Return the (2, 3) affine from pixels of a (size, size) crop to pixels of the image.

    ``row`` is the first row of the part wanted. Pixel i covers [i, i + 1) in both, so a half pixel
    is added going in and taken off coming out.
    """
    linear = crop[:, :2] / np.float32(size)
    offset = crop[:, 2] + linear @ np.array([0.5, row + 0.5], np.float32) - np.float32(0.5)
    return np.column_stack([linear, offset]).astype(np.float32)


def nearest_pixels(image: Image, places: Float64) -> Float64:
    """Return (n, 3) float64: the pixels nearest to (n, 2) places, or to them in the picture."""
    height, width = image.shape[:2]
    x = np.clip(np.rint(places[:, 0]).astype(int), 0, width - 1)
    y = np.clip(np.rint(places[:, 1]).astype(int), 0, height - 1)
    return np.asarray(image[y, x], np.float64)


def cut_crop(image: Image, crop: Float32, size: int) -> Image:
    """Cut a (size, size, 3) uint8 crop out of an image; what lies outside repeats the edge."""
    shrink = math.sqrt(abs(float(np.linalg.det(crop[:, :2])))) / size
    # area filter: sample a finer crop, then average, so that nothing aliases
    fine = math.ceil(shrink) if shrink > 1.5 else 1
    cut = _sample(image, crop, size * fine)
    if fine > 1:
        cut = np.asarray(cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.cvtColor(cut, cv2.COLOR_BGRA2BGR), np.uint8)


def _sample(image: Image, crop: Float32, size: int) -> Image:
    """Return the crop as (size, size, 4) uint8; the last channel means nothing.

    Four channels are sampled in half the time of three, to the same levels. They are filled only
    where the crop lies: the rest of the array is never read, nor given memory by the system.
    """
    affine = pixel_affine(crop, size)
    around = _around(image, affine, size)
    layers = np.empty((*image.shape[:2], 4), np.uint8)
    layers[around] = cv2.cvtColor(image[around], cv2.COLOR_BGR2BGRA)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(layers, affine, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.uint8)


def _around(image: Image, affine: Float32, size: int) -> tuple[slice, slice]:
    """Return the rows and columns of an image that sampling a crop can touch, never empty."""
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], np.float32)
    places = corners @ affine.T
    last = np.array([image.shape[1] - 1, image.shape[0] - 1])
    left, top = np.clip(np.floor(places.min(0)).astype(int) - _SPARE, 0, last)
    right, bottom = np.clip(np.ceil(places.max(0)).astype(int) + _SPARE, 0, last) + 1
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def smooth_step(x: Array) -> Array:
    """Return 0 up to 0, 1 from 1 on, and a cubic without a kink between; new, of x's type."""
    t = np.minimum(np.maximum(x, 0.0), 1.0)  # half the time of clip on what is small
    return np.asarray(t * t * (3.0 - 2.0 * t))


def smooth_share(x: float) -> float:
    """Return the same of one number."""
    t = min(max(x, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Settings of the one-euro filter."""

    min_cutoff_hz: float = 1.0
    """Cut-off for a face at rest: lower is steadier."""
    speed_gain: float = 6.0
    """How the cut-off rises with speed, Hz per crop width a second: higher follows closer."""
    speed_cutoff_hz: float = 1.0
    """Cut-off for the speed itself."""


class CropSmoother:
    """Steady the crop of a moving face, from the past alone.

    One-euro filter (Casiez, Roussel, Vogel, "1 € Filter", CHI 2012) over the crop's corners, in
    units of the crop's width, so the size of the picture does not matter.
    """

    def __init__(self, fps: float, smoothing: Smoothing | None = None) -> None:
        self._seconds = 1.0 / fps
        self._settings = smoothing or Smoothing()
        self._crop: Float32 | None = None
        self._speed = np.zeros((2, 3), np.float32)

    def reset(self) -> None:
        """Forget the face: the next crop passes unchanged."""
        self._crop = None
        self._speed = np.zeros((2, 3), np.float32)

    def step(self, crop: Float32) -> Float32:
        """Return the smoothed (2, 3) crop for the next frame."""
        if self._crop is None:
            self._crop = crop.astype(np.float32)
            return self._crop
        settings, width = self._settings, float(np.linalg.norm(crop[:, 0]))
        speed = (crop - self._crop) / np.float32(width * self._seconds)
        self._speed = self._speed + self._blend(settings.speed_cutoff_hz) * (speed - self._speed)
        fastest = float(np.abs(self._speed).max())
        blend = self._blend(settings.min_cutoff_hz + settings.speed_gain * fastest)
        self._crop = (self._crop + blend * (crop - self._crop)).astype(np.float32)
        return self._crop

    def _blend(self, cutoff_hz: float) -> np.float32:
        rate = 2.0 * math.pi * cutoff_hz * self._seconds
        return np.float32(rate / (rate + 1.0))


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


_SMOOTHING = 0.05
"""Stiffness of the plates (lambda): with less of it the corners of the mouth fold at 6 spreads."""
_AT_ONCE = 128
"""Places at which a thin plate is worked out at once."""


def kernel(one: Array, other: Array) -> Array:
    """Return (N, M): r^2 log r between (N, 2) and (M, 2) points, a thin plate's."""
    squared = (one[:, None, 0] - other[None, :, 0]) ** 2
    squared += (one[:, None, 1] - other[None, :, 1]) ** 2
    logarithm = np.log(np.maximum(squared, np.asarray(1e-18, squared.dtype)))
    logarithm *= squared
    logarithm *= np.asarray(0.5, squared.dtype)
    return np.asarray(logarithm)


@dataclass(frozen=True, slots=True)
class ThinPlates:
    """Smoothing thin-plate splines through common points (Bookstein, "Principal Warps", 1989)."""

    points: Float64
    """(N, 2)."""
    weights: Float64
    """(N + 3, M): of the kernel at each point, then of 1, x, y."""

    @classmethod
    def fit(cls, points: Float64, values: Float64) -> Self:
        """Fit (N, M) values at (N, 2) points."""
        count = len(points)
        affine = np.column_stack([np.ones(count), points])
        bending = kernel(points, points) + np.eye(count) * _SMOOTHING
        system = np.block([[bending, affine], [affine.T, np.zeros((3, 3))]])
        known = np.concatenate([values, np.zeros((3, values.shape[1]))])
        return cls(points, np.asarray(np.linalg.solve(system, known), np.float64))

    def at(self, places: Float64) -> Float64:
        """Return (Q, M) float64: the values at (Q, 2) places, to a ten-thousandth."""
        near, points = places.astype(np.float32), self.points.astype(np.float32)
        count = len(self.points)
        weights = self.weights[:count].astype(np.float32)
        bent = np.empty((len(near), weights.shape[1]), np.float32)
        for first in range(0, len(near), _AT_ONCE):  # what stays in the cache: half the time
            part = slice(first, first + _AT_ONCE)
            bent[part] = kernel(near[part], points) @ weights
        affine = np.column_stack([np.ones(len(places)), places]) @ self.weights[count:]
        return np.asarray(bent + affine, np.float64)
