"""Hair as strands: (n, k, 3) polylines with a radius per point.

Hair of the head, long or short, and that of the face, which moves with it: brows, lashes, beard.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from lipstream_models.synthetic.body.appearance import Beard, Bob, BrowStyle, Crop, Tied
from lipstream_models.synthetic.body.head_model import BaseMesh, Float, Index
from lipstream_models.synthetic.body.mesh import Roots, scatter, unit
from lipstream_models.synthetic.body.skin import (
    beard_density,
    brow_density,
    brow_shape,
    hairline,
    ramp,
    waves,
)


@dataclass(frozen=True, slots=True)
class Strands:
    """Hairs ready to render."""

    points: Float
    """(n, k, 3) dm, root first."""
    radii: Float
    """(n, k) dm."""


@dataclass(frozen=True, slots=True)
class Surface:
    """The skin at one pose."""

    points: Float
    normals: Float
    quads: Index
    places: Float
    """(N, 3) the same vertices on the base head."""


_STEPS = 66
_STEP = 0.05


def bob(skin: Surface, cut: Bob) -> Strands:
    """Grow a parted bob by letting each hair run along a flow over the scalp."""
    rng = np.random.default_rng(cut.seed)
    roots = _scalp_roots(skin, cut, rng)
    floor = 5.0 if cut.length > 6.0 else 6.05  # long hair falls behind the shoulders
    path = _grow(skin, roots, _Way(_hanging, cut.parting, _STEPS, floor=floor), rng)
    place = roots.at(skin.places)
    return _trim(path, place, cut, rng)


def _scalp_roots(skin: Surface, cut: Bob | Tied, rng: np.random.Generator) -> Roots:
    above = hairline(skin.places)
    density = ramp(-0.08, 0.16, above) * (skin.places[:, 1] > 6.5)
    density = density * ~((np.abs(skin.places[:, 0]) > 0.77) & (skin.places[:, 1] < 7.42))
    roots = scatter(skin.points, skin.quads, density + 1e-12, count=cut.count, rng=rng)
    place = roots.at(skin.places)
    edge = hairline(place) + 0.012 * waves(place, 9.0, 1) + rng.normal(0, 0.022, len(place))
    behind_ear = (np.abs(place[:, 0]) > 0.55) & (place[:, 1] < 7.38)
    return roots.take((edge > 0.0) & ~behind_ear)


def _hanging(x: Float, side: Float, clump: Float) -> Float:
    """Return the direction (n, 3) in which hair at x wants to go: off the parting, then down."""
    outward = np.maximum(ramp(0.30, 0.86, np.abs(x[:, 0])) * 0.9 + 0.1, 0)
    back = ramp(0.55, -0.1, x[:, 2])
    fall = np.maximum(outward, back * 0.8)
    flow = np.stack(
        [
            side * (1 - fall) * (1 - 0.65 * back),
            -0.25 - 1.3 * fall,
            -0.42 * (1 - fall) * (1 - 0.2 * back),
        ],
        1,
    )
    low = ramp(7.75, 7.3, x[:, 1])
    flow[:, 2] -= np.clip(x[:, 2] - 1.02, 0, 1) * 6 * low  # keep the face free
    curl = ramp(7.0, 6.25, x[:, 1]) * ramp(0.5, 0.8, np.abs(x[:, 0]))
    flow[:, 0] -= side * 0.75 * curl  # tips turn in
    return unit(flow + clump)


@dataclass(frozen=True, slots=True)
class _Way:
    """Where hair goes."""

    flow: Callable[[Float, Float, Float], Float]
    """Direction (n, 3) at places (n, 3), for the sides of the parting (n,) and clumps (n, 3)."""
    parting: float
    steps: int
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """From the base head to this one: flows are written for the base head."""
    floor: float = 5.0
    """Hair passes through the body below this height on the base head."""


def _grow(skin: Surface, roots: Roots, way: _Way, rng: np.random.Generator) -> Float:
    """Return (n, steps + 1, 3) paths."""
    x, normal, place = roots.at(skin.points), unit(roots.at(skin.normals)), roots.at(skin.places)
    side = np.where(place[:, 0] > way.parting + rng.normal(0, 0.008, len(x)), 1.0, -1.0)
    clump = np.stack([waves(x, 5.0, k) * 0.5 + waves(x, 14.0, 10 + k) * 0.35 for k in range(3)], 1)
    clump *= 0.16
    layer, shift = rng.random(len(x)), np.array(way.shift)
    solid = (skin.places[:, 1] > way.floor) & ~(
        (np.abs(skin.places[:, 0]) > 0.76) & (skin.places[:, 1] > 6.75) & (skin.places[:, 1] < 7.45)
    )  # hair passes over the ears' place as if they were flat
    tree = KDTree(skin.points[solid])
    points, normals = skin.points[solid], skin.normals[solid]
    near = ramp(0.0, 0.10, hairline(place))  # hairs at the edge lie flat
    heading = unit(normal * (0.25 + 0.75 * near)[:, None] + way.flow(x - shift, side, clump))
    path = [x]
    for step in range(way.steps):
        _, index = tree.query(x, workers=1)
        out = normals[index]
        height = ((x - points[index]) * out).sum(1)
        lift = 0.012 + (0.10 * layer + 0.03) * ramp(0, 0.35, np.array(step / way.steps)) * (
            0.35 + 0.65 * near
        )
        heading = heading * 0.62 + way.flow(x - shift, side, clump) * 0.38
        inward = np.minimum((heading * out).sum(1), 0) * (height < lift)
        heading = unit(heading - out * inward[:, None])
        x = x + heading * _STEP
        distance, index = tree.query(x, workers=1)
        out = normals[index]
        height = ((x - points[index]) * out).sum(1)
        push = np.clip(lift - height, 0, 0.03) * (distance < 0.6)
        x = x + out * push[:, None]
        path.append(x)
    return np.stack(path, 1)


def _trim(path: Float, place: Float, cut: Bob, rng: np.random.Generator) -> Strands:
    """Cut the paths to length and resample them; wisps and taper come last."""
    count, samples = len(path), 56 if cut.wave else 20
    shift = path[:, 0, 1].max() - 8.49  # this head's crown against the base head's
    tip = cut.length + shift + rng.normal(0, 0.035, count) + 0.03 * waves(path[:, 0], 5.0, 5)
    tip -= 0.12 * ramp(0.6, -0.3, place[:, 2])
    below = path[:, :, 1] < tip[:, None]
    end = np.where(below.any(1), below.argmax(1), _STEPS).astype(float)
    at = np.linspace(0, 1, samples)[None] * end[:, None]
    hair = _sampled(path, at)
    along = np.linspace(0, 1, samples)
    flat = hair.reshape(-1, 3)
    wisp = np.stack([waves(flat, 9.0, 20 + k) for k in range(3)], 1).reshape(hair.shape)
    hair += (wisp * 0.012 + rng.normal(0, 0.007, (count, 1, 3))) * along[None, :, None]
    if cut.wave:
        hair += _swing(hair, cut)
    reach = np.abs(hair[:, :, 0]).max(1)
    keep = reach < np.percentile(reach, 99.3)  # no strays
    taper = np.concatenate([np.full(samples - 3, 1.0), [0.8, 0.55, 0.2]])
    thin = 0.38 + 0.62 * ramp(-0.03, 0.11, hairline(place))  # fine hairs at the edge
    radii = cut.radius * taper[None] * thin[:, None] * rng.uniform(0.8, 1.15, (count, 1))
    return Strands(hair[keep], radii[keep])


def _swing(hair: Float, cut: Bob) -> Float:
    """Return how far hairs (n, k, 3) swing off their way, locks of them together."""
    root = hair[:, 0]
    steps = np.linalg.norm(np.diff(hair, axis=1, prepend=hair[:, :1]), axis=2)
    run = np.cumsum(steps, 1)
    phase = 2.5 * waves(root, 3.0, 30)[:, None] + 2 * np.pi * run / cut.wave_length
    grown = cut.wave * ramp(0.1, 1.2, run)
    return np.stack([grown * np.sin(phase), 0 * run, grown * np.cos(phase)], -1)


def _sampled(path: Float, at: Float) -> Float:
    """Return the points (n, k, 3) of paths (n, steps + 1, 3) at fractional steps (n, k)."""
    index = np.clip(at.astype(int), 0, path.shape[1] - 2)
    part = (at - index)[..., None]
    row = np.arange(len(path))[:, None]
    return np.asarray(path[row, index] * (1 - part) + path[row, index + 1] * part)


def tied(skin: Surface, cut: Tied) -> Strands:
    """Grow hair that runs from the parting to the back of the head, with loose hairs and locks."""
    rng = np.random.default_rng(cut.seed)
    roots = _scalp_roots(skin, cut, rng)
    head = skin.places[:, 1] > 7.0
    shift = (skin.points[head] - skin.places[head]).mean(0)
    way = _Way(_backward, cut.parting, _TIED_STEPS, tuple(shift.tolist()))
    path = _grow(skin, roots, way, rng)
    place = roots.at(skin.places)
    thin = 0.45 + 0.55 * ramp(-0.03, 0.11, hairline(place))
    hair = shift + _loosened(path - shift, place, cut, rng)
    end = _TIED_STEPS * rng.uniform(0.7, 1.0, (len(hair), 1))
    hair = _sampled(hair, np.linspace(0, 1, 20)[None] * end)
    taper = np.concatenate([np.full(17, 1.0), [0.9, 0.8, 0.6]])
    radii = cut.radius * taper[None] * thin[:, None] * rng.uniform(0.75, 1.2, (len(hair), 1))
    return Strands(hair, radii)


_TIED_STEPS = 40


def _backward(x: Float, side: Float, clump: Float) -> Float:
    """Return the direction in which tied hair goes: off the parting, above the ear, and back."""
    aside = ramp(0.25, 0.80, np.abs(x[:, 0]))
    top = ramp(7.95, 8.35, x[:, 1])
    ear = ramp(7.62, 7.40, x[:, 1]) * ramp(0.0, 0.4, x[:, 2])
    flow = np.stack(
        [
            side * (0.85 * top + 0.18) * (1 - 0.8 * aside),
            -0.55 * aside - 0.15 + 0.75 * ear,
            -0.42 - 0.6 * aside,
        ],
        1,
    )
    return unit(flow + 0.8 * clump)


def _loosened(path: Float, place: Float, cut: Tied, rng: np.random.Generator) -> Float:
    """Return the paths waved a little; some hairs stand off, and two locks hang before the ears."""
    count, steps = path.shape[:2]
    along = np.linspace(0, 1, steps)[None, :, None]
    flat = path.reshape(-1, 3)
    wisp = np.stack([waves(flat, 8.0, 20 + k) for k in range(3)], 1).reshape(path.shape)
    hair = path + (0.010 * wisp + rng.normal(0, 0.006, (count, 1, 3))) * np.minimum(4 * along, 1)
    stray = rng.choice(count, cut.loose, replace=False)
    outward = unit(path[stray, 6] - np.array([0.0, 7.4, 0.3]))[:, None]
    rise = np.minimum(rng.gamma(2.0, 0.018, (cut.loose, 1, 1)), 0.08) * np.sin(
        np.pi * np.minimum(1.2 * along, 1)
    )
    hair[stray] += outward * rise
    before_ear = (np.abs(place[:, 0]) > 0.60) & (place[:, 2] > 0.62) & (place[:, 1] < 7.62)
    for way in (-1.0, 1.0):
        near = np.flatnonzero(before_ear & (np.sign(place[:, 0]) == way))[: cut.locks]
        if len(near):
            hair[near] = _lock(path[near, 0], way, steps, rng)
    return np.asarray(hair)


def _lock(root: Float, side: float, steps: int, rng: np.random.Generator) -> Float:
    """Return hairs (n, steps, 3) that hang from their roots in one soft curve."""
    t = np.linspace(0, 1, steps)[None]
    count = len(root)
    length = rng.uniform(0.45, 1.0, (count, 1))
    bow = 0.07 * np.sin(np.pi * t * (0.9 + 0.2 * rng.random((count, 1)))) + 0.035
    curve = 0.03 * np.sin(2 * np.pi * t * length + 0.6)
    spread = rng.normal(0, 0.022, (count, 1)) * t
    x = side * (bow * np.minimum(5 * t, 1) + spread)
    gather = root.mean(0) * 0.75 + root * 0.25
    start = root[:, None] * (1 - np.minimum(3 * t, 1))[..., None]
    base = start + gather[:, None] * np.minimum(3 * t, 1)[..., None]
    offset = np.stack([x, -length * t, curve + rng.normal(0, 0.015, (count, 1)) * t], -1)
    return np.asarray(base + offset)


def cropped(skin: Surface, cut: Crop, count: int, seed: int) -> Strands:
    """Grow ``count`` short hairs, fewer at the edges: up on top, forward and down at the sides."""
    rng = np.random.default_rng(seed)
    above = hairline(skin.places, cut.recede)
    free = ~((np.abs(skin.places[:, 0]) > 0.77) & (skin.places[:, 1] < 7.42))
    density = ramp(-0.06, 0.20, above) * (skin.places[:, 1] > 6.5) * free
    roots = scatter(skin.points, skin.quads, density + 1e-12, count=count, rng=rng)
    place = roots.at(skin.places)
    edge = hairline(place, cut.recede) + 0.02 * waves(place, 9.0, 1)
    edge = edge + rng.normal(0, 0.03, count)
    behind_ear = (np.abs(place[:, 0]) > 0.55) & (place[:, 1] < 7.36) & (place[:, 2] < 0.58)
    roots = roots.take((edge > 0) & ~behind_ear)
    place, normal = roots.at(skin.places), unit(roots.at(skin.normals))
    top = ramp(7.80, 8.30, place[:, 1])
    near = ramp(0.0, 0.14, hairline(place, cut.recede))
    length = cut.length * (cut.sides + (1 - cut.sides) * top) * (0.5 + 0.5 * near)
    length = length * rng.uniform(0.6, 1.15, len(length))
    heading = normal * (0.22 + 0.5 * top * near)[:, None]
    start = roots.at(skin.points)
    if cut.coil:
        return _coiled(start, normal, length, cut, rng)
    return _bend(start, heading, _combed(place, cut, rng), length, cut.radius)


def _coiled(
    root: Float, normal: Float, length: Float, cut: Crop, rng: np.random.Generator
) -> Strands:
    """Return hairs that wind outward in coils."""
    samples = 14
    across = unit(np.cross(normal, [0.3, 1.0, 0.2]))
    upward = np.cross(normal, across)
    lean = unit(normal + 0.35 * rng.normal(size=normal.shape))
    t = np.linspace(0, 1, samples)[None, :, None]
    turn = rng.uniform(0, 2 * np.pi, (len(root), 1, 1)) + 2 * np.pi * 2.6 * t
    wind = np.cos(turn) * across[:, None] + np.sin(turn) * upward[:, None]
    points = root[:, None] + (0.85 * t * length[:, None, None]) * lean[:, None]
    points = points + cut.coil * np.minimum(3 * t, 1) * wind - 0.008 * normal[:, None]
    radii = cut.radius * np.concatenate([np.full(samples - 3, 1.0), [0.85, 0.7, 0.5]])
    return Strands(points, np.repeat(radii[None], len(root), 0))


def _combed(place: Float, cut: Crop, rng: np.random.Generator) -> Float:
    """Return the direction (n, 3) in which hairs lie down."""
    top = ramp(7.80, 8.20, place[:, 1])
    side = np.sign(place[:, 0])
    flow = np.stack(
        [0.55 * top + 0.10 * side, 0.15 * top - 0.9 * (1 - top), 0.25 * top - 0.35 * (1 - top)], 1
    )
    fine = np.stack([waves(place, 26.0, 60 + k) for k in range(3)], 1)
    broad = np.stack([waves(place, 9.0, 70 + k) for k in range(3)], 1)
    scatter_ = rng.normal(0, 0.25, place.shape)
    return np.asarray(flow + cut.curl * (1.6 * fine + broad) + scatter_)


def _bend(root: Float, heading: Float, lie: Float, length: Float, radius: float) -> Strands:
    """Return hairs that leave along ``heading`` and turn to ``lie``."""
    samples = 8
    points = [root - 0.01 * unit(heading)]
    for k in range(samples - 1):
        t = k / (samples - 2)
        step = unit(heading * (1 - 0.55 * t) + lie * (0.25 + 0.75 * t))
        points.append(points[-1] + step * (length / (samples - 1))[:, None])
    radii = radius * np.concatenate([np.full(samples - 3, 1.0), [0.8, 0.55, 0.25]])
    return Strands(np.stack(points, 1), np.repeat(radii[None], len(root), 0))


class Brows:
    """Brow hairs, fixed to the skin."""

    def __init__(self, skin: Surface, style: BrowStyle, count: int, seed: int = 5) -> None:
        self._style = style
        rng = np.random.default_rng(seed)
        area = (np.abs(skin.places[:, 0]) < 0.75) & (np.abs(skin.places[:, 1] - 7.5) < 0.25)
        wide = (area & (skin.places[:, 2] > 0.9)).astype(float)
        roots = scatter(skin.points, skin.quads, wide + 1e-12, count=60000, rng=rng)
        chosen = rng.random(len(roots)) < brow_density(roots.at(skin.places), style) * 0.8
        self._roots = roots.take(chosen & (np.cumsum(chosen) <= count))
        self._random = rng.normal(size=(len(self._roots), 3))

    def strands(self, skin: Surface) -> Strands:
        """Return the hairs on a posed skin."""
        root, normal = self._roots.at(skin.points), unit(self._roots.at(skin.normals))
        place = self._roots.at(skin.places)
        style = self._style
        along, off = brow_shape(place, style)
        t = np.clip(along, 0, 1)
        side = np.sign(place[:, 0])
        # upright at the inner end, then outward; upper hairs lean down to the middle of the brow
        angle = 1.25 * (1 - t) ** 1.5 + 0.10 - 0.55 * np.clip(off, -1, 1) * ramp(0.1, 0.5, t)
        angle = np.clip(angle + self._random[:, 0] * style.untidy, -0.7, 1.5)
        lean = np.stack([side * np.cos(angle), np.sin(angle), -0.25 * t], 1)
        lean = unit(lean - normal * (lean * normal).sum(1, keepdims=True))
        inner = 0.7 + 0.3 * ramp(0.0, 0.3, t)
        length = (style.length + 0.012 * self._random[:, 1]) * (1 - 0.35 * t) * inner
        k = np.linspace(0, 1, 6)
        arc = 0.011 * np.sin(k * 2.2)[None] * (1 + 0.3 * self._random[:, 2:3])
        points = (
            root[:, None] + (length[:, None] * k)[..., None] * lean[:, None]
            + arc[..., None] * normal[:, None]
        )  # fmt: skip
        radii = np.linspace(style.radius, 0.0007, 6)[None] * inner[:, None]
        return Strands(points, radii)


class Whiskers:
    """Hairs of a beard, fixed to the skin."""

    def __init__(self, skin: Surface, lips: Float, style: Beard, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        density = beard_density(skin.places, lips, style.shape)
        self._style = style
        self._roots = scatter(skin.points, skin.quads, density + 1e-12, count=count, rng=rng)
        self._random = rng.normal(size=(count, 4))

    def drop(self, mask: Float) -> None:
        """Leave out the hairs that have their roots where ``mask`` (N,) is more than a tenth."""
        keep = self._roots.at(mask[:, None])[:, 0] < 0.1
        self._roots, self._random = self._roots.take(keep), self._random[keep]

    def strands(self, skin: Surface) -> Strands:
        """Return the hairs on a posed skin: down and off the middle, lying ever flatter."""
        root, normal = self._roots.at(skin.points), unit(self._roots.at(skin.normals))
        place, random = self._roots.at(skin.places), self._random
        clump = np.stack([waves(place, 16.0, 40 + k) for k in range(3)], 1)
        side = np.clip(place[:, 0] / 0.12, -1, 1)
        flow = np.stack([0.45 * side, np.full(len(side), -1.0), np.zeros(len(side))], 1)
        flow = flow + 0.45 * clump + 0.30 * random[:, :3]
        flow = unit(flow - normal * (flow * normal).sum(1, keepdims=True))
        length = self._style.length * np.clip(1 + 0.28 * random[:, 3], 0.35, 1.8)
        k = np.linspace(0, 1, 5)
        off = 0.62 * np.sin(k * 1.7)
        points = root[:, None] + length[:, None, None] * (
            k[None, :, None] * flow[:, None] + off[None, :, None] * normal[:, None]
        )
        points = points - 0.004 * normal[:, None]
        radii = np.linspace(self._style.radius, 0.0008, 5)
        return Strands(points, np.repeat(radii[None], len(points), 0))


_LASHES = {"1": (26, 0.5), "2": (80, 0.9)}
"""Number and length (of the card's) on the lower and the upper lid."""


class Lashes:
    """Eyelashes, run along the columns of the base mesh's lash cards."""

    def __init__(self, base: BaseMesh, seed: int = 6) -> None:
        rng = np.random.default_rng(seed)
        matrices = [
            _card_matrix(base, f"helper-{side}-eyelashes-{card}", count, length, rng)
            for side in "lr"
            for card, (count, length) in _LASHES.items()
        ]
        self._matrix = sp.vstack(matrices).tocsr()

    def strands(self, posed: Float) -> Strands:
        """Return the hairs on a posed base mesh (V, 3)."""
        points = np.asarray(self._matrix @ posed).reshape(-1, 5, 3)
        return Strands(points, np.repeat(np.linspace(0.0026, 0.0006, 5)[None], len(points), 0))


def _card_matrix(
    base: BaseMesh, name: str, count: int, length: float, rng: np.random.Generator
) -> sp.csr_matrix:
    """Return the matrix (5 count, V) of hairs between the card's columns of five vertices."""
    faces = base.groups[name]
    used, first = np.unique(base.texture_quads[faces], return_index=True)
    vertices = base.quads[faces].ravel()[first]
    columns = vertices[np.argsort(base.texture[used, 0])].reshape(-1, 5)
    depth = base.vertices[columns][..., 2]
    columns = np.take_along_axis(columns, np.argsort(depth, 1), 1)  # the root lies deepest
    at = np.sort(rng.uniform(0.8, len(columns) - 1.6, count))
    index = at.astype(int)
    part = (at - index)[:, None]
    reach = np.linspace(0, 1, 5)[None] * (length * rng.uniform(0.65, 1.0, count))[:, None] * 4
    low = np.minimum(reach.astype(int), 3)
    up = reach - low
    rows = np.repeat(np.arange(count * 5).reshape(count, 5)[..., None], 4, -1)
    row = index[:, None]
    where = [
        columns[row, low],
        columns[row, low + 1],
        columns[row + 1, low],
        columns[row + 1, low + 1],
    ]
    weight = [(1 - part) * (1 - up), (1 - part) * up, part * (1 - up), part * up]
    entries = (np.stack(weight, -1).ravel(), (rows.ravel(), np.stack(where, -1).ravel()))
    return sp.csr_matrix(entries, (count * 5, len(base.vertices)))
