"""Put glasses on: two rims, a bridge and temples, bent from wire, fitted to the eyes."""

import numpy as np

from lipstream_models.synthetic.blender.clothes import Garment
from lipstream_models.synthetic.blender.hair import Surface
from lipstream_models.synthetic.body.appearance import Glasses
from lipstream_models.synthetic.body.head_model import Float, Index
from lipstream_models.synthetic.body.mesh import unit
from lipstream_models.synthetic.body.teeth_and_eyes import grid_quads

_CLEAR = 0.05
"""How far the rims stand off what lies behind them, dm."""
_NOSE = 0.085
"""Half the width of the nose between the rims, dm."""


def glasses(skin: Surface, eyes: Float, look: Glasses) -> Garment:
    """Return the frame of a pair of glasses; ``eyes`` (2, 3) are the middles of the eyeballs."""
    half = float(np.abs(eyes[:, 0] - eyes[:, 0].mean()).mean())
    middle = eyes.mean(0) + np.array([0.0, -0.035, 0.0])
    away = half + 0.015  # rims sit a little wider than the pupils
    width = min(look.width, away - _NOSE)
    turn = np.linspace(0, 2 * np.pi, 72)
    c, s = np.cos(turn), np.sin(turn)
    power = 2 / look.power
    rim_x = np.sign(c) * np.abs(c) ** power * width
    rim_y = np.sign(s) * np.abs(s) ** power * look.height
    front = _front(skin, middle, away + width, look.height)
    wires = []
    for side in (-1.0, 1.0):
        x = side * away + rim_x
        wires.append(np.column_stack([x, rim_y, front - 0.16 * x**2]))
        hinge = side * (away + width)
        wires.append(_temple(skin, middle, np.array([hinge, 0.07, front - 0.16 * hinge**2])))
    wires.append(_bridge(skin, middle, away - width, front))
    place = np.array([middle[0], middle[1], 0.0])
    tubes = [_tube(wire + place, look.radius) for wire in wires]
    counts = np.cumsum([0, *(len(vertices) for vertices, _ in tubes)])
    quads = [faces + start for (_, faces), start in zip(tubes, counts[:-1], strict=True)]
    return Garment(np.concatenate([vertices for vertices, _ in tubes]), np.concatenate(quads))


def _front(skin: Surface, middle: Float, width: float, height: float) -> float:
    """Return the depth at which flat rims touch neither brows, lids nor cheeks."""
    off = skin.points - middle
    behind = (np.abs(off[:, 0]) > _NOSE) & (np.abs(off[:, 0]) < width)
    behind &= np.abs(off[:, 1]) < height + 0.02
    return float(np.max(skin.points[behind, 2] + 0.16 * off[behind, 0] ** 2)) + _CLEAR


def _bridge(skin: Surface, middle: Float, half: float, front: float) -> Float:
    """Return the bow over the nose between the rims, ``half`` its width."""
    off = skin.points - middle
    nose = (np.abs(off[:, 0]) < 0.07) & (np.abs(off[:, 1] - 0.07) < 0.05)
    rise = max(0.02, float(skin.points[nose, 2].max()) + 0.03 - front)
    x = np.linspace(-half, half, 15)
    bow = np.sqrt(np.clip(1 - (x / half) ** 2, 0, 1))
    return np.column_stack([x, 0.05 + 0.03 * bow, front + rise * bow])


def _temple(skin: Surface, middle: Float, hinge: Float) -> Float:
    """Return the arm from a rim's hinge along the temple to above the ear."""
    t = np.linspace(0, 1, 24)
    z = hinge[2] - t * (hinge[2] - (middle[2] - 0.95))
    y = hinge[1] + 0.0 * t
    side = np.sign(hinge[0])
    points = skin.points - np.array([middle[0], middle[1], 0.0])
    level = (np.abs(points[:, 1] - hinge[1]) < 0.10) & (points[:, 0] * side > 0)
    level &= np.abs(skin.places[:, 0]) < 0.76  # arms pass between the head and its ears
    temple = points[level]
    near = np.abs(temple[None, :, 2] - z[:, None]) < 0.10
    skull = np.where(near, np.abs(temple[None, :, 0]), 0.0).max(1)
    wide = np.maximum.accumulate(np.maximum(skull + 0.03, np.abs(hinge[0])))
    wide[:3] = np.abs(hinge[0]) + np.array([0.0, 0.012, 0.018])
    wide = np.convolve(np.pad(wide, 3, mode="edge"), np.ones(7) / 7, "valid")
    return np.column_stack([side * wide, y, z])


def _tube(wire: Float, radius: float, sides: int = 10) -> tuple[Float, Index]:
    """Return a round tube along a wire (n, 3)."""
    along = unit(np.gradient(wire, axis=0))
    upright = np.abs(along[:, 1:2]) < 0.9
    across = unit(np.cross(along, np.where(upright, [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])))
    upward = np.cross(along, across)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[:, None] * across[:, None] + np.sin(turn)[:, None] * upward[:, None]
    tube = wire[:, None] + radius * ring
    return tube.reshape(-1, 3), grid_quads(len(wire), sides, wrap=True)
