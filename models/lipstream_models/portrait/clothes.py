"""Dress the person in a crew-neck jumper made from the body itself."""

from dataclasses import dataclass

import numpy as np

from .hair import Surface
from .mesh import select, smoothing, unit
from .props import grid_quads
from .source import Float, Index

_NECK_AXIS = (0.0, 0.35)  # x, z


@dataclass(frozen=True, slots=True)
class Garment:
    """A mesh of cloth."""

    vertices: Float
    quads: Index


def _turn(places: Float) -> Float:
    return np.arctan2(places[:, 0] - _NECK_AXIS[0], places[:, 2] - _NECK_AXIS[1])


def below_collar(places: Float) -> Float:
    """Return the height above the collar line, (N,) dm on the base head."""
    front = (1 + np.cos(_turn(places))) / 2
    return places[:, 1] - (5.98 - 0.42 * front**1.2)


def jumper(skin: Surface) -> Garment:
    """Return the body of the jumper: the skin below the collar, let out and smoothed."""
    keep = below_collar(skin.places)[skin.quads].max(1) < 0.05
    used, quads = select(skin.quads, keep)
    points = (skin.points + 0.05 * skin.normals)[used]
    smooth = smoothing(quads, len(points))
    border = np.bincount(quads.ravel(), minlength=len(points)) < 4
    for _ in range(40):
        eased = points + 0.6 * (np.asarray(smooth @ points) - points)
        points = np.where(border[:, None], points, eased)
    return Garment(points, quads)


def collar(skin: Surface, rows: int = 360, columns: int = 20) -> Garment:
    """Return the collar: a flat band swept along the collar line, which hides the cut edge."""
    ring, normal = _collar_line(skin, rows)
    tangent = unit(np.roll(ring, -1, 0) - np.roll(ring, 1, 0))
    normal = unit(normal - tangent * (normal * tangent).sum(1, keepdims=True))
    upward = np.cross(tangent, normal)
    upward *= np.sign(upward[:, 1:2])
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    c, d = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    flat = np.sign(d) * np.abs(d) ** 0.7
    rib = 1 + 0.10 * np.sin(np.arange(rows) * 2 * np.pi * 90 / rows)[:, None, None]
    points = (
        ring[:, None]
        + normal[:, None] * (0.052 + 0.038 * c * rib)
        + upward[:, None] * (0.085 * flat)
    )
    quads = grid_quads(rows + 1, columns, wrap=True) % (rows * columns)
    return Garment(points.reshape(-1, 3), quads)


def _collar_line(skin: Surface, count: int) -> tuple[Float, Float]:
    """Return the closed collar line on the skin and the normals there, (count, 3) each."""
    height = below_collar(skin.places)
    edges = np.concatenate(
        [np.stack([skin.quads[:, k], skin.quads[:, k - 1]], 1) for k in range(4)]
    )
    a, b = edges.T
    near = np.hypot(skin.places[a, 0], skin.places[a, 2] - _NECK_AXIS[1]) < 1.4
    crossing = (height[a] <= 0) & (height[b] > 0) & near
    a, b = a[crossing], b[crossing]
    t = (height[a] / (height[a] - height[b]))[:, None]
    points = skin.points[a] * (1 - t) + skin.points[b] * t
    vectors = skin.normals[a] * (1 - t) + skin.normals[b] * t
    turn = _turn(skin.places[a] * (1 - t) + skin.places[b] * t)
    order = np.argsort(turn)
    at = np.linspace(-np.pi, np.pi, count, endpoint=False)
    line, normal = (
        np.stack([np.interp(at, turn[order], f[order, k], period=2 * np.pi) for k in range(3)], 1)
        for f in (points, vectors)
    )
    return _even(line), _even(normal)


def _even(ring: Float) -> Float:
    """Return a closed curve with its high frequencies removed."""
    spectrum = np.fft.rfft(ring, axis=0)
    spectrum[14:] = 0
    return np.fft.irfft(spectrum, len(ring), axis=0)
