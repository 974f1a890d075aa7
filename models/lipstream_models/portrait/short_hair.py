"""Grow short hair, which stands off the scalp before it lies down."""

import numpy as np

from .hair import Strands, Surface
from .look import Crop
from .mesh import scatter, unit
from .skin import hairline, ramp, waves
from .source import Float


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
