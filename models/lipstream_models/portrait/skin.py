"""Paint the skin: albedo and gloss per vertex, from where the vertex lies on the base head.

Colours are linear RGB reflectances. Landmarks are places on MakeHuman's base head (dm), which every
identity shares, so one set of masks fits all.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from lipstream.errors import InputError

from .source import Float


@dataclass(frozen=True, slots=True)
class Complexion:
    """Skin colours, linear RGB."""

    skin: tuple[float, float, float] = (0.60, 0.335, 0.225)
    lips: tuple[float, float, float] = (0.46, 0.150, 0.130)
    hair: tuple[float, float, float] = (0.07, 0.036, 0.021)
    """Tint of the scalp under the hair and of the skin under the brows."""
    blush: float = 0.8
    """Redness of cheeks, nose and ears."""
    seed: int = 3


MOUTH_INSIDE = (0.44, 0.13, 0.12)


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


def brow_shape(places: Float) -> tuple[Float, Float]:
    """Return how far along the brow (0 inner end, 1 tail) and off its line, in half widths."""
    along = (np.abs(places[:, 0]) - 0.115) / 0.45
    inside = np.clip(along, 0, 1)
    line = 7.458 + 0.075 * np.sin(inside * 2.35) - 0.034 * inside
    half = 0.031 * (1 - 0.62 * inside**1.6)
    return along, (places[:, 1] - line) / half


def brow_density(places: Float) -> Float:
    """Return the density of brow hairs, (N,) 0 to 1; both ends fade out."""
    along, off = brow_shape(places)
    width = ramp(1.35, 0.2, np.abs(off))
    ends = ramp(-0.06, 0.34, along) ** 0.8 * ramp(1.06, 0.75, along)
    return np.asarray(width * ends * (places[:, 2] > 0.9))


def hairline(places: Float) -> Float:
    """Return the height above the hairline, (N,) dm; negative on the face and neck."""
    z = places[:, 2]
    along = [-1.2, -0.25, 0.1, 0.32, 0.55, 0.80, 0.95, 1.10, 1.22, 1.35, 1.6]
    height = [6.45, 6.60, 6.95, 7.38, 7.40, 7.32, 7.50, 7.72, 7.83, 7.91, 7.95]
    over_ear = (np.abs(places[:, 0]) > 0.77) & (places[:, 1] < 7.42)
    return np.where(over_ear, -1.0, places[:, 1] - np.interp(z, along, height))


def paint(places: Float, lips: Float, inside: Float, look: Complexion) -> Float:
    """Return (N, 4) linear RGB and gloss for vertices at (N, 3) ``places`` of the base head.

    ``lips`` and ``inside`` (of the mouth) are masks (N,), 0 to 1.
    """
    tone = np.array(look.skin)
    colour = np.repeat(tone[None], len(places), 0)
    red = np.array([1.02, 0.80, 0.76])
    for strength, centre, radius in (
        (0.75, (0.52, 6.90, 1.25), (0.24, 0.20, 0.35)),  # cheeks
        (0.60, (0.0, 6.93, 1.66), (0.13, 0.11, 0.14)),  # nose
        (0.35, (0.0, 6.34, 1.47), (0.20, 0.12, 0.20)),  # chin
        (0.50, (0.85, 7.10, 0.45), (0.14, 0.35, 0.30)),  # ears
        (0.45, (0.31, 7.37, 1.38), (0.17, 0.05, 0.15)),  # upper lids
        (0.55, (0.31, 7.20, 1.38), (0.17, 0.03, 0.15)),  # lid rims below
        (0.45, (0.14, 6.83, 1.56), (0.05, 0.06, 0.10)),  # nostril wings
    ):
        weight = strength * look.blush * blob(places, centre, radius)
        colour *= 1 + weight[:, None] * (red - 1) * 1.3
    shadow = 0.30 * blob(places, (0.27, 7.13, 1.42), (0.15, 0.055, 0.2))  # under the eyes
    colour *= 1 - shadow[:, None] * np.array([0.45, 0.55, 0.45])
    forehead = 0.5 * blob(places, (0.0, 7.70, 1.5), (0.55, 0.22, 0.5))
    colour *= 1 + forehead[:, None] * np.array([0.03, 0.035, 0.0])
    mottle = waves(places, 9.0, look.seed)[:, None] * np.array([0.020, 0.045, 0.05])
    grain = waves(places, 60.0, look.seed + 1)[:, None] * np.array([0.02, 0.035, 0.035])
    colour *= 1 + mottle + grain
    tint = np.array(look.hair)
    under_hair = 0.8 * ramp(-0.10, 0.12, hairline(places) + 0.015 * waves(places, 14.0, 7))
    under_brow = 0.42 * brow_density(places)
    cover = np.maximum(under_hair, under_brow)[:, None]
    colour = colour * (1 - cover) + tint * cover
    return _lips(places, colour, lips, inside, look)


def _lips(places: Float, colour: Float, lips: Float, inside: Float, look: Complexion) -> Float:
    creases = 1 + 0.07 * np.sin(places[:, 0] * 150 + 3 * waves(places, 20.0, 11))[:, None]
    lip = np.array(look.lips) * creases
    edge = ramp(0.15, 0.85, lips)[:, None] * 0.92
    colour = colour * (1 - edge) + lip * edge
    deep = ramp(0.2, 0.8, inside)[:, None]
    colour = colour * (1 - deep) + np.array(MOUTH_INSIDE) * deep
    oily = 0.35 * blob(places, (0.0, 7.0, 1.62), (0.10, 0.4, 0.2)) + 0.15 * blob(
        places, (0.0, 7.72, 1.5), (0.4, 0.25, 0.4)
    )
    gloss = np.clip(0.25 + oily + 0.45 * edge[:, 0] + 0.4 * deep[:, 0], 0, 1)
    return np.column_stack([np.clip(colour, 0.002, 0.95), gloss])
