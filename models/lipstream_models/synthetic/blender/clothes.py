"""Dress the person in a jumper or a shirt made from the body itself."""

from dataclasses import dataclass

import numpy as np

from lipstream_models.synthetic.blender.hair import Surface
from lipstream_models.synthetic.body.appearance import Clothes
from lipstream_models.synthetic.body.head_model import Float, Index
from lipstream_models.synthetic.body.mesh import select, smoothing, unit
from lipstream_models.synthetic.body.teeth_and_eyes import grid_quads

_NECK_AXIS = (0.0, 0.35)  # x, z


@dataclass(frozen=True, slots=True)
class Garment:
    """A mesh of cloth."""

    vertices: Float
    quads: Index


def _turn(places: Float) -> Float:
    return np.arctan2(places[:, 0] - _NECK_AXIS[0], places[:, 2] - _NECK_AXIS[1])


def below_collar(places: Float, drop: float) -> Float:
    """Return the height above the collar line, (N,) dm on the base head."""
    front = (1 + np.cos(_turn(places))) / 2
    return places[:, 1] - (5.98 - drop * front**1.2)


def garments(skin: Surface, clothes: Clothes) -> dict[str, Garment]:
    """Return the parts of what a person wears, by name."""
    parts: dict[str, Garment] = {clothes.kind: body(skin, clothes.drop)}
    if clothes.kind == "jumper":
        return parts | {"collar": crew_neck(skin, clothes.drop)}
    parts["placket"] = placket(skin, clothes.drop)
    return parts | {"collar": shirt_collar(skin, clothes.drop)}


def body(skin: Surface, drop: float) -> Garment:
    """Return the body of a garment: the skin below the collar, let out and smoothed."""
    keep = below_collar(skin.places, drop)[skin.quads].max(1) < 0.05
    used, quads = select(skin.quads, keep)
    points = (skin.points + 0.05 * skin.normals)[used]
    smooth = smoothing(quads, len(points))
    border = np.bincount(quads.ravel(), minlength=len(points)) < 4
    for _ in range(40):
        eased = points + 0.6 * (np.asarray(smooth @ points) - points)
        points = np.where(border[:, None], points, eased)
    return Garment(points, quads)


def crew_neck(skin: Surface, drop: float, rows: int = 360, columns: int = 20) -> Garment:
    """Return a jumper's collar: a flat band along the collar line, which hides the cut edge."""
    ring, normal = _collar_line(skin, drop, rows)
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


def shirt_collar(skin: Surface, drop: float, rows: int = 200) -> Garment:
    """Return a shirt's collar, open in front: a stand up the neck, and a leaf folded over it."""
    ring, normal = _collar_line(skin, drop, rows)
    outward = unit(normal * np.array([1.0, 0.0, 1.0]))
    turn = np.linspace(-np.pi, np.pi, rows, endpoint=False)
    front = np.abs(turn)  # 0 in front
    keep = front > 0.17
    point = np.exp(-(((front - 0.17) / 0.32) ** 2))  # how near the tip of the leaf
    # Profile from the foot of the stand over the fold to the edge of the leaf: out, up (dm).
    out = np.array([0.03, 0.035, 0.04, 0.05, 0.075, 0.10, 0.115, 0.125, 0.135])
    rise = np.array([-0.06, 0.06, 0.15, 0.20, 0.215, 0.19, 0.10, 0.0, -0.10])
    leaf = np.clip(np.arange(len(out)) - 4, 0, None) / 4
    height = rise[None] - 0.16 * point[:, None] * leaf[None]
    width = out[None] + 0.03 * point[:, None] * leaf[None]
    spread = np.sign(turn)[:, None] * 0.10 * point[:, None] * leaf[None]
    along = unit(np.roll(ring, -1, 0) - np.roll(ring, 1, 0))
    up = np.array([0.0, 1.0, 0.0])
    sheet = ring[:, None] + width[..., None] * outward[:, None] + height[..., None] * up
    sheet = (sheet + spread[..., None] * along[:, None])[keep]
    return _thick(sheet, 0.018)


def placket(skin: Surface, drop: float, columns: int = 7) -> Garment:
    """Return the strip of buttonholes down the front of a shirt."""
    cloth = body(skin, drop)
    middle = np.abs(cloth.vertices[:, 0]) < 0.16
    front = cloth.vertices[middle & (cloth.vertices[:, 2] > 0.5)]
    y = np.linspace(front[:, 1].max() - 0.01, front[:, 1].min(), 40)
    order = np.argsort(front[:, 1])
    z = np.interp(y, front[order, 1], front[order, 2])
    z = np.convolve(np.pad(z, 6, mode="edge"), np.ones(13) / 13, "valid") + 0.035
    x = np.linspace(-0.13, 0.13, columns)
    sheet = np.stack(
        [
            np.repeat(x[None], len(y), 0),
            np.repeat(y[:, None], columns, 1),
            z[:, None] - 0.4 * x[None] ** 2,
        ],
        -1,
    )
    return _thick(sheet, 0.012)


def _thick(sheet: Float, depth: float) -> Garment:
    """Return a sheet (rows, columns, 3) with a back, ``depth`` behind it, and an edge."""
    rows, columns, _ = sheet.shape
    across = np.gradient(sheet, axis=1)
    normal = unit(np.cross(np.gradient(sheet, axis=0), across))
    middle = sheet.reshape(-1, 3).mean(0) - np.array([0.0, 0.0, 0.6])
    inward = np.sign(((sheet - middle) * normal).sum(-1).mean())
    back = sheet - inward * depth * normal
    both = np.concatenate([sheet, back[:, ::-1]], 1)
    quads = grid_quads(rows, 2 * columns, wrap=True)
    return Garment(both.reshape(-1, 3), quads)


def _collar_line(skin: Surface, drop: float, count: int) -> tuple[Float, Float]:
    """Return the closed collar line on the skin and the normals there, (count, 3) each."""
    height = below_collar(skin.places, drop)
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
