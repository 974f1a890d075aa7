"""The head that all synthetic people share: one mesh of skin, eyes, teeth, tongue and lashes.

A person is a shape of the base mesh; one sparse product poses the fine mesh. Vertices are in
decimetres, x to the person's left, y up, z forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lipstream.types import Float32
from lipstream_models.synthetic.body.head_model import UNITS, Float, HeadSource, Index
from lipstream_models.synthetic.body.mesh import Part, refine, select
from lipstream_models.synthetic.body.skin import ramp, read_mask
from lipstream_models.synthetic.body.teeth_and_eyes import Prop, grid_quads, teeth

SKIN, EYE, TOOTH, TONGUE, LASH, HAIR, CLOTH = range(7)
"""Materials of vertices."""

UPPER_LIP, LOWER_LIP = 474, 493
"""Base vertices of the inner lips on the middle plane: their distance is the opening."""
_RIMA = (0.0, 6.60, 1.50)
"""Where the lips meet, on the base head."""
_POLAR = np.array(
    [0.01, 0.09, 0.15, 0.18, 0.24, 0.30, 0.36, 0.41, 0.45, 0.49, 0.53, 0.6, 0.75, 0.95, 1.2, 1.5]
)
"""Rings of an eyeball, radians from its front; the iris ends at 0.47."""
_RING = 28


@dataclass(frozen=True, slots=True)
class Eyeball:
    """One eye's mesh, carried along by the helper vertices that it replaces."""

    prop: Prop
    polar: Float
    """(n,) radians from the front of each vertex."""
    angle: Float
    """(n,) radians round the iris."""


class Anatomy:
    """The fine mesh of a head and how it follows the base mesh. Shared, never written to."""

    def __init__(self, source: HeadSource) -> None:
        self.source, base = source, source.base
        self.unit_names = unit_names(source)
        self.skin = _skin(source)
        self.whole = refine(base, _visible_faces(source), 1)
        self.places = self.skin.place(base.vertices)
        whole = KDTree(self.whole.place(base.vertices))
        self.nearest: Index = np.asarray(whole.query(self.places)[1], np.int64)
        self.lips = read_mask(source.mask("lips"), self.skin.texture, 2.0)
        self.inside = read_mask(source.mask("inside-mouth"), self.skin.texture, 3.0)
        tongue = refine(base, base.groups["helper-tongue"], 1)
        lashes = [f for name, f in base.groups.items() if "eyelashes-2" in name]  # the upper ones
        lash = refine(base, np.concatenate(lashes), 1)
        self.eyes = [_eyeball(source, name) for name in ("helper-l-eye", "helper-r-eye")]
        self.teeth = teeth(base)
        self._assemble([self.skin, tongue, lash])

    def _assemble(self, parts: list[Part]) -> None:
        props = [eye.prop for eye in self.eyes] + self.teeth
        self._matrix = sp.vstack([part.matrix for part in parts]).tocsr().astype(np.float32)
        counts = [part.matrix.shape[0] for part in parts] + [len(p.vertices) for p in props]
        starts = np.concatenate([[0], np.cumsum(counts)])
        quads = [part.quads for part in parts] + [_front(prop) for prop in props]
        self.triangles = triangulate(
            np.concatenate([q + s for q, s in zip(quads, starts, strict=False)])
        )
        kinds = [SKIN, TONGUE, LASH, EYE, EYE, TOOTH, TOOTH]
        self.materials = np.repeat(np.array(kinds, np.uint8), counts)
        self.starts = starts
        rest = self.source.base.vertices
        self._carried = [_Carried.of(prop, rest) for prop in props]

    @property
    def count(self) -> int:
        """The number of vertices."""
        return int(self.starts[-1])

    @cached_property
    def body_vertices(self) -> Index:
        """Base vertices of the visible skin."""
        return np.unique(self.source.base.quads[_visible_faces(self.source)])

    def part(self, number: int) -> slice:
        """Return where a part's vertices are: skin, tongue, lashes, two eyes, two rows of teeth."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))

    def named(self, units: Float32) -> dict[str, float]:
        """Return a row of (U,) units by name, without those at rest."""
        pairs = zip(self.unit_names, units.tolist(), strict=True)
        return {name: weight for name, weight in pairs if weight > 1e-3}

    def pose(self, shape: Float, units: Mapping[str, float]) -> "Posed":
        """Return the fine mesh of a person (V, 3) with face units applied."""
        moved = self.source.pose(shape, units)
        points = np.empty((self.count, 3), np.float32)
        fine = self._matrix @ moved.astype(np.float32)
        points[: len(fine)] = fine
        tongue = points[self.part(1)]
        _flatten(tongue)
        for number, carried in enumerate(self._carried):
            points[self.part(3 + number)] = carried.place(moved)
        gap = float(moved[UPPER_LIP, 1] - moved[LOWER_LIP, 1])
        front = float(max(moved[UPPER_LIP, 2], moved[LOWER_LIP, 2]))
        return Posed(points, max(gap, 0.0), front)


@dataclass(frozen=True, slots=True)
class Posed:
    """A head in one pose."""

    points: Float32
    """(N, 3) dm."""
    gap: float
    """Opening between the inner lips, dm."""
    lip_front: float
    """z of the inner lips, dm."""


@dataclass(frozen=True, slots=True)
class _Carried:
    """A rigid-ish prop that follows the affine motion of helper vertices."""

    anchor: Index
    solve: Float
    """(4, A): affine motion from the anchors' places."""
    vertices: Float
    """(n, 4) homogeneous."""

    @classmethod
    def of(cls, prop: Prop, rest: Float) -> "_Carried":
        anchors = np.column_stack([rest[prop.anchor], np.ones(len(prop.anchor))])
        vertices = np.column_stack([prop.vertices, np.ones(len(prop.vertices))])
        return cls(prop.anchor, np.linalg.pinv(anchors), vertices)

    def place(self, moved: Float) -> Float:
        return np.asarray(self.vertices @ (self.solve @ moved[self.anchor]))


def unit_names(source: HeadSource) -> tuple[str, ...]:
    """Return the names of all face units, in the order of unit vectors."""
    return tuple(sorted(path.stem for path in (source.root / UNITS).glob("*.target")))


def triangulate(quads: Index) -> NDArray[np.int32]:
    """Return the (T, 3) triangles of (F, 4) quads."""
    both = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    proper = (both[:, 0] != both[:, 1]) & (both[:, 1] != both[:, 2]) & (both[:, 0] != both[:, 2])
    return np.ascontiguousarray(both[proper], np.int32)


def _visible_faces(source: HeadSource) -> Index:
    """Return the faces of head and neck that a camera in front can see, the mouth included."""
    base = source.base
    faces = base.groups["body"]
    corners = base.vertices[base.quads[faces]]
    above = corners[..., 1].min(1) > 5.2
    seen = (corners[..., 2].max(1) > -0.15) & (np.abs(corners[..., 0]).max(1) < 1.9)
    return np.asarray(faces[above & seen], np.int64)


def _skin(source: HeadSource) -> Part:
    """Refine the skin twice where it is painted in detail, elsewhere once.

    Both parts overlap by a ring of faces, so no crack opens between them.
    """
    base, faces = source.base, _visible_faces(source)
    finer = _detailed(base.vertices[base.quads[faces]].mean(1))
    rim = np.isin(base.quads[faces], base.quads[faces[~finer]]).any(1)
    chosen = []
    for levels, kept in ((2, finer), (1, ~finer | rim)):
        part = refine(base, faces, levels)
        used, quads = select(part.quads, np.flatnonzero(np.repeat(kept, 4**levels)))
        chosen.append(Part(part.matrix[used], quads, part.texture[used]))
    fine, coarse = chosen
    return Part(
        sp.vstack([fine.matrix, coarse.matrix]).tocsr(),
        np.concatenate([fine.quads, coarse.quads + fine.matrix.shape[0]]),
        np.concatenate([fine.texture, coarse.texture]),
    )


def _detailed(middles: Float) -> NDArray[np.bool_]:
    """Tell which faces lie on the front of the face, and not where the mesh is dense anyway."""
    x, y, z = np.abs(middles[:, 0]), middles[:, 1], middles[:, 2]
    front = (z > 0.7) & (x < 0.75) & (y > 6.05) & (y < 7.75)
    eyes = np.hypot(x - 0.308, y - 7.284) < 0.19
    mouth = (z < 1.45) & (np.hypot(x / 0.33, (y - 6.6) / 0.25) < 1)
    return np.asarray(front & ~eyes & ~mouth)


def _front(prop: Prop) -> Index:
    """Return the quads of a prop that can face the camera."""
    a, b, c, d = (prop.vertices[prop.quads[:, k]] for k in range(4))
    middle = (a + b + c + d) / 4
    ahead = np.abs(np.cross(c - a, d - b)[:, 2]) > 0  # flat ones never show
    half = len(prop.vertices) > 1000  # rows of teeth: their backs are hidden
    return prop.quads[ahead & ((middle[:, 2] > _tooth_back(middle)) | (not half))]


def _tooth_back(middle: Float) -> Float:
    """Return z of the middle of the arch of teeth at (n, 3) places, less a little."""
    across = np.clip(np.abs(middle[:, 0]) / 0.285, 0, 1)
    return np.asarray(0.98 + 0.46 * np.sqrt(1 - across**2) ** 0.9 - 0.035)


def _flatten(tongue: Float32) -> None:
    """Lower the tongue in place and set it back: as shipped it fills the mouth."""
    floor, middle = tongue[:, 1].min(), tongue[:, 0].mean()
    tongue[:, 1] = floor + (tongue[:, 1] - floor) * 0.72 - 0.015
    tongue[:, 2] -= 0.07
    tongue[:, 0] = middle + (tongue[:, 0] - middle) * 1.05


def _eyeball(source: HeadSource, name: str) -> Eyeball:
    anchor = source.base.group_vertices(name)
    points = source.base.vertices[anchor]
    centre = (points.max(0) + points.min(0)) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).mean())
    turn = np.linspace(0, 2 * np.pi, _RING, endpoint=False)
    p, a = (grid.ravel() for grid in np.meshgrid(_POLAR, turn, indexing="ij"))
    ball = np.stack([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], -1)
    bulge = radius * (1 + 0.035 * ramp(0.62, 0.1, p))
    vertices = centre + ball * bulge[:, None]
    quads = grid_quads(len(_POLAR), _RING, wrap=True)
    prop = Prop(name, vertices, quads[:, ::-1], np.zeros((len(vertices), 4)), anchor)
    return Eyeball(prop, p, a)
