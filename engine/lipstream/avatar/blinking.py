"""Eyes of a still picture that close: the upper lid is drawn down over the eye, own pixels only.

Between brow and lid the skin stretches in the middle, so that brow, crease and lashes keep their
look; below the lid's edge nothing moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.types import Float32, Image

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


@dataclass(frozen=True, slots=True)
class EyePatch:
    """One eye of a picture, in pictures from open to closed."""

    rows: slice
    columns: slice
    levels: tuple[Image, ...]


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

    v: NDArray[np.float64]
    """Height of the pixel itself."""
    brow: NDArray[np.float64]
    upper: NDArray[np.float64]
    opening: NDArray[np.float64]


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
    places: NDArray[np.float64],
    upper: NDArray[np.floating[Any]],
    lower: NDArray[np.floating[Any]],
    brow: NDArray[np.floating[Any]],
) -> _Lids:
    """Interpolate lids and brow along the eye; all arguments are (..., 2): along, down."""
    along, v = places[..., 0], places[..., 1]

    def height(line: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        order = np.argsort(line[:, 0])
        middle = (line[:, 0].min() + line[:, 0].max()) / 2
        heights = np.interp(along, middle + _WIDER * (line[order, 0] - middle), line[order, 1])
        return np.asarray(heights, np.float64)

    lid, below = height(upper), height(lower)
    opening = np.maximum(0.0, below - lid)
    lid = lid + _LASHES * opening
    opening = opening * (1.0 - _LASHES + _BELOW)
    return _Lids(v, np.minimum(height(brow), lid - _ROOM * opening - 1.0), lid, opening)


def _closed(part: Image, lids: _Lids, turn: NDArray[np.float64], share: float) -> Image:
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
