"""Give the skin what the head model lacks: lines of the forehead and eyes, and uneven halves."""

import numpy as np

from lipstream_models.synthetic.body.appearance import Relief
from lipstream_models.synthetic.body.head_model import Float
from lipstream_models.synthetic.body.skin import blob, ramp, waves


def relief(places: Float, look: Relief) -> Float:
    """Return how far each vertex moves along its normal, (N,) dm; fixed to the skin."""
    height = np.zeros(len(places))
    if look.forehead:
        height -= look.forehead * _forehead(places, look.seed)
    if look.frown:
        height -= look.frown * _frown(places)
    if look.eyes:
        height -= look.eyes * _eyes(places, look.seed)
    if look.cheeks:
        height -= look.cheeks * _cheeks(places, look.seed)
    if look.lumps:
        calm = 1 - np.clip(blob(places, (0.31, 7.28, 1.39), (0.26, 0.14, 0.5)) * 1.5, 0, 1)
        calm = calm * (1 - np.clip(blob(places, (0.0, 6.6, 1.5), (0.4, 0.2, 0.5)) * 1.5, 0, 1))
        height += look.lumps * calm * waves(places, 2.2, look.seed, 3)
    return height


def _groove(off: Float, width: float) -> Float:
    """Return a groove with a soft rim on both sides: 1 in the middle, slightly below 0 beside."""
    t = (off / width) ** 2
    return np.asarray(np.exp(-t) - 0.35 * np.exp(-t / 6))


def _forehead(places: Float, seed: int) -> Float:
    x, y = places[:, 0], places[:, 1]
    sway = 0.018 * waves(places * np.array([1.0, 0.3, 0.0]), 3.0, seed)
    total = np.zeros(len(places))
    for line, strength in ((7.615, 0.7), (7.695, 1.0), (7.785, 0.8)):
        off = y - line - sway + 0.05 * x**2
        broken = 0.65 + 0.35 * np.sin(9 * x + 40 * line)
        total += strength * broken * _groove(off, 0.014)
    return np.asarray(total * ramp(0.62, 0.30, np.abs(x)) * ramp(0.9, 1.1, places[:, 2]))


def _frown(places: Float) -> Float:
    x, y = places[:, 0], places[:, 1]
    left = _groove(x - 0.085 - 0.1 * (y - 7.45), 0.014) * 0.8
    right = _groove(x + 0.075 + 0.05 * (y - 7.45), 0.014)
    reach = ramp(7.33, 7.40, y) * ramp(7.58, 7.48, y) * (places[:, 2] > 1.2)
    return np.asarray((left + right) * reach)


def _eyes(places: Float, seed: int) -> Float:
    """Return lines that fan out from the outer corner of each eye, and one below it."""
    x, y = np.abs(places[:, 0]), places[:, 1]
    from_x, from_y = x - 0.46, y - 7.27
    reach, angle = np.hypot(from_x, from_y), np.arctan2(from_y, from_x)
    angle = angle + 0.10 * waves(places, 7.0, seed + 1)
    fan = sum(_groove((angle - at) * np.maximum(reach, 0.03), 0.009) for at in (-0.55, -0.12, 0.3))
    fan = fan * ramp(0.03, 0.08, reach) * ramp(0.24, 0.12, reach) * (from_x > 0)
    below = _groove(from_y + 0.16 - 1.2 * (x - 0.30) ** 2, 0.012)
    below = below * ramp(0.16, 0.22, x) * ramp(0.48, 0.36, x)
    return np.asarray((fan + below) * (places[:, 2] > 0.9))


_FOLDS = (
    (((0.165, 6.90), (0.25, 6.78), (0.325, 6.64), (0.36, 6.52)), 1.0, 0.022),
    (((0.285, 6.50), (0.315, 6.42), (0.325, 6.32), (0.30, 6.24)), 0.8, 0.018),
    (((0.47, 6.86), (0.52, 6.72), (0.53, 6.58), (0.50, 6.44)), 0.55, 0.016),
    (((0.20, 7.13), (0.30, 7.075), (0.42, 7.07), (0.50, 7.10)), 0.5, 0.015),
)
"""Folds of one half of the face: the points (x, y) they run through, depth, and width in dm. From
the nose to the mouth, from there to the chin, down the cheek, below the eye."""


def _cheeks(places: Float, seed: int) -> Float:
    """Return the folds beside nose and mouth, and fine lines over the cheeks."""
    at = np.column_stack([np.abs(places[:, 0]), places[:, 1]])
    total = np.zeros(len(places))
    for k, (line, depth, width) in enumerate(_FOLDS):
        off, along = _from_line(at, np.array(line))
        off = off + 0.008 * waves(places, 6.0, seed + 3 + k)
        total += depth * _groove(off, width) * ramp(0.0, 0.2, along) * ramp(1.0, 0.75, along)
    lines = waves(places * np.array([1.0, 0.45, 0.6]), 26.0, seed + 8, 3)
    cheek = blob(places, (0.46, 6.85, 1.25), (0.20, 0.35, 0.4))
    lip = blob(places, (0.0, 6.70, 1.55), (0.22, 0.05, 0.2)) * np.sin(95 * places[:, 0])
    return np.asarray((total + 0.16 * cheek * lines + 0.10 * lip) * (places[:, 2] > 0.8))


def _from_line(at: Float, line: Float) -> tuple[Float, Float]:
    """Return the signed distance (n,) of points (n, 2) from a bent line, and how far along, 0-1."""
    best, side, along = np.full(len(at), np.inf), np.zeros(len(at)), np.zeros(len(at))
    parts = len(line) - 1
    for k in range(parts):
        step = line[k + 1] - line[k]
        t = np.clip((at - line[k]) @ step / (step @ step), 0, 1)
        off = at - line[k] - t[:, None] * step
        distance = np.hypot(*off.T)
        closer = distance < best
        best = np.where(closer, distance, best)
        side = np.where(closer, np.sign(step[0] * off[:, 1] - step[1] * off[:, 0]), side)
        along = np.where(closer, (k + t) / parts, along)
    return best * side, along
