"""Grow the hair of the face, which moves with it: brows, lashes and beard."""

import numpy as np
import scipy.sparse as sp

from lipstream_models.synthetic.blender.hair import Strands, Surface
from lipstream_models.synthetic.body.appearance import Beard, BrowStyle
from lipstream_models.synthetic.body.head_model import BaseMesh, Float
from lipstream_models.synthetic.body.mesh import scatter, unit
from lipstream_models.synthetic.body.skin import (
    beard_density,
    brow_density,
    brow_shape,
    ramp,
    waves,
)


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
