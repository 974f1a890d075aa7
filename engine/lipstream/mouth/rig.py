"""How one face moves, and its picture with it: smooth fields above and below the lips' seam.

One field cannot open a hole, so there are two, cut along the seam and equal beyond the corners of
the mouth: smoothing thin plates through the points of the mesh. Both are linear in their
coefficients and live on a coarse grid of the head frame. A rig is built once for a face and serves
all its pictures. Lips are told as two curves, wherever they come from.
"""

from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import ThinPlates, smooth_step
from lipstream.types import Float32, Float64

UPPER_RING = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
"""Mesh points along the inner edge of the upper lip, from the viewer's left to right."""
LOWER_RING = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Mesh points along the inner edge of the lower lip."""
OUTER_CORNERS = (61, 291)
"""Mesh points at the outer corners of the mouth."""
NODES = 33
"""Points on a curve."""
_INWARD = 0.2
"""Share of the way from outer to inner corners where the seam ends: the mesh's lie inside it."""
LEFT, TOP, RIGHT, BOTTOM = -0.9, 0.38, 0.9, 1.74
"""Rectangle that moves, head units: from the nose to below the chin."""
STEP = 1.0 / 32.0
COLUMNS = round((RIGHT - LEFT) / STEP) + 1
ROWS = round((BOTTOM - TOP) / STEP) + 1
_CORNER_START, _CORNER_WIDTH = 0.96, 0.16
"""Half widths of the mouth where the two fields begin to agree, and head units until they do."""
CORNER_REACH = _CORNER_WIDTH + 0.02
"""Beyond this from a corner the fields are equal, head units."""


@dataclass(frozen=True, slots=True)
class LipCurves:
    """The inner edges of the lips in a head frame; equal where the lips touch."""

    upper: Float64
    """(NODES, 2) float64, from the viewer's left to right."""
    lower: Float64
    """(NODES, 2) float64."""
    open: bool
    """Whether teeth or the dark of the mouth show between them."""

    @property
    def middle(self) -> Float64:
        """(2,): midway between the corners."""
        return np.asarray((self.upper[0] + self.upper[-1]) / 2)

    @property
    def half_width(self) -> float:
        """Half the distance of the corners."""
        return float(np.linalg.norm(self.upper[-1] - self.upper[0]) / 2)

    @property
    def gap(self) -> float:
        """Distance of the lips halfway between the corners."""
        return float((self.lower - self.upper)[NODES // 2, 1])

    def height_at(self, x: Float64) -> Float64:
        """Return the height midway between the lips at places across."""
        middle = (self.upper + self.lower) / 2
        return np.asarray(np.interp(x, middle[:, 0], middle[:, 1]))


@cache
def grid_places() -> Float64:
    """Return (ROWS * COLUMNS, 2) float64: the places of the grid's nodes, never written."""
    x, y = np.meshgrid(np.linspace(LEFT, RIGHT, COLUMNS), np.linspace(TOP, BOTTOM, ROWS))
    return np.stack([x.ravel(), y.ravel()], -1)


def border_places() -> Float64:
    """Return (Q, 2) float64: places round the moving part that stay where they are."""
    x, y = np.linspace(LEFT - 0.05, RIGHT + 0.05, 11), np.linspace(-0.1, BOTTOM, 11)
    rows = [np.stack([x, np.full_like(x, at)], -1) for at in (-0.2, BOTTOM - 0.05)]
    columns = [np.stack([np.full_like(y, at), y], -1) for at in (LEFT - 0.05, RIGHT + 0.05)]
    return np.concatenate(rows + columns)


@dataclass(frozen=True, slots=True)
class SplitFields:
    """Motion above and below the seam, linear in K coefficients."""

    both: Float32
    """(K, 2 * ROWS * COLUMNS * 2) float32: motion of what is above the seam, then of what is below,
    head units."""

    def motion(self, coefficients: Float32) -> Float32:
        """Return the two motions (2, ROWS, COLUMNS, 2) float32, head units."""
        return (coefficients @ self.both).reshape(2, ROWS, COLUMNS, 2)


@dataclass(frozen=True, slots=True)
class PlateFields:
    """The same as ``SplitFields``, worked out when asked: for a picture that moves but once."""

    points: Float64
    """(N, 2): of both plates, most of which carry either."""
    weights: Float64
    """(N + 3, K, 4): of both plates, as in ``ThinPlates``: two of above the seam, two of below."""
    middle: float
    half: float

    @classmethod
    def of(cls, upper: ThinPlates, lower: ThinPlates, middle: float, half: float) -> Self:
        """Return the fields of two plates; the mouth's middle and half width tell its corners."""
        rows = {point: k for k, point in enumerate(map(tuple, upper.points))}
        for point in map(tuple, lower.points):
            rows.setdefault(point, len(rows))
        count = len(rows)
        weights = np.zeros((count + 3, upper.weights.shape[1] // 2, 4))
        for plates, part in ((upper, slice(2)), (lower, slice(2, 4))):
            at = [*(rows[point] for point in map(tuple, plates.points)), *range(count, count + 3)]
            weights[at, :, part] = plates.weights.reshape(len(at), -1, 2)
        return cls(np.array(list(rows)), weights, middle, half)

    def motion(self, coefficients: Float32) -> Float32:
        """Return the two motions (2, ROWS, COLUMNS, 2) float32, head units."""
        mixed = np.tensordot(self.weights, coefficients.astype(np.float64), (1, 0))
        both = ThinPlates(self.points, mixed).at(grid_places())
        parts = _agreeing(both[:, :2], both[:, 2:], self.middle, self.half)
        return np.stack(parts).reshape(2, ROWS, COLUMNS, 2).astype(np.float32)


def split_fields(upper: ThinPlates, lower: ThinPlates, middle: float, half: float) -> SplitFields:
    """Return the fields on the grid; the mouth's ``middle`` and ``half`` width tell its corners."""
    above, below = (plates.at(grid_places()) for plates in (upper, lower))
    parts = _agreeing(above, below, middle, half)
    return SplitFields(np.concatenate([_stacked(one) for one in parts], 1))


def _agreeing(
    above: Float64, below: Float64, middle: float, half: float
) -> tuple[Float64, Float64]:
    """Return (Q, M) motions of both parts, equal beyond the corners and none at the grid's edge."""
    places = grid_places()
    beside = np.abs(places[:, 0] - middle) - half * _CORNER_START
    common = smooth_step(beside / _CORNER_WIDTH)[:, None]
    mean, edge = (above + below) / 2, _edge()[:, None]
    first, second = ((mean * common + one * (1 - common)) * edge for one in (above, below))
    return first, second


def _stacked(values: Float64) -> Float32:
    """Return (K, Q * 2) float32 of (Q, K * 2) values."""
    count = len(values)
    return np.ascontiguousarray(
        values.reshape(count, -1, 2).transpose(1, 0, 2).reshape(-1, count * 2), np.float32
    )


@cache
def _edge() -> Float64:
    """Return (Q,) float64: 0 at the grid's edge, 1 inside."""
    x, y = grid_places().T
    sides = ((x - LEFT) / 0.15, (RIGHT - x) / 0.15, (y - TOP) / 0.12, (BOTTOM - y) / 0.15)
    return np.asarray(np.minimum.reduce([smooth_step(one) for one in sides]))


MEASURED = 17
SHUT, ROUND = MEASURED, MEASURED + 1
"""Coefficients after those of the measures: how far the lips are brought together, head units of
gap, and how much they are pursed, 0 to 1."""
COEFFICIENTS = MEASURED + 2

_LOOSE = (76, 62, 78, 306, 292, 308)
"""Mesh points near the corners that lie inside the true ones: left out."""
_CHIN = (152, 148, 377, 200, 175)
_NOSE_BASE = 2
_EDGE_STEP = 2
"""Every so many nodes of a curve carry the fields."""
_CORNER_RAMP = 2.5
"""Nodes from a corner within which upper and lower lip part."""
_UPPER_SHARE = 0.42
"""Of a gap, what the upper lip does to close it."""
_UPPER_REACH, _LOWER_REACH = 0.15, 0.24
"""How far from the lips' edge closing them is felt, head units."""
_PURSE = 0.17
"""Share of the width that a mouth loses fully pursed."""
_SWELL = 0.16
"""Share by which lips thicken fully pursed."""


@dataclass(frozen=True, slots=True)
class FaceRig:
    """What moves a face, in its head frame; shared by pictures, never written."""

    curves: LipCurves
    fields: SplitFields | PlateFields
    upper_motion: Float32
    """(COEFFICIENTS, NODES, 2) float32: motion of the upper curve, head units."""
    lower_motion: Float32
    """(COEFFICIENTS, NODES, 2) float32: motion of the lower curve."""
    jaw_motion: Float32
    """(COEFFICIENTS, 2) float32: motion of the chin."""
    eye_width: float
    """Distance of the outer eye corners, head units: what lip measures are told in."""
    nose_shift: float
    """How far the tip of the nose is from the middle of the eyes: how the head is turned."""
    nose_base: float
    """Height of the base of the nose, which goes with the upper teeth as the head nods."""
    chin: float
    """Height of the chin, which goes with the lower teeth."""

    @property
    def gap_motion(self) -> Float32:
        """(COEFFICIENTS,) float32: how each coefficient opens the middle of the mouth."""
        at = (slice(None), NODES // 2, 1)
        return np.asarray(self.lower_motion[at] - self.upper_motion[at], np.float32)

    def moved_curves(self, coefficients: Float32) -> tuple[Float64, Float64]:
        """Return (NODES, 2) float64 each: the edges of the upper and the lower lip, moved."""
        curves, count = self.curves, len(coefficients)
        upper = (coefficients @ self.upper_motion.reshape(count, -1)).reshape(NODES, 2)
        lower = (coefficients @ self.lower_motion.reshape(count, -1)).reshape(NODES, 2)
        return curves.upper + upper, curves.lower + lower


def build_rig(mesh: Float64, curves: LipCurves, motions: Float32, *, once: bool = False) -> FaceRig:
    """Return the rig of a face, quicker where a picture moves but ``once``.

    ``mesh`` is (468, 2) float64 in the head frame; ``motions`` (17, 468, 2) float32: what one
    spread of each measure moves every point of the mesh by, head units.
    """
    places, table = _edge_points(mesh, curves, motions.astype(np.float64))
    extra = np.stack([_shutting(places, curves), _pursing(places, curves)])
    table = np.concatenate([table, extra])
    above, below = _parts(places, curves)
    upper, lower = (_plates(places, table, one) for one in (above, below))
    fields_of = PlateFields.of if once else split_fields
    fields = fields_of(upper, lower, float(curves.middle[0]), curves.half_width)
    upper_motion, lower_motion = _curve_motions(upper, lower, curves)
    jaw = table[:, list(_CHIN)].mean(1)
    jaw[SHUT:] = 0.0
    return FaceRig(
        curves,
        fields,
        upper_motion,
        lower_motion,
        jaw.astype(np.float32),
        float(np.linalg.norm(mesh[263] - mesh[33])),
        float(mesh[4, 0]),
        float(mesh[_NOSE_BASE, 1]),
        float(mesh[list(_CHIN), 1].mean()),
    )


def _edge_points(mesh: Float64, curves: LipCurves, motions: Float64) -> tuple[Float64, Float64]:
    """Return the mesh with points of the true edges of the lips added, and how each moves.

    The points of an edge move as those of the mesh's ring at the same share of its width.
    """
    every = slice(1, NODES - 1, _EDGE_STEP)
    places, moves = [mesh], [motions]
    for curve, ring in ((curves.upper, UPPER_RING), (curves.lower, LOWER_RING)):
        x = mesh[list(ring), 0]
        share = (x - x[0]) / (x[-1] - x[0])
        order = np.argsort(share)
        at = np.linspace(0, 1, NODES)[every]
        along = motions[:, list(ring)][:, order]
        moved = [[np.interp(at, share[order], one[:, axis]) for axis in (0, 1)] for one in along]
        places.append(curve[every])
        moves.append(np.array(moved).transpose(0, 2, 1))
    return np.concatenate(places), np.concatenate(moves, 1)


def _parts(places: Float64, curves: LipCurves) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which points carry the field above the seam, and which the one below.

    The points are those of the mesh, then those of the upper edge and of the lower one. The mesh's
    own rings are left out: they lie up to a third of a lip off.
    """
    count = (len(places) - 468) // 2
    usable = (places[:, 1] > 0.0) & (np.abs(places[:, 0]) < 0.8)
    usable[[*_LOOSE, *UPPER_RING, *LOWER_RING]] = False
    below = places[:, 1] > curves.height_at(places[:, 0])
    below[468 : 468 + count] = False
    below[468 + count :] = True
    inside = np.abs(places[:, 0] - curves.middle[0]) < curves.half_width * 0.97
    return usable & ~(below & inside), usable & ~(~below & inside & (places[:, 1] > 0.25))


def _plates(places: Float64, table: Float64, chosen: NDArray[np.bool_]) -> ThinPlates:
    rest = border_places()
    values = table[:, chosen].transpose(1, 0, 2).reshape(int(chosen.sum()), -1)
    values = np.concatenate([values, np.zeros((len(rest), values.shape[1]))])
    return ThinPlates.fit(np.concatenate([places[chosen], rest]), values)


def _curve_motions(
    upper: ThinPlates, lower: ThinPlates, curves: LipCurves
) -> tuple[Float32, Float32]:
    """Return how the two curves move: the same at the corners, each its own way from there on."""
    moved = (upper.at(curves.upper), lower.at(curves.lower))
    above, below = (one.reshape(NODES, -1, 2).transpose(1, 0, 2) for one in moved)
    for end in (0, -1):
        above[:, end] = below[:, end] = (above[:, end] + below[:, end]) / 2
    mean = (above + below) / 2
    ramp = corner_ramp()[:, None]
    return tuple(  # type: ignore[return-value]
        np.asarray(mean + (one - mean) * ramp, np.float32) for one in (above, below)
    )


@cache
def corner_ramp() -> Float64:
    """Return (NODES,) float64, never written: 0 at the corners of the mouth, 1 a few nodes on."""
    from_end = np.minimum(np.arange(NODES), np.arange(NODES)[::-1]) / _CORNER_RAMP
    t = np.clip(from_end, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def _shutting(mesh: Float64, curves: LipCurves) -> Float64:
    """Return (n, 2): what brings the lips together by one head unit at the widest place.

    The edges of the lips meet along a curve nearer to the upper one; what lies beyond follows less
    and less.
    """
    x = mesh[:, 0]
    upper = np.interp(x, curves.upper[:, 0], curves.upper[:, 1])
    lower = np.interp(x, curves.lower[:, 0], curves.lower[:, 1])
    if curves.open:
        height = (curves.lower - curves.upper)[:, 1]
        profile = np.interp(x, curves.upper[:, 0], height / height.max(), left=0.0, right=0.0)
    else:
        beside = (x - curves.middle[0]) / curves.half_width
        profile = np.clip(1.0 - beside**2, 0.0, 1.0)
    above = np.exp(-((np.maximum(upper - mesh[:, 1], 0.0) / _UPPER_REACH) ** 2))
    below = np.exp(-((np.maximum(mesh[:, 1] - lower, 0.0) / _LOWER_REACH) ** 2))
    is_below = mesh[:, 1] > (upper + lower) / 2
    count = (len(mesh) - 468) // 2
    is_below[468 : 468 + count], is_below[468 + count :] = False, True
    down = np.where(is_below, -(1 - _UPPER_SHARE) * below, _UPPER_SHARE * above) * profile
    return np.stack([np.zeros_like(down), down], -1)


def _pursing(mesh: Float64, curves: LipCurves) -> Float64:
    """Return (n, 2): what purses the lips: corners inward, lips fuller."""
    away = mesh - curves.middle
    across = away[:, 0] / curves.half_width
    down = away[:, 1] - (curves.height_at(mesh[:, 0]) - curves.middle[1])
    near = np.exp(-((across / 1.75) ** 4)) * np.exp(-((down / 0.30) ** 2))
    swell = _SWELL * np.exp(-((across / 0.6) ** 2)) * np.exp(-((down / 0.14) ** 2))
    return np.stack([-_PURSE * away[:, 0] * near, swell * down], -1)


def corners(mesh: Float64) -> tuple[Float64, Float64]:
    """Return the two ends of the lips' seam."""
    left, right = mesh[OUTER_CORNERS[0]], mesh[OUTER_CORNERS[1]]
    return (
        np.asarray(left + (mesh[UPPER_RING[0]] - left) * _INWARD),
        np.asarray(right + (mesh[UPPER_RING[-1]] - right) * _INWARD),
    )


def ring_curve(mesh: Float64, ring: tuple[int, ...]) -> Float64:
    """Return (NODES, 2): a smooth curve through a ring's points, from corner to corner."""
    left, right = corners(mesh)
    points = np.concatenate([[left], mesh[list(ring)][1:-1], [right]])
    points = points[np.argsort(points[:, 0], kind="stable")]
    x = np.linspace(left[0], right[0], NODES)
    y = np.interp(x, points[:, 0], points[:, 1])
    for _ in range(2):  # rounds the corners of the polyline off
        y[1:-1] = (y[:-2] + 2 * y[1:-1] + y[2:]) / 4
    return np.stack([x, y], -1)
