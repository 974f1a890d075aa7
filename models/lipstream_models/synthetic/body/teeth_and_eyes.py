"""Model what the base mesh has only as a stand-in: single teeth with gums, and eyes with irises.

Each is a fixed mesh in base-head coordinates, carried along by the affine motion of the helper
vertices it replaces.
"""

from dataclasses import dataclass

import numpy as np

from lipstream_models.synthetic.body.appearance import ENAMEL, Colour
from lipstream_models.synthetic.body.head_model import BaseMesh, Float, Index
from lipstream_models.synthetic.body.mesh import unit
from lipstream_models.synthetic.body.skin import ramp


@dataclass(frozen=True, slots=True)
class Prop:
    """A painted mesh that follows a group of helper vertices."""

    name: str
    vertices: Float
    """(N, 3) in base-head coordinates."""
    quads: Index
    colours: Float
    """(N, 4) linear RGB and gloss."""
    anchor: Index
    """Base vertices whose motion it follows."""

    def place(self, base: Float, posed: Float) -> Float:
        """Return its (N, 3) vertices when the base mesh moves to ``posed``."""
        rest = np.column_stack([base[self.anchor], np.ones(len(self.anchor))])
        motion = np.linalg.lstsq(rest, posed[self.anchor], rcond=None)[0]
        moved = np.column_stack([self.vertices, np.ones(len(self.vertices))]) @ motion
        return np.asarray(moved, np.float64)


def grid_quads(rows: int, columns: int, wrap: bool) -> Index:
    """Return the quads of a rows x columns grid; ``wrap`` joins the last column to the first."""
    last = columns if wrap else columns - 1
    row, column = np.mgrid[0 : rows - 1, 0:last]
    right = (column + 1) % columns
    corners = [row * columns + column, row * columns + right]
    corners += [(row + 1) * columns + right, (row + 1) * columns + column]
    return np.stack(corners, -1).reshape(-1, 4)


@dataclass(frozen=True, slots=True)
class _Arch:
    """One row of teeth, in dm."""

    half_width: float
    front: float
    """z of the front of the arch."""
    back: float
    """z where it ends."""
    edge: float
    """y of the biting edge at the middle."""
    widths: tuple[float, ...]
    """From the middle outward."""
    crowns: tuple[float, ...]
    """Visible heights."""
    up: float
    """+1: gums above (upper row), -1: below."""

    def point(self, s: Float) -> Float:
        """Return points (n, 3) at arc lengths from the middle; negative is the other side."""
        t = np.linspace(0, 1, 200)
        x = self.half_width * np.sin(t * np.pi / 2)
        z = self.back + (self.front - self.back) * np.cos(t * np.pi / 2) ** 0.9
        length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
        a = np.abs(s)
        lift = self.up * 0.012 * ramp(0.1, 0.45, a)
        return np.stack(
            [np.sign(s) * np.interp(a, length, x), self.edge + lift, np.interp(a, length, z)], 1
        )


UPPER = _Arch(
    0.285, 1.478, 0.98, 6.572, (0.084, 0.066, 0.076, 0.070, 0.068, 0.095, 0.09),
    (0.094, 0.081, 0.093, 0.080, 0.074, 0.07, 0.065), 1.0,
)  # fmt: skip
LOWER = _Arch(
    0.265, 1.432, 0.96, 6.575, (0.053, 0.058, 0.068, 0.070, 0.070, 0.10, 0.09),
    (0.078, 0.078, 0.088, 0.076, 0.070, 0.066, 0.06), -1.0,
)  # fmt: skip
_KINDS = np.array(
    [
        (1.00, 1.00, 0.010, 0.000),
        (0.97, 0.98, 0.014, 0.002),
        (0.91, 0.90, 0.010, 0.014),
        (0.91, 0.94, 0.010, 0.012),
        (0.87, 0.93, 0.010, 0.008),
        (0.80, 0.92, 0.008, 0.004),
        (0.74, 0.92, 0.008, 0.004),
    ]
)
"""Each tooth from the middle outward: its level, its blue, how far its corners are rounded off and
how far its edge comes to a point, dm."""
_DEEP = 0.45
"""Level of the last tooth against the first: little light gets past the lips."""
_LOWER_ROW = np.array([0.80, 0.78, 0.74])
"""Enamel of the lower row against the upper's: the upper lip's shadow is paid for in paint."""
_TOUCH = 1.08
"""Width of a tooth against its place: neighbours meet in a crease, and no dark shows between."""
GUM = np.array([0.47, 0.175, 0.16])


def teeth(base: BaseMesh, width: float = 1.0, enamel: Colour = ENAMEL) -> list[Prop]:
    """Return the upper and the lower row, drawn in sideways by ``width``."""
    anchors = ("helper-upper-teeth", "helper-lower-teeth")
    return [
        _tooth_row(name, arch, base.group_vertices(name), (width, np.array(enamel)))
        for name, arch in zip(anchors, (UPPER, LOWER), strict=True)
    ]


def _tooth_row(name: str, arch: _Arch, anchor: Index, look: tuple[float, Float]) -> Prop:
    width, enamel = look
    meshes = []
    for side in (-1.0, 1.0):
        at = 0.0
        for kind, tooth in enumerate(arch.widths):
            meshes.append(_tooth(arch, kind, side * (at + tooth / 2), enamel))
            at += tooth
    meshes.append(_gums(arch))
    vertices, quads, colours = [], [], []
    count = 0
    for mesh_vertices, mesh_quads, mesh_colours in meshes:
        vertices.append(mesh_vertices)
        quads.append(mesh_quads + count)
        colours.append(mesh_colours)
        count += len(mesh_vertices)
    place = np.concatenate(vertices) * np.array([width, 1.0, 1.0])
    return Prop(name, place, np.concatenate(quads), np.concatenate(colours), anchor)


def _frame(arch: _Arch, s: float) -> tuple[Float, Float, Float]:
    """Return the place on the arch, the direction along it and the outward normal."""
    before, here, after = arch.point(np.array([s - 0.01, s, s + 0.01]))
    along = unit((after - before) * np.array([1, 0, 1]))
    outward = np.cross(along, [0.0, 1.0, 0.0])
    return here, along, -outward if outward[2] < 0 else outward


def _tooth(arch: _Arch, kind: int, s: float, enamel: Float) -> tuple[Float, Index, Float]:
    """Return the tooth number ``kind`` from the middle, at the arc length ``s``."""
    rows, columns = 18, 32
    here, along, outward = _frame(arch, s)
    width, height = arch.widths[kind], arch.crowns[kind] + 0.05  # the root end hides in the gum
    v = np.linspace(0, 1, rows)[:, None] ** 1.4
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    round_edge = (1 - (1 - np.clip(v / 0.16, 0, 1)) ** 2) ** 0.5 * 0.97 + 0.03
    power = 0.62  # superellipse: flat faces, rounded corners
    c, d = np.cos(angle), np.sin(angle)
    share = np.sign(c) * np.abs(c) ** power
    across = share * (width / 2 * _TOUCH) * (1 - 0.10 * ramp(0.55, 1.0, v))
    depth = np.sign(d) * np.abs(d) ** power * (0.018 + 0.030 * ramp(0.0, 0.8, v)) * round_edge
    corner, point = _KINDS[kind, 2:]
    outer = np.where(share * np.sign(s) > 0, 1.25, 0.6)  # away from the middle it is rounder
    edge = corner * outer * np.abs(share) ** 4 + point * (np.abs(share) ** 1.5 - 0.5)
    rise = arch.up * (edge * (1 - v) + height * v)
    bulge = 0.010 * np.sin(np.pi * np.clip(v * 1.1, 0, 1)) + 0 * angle
    offset = across[..., None] * along + (depth + bulge)[..., None] * outward
    vertices = (here + offset + rise[..., None] * np.array([0.0, 1.0, 0.0])).reshape(-1, 3)
    colours = _enamel_colours(arch, kind, (np.abs(share) + 0 * v, v + 0 * angle), enamel)
    deep = _DEEP + (1 - _DEEP) * ramp(arch.front - 0.36, arch.front - 0.03, vertices[:, 2:])
    return (
        vertices,
        grid_quads(rows, columns, wrap=True),
        np.column_stack([colours.reshape(-1, 3) * deep, np.full(len(vertices), 0.9)]),
    )


def _enamel_colours(arch: _Arch, kind: int, place: tuple[Float, Float], enamel: Float) -> Float:
    """Return (rows, columns, 3) linear RGB: grey at the edge, warm at the gum and in the creases.

    ``place`` tells how far beside the middle of the tooth, 0 to 1, and how far from its edge.
    """
    beside, v = place
    level, blue = _KINDS[kind, :2]
    tone = enamel * level * np.array([1.0, (1 + blue) / 2, blue])
    if arch.up < 0:
        tone = tone * _LOWER_ROW
    edge, gum, crease = (
        ramp(*one)[..., None] for one in ((0.14, 0.0, v), (0.2, 0.75, v), (0.80, 0.97, beside))
    )
    tone = tone * (1 - edge * np.array([0.10, 0.08, 0.03]))
    tone = tone * (1 - gum * np.array([0.10, 0.16, 0.28]))
    return np.asarray(tone * (1 - crease * np.array([0.16, 0.20, 0.24])))


def _gums(arch: _Arch) -> tuple[Float, Index, Float]:
    rows, columns = 240, 24
    reach = sum(arch.widths)
    s = np.linspace(-reach, reach, rows)
    ends = np.concatenate([[0], np.cumsum(arch.widths)])
    crown = np.interp(np.abs(s), (ends[1:] + ends[:-1]) / 2, arch.crowns)
    nearest = np.abs(np.abs(s)[:, None] - ends[None]).min(1)
    papilla = 0.036 * np.exp(-((nearest / 0.016) ** 2))  # gum rises between teeth
    points = arch.point(s)
    along = unit(np.gradient(points, axis=0) * np.array([1, 0, 1]))
    outward = np.cross(along, [0.0, 1.0, 0.0])
    outward *= np.sign((outward * (points - [0, 0, 0.9])).sum(1))[:, None]
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    c, d = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    c = np.where(d < 0, np.sign(c) * np.abs(c) ** 0.4, c)  # blunt where it meets the teeth
    low = (crown - papilla)[:, None, None]
    rise = arch.up * (low + 0.075 * (1 + d))
    ring = points[:, None] + outward[:, None] * (0.054 * c) + rise * np.array([0.0, 1.0, 0.0])
    deep = _DEEP + (1 - _DEEP) * ramp(arch.front - 0.36, arch.front - 0.03, points[:, 2:])
    colours = np.repeat(GUM * deep, columns, 0)
    return (
        ring.reshape(-1, 3),
        grid_quads(rows, columns, wrap=True),
        np.column_stack([colours, np.full(len(colours), 0.75)]),
    )


def eyes(base: BaseMesh, iris: Colour, white: Colour, seed: int) -> list[Prop]:
    """Return both eyeballs; ``iris`` is its mean linear RGB."""
    return [
        _eye(name, base, (np.array(iris), np.array(white)), seed)
        for name in ("helper-l-eye", "helper-r-eye")
    ]


def _eye(name: str, base: BaseMesh, colours: tuple[Float, Float], seed: int) -> Prop:
    rows, columns = 150, 180
    anchor = base.group_vertices(name)
    points = base.vertices[anchor]
    centre = (points.max(0) + points.min(0)) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).mean())
    polar = np.concatenate([np.linspace(0.002, 0.6, 110), np.linspace(0.61, np.pi - 0.01, 40)])
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    p, a = np.meshgrid(polar, angle, indexing="ij")
    bulge = radius * (1 + 0.035 * ramp(0.62, 0.1, p))
    ball = np.stack([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], -1)
    place = centre + ball * bulge[..., None]
    painted = _eye_colours(p, a, colours, seed)
    return Prop(name, place.reshape(-1, 3), grid_quads(rows, columns, wrap=True), painted, anchor)


def _eye_colours(polar: Float, angle: Float, colours: tuple[Float, Float], seed: int) -> Float:
    """Return (N, 4) colours over the polar grid; the iris ends at 0.47 rad."""
    iris, white = colours
    rng = np.random.default_rng(seed)
    fibres = np.zeros_like(polar)
    for count in rng.integers(18, 90, 26):
        sway = rng.uniform(-3, 3)
        fibres += np.sin(count * angle + sway * polar * 8 + rng.uniform(0, 2 * np.pi))
    fibres = np.clip(fibres / 9 + 0.5, 0, 1.2)
    inner = 1 + 0.55 * ramp(0.36, 0.20, polar)
    limbus = 1 - 0.80 * ramp(0.39, 0.475, polar)
    warm = np.where((polar < 0.27)[..., None], np.array([1.25, 1.02, 0.75]), 1.0)
    colour = iris * ((0.45 + 0.9 * fibres) * inner * limbus)[..., None] * warm
    veins = np.array([0.66, 0.42, 0.38])
    outer = 0.5 * ramp(0.75, 1.35, polar)[..., None]
    edge = ramp(0.455, 0.525, polar)[..., None]
    colour = colour * (1 - edge) + (white * (1 - outer) + veins * outer) * edge
    pupil = ramp(0.155, 0.18, polar)[..., None]
    colour = colour * pupil + 0.003 * (1 - pupil)
    flat = np.clip(colour, 0, 0.9).reshape(-1, 3)
    return np.column_stack([flat, np.full(len(flat), 0.8)])
