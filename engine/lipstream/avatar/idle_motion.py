"""A still portrait that lives: it blinks, breathes and moves its head a little, without an end.

All pixels are the picture's own, warped. The head moves as a whole (shift, roll, size), so the
crop of the face moves with it and shows the network what it showed at rest; the movement fades out
round the head. All movements are whole numbers of waves in one period: the loop has no seam.
"""

import contextlib
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.avatar.blinking import EyePatch, eye_patches, with_eyes
from lipstream.face.landmarks import FaceTracker
from lipstream.inference.model import MouthModel
from lipstream.live.compositor import Compositor, smooth_step
from lipstream.live.pipeline import Picture, PreparedAvatar, make_compositor
from lipstream.types import Float32, Image

PERIOD_S = 12.0
"""Length of the loop, seconds."""
_BREATH_S, _BLINK_EVERY_S = 4.0, 3.4
_BLINK = ((0.0, 0.0), (0.08, 1.0), (0.12, 1.0), (0.27, 0.0))
"""Seconds since a blink began, and how far the lids are closed."""
_UNEVEN = (0.31, -0.22, 0.12, -0.35, 0.27, -0.08)
"""How far the blinks are off an even rhythm, in blink intervals."""
_RISE = 0.010
"""Height of a breath at the shoulders, in widths of the crop; the head takes a share of it."""
_HEAD_SHARE = 0.4
_INNER, _OUTER = 0.76, 1.75
"""The head moves as a whole within so many crop sizes of its middle; past the second, nothing."""
_COARSE = 8
"""The field of movement is computed at this fraction of the picture."""


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where the head is at one moment, from where it is in the picture."""

    right: float
    """Widths of the crop."""
    down: float
    roll: float
    """Radians."""
    size: float
    rise: float
    """Widths of the crop by which the shoulders are raised."""
    closed: float
    """How far the eyes are closed, 0 to 1."""


def pose_at(phase: float, period_s: float) -> _Pose:
    """Return the pose at a phase of the loop, 0 to 1."""

    def wave(cycles: int, shift: float) -> float:
        return math.sin(2.0 * math.pi * (cycles * phase + shift))

    rise = _RISE * wave(max(1, round(period_s / _BREATH_S)), 0.0)
    return _Pose(
        right=0.010 * wave(1, 0.10) + 0.004 * wave(3, 0.55),
        down=0.006 * wave(2, 0.30) - _HEAD_SHARE * rise,
        roll=0.013 * wave(1, 0.72) + 0.006 * wave(2, 0.05),
        size=1.0 + 0.005 * wave(2, 0.62),
        rise=rise,
        closed=_closed_at(phase * period_s, period_s),
    )


def _closed_at(seconds: float, period_s: float) -> float:
    count = max(1, round(period_s / _BLINK_EVERY_S))
    every = period_s / count
    begun = [(k + 0.5 + 0.5 * _UNEVEN[k % len(_UNEVEN)]) * every for k in range(count)]
    times, lids = zip(*_BLINK, strict=True)
    return max(float(np.interp(seconds - start, times, lids)) for start in begun)


class Life:
    """One picture and how it moves. Used by one thread."""

    def __init__(self, image: Image, crop: Float32, period_s: float = PERIOD_S) -> None:
        """Find the eyes, if there are any, and lay out the field of movement."""
        self._image, self._crop, self.period_s = image, crop, period_s
        self._eyes = _eyes(image)
        self._middle = crop @ np.array([0.5, 0.5, 1.0])
        self._width = float(np.linalg.norm(crop[:, 0]))
        height, width = image.shape[:2]
        size = (-(-width // _COARSE) + 1, -(-height // _COARSE) + 1)
        y, x = np.mgrid[: size[1], : size[0]].astype(np.float64) * _COARSE
        self._places = np.stack([x, y], -1)
        self._head = _head_weight(self._places, crop)
        self._body = _body_weight(self._places, crop)

    def crop_at(self, phase: float) -> Float32:
        """Return the (2, 3) crop of the face at a phase of the loop."""
        affine = self._affine(pose_at(phase, self.period_s))
        moved = affine[:, :2] @ self._crop
        moved[:, 2] += affine[:, 2]
        return moved.astype(np.float32)

    def image_at(self, phase: float) -> Image:
        """Return the picture at a phase of the loop, new."""
        pose = pose_at(phase, self.period_s)
        source = with_eyes(self._image, self._eyes, pose.closed)
        affine = self._affine(pose)
        back = np.linalg.inv(affine[:, :2])
        rest = (self._places - affine[:, 2]) @ back.T
        shift = self._head[..., None] * (rest - self._places)
        shift[..., 1] += self._body * pose.rise * self._width
        return _warped(source, shift)

    def _affine(self, pose: _Pose) -> NDArray[np.float64]:
        """Return the (2, 3) affine from the picture to the moved head."""
        cosine, sine = pose.size * math.cos(pose.roll), pose.size * math.sin(pose.roll)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        shift = self._width * np.array([pose.right, pose.down])
        return np.column_stack([turn, self._middle + shift - turn @ self._middle])


class LivingPicture:
    """A prepared picture as a scene that lives. Used by one thread."""

    rests = True

    def __init__(self, life: Life, still: PreparedAvatar, compositor: Compositor) -> None:
        """Take the features of the picture at rest: the crop shows the same as the head moves."""
        self._life, self._compositor = life, compositor
        self._features, self._silent = still.features, still.targets[0].rest

    @classmethod
    def of(cls, still: PreparedAvatar, model: MouthModel) -> Self:
        """Let the first frame of a prepared avatar live."""
        life = Life(np.array(still.avatar.frames[0]), np.array(still.avatar.crops[0]))
        return cls(life, still, make_compositor(model))

    def picture(self, index: int, fps: Fraction) -> Picture:
        """Return the picture under output frame ``index``, new."""
        phase = float(index / fps / Fraction(self._life.period_s)) % 1.0
        image = self._life.image_at(phase)
        target = self._compositor.target(image, self._life.crop_at(phase), self._silent)
        return Picture(image, target, self._features)


def _eyes(image: Image) -> list[EyePatch]:
    with contextlib.closing(FaceTracker.open()) as tracker:
        face = tracker.step(image)
    return [] if face is None else eye_patches(image, face.points)


def _head_weight(places: NDArray[np.float64], crop: Float32) -> NDArray[np.float64]:
    """Return how much of the head's movement is at each place: 1 over the face and its crop."""
    across, down = np.linalg.norm(crop[:, 0]), np.linalg.norm(crop[:, 1])
    off = places - crop @ np.array([0.5, 0.5, 1.0])
    u = off @ (crop[:, 0] / across**2)
    v = off @ (crop[:, 1] / down**2)
    return smooth_step((_OUTER - np.hypot(u, v)) / (_OUTER - _INNER))


def _body_weight(places: NDArray[np.float64], crop: Float32) -> NDArray[np.float64]:
    """Return how much of the breath is at each place: all of it from the shoulders down."""
    down = np.linalg.norm(crop[:, 1])
    v = (places - crop @ np.array([0.5, 1.0, 1.0])) @ (crop[:, 1] / down**2)
    return smooth_step(v / 0.7)


def _warped(image: Image, shift: NDArray[np.float64]) -> Image:
    """Return the picture sampled at each place plus a shift given on the coarse grid."""
    height, width = image.shape[:2]
    grid = np.array([[1.0 / _COARSE, 0.0, 0.0], [0.0, 1.0 / _COARSE, 0.0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(shift.astype(np.float32), grid, (width, height), flags=flags)
    fine = np.asarray(warped, np.float32)
    fine[..., 0] += np.arange(width, dtype=np.float32)
    fine[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    across, down = np.ascontiguousarray(fine[..., 0]), np.ascontiguousarray(fine[..., 1])
    moved = cv2.remap(image, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)
