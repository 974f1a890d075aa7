"""The skin: its albedo, gloss and relief per vertex, from where the vertex lies on the base head.

Colours are linear RGB reflectances. Landmarks are places on MakeHuman's base head (dm), which every
identity shares, so one set of masks fits all.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from lipstream.errors import InputError
from lipstream_models.synthetic.body.appearance import BrowStyle, Complexion, Relief
from lipstream_models.synthetic.body.head_model import Float

MOUTH_INSIDE = (0.44, 0.13, 0.12)
RED_PLACES = (
    (0.75, (0.52, 6.90, 1.25), (0.24, 0.20, 0.35)),  # cheeks
    (0.60, (0.0, 6.93, 1.66), (0.13, 0.11, 0.14)),  # nose
    (0.35, (0.0, 6.34, 1.47), (0.20, 0.12, 0.20)),  # chin
    (0.50, (0.85, 7.10, 0.45), (0.14, 0.35, 0.30)),  # ears
    (0.45, (0.31, 7.37, 1.38), (0.17, 0.05, 0.15)),  # upper lids
    (0.55, (0.31, 7.20, 1.38), (0.17, 0.03, 0.15)),  # lid rims below
    (0.45, (0.14, 6.83, 1.56), (0.05, 0.06, 0.10)),  # nostril wings
)
"""Where blood shows: strength, centre and radii, dm."""


def ramp(low: float, high: float, x: Float) -> Float:
    """Return the smooth step from 0 at ``low`` to 1 at ``high`` (which may be the lower)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def blob(places: Float, centre: tuple[float, float, float], radius: tuple[float, ...]) -> Float:
    """Return a Gaussian bump, mirrored over the middle plane, (N,) 0 to 1."""
    x = np.abs(places[:, 0]) - centre[0]
    y, z = places[:, 1] - centre[1], places[:, 2] - centre[2]
    a, b, c = radius
    return np.asarray(np.exp(-((x / a) ** 2) - (y / b) ** 2 - (z / c) ** 2))


def waves(places: Float, frequency: float, seed: int, octaves: int = 6) -> Float:
    """Return smooth three-dimensional noise, (N,) about -1 to 1."""
    rng = np.random.default_rng(seed)
    total = np.zeros(len(places))
    for octave in range(octaves):
        direction = rng.normal(size=(3, 3)) * frequency * (1 + 0.6 * octave)
        phase = rng.uniform(0, 2 * np.pi, 3)
        total += np.sin(places @ direction.T + phase).mean(1) / (1 + 0.4 * octave)
    return total / 1.5


def read_mask(path: Path, texture: Float, blur_px: float) -> Float:
    """Sample a mask image at (N, 2) texture coordinates, (N,) 0 to 1."""
    sharp = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if sharp is None:
        raise InputError(f"no skin mask {path}")
    image = cv2.GaussianBlur(sharp, (0, 0), blur_px)
    height, width = image.shape
    at = np.stack([(1 - texture[:, 1]) * height, texture[:, 0] * width]) - 0.5
    return np.asarray(map_coordinates(image / 255.0, at, order=1, mode="nearest"))


def brow_shape(places: Float, style: BrowStyle) -> tuple[Float, Float]:
    """Return how far along the brow (0 inner end, 1 tail) and off its line, in half widths."""
    along = (np.abs(places[:, 0]) - 0.115) / 0.45
    inside = np.clip(along, 0, 1)
    line = 7.458 + 0.075 * style.arch * np.sin(inside * 2.35) - 0.034 * inside
    half = 0.031 * style.width * (1 - 0.62 * inside**1.6)
    return along, (places[:, 1] - line) / half


def brow_density(places: Float, style: BrowStyle) -> Float:
    """Return the density of brow hairs, (N,) 0 to 1; both ends fade out."""
    along, off = brow_shape(places, style)
    width = ramp(1.35, 0.2, np.abs(off))
    ends = ramp(-0.06, 0.34, along) ** 0.8 * ramp(1.06, 0.75, along)
    return np.asarray(width * ends * (places[:, 2] > 0.9))


def hairline(places: Float, recede: float = 0.0) -> Float:
    """Return the height above the hairline, (N,) dm; negative on the face and neck.

    ``recede`` is how far it lies back beside the forehead, dm.
    """
    z = places[:, 2]
    along = [-1.2, -0.25, 0.1, 0.32, 0.55, 0.80, 0.95, 1.10, 1.22, 1.35, 1.6]
    height = [6.45, 6.60, 6.95, 7.38, 7.40, 7.32, 7.50, 7.72, 7.83, 7.91, 7.95]
    over_ear = (np.abs(places[:, 0]) > 0.77) & (places[:, 1] < 7.42)
    line = np.interp(z, along, height)
    if recede:
        corner = np.exp(-(((np.abs(places[:, 0]) - 0.42) / 0.22) ** 2)) * ramp(0.55, 0.95, z)
        line = line + recede * (0.35 * ramp(0.8, 1.1, z) + corner)
    return np.where(over_ear, -1.0, places[:, 1] - line)


_CHEEK = ([0.45, 0.62, 0.85, 1.05, 1.20, 1.32, 1.45], [7.20, 7.02, 6.80, 6.66, 6.61, 6.58, 6.56])
"""Upper edge of a beard: y by z, from the ear to the corner of the mouth."""
_JAW = ([0.2, 0.5, 1.0, 1.5], [6.46, 6.36, 6.16, 6.08])
"""Its lower edge, below the jaw."""


def beard_density(places: Float, lips: Float, shape: str = "full") -> Float:
    """Return the density of a beard with moustache, (N,) 0 to 1; ``lips`` is their mask.

    ``shape`` is that of ``appearance.Beard``: a goatee leaves the cheeks bare, a moustache the
    chin too.
    """
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    fray = 0.02 * waves(places, 10.0, 31)
    jaw = ramp(0.03, -0.07, y - np.interp(z, *_CHEEK) + fray)
    jaw = jaw * ramp(-0.05, 0.10, y - np.interp(z, *_JAW) + fray)
    jaw = jaw * ramp(0.60, 0.70, z) * ramp(0.76, 0.70, x)  # none on the lobe of the ear
    jaw = jaw * (1 - 0.55 * np.exp(-(((x - 0.17) / 0.07) ** 2) - ((y - 6.44) / 0.05) ** 2))
    moustache = ramp(0.36, 0.26, x) * ramp(6.60, 6.64, y) * (z > 1.25)
    moustache = moustache * ramp(6.83, 6.76, y + 0.25 * np.maximum(x - 0.12, 0) + fray)
    moustache = moustache * (1 - 0.5 * np.exp(-((x / 0.025) ** 2)))
    if shape == "goatee":
        jaw = jaw * ramp(0.30, 0.22, x + 0.5 * fray)
    elif shape == "moustache":
        jaw = 0.0 * jaw
    return np.asarray(np.maximum(jaw, moustache) * ramp(0.35, 0.08, lips))


@dataclass(frozen=True, slots=True)
class Masks:
    """Where on the skin something else shows, each (N,), 0 to 1."""

    lips: Float
    inside: Float
    """Of the mouth."""
    hair: Float
    """How far the tint of hair covers the skin."""


def paint(places: Float, masks: Masks, complexion: Complexion) -> Float:
    """Return (N, 4) linear RGB and gloss for vertices at (N, 3) ``places`` of the base head."""
    tone = np.array(complexion.skin)
    colour = np.repeat(tone[None], len(places), 0)
    red = np.array([1.02, 0.80, 0.76])
    for strength, centre, radius in RED_PLACES:
        weight = strength * complexion.blush * blob(places, centre, radius)
        colour *= 1 + weight[:, None] * (red - 1) * 1.3
    shadow = complexion.shadow * blob(
        places, (0.27, 7.13, 1.42), (0.15, 0.055, 0.2)
    )  # under the eyes
    colour *= 1 - shadow[:, None] * np.array([0.45, 0.55, 0.45])
    forehead = 0.5 * blob(places, (0.0, 7.70, 1.5), (0.55, 0.22, 0.5))
    colour *= 1 + forehead[:, None] * np.array([0.03, 0.035, 0.0])
    mottle = waves(places, 9.0, complexion.seed)[:, None] * np.array([0.020, 0.045, 0.05])
    grain = waves(places, 60.0, complexion.seed + 1)[:, None] * np.array([0.02, 0.035, 0.035])
    colour *= 1 + complexion.blotches * (mottle + grain)
    colour *= 1 - _moles(places, complexion)[:, None] * np.array([0.45, 0.6, 0.62])
    cover = masks.hair[:, None]
    colour = colour * (1 - cover) + np.array(complexion.hair) * cover
    return _lips(places, colour, masks, complexion)


def scalp_cover(places: Float, recede: float = 0.0) -> Float:
    """Return how far hair covers the scalp, (N,) 0 to 0.8."""
    edge = hairline(places, recede) + 0.015 * waves(places, 14.0, 7)
    return np.asarray(0.8 * ramp(-0.10, 0.12, edge))


def _moles(places: Float, complexion: Complexion) -> Float:
    """Return the density of small spots scattered over face and neck, (N,) 0 to 1."""
    rng = np.random.default_rng(complexion.seed + 2)
    total = np.zeros(len(places))
    for _ in range(complexion.moles):
        x, y = rng.uniform(-0.75, 0.75), rng.uniform(6.2, 7.9)
        radius, strength = rng.uniform(0.007, 0.014), rng.uniform(0.2, 0.6)
        off = np.hypot(places[:, 0] - x, places[:, 1] - y) / radius
        total = np.maximum(total, strength * np.exp(-(off**2)) * (places[:, 2] > 0.6))
    return total


def _lips(places: Float, colour: Float, masks: Masks, complexion: Complexion) -> Float:
    creases = 1 + 0.07 * np.sin(places[:, 0] * 150 + 3 * waves(places, 20.0, 11))[:, None]
    lip = np.array(complexion.lips) * creases
    edge = ramp(0.15, 0.85, masks.lips)[:, None] * 0.92
    colour = colour * (1 - edge) + lip * edge
    deep = ramp(0.2, 0.8, masks.inside)[:, None]
    lit = 0.12 + 0.88 * ramp(0.95, 1.45, places[:, 2:])  # little light gets to the throat
    colour = colour * (1 - deep) + np.array(MOUTH_INSIDE) * lit * deep
    oily = 0.35 * blob(places, (0.0, 7.0, 1.62), (0.10, 0.4, 0.2)) + 0.15 * blob(
        places, (0.0, 7.72, 1.5), (0.4, 0.25, 0.4)
    )
    gloss = np.clip(
        complexion.shine + oily + complexion.lip_shine * edge[:, 0] + 0.4 * deep[:, 0], 0, 1
    )
    return np.column_stack([np.clip(colour, 0.002, 0.95), gloss])


def relief(places: Float, shape: Relief) -> Float:
    """Return how far each vertex moves along its normal, (N,) dm; fixed to the skin."""
    height = np.zeros(len(places))
    if shape.forehead:
        height -= shape.forehead * _forehead(places, shape.seed)
    if shape.frown:
        height -= shape.frown * _frown(places)
    if shape.eyes:
        height -= shape.eyes * _eyes(places, shape.seed)
    if shape.cheeks:
        height -= shape.cheeks * _cheeks(places, shape.seed)
    if shape.lumps:
        calm = 1 - np.clip(blob(places, (0.31, 7.28, 1.39), (0.26, 0.14, 0.5)) * 1.5, 0, 1)
        calm = calm * (1 - np.clip(blob(places, (0.0, 6.6, 1.5), (0.4, 0.2, 0.5)) * 1.5, 0, 1))
        height += shape.lumps * calm * waves(places, 2.2, shape.seed, 3)
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
