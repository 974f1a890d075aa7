"""Grow hair, brows and lashes as strands: (n, k, 3) polylines with a radius per point."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from .mesh import Roots, scatter, unit
from .skin import brow_density, brow_shape, hairline, ramp, waves
from .source import BaseMesh, Float, Index


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


@dataclass(frozen=True, slots=True)
class Cut:
    """The hairstyle: a side-parted bob."""

    count: int = 34000
    parting: float = 0.20
    """x of the parting, dm."""
    length: float = 6.34
    """y of the tips on the base head, dm."""
    radius: float = 0.0046
    seed: int = 9


_STEPS = 66
_STEP = 0.05


def bob(skin: Surface, cut: Cut) -> Strands:
    """Grow a parted bob by letting each hair run along a flow over the scalp."""
    rng = np.random.default_rng(cut.seed)
    roots = _scalp_roots(skin, cut, rng)
    path = _grow(skin, roots, cut, rng)
    place = roots.at(skin.places)
    return _trim(path, place, cut, rng)


def _scalp_roots(skin: Surface, cut: Cut, rng: np.random.Generator) -> Roots:
    above = hairline(skin.places)
    density = ramp(-0.08, 0.16, above) * (skin.places[:, 1] > 6.5)
    density = density * ~((np.abs(skin.places[:, 0]) > 0.77) & (skin.places[:, 1] < 7.42))
    roots = scatter(skin.points, skin.quads, density + 1e-12, count=cut.count, rng=rng)
    place = roots.at(skin.places)
    edge = hairline(place) + 0.012 * waves(place, 9.0, 1) + rng.normal(0, 0.022, len(place))
    behind_ear = (np.abs(place[:, 0]) > 0.55) & (place[:, 1] < 7.38)
    return roots.take((edge > 0.0) & ~behind_ear)


def _flow(x: Float, side: Float, clump: Float) -> Float:
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


def _grow(skin: Surface, roots: Roots, cut: Cut, rng: np.random.Generator) -> Float:
    """Return (n, steps + 1, 3) paths."""
    x, normal, place = roots.at(skin.points), unit(roots.at(skin.normals)), roots.at(skin.places)
    side = np.where(place[:, 0] > cut.parting + rng.normal(0, 0.008, len(x)), 1.0, -1.0)
    clump = np.stack([waves(x, 5.0, k) * 0.5 + waves(x, 14.0, 10 + k) * 0.35 for k in range(3)], 1)
    clump *= 0.16
    layer = rng.random(len(x))
    solid = (skin.places[:, 1] > 5.0) & ~(
        (np.abs(skin.places[:, 0]) > 0.76) & (skin.places[:, 1] > 6.75) & (skin.places[:, 1] < 7.45)
    )  # hair passes over the ears' place as if they were flat
    tree = cKDTree(skin.points[solid])
    points, normals = skin.points[solid], skin.normals[solid]
    near = ramp(0.0, 0.10, hairline(place))  # hairs at the edge lie flat
    heading = unit(normal * (0.25 + 0.75 * near)[:, None] + _flow(x, side, clump))
    path = [x]
    for step in range(_STEPS):
        _, index = tree.query(x, workers=2)
        out = normals[index]
        height = ((x - points[index]) * out).sum(1)
        lift = 0.012 + (0.10 * layer + 0.03) * ramp(0, 0.35, np.array(step / _STEPS)) * (
            0.35 + 0.65 * near
        )
        heading = heading * 0.62 + _flow(x, side, clump) * 0.38
        inward = np.minimum((heading * out).sum(1), 0) * (height < lift)
        heading = unit(heading - out * inward[:, None])
        x = x + heading * _STEP
        distance, index = tree.query(x, workers=2)
        out = normals[index]
        height = ((x - points[index]) * out).sum(1)
        push = np.clip(lift - height, 0, 0.03) * (distance < 0.6)
        x = x + out * push[:, None]
        path.append(x)
    return np.stack(path, 1)


def _trim(path: Float, place: Float, cut: Cut, rng: np.random.Generator) -> Strands:
    """Cut the paths to length and resample them; wisps and taper come last."""
    count, samples = len(path), 20
    shift = path[:, 0, 1].max() - 8.49  # this head's crown against the base head's
    tip = cut.length + shift + rng.normal(0, 0.035, count) + 0.03 * waves(path[:, 0], 5.0, 5)
    tip -= 0.12 * ramp(0.6, -0.3, place[:, 2])
    below = path[:, :, 1] < tip[:, None]
    end = np.where(below.any(1), below.argmax(1), _STEPS).astype(float)
    at = np.linspace(0, 1, samples)[None] * end[:, None]
    index = np.clip(at.astype(int), 0, _STEPS - 1)
    part = (at - index)[..., None]
    row = np.arange(count)[:, None]
    hair = path[row, index] * (1 - part) + path[row, index + 1] * part
    along = np.linspace(0, 1, samples)
    flat = hair.reshape(-1, 3)
    wisp = np.stack([waves(flat, 9.0, 20 + k) for k in range(3)], 1).reshape(hair.shape)
    hair += (wisp * 0.012 + rng.normal(0, 0.007, (count, 1, 3))) * along[None, :, None]
    reach = np.abs(hair[:, :, 0]).max(1)
    keep = reach < np.percentile(reach, 99.3)  # no strays
    taper = np.concatenate([np.full(samples - 3, 1.0), [0.8, 0.55, 0.2]])
    thin = 0.38 + 0.62 * ramp(-0.03, 0.11, hairline(place))  # fine hairs at the edge
    radii = cut.radius * taper[None] * thin[:, None] * rng.uniform(0.8, 1.15, (count, 1))
    return Strands(hair[keep], radii[keep])


class Brows:
    """Brow hairs, fixed to the skin."""

    def __init__(self, skin: Surface, count: int = 760, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        area = (np.abs(skin.places[:, 0]) < 0.75) & (np.abs(skin.places[:, 1] - 7.5) < 0.25)
        wide = (area & (skin.places[:, 2] > 0.9)).astype(float)
        roots = scatter(skin.points, skin.quads, wide + 1e-12, count=60000, rng=rng)
        chosen = rng.random(len(roots)) < brow_density(roots.at(skin.places)) * 0.8
        self._roots = roots.take(chosen & (np.cumsum(chosen) <= count))
        self._random = rng.normal(size=(len(self._roots), 3))

    def strands(self, skin: Surface) -> Strands:
        """Return the hairs on a posed skin."""
        root, normal = self._roots.at(skin.points), unit(self._roots.at(skin.normals))
        place = self._roots.at(skin.places)
        along, off = brow_shape(place)
        t = np.clip(along, 0, 1)
        side = np.sign(place[:, 0])
        # upright at the inner end, then outward; upper hairs lean down to the middle of the brow
        angle = 1.25 * (1 - t) ** 1.5 + 0.10 - 0.55 * np.clip(off, -1, 1) * ramp(0.1, 0.5, t)
        angle = np.clip(angle + self._random[:, 0] * 0.09, -0.7, 1.5)
        lean = np.stack([side * np.cos(angle), np.sin(angle), -0.25 * t], 1)
        lean = unit(lean - normal * (lean * normal).sum(1, keepdims=True))
        inner = 0.7 + 0.3 * ramp(0.0, 0.3, t)
        length = (0.062 + 0.012 * self._random[:, 1]) * (1 - 0.35 * t) * inner
        k = np.linspace(0, 1, 6)
        arc = 0.011 * np.sin(k * 2.2)[None] * (1 + 0.3 * self._random[:, 2:3])
        points = (
            root[:, None] + (length[:, None] * k)[..., None] * lean[:, None]
            + arc[..., None] * normal[:, None]
        )  # fmt: skip
        radii = np.linspace(0.0025, 0.0007, 6)[None] * inner[:, None]
        return Strands(points, radii)


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
