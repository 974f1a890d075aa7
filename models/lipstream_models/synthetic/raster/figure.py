"""A person as meshes: the head, and long hair, headscarf, cap and glasses round it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipstream.types import Float32
from lipstream_models.synthetic.body.head_model import Float, Index
from lipstream_models.synthetic.body.skin import ramp, waves
from lipstream_models.synthetic.body.teeth_and_eyes import grid_quads
from lipstream_models.synthetic.raster.anatomy import (
    CLOTH,
    HAIR,
    LOWER_LIP,
    SKIN,
    TONGUE,
    TOOTH,
    UPPER_LIP,
    Anatomy,
    Posed,
    triangulate,
)
from lipstream_models.synthetic.raster.paint import coat
from lipstream_models.synthetic.raster.random_people import Dental, RandomPerson, Wear
from lipstream_models.synthetic.raster.rasterizer import Index32, vertex_normals

_AXIS_Z = 0.35
"""z of the head's upright axis."""
_HEIGHTS = np.linspace(8.75, 4.9, 56)
_TURNS = 96


@dataclass(frozen=True, slots=True)
class WornMesh:
    """A painted mesh that follows the skull."""

    vertices: Float
    """(n, 3) base-head places, dm."""
    quads: Index
    paint: Float
    """(n, 5): linear RGB, gloss, share of open sky."""
    material: int


def garments(anatomy: Anatomy, person: RandomPerson) -> list[WornMesh]:
    """Return what a person wears."""
    wear = person.wear
    worn = []
    if wear.style in ("long", "scarf", "cap"):
        worn.append(_drape(anatomy, person))
    if wear.glasses:
        worn.append(_glasses(person.face.seed))
    return worn


def _outline(places: Float) -> Float:
    """Return (heights, turns) radii round the axis that enclose the head."""
    angle = np.arctan2(places[:, 0], places[:, 2] - _AXIS_Z)
    radius = np.hypot(places[:, 0], places[:, 2] - _AXIS_Z)
    column = np.round((angle / (2 * np.pi) + 0.5) * _TURNS).astype(int) % _TURNS
    step = _HEIGHTS[0] - _HEIGHTS[1]
    row = np.clip(np.round((_HEIGHTS[0] - places[:, 1]) / step).astype(int), 0, len(_HEIGHTS) - 1)
    outline = np.zeros((len(_HEIGHTS), _TURNS))
    np.maximum.at(outline, (row, column), radius)
    back = np.sqrt(np.clip(1 - ((_HEIGHTS - 7.45) / 1.05) ** 2, 0, 1)) * 0.98
    outline = np.maximum(outline, np.where(_HEIGHTS > 6.6, back, 0.62)[:, None])
    for axis in (0, 1):
        outline = np.maximum(outline, (np.roll(outline, 1, axis) + np.roll(outline, -1, axis)) / 2)
    return outline


def _drape(anatomy: Anatomy, person: RandomPerson) -> WornMesh:
    """Hang cloth or hair over the head: a sheet round its axis, open at the face."""
    wear, seed = person.wear, person.face.seed
    outline = _outline(anatomy.places)
    hung = outline.copy()
    for row in range(1, len(_HEIGHTS)):  # what hangs falls straight from the widest part
        hung[row] = np.maximum(hung[row], hung[row - 1] * (0.985 if row > 18 else 0.93))
    aside = np.abs(np.linspace(-np.pi, np.pi, _TURNS, endpoint=False))
    loose = ramp(0.75, 1.5, aside)  # before the face it lies close
    radius = outline + (hung - outline) * loose + _thickness(wear)
    opening = _opening(wear)
    turn = np.linspace(0.0, 1.0, _TURNS)[None] * (2 * np.pi - 2 * opening[:, None])
    angle = opening[:, None] + turn  # from the face's left edge round the back to its right edge
    column = (angle / (2 * np.pi) + 0.5) * _TURNS % _TURNS
    low = np.floor(column).astype(int) % _TURNS
    share = column - np.floor(column)
    rows = np.arange(len(_HEIGHTS))[:, None]
    reach = radius[rows, low] * (1 - share) + radius[rows, (low + 1) % _TURNS] * share
    folds = np.stack([angle * 1.6, np.repeat(_HEIGHTS[:, None] * 0.6, _TURNS, 1), 0 * angle], -1)
    fold = waves(folds.reshape(-1, 3), 3.0, seed + 6, 3).reshape(angle.shape)
    reach = reach + 0.035 * fold
    height = np.repeat(_HEIGHTS[:, None], _TURNS, 1)
    vertices = np.stack([reach * np.sin(angle), height, _AXIS_Z + reach * np.cos(angle)], -1)
    lowest = 7.72 if wear.style == "cap" else 4.9
    keep = lowest < _HEIGHTS
    vertices, fold = vertices[keep], fold[keep]
    quads = grid_quads(len(vertices), _TURNS, wrap=False)
    flat = vertices.reshape(-1, 3)
    return WornMesh(flat, quads, _drape_paint(flat, fold.ravel(), person), _material(wear))


def _material(wear: Wear) -> int:
    return HAIR if wear.style == "long" else CLOTH


def _thickness(wear: Wear) -> float:
    return {"long": 0.05 + 0.4 * wear.thickness, "scarf": 0.05, "cap": 0.07}[wear.style]


def _opening(wear: Wear) -> Float:
    """Return half the angle left open for the face at every height, radians."""
    if wear.style == "cap":
        return np.zeros(len(_HEIGHTS))
    if wear.style == "scarf":
        low = 6.16 - 0.5 * wear.thickness
        places = [low - 0.15, low, low + 0.12, 6.6, 7.2, 7.6, 7.85, 7.98]
        return np.interp(_HEIGHTS, places, [0, 0.22, 0.42, 0.68, 0.80, 0.66, 0.35, 0])
    lowest = 7.95 - wear.fringe
    places = [5.0, 6.2, 7.2, lowest - 0.15, lowest, lowest + 0.12]
    wide = 1.0 + 0.9 * wear.thickness
    return np.interp(_HEIGHTS, places, [1.25 * wide, 1.12 * wide, 1.05 * wide, 0.75, 0.35, 0.0])


def _drape_paint(vertices: Float, fold: Float, person: RandomPerson) -> Float:
    wear, seed = person.wear, person.face.seed
    paint = np.zeros((len(vertices), 5))
    if wear.style == "long":
        angle = np.arctan2(vertices[:, 0], vertices[:, 2] - _AXIS_Z)
        strands = np.stack([angle, 0.02 * vertices[:, 1], 0 * angle], -1)
        lock = waves(strands, 26.0, seed + 7, 5)
        tint = np.array(person.face.hair)[None] * np.clip(1 + 0.6 * lock, 0.25, 2)[:, None]
        paint[:, :3], paint[:, 3] = tint, 0.5
    else:
        weave = 1 + 0.06 * waves(vertices, 40.0, seed + 8, 2)
        paint[:, :3], paint[:, 3] = np.array(wear.colour)[None] * weave[:, None], 0.1
    paint[:, 4] = np.clip(0.75 + 0.35 * fold, 0.3, 1.0)
    return paint


def _glasses(seed: int) -> WornMesh:
    """Return two rims, a bridge and temples."""
    rng = np.random.default_rng(seed + 12)
    width, height = rng.uniform(0.21, 0.27), rng.uniform(0.14, 0.22)
    power, thick = rng.uniform(2.0, 4.5), rng.uniform(0.010, 0.028)
    turn = np.linspace(0, 2 * np.pi, 40)
    c, s = np.cos(turn), np.sin(turn)
    rim_x = np.sign(c) * np.abs(c) ** (2 / power) * width
    rim_y = np.sign(s) * np.abs(s) ** (2 / power) * height
    wires = []
    for side in (-1.0, 1.0):
        x = side * 0.325 + rim_x
        wires.append(np.column_stack([x, 7.255 + rim_y, 1.56 - 0.30 * np.abs(x) ** 2]))
        temple = np.linspace(0, 1, 8)
        wires.append(
            np.column_stack(
                [side * (0.325 + width + 0.24 * np.minimum(1, 4 * temple)), 7.32 - 0.06 * temple,
                 1.56 - 0.3 * (0.325 + width) ** 2 - 1.2 * temple]
            )
        )  # fmt: skip
    bridge = np.linspace(-1, 1, 7)
    x = bridge * (0.325 - width)
    wires.append(np.column_stack([x, 7.27 + 0.03 * (1 - bridge**2), 1.60 - 0.30 * x**2]))
    vertices, quads = [], []
    count = 0
    for wire in wires:
        tube, faces = _tube(wire, thick)
        vertices.append(tube)
        quads.append(faces + count)
        count += len(tube)
    colour = rng.choice([[0.012, 0.011, 0.011], [0.25, 0.22, 0.2], [0.08, 0.03, 0.012]])
    paint = np.tile([*colour, 0.8, 1.0], (count, 1))
    return WornMesh(np.concatenate(vertices), np.concatenate(quads), paint, CLOTH)


def _tube(wire: Float, radius: float) -> tuple[Float, Index]:
    sides = 6
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    along = np.gradient(wire, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, np.where(np.abs(along[:, 2:]) > 0.9, [0, 1.0, 0], [0, 0, 1.0]))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    upward = np.cross(along, across)
    ring = np.cos(turn)[:, None] * across[:, None] + np.sin(turn)[:, None] * upward[:, None]
    tube = wire[:, None] + radius * ring
    return tube.reshape(-1, 3), grid_quads(len(wire), sides, wrap=True)


def fit_skull(anatomy: Anatomy, shape: Float) -> Float:
    """Return the (4, 3) affine that carries base-head places to a person's resting skull."""
    base = anatomy.source.base.vertices
    skin = anatomy.body_vertices
    place = base[skin]
    upper = skin[(place[:, 1] > 6.9) & (place[:, 2] < 1.5)]  # without the nose
    places = np.column_stack([base[upper], np.ones(len(upper))])
    return np.asarray(np.linalg.lstsq(places, shape[upper], rcond=None)[0])


_SEALED_DM = 0.001
"""Lips at rest come this close."""


@dataclass(frozen=True, slots=True)
class TriangleMesh:
    """A posed head, ready to draw."""

    points: Float32
    """(N, 3) dm."""
    normals: Float32
    paint: Float32
    """(N, 5): linear RGB, gloss, share of open sky."""


class PersonMesh:
    """A person with paint, hair and clothes on. Used by one thread."""

    def __init__(self, anatomy: Anatomy, person: RandomPerson) -> None:
        self.anatomy, self.person = anatomy, person
        self.shape = anatomy.source.shape(person.identity)
        self.rest_units = dict(person.habits) | {"mouthClose": self._seal()}
        rest = anatomy.pose(self.shape, self.rest_units)
        resting = anatomy.source.pose(self.shape, self.rest_units)
        self._coat = coat(anatomy, person, resting)
        skin = anatomy.part(0)
        outward = vertex_normals(rest.points, anatomy.triangles)[skin]
        self._lift = outward * self._coat.stand_off[:, None]
        self._dress()
        self._inner = _inner_mouth(anatomy)
        self._teeth = slice(anatomy.part(5).start, anatomy.part(6).stop)
        eyes = anatomy.places[:, 1]
        self.centre = rest.points[anatomy.part(0)][
            (np.abs(eyes - 6.85) < 0.1) & (anatomy.places[:, 2] > 1.2)
        ].mean(0)

    def _seal(self) -> float:
        """Return the weight of mouthClose that just closes this mouth."""
        units = dict(self.person.habits)
        for weight in np.arange(0.0, 0.3, 0.02):
            posed = self.anatomy.source.pose(self.shape, units | {"mouthClose": float(weight)})
            if lip_opening(posed) < _SEALED_DM:
                return float(weight)
        return 0.3

    def _dress(self) -> None:
        anatomy, worn = self.anatomy, garments(self.anatomy, self.person)
        affine = fit_skull(anatomy, self.shape)
        triangles, materials = [anatomy.triangles], [anatomy.materials]
        hung, paints = [], [self._coat.paint]
        count = anatomy.count
        for garment in worn:
            places = np.column_stack([garment.vertices, np.ones(len(garment.vertices))])
            hung.append((places @ affine).astype(np.float32))
            triangles.append(triangulate(garment.quads) + np.int32(count))
            materials.append(np.full(len(places), garment.material, np.uint8))
            paints.append(garment.paint.astype(np.float32))
            count += len(places)
        self._hung = np.concatenate(hung) if hung else np.zeros((0, 3), np.float32)
        self.triangles: Index32 = np.ascontiguousarray(np.concatenate(triangles))
        self.materials: NDArray[np.uint8] = np.concatenate(materials)
        self.two_sided: NDArray[np.bool_] = self.materials != SKIN
        self._paint = np.concatenate(paints)

    def pose(self, units: Mapping[str, float]) -> TriangleMesh:
        """Return the head with face units applied on the resting face."""
        anatomy = self.anatomy
        posed = anatomy.pose(self.shape, _on_rest(self.rest_units, units))
        points = np.concatenate([posed.points, self._hung])
        self._set_teeth(points)
        points[anatomy.part(0)] += self._lift
        normals = vertex_normals(points, self.triangles)
        paint = self._paint.copy()
        inner = self._inner
        paint[inner.rows, 4] *= inner.light(points[inner.rows], posed)
        return TriangleMesh(points, normals, paint)

    def _set_teeth(self, points: Float32) -> None:
        """Shift and scale the rows of teeth in place, as this person has them."""
        dental: Dental = self.person.dental
        upper, both = self.anatomy.part(5), points[self._teeth]
        both[:, 0] *= dental.size
        both[:, 2] += dental.forward
        points[upper, 1] += dental.lift


def _on_rest(rest: Mapping[str, float], units: Mapping[str, float]) -> dict[str, float]:
    """Add units to those of the resting face."""
    return dict(rest) | {name: rest.get(name, 0.0) + weight for name, weight in units.items()}


def lip_opening(vertices: Float) -> float:
    """Return the opening between the inner lips of (V, 3) base vertices, dm."""
    return float(vertices[UPPER_LIP, 1] - vertices[LOWER_LIP, 1])


@dataclass(frozen=True, slots=True)
class _InnerMouth:
    """The vertices behind the lips, lit through the opening alone."""

    rows: NDArray[np.intp]
    share: Float32
    """How much of a vertex is inside, 0 to 1."""

    def light(self, points: Float32, posed: Posed) -> Float32:
        """Return (n,) the share of light that comes in, from gap and depth."""
        depth = np.maximum(posed.lip_front - points[:, 2] - 0.03, 0.0)
        gap = 0.75 * posed.gap + 0.006
        seen = 0.03 + 0.97 * gap / np.sqrt(gap * gap + (1.5 * depth) ** 2)
        return np.asarray(1 - self.share * (1 - seen), np.float32)


def _inner_mouth(anatomy: Anatomy) -> _InnerMouth:
    share = np.zeros(anatomy.count)
    share[anatomy.part(0)] = ramp(0.3, 0.9, anatomy.inside)
    share[: anatomy.count][np.isin(anatomy.materials, (TOOTH, TONGUE))] = 1.0
    rows = np.flatnonzero(share > 0)
    return _InnerMouth(rows, share[rows].astype(np.float32))
