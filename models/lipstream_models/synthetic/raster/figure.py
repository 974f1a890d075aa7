"""A painted person who can be posed and drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipstream.types import Float32
from lipstream_models.synthetic.body.anatomy import (
    LOWER_LIP,
    SKIN,
    TONGUE,
    TOOTH,
    UPPER_LIP,
    Anatomy,
    Posed,
    triangulate,
)
from lipstream_models.synthetic.body.head_model import Float
from lipstream_models.synthetic.body.skin import ramp
from lipstream_models.synthetic.raster.paint import coat
from lipstream_models.synthetic.raster.random_people import Dental, Person
from lipstream_models.synthetic.raster.rasterizer import Index32, vertex_normals
from lipstream_models.synthetic.raster.wear import fit_skull, garments

_SEALED_DM = 0.001
"""Lips at rest come this close."""


@dataclass(frozen=True, slots=True)
class Solid:
    """A posed head, ready to draw."""

    points: Float32
    """(N, 3) dm."""
    normals: Float32
    paint: Float32
    """(N, 5): linear RGB, gloss, share of open sky."""


class Figure:
    """A person with paint, hair and clothes on. Used by one thread."""

    def __init__(self, anatomy: Anatomy, person: Person) -> None:
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

    def pose(self, units: Mapping[str, float]) -> Solid:
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
        return Solid(points, normals, paint)

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
