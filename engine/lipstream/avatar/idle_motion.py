"""A still portrait that lives: it blinks, breathes and moves its head a little, without an end.

All pixels are the picture's own, warped. The head moves as a whole (shift, roll, size), so the
crop of the face moves with it and shows the network what it showed at rest; the movement fades out
round the head. All movements are whole numbers of waves in one period: the loop has no seam.

An eye closes by drawing its upper lid down. Between brow and lid the skin stretches in the middle,
so that brow, crease and lashes keep their look; below the lid's edge nothing moves.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import smooth_step
from lipstream.face.tracker import FaceTracker
from lipstream.types import Float32, Float64, Image

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


@dataclass(frozen=True, slots=True)
class EyePatch:
    """One eye of a picture, in pictures from open to closed."""

    rows: slice
    columns: slice
    levels: tuple[Image, ...]


class IdleMotion:
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

    def _affine(self, pose: _Pose) -> Float64:
        """Return the (2, 3) affine from the picture to the moved head."""
        cosine, sine = pose.size * math.cos(pose.roll), pose.size * math.sin(pose.roll)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        shift = self._width * np.array([pose.right, pose.down])
        return np.column_stack([turn, self._middle + shift - turn @ self._middle])


def _eyes(image: Image) -> list[EyePatch]:
    with contextlib.closing(FaceTracker.open()) as tracker:
        face = tracker.step(image)
    return [] if face is None else eye_patches(image, face.points)


def _head_weight(places: Float64, crop: Float32) -> Float64:
    """Return how much of the head's movement is at each place: 1 over the face and its crop."""
    across, down = np.linalg.norm(crop[:, 0]), np.linalg.norm(crop[:, 1])
    off = places - crop @ np.array([0.5, 0.5, 1.0])
    u = off @ (crop[:, 0] / across**2)
    v = off @ (crop[:, 1] / down**2)
    return smooth_step((_OUTER - np.hypot(u, v)) / (_OUTER - _INNER))


def _body_weight(places: Float64, crop: Float32) -> Float64:
    """Return how much of the breath is at each place: all of it from the shoulders down."""
    down = np.linalg.norm(crop[:, 1])
    v = (places - crop @ np.array([0.5, 1.0, 1.0])) @ (crop[:, 1] / down**2)
    return smooth_step(v / 0.7)


def _warped(image: Image, shift: Float64) -> Image:
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


LEVELS = 8
"""Pictures from open to closed."""
_UPPER = {
    "right": (33, 246, 161, 160, 159, 158, 157, 173, 133),
    "left": (362, 398, 384, 385, 386, 387, 388, 466, 263),
}
_LOWER = {
    "right": (33, 7, 163, 144, 145, 153, 154, 155, 133),
    "left": (362, 382, 381, 380, 374, 373, 390, 249, 263),
}
_BROW = {"right": (46, 53, 52, 65, 55), "left": (285, 295, 282, 283, 276)}
"""Points of the 468-point mesh along lids and the lower edges of the brows, from left to right."""
_LASHES, _BELOW = 0.10, 0.28
"""Shares of the eye's opening: what belongs to the lid below the mesh's line, and how far the
closed lid reaches past the lower one: the mesh draws eyes less open than they are."""
_WIDER = 1.12
"""How much wider than the mesh's an eye is, for the same reason."""
_ROOM = 0.9
"""Least distance of brow and lid, in openings of the eye: less, and the skin would fold."""
_LEAST_OPENING = 2.0
"""Eyes less open than this, pixels, are closed or too small to blink."""


def eye_patches(image: Image, points: Float32) -> list[EyePatch]:
    """Return the eyes that can blink, by the (468, 2) points of the face."""
    patches = (_patch(image, points, side) for side in ("right", "left"))
    return [patch for patch in patches if patch is not None]


def with_eyes(image: Image, patches: Sequence[EyePatch], closed: float) -> Image:
    """Return the picture with its eyes closed by a share; the same array when they are open."""
    level = round(closed * (LEVELS - 1))
    if level == 0 or not patches:
        return image
    out = image.copy()
    for patch in patches:
        out[patch.rows, patch.columns] = patch.levels[level]
    return out


@dataclass(frozen=True, slots=True)
class _Lids:
    """Heights along an eye, all (h, w) float64 in pixels downwards, for every pixel of a patch."""

    v: Float64
    """Height of the pixel itself."""
    brow: Float64
    upper: Float64
    opening: Float64


def _patch(image: Image, points: Float32, side: str) -> EyePatch | None:
    upper, lower, brow = (points[list(line[side])] for line in (_UPPER, _LOWER, _BROW))
    across = (upper[-1] - upper[0]).astype(np.float64)
    across /= max(1e-6, float(np.linalg.norm(across)))
    turn = np.array([across, [-across[1], across[0]]])  # to along the eye, and down
    every = np.concatenate([upper, lower, brow])
    margin = 0.15 * float(np.ptp(every[:, 0]))
    left, top = np.floor(every.min(0) - margin).astype(int).clip(0)
    right, bottom = np.ceil(every.max(0) + margin).astype(int) + 1
    part = image[top:bottom, left:right]
    if min(part.shape[:2]) < 4:
        return None
    y, x = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]] + 0.5
    lids = _lids(np.stack([x, y], -1) @ turn.T, upper @ turn.T, lower @ turn.T, brow @ turn.T)
    if lids.opening.max() < _LEAST_OPENING:
        return None
    steps = np.linspace(0.0, 1.0, LEVELS)
    levels = tuple(_closed(part, lids, turn, float(share)) for share in steps)
    rows = slice(int(top), int(top) + part.shape[0])
    return EyePatch(rows, slice(int(left), int(left) + part.shape[1]), levels)


def _lids(
    places: Float64,
    upper: NDArray[np.floating[Any]],
    lower: NDArray[np.floating[Any]],
    brow: NDArray[np.floating[Any]],
) -> _Lids:
    """Interpolate lids and brow along the eye; all arguments are (..., 2): along, down."""
    along, v = places[..., 0], places[..., 1]

    def height(line: NDArray[np.floating[Any]]) -> Float64:
        order = np.argsort(line[:, 0])
        middle = (line[:, 0].min() + line[:, 0].max()) / 2
        places_along = middle + _WIDER * (line[order, 0] - middle)
        return np.asarray(np.interp(along, places_along, line[order, 1]), np.float64)

    lid, below = height(upper), height(lower)
    opening = np.maximum(0.0, below - lid)
    lid = lid + _LASHES * opening
    opening = opening * (1.0 - _LASHES + _BELOW)
    return _Lids(v, np.minimum(height(brow), lid - _ROOM * opening - 1.0), lid, opening)


def _closed(part: Image, lids: _Lids, turn: Float64, share: float) -> Image:
    """Return the eye with its lid drawn down by a share of its opening."""
    drop = share * lids.opening
    edge = lids.upper + drop
    s = np.clip((lids.v - lids.brow) / (edge - lids.brow), 0.0, 1.0)
    moved = drop * s * s * (3.0 - 2.0 * s)
    moved[lids.v > edge + 1.0] = 0.0
    height, width = part.shape[:2]
    y, x = np.mgrid[:height, :width]
    down = turn[1]  # the direction of v in the picture
    source_x = (x - moved * down[0]).astype(np.float32)
    source_y = (y - moved * down[1]).astype(np.float32)
    lid = cv2.remap(part, source_x, source_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    over = np.clip(edge - lids.v + 0.5, 0.0, 1.0)[..., None]
    return np.asarray(np.rint(over * lid + (1.0 - over) * part), np.uint8)
