"""Put glasses on: two rims, a bridge and temples, bent from wire, fitted to the eyes."""

import numpy as np

from .clothes import Garment
from .hair import Surface
from .look import Glasses
from .mesh import unit
from .props import grid_quads
from .source import Float, Index

_CLEAR = 0.05
"""How far the rims stand off what lies behind them, dm."""


def glasses(skin: Surface, eyes: Float, look: Glasses) -> Garment:
    """Return the frame of a pair of glasses; ``eyes`` (2, 3) are the middles of the eyeballs."""
    half = float(np.abs(eyes[:, 0] - eyes[:, 0].mean()).mean())
    middle = eyes.mean(0) + np.array([0.0, -0.035, 0.0])
    away = half + 0.015  # rims sit a little wider than the pupils
    turn = np.linspace(0, 2 * np.pi, 72)
    c, s = np.cos(turn), np.sin(turn)
    power = 2 / look.power
    rim_x = np.sign(c) * np.abs(c) ** power * look.width
    rim_y = np.sign(s) * np.abs(s) ** power * look.height
    front = _front(skin, middle, away + look.width, look.height)
    wires = []
    for side in (-1.0, 1.0):
        x = side * away + rim_x
        wires.append(np.column_stack([x, rim_y, front - 0.16 * x**2]))
        hinge = side * (away + look.width)
        wires.append(_temple(skin, middle, np.array([hinge, 0.07, front - 0.16 * hinge**2])))
    x = np.linspace(-1, 1, 15) * (away - look.width)
    bow = np.sqrt(np.clip(1 - (x / (away - look.width)) ** 2, 0, 1))
    wires.append(np.column_stack([x, 0.05 + 0.03 * bow, front + 0.02 * bow]))
    place = np.array([middle[0], middle[1], 0.0])
    tubes = [_tube(wire + place, look.radius) for wire in wires]
    counts = np.cumsum([0, *(len(vertices) for vertices, _ in tubes)])
    quads = [faces + start for (_, faces), start in zip(tubes, counts[:-1], strict=True)]
    return Garment(np.concatenate([vertices for vertices, _ in tubes]), np.concatenate(quads))


def _front(skin: Surface, middle: Float, width: float, height: float) -> float:
    """Return the depth at which flat rims touch neither brows, lids nor cheeks."""
    off = skin.points - middle
    behind = (np.abs(off[:, 0]) > 0.17) & (np.abs(off[:, 0]) < width)
    behind &= np.abs(off[:, 1]) < height + 0.02
    return float(np.max(skin.points[behind, 2] + 0.16 * off[behind, 0] ** 2)) + _CLEAR


def _temple(skin: Surface, middle: Float, hinge: Float) -> Float:
    """Return the arm from a rim's hinge along the temple to above the ear."""
    t = np.linspace(0, 1, 24)
    z = hinge[2] - t * (hinge[2] - (middle[2] - 0.95))
    y = hinge[1] + 0.0 * t
    side = np.sign(hinge[0])
    points = skin.points - np.array([middle[0], middle[1], 0.0])
    level = points[(np.abs(points[:, 1] - hinge[1]) < 0.10) & (points[:, 0] * side > 0)]
    near = np.abs(level[None, :, 2] - z[:, None]) < 0.10
    skull = np.where(near, np.abs(level[None, :, 0]), 0.0).max(1)
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
