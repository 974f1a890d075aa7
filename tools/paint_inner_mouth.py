"""Paint what stands between the lips: two rows of teeth with their gums, and a tongue.

    python tools/paint_inner_mouth.py -o FOLDER

Drawn from measures of an average adult's teeth (Wheeler's Dental Anatomy: widths and heights of
crowns), flat, as seen from in front, in even light; the compositor lights them as the face is lit.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

PIXELS = 900
"""Pixels a head unit (the distance of the outer eye corners, 9 cm)."""
WIDTH, HEIGHT = 0.80, 0.30
"""Of a picture, head units."""
_MM = 1.0 / 90.0
_OVERSAMPLING = 2
_ENAMEL = np.array([0.90, 0.955, 0.985])
"""Blue, green, red of enamel in full light; the compositor replaces its level."""
_GUM = np.array([0.44, 0.42, 0.70])


@dataclass(frozen=True, slots=True)
class Row:
    """One row of teeth, from the middle outward; lengths in millimetres as seen from in front."""

    widths: tuple[float, ...]
    heights: tuple[float, ...]
    points: tuple[float, ...]
    """How far the middle of the biting edge stands out over its ends."""
    edges: tuple[float, ...]
    """How far the biting edge lies back from that of the middle tooth."""
    edge_row: float
    """Where the biting edge lies in the picture, head units from its top."""
    upward: bool
    """Whether the gums are above."""


UPPER = Row(
    (8.6, 6.5, 6.6, 4.6, 3.6, 3.0, 2.0),
    (10.4, 9.0, 9.9, 8.3, 7.6, 7.0, 6.5),
    (0.25, 0.3, 1.2, 0.8, 0.5, 0.4, 0.3),
    (0.0, 0.7, 0.25, 0.9, 1.2, 1.6, 1.9),
    0.20,
    upward=True,
)
LOWER = Row(
    (5.2, 5.7, 5.9, 5.0, 4.2, 3.4, 2.4),
    (9.0, 9.3, 10.4, 8.6, 7.8, 7.0, 6.5),
    (0.1, 0.15, 0.9, 0.6, 0.4, 0.3, 0.3),
    (0.0, 0.1, -0.1, 0.4, 0.7, 1.0, 1.3),
    0.10,
    upward=False,
)


def paint_row(row: Row, seed: int) -> NDArray[np.uint8]:
    """Return (h, w, 4) uint8 BGRA, straight alpha."""
    rng = np.random.default_rng(seed)
    step = 1.0 / (PIXELS * _OVERSAMPLING)
    x = (np.arange(round(WIDTH / step)) + 0.5) * step - WIDTH / 2
    y = (np.arange(round(HEIGHT / step)) + 0.5) * step - row.edge_row
    places = np.meshgrid(x / _MM, (-y if row.upward else y) / _MM)
    across, rise = (np.asarray(one, np.float64) for one in places)
    colour, alpha = _gums(row, across, rise)
    for side in (-1.0, 1.0):
        at = 0.0
        for k, width in enumerate(row.widths):
            wide = width * (1 + rng.uniform(-0.03, 0.03))
            tooth = _Tooth(
                side * (at + width / 2),
                wide,
                row.heights[k] * (1 + rng.uniform(-0.02, 0.02)),
                row.points[k],
                row.edges[k] + rng.uniform(-0.12, 0.12),
                1 + rng.uniform(-0.02, 0.02),
            )
            at += width
            colour, alpha = _lay_tooth(tooth, across, rise, colour, alpha)
    picture = np.dstack([colour * 255, alpha * 255])
    size = (round(WIDTH * PIXELS), round(HEIGHT * PIXELS))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(np.rint(small), 0, 255), np.uint8)


@dataclass(frozen=True, slots=True)
class _Tooth:
    middle: float
    width: float
    height: float
    point: float
    edge: float
    tone: float


def _lay_tooth(
    tooth: _Tooth, across: Float64, rise: Float64, colour: Float64, alpha: Float64
) -> tuple[Float64, Float64]:
    """Return colour and alpha with one tooth laid over."""
    u = (across - tooth.middle) / (tooth.width / 2)
    v = (rise - tooth.edge) / tooth.height
    half = 1.0 - 0.20 * np.clip(v, 0, 1) ** 2.2
    rounding = np.clip(1 - v / 0.16, 0, 1) ** 2 * 0.22
    half = half - rounding
    edge = tooth.point / tooth.height * np.abs(u) ** 1.8
    gum_line = 1.0 - 0.16 * np.abs(u) ** 2
    soft = 0.28 / (tooth.width / 2)  # a quarter of a millimetre
    inside = _ramp((half - np.abs(u)) / soft + 0.5) * _ramp((v - edge) * tooth.height / 0.35)
    inside = inside * _ramp((gum_line - v) * tooth.height / 0.5 + 0.5)
    curve = 1.0 - 0.16 * np.abs(u) ** 2.4 - 0.14 * np.exp(-(((1 - np.abs(u)) / 0.10) ** 2))
    vertical = 1.0 - 0.10 * np.clip(v, 0, 1) - 0.10 * np.exp(-(((v - edge) / 0.07) ** 2))
    gloss = 0.05 * np.exp(-(((u + 0.12) / 0.35) ** 2) - ((v - 0.45) / 0.3) ** 2)
    warm = np.array([-0.06, -0.02, 0.0]) * np.clip(v, 0, 1)[..., None]
    tone = (_ENAMEL + warm) * ((curve * vertical + gloss) * tooth.tone)[..., None]
    mask = inside[..., None]
    return colour * (1 - mask) + tone * mask, alpha * (1 - inside) + inside


def _gums(row: Row, across: Float64, rise: Float64) -> tuple[Float64, Float64]:
    """Return the gums with the dark between the teeth below them."""
    ends = np.concatenate([[0], np.cumsum(row.widths)])
    middles = (ends[1:] + ends[:-1]) / 2
    height = np.interp(np.abs(across), middles, row.heights)
    back = np.interp(np.abs(across), middles, row.edges)
    reach = np.abs(across) < ends[-1] - 0.3
    is_gum = _ramp((rise - back - height * 0.62) / 0.6)
    behind = _ENAMEL * 0.50 * np.array([0.72, 0.82, 1.0])
    colour = behind + (_GUM - behind) * is_gum[..., None]
    fade = 1.0 - 0.35 * np.clip((rise - height) / 9.0, 0, 1)
    ridges = 1.0 + 0.05 * np.cos(across * 0.9)
    colour = colour * np.where(is_gum > 0.5, fade * ridges, 1.0)[..., None]
    low = _ramp((rise - back - 0.9) / 0.8)
    return colour, low * reach


def paint_tongue() -> NDArray[np.uint8]:
    """Return (h, w, 4) uint8 BGRA: light on the tongue in each channel, its tip at row 0.10."""
    step = 1.0 / PIXELS
    x = (np.arange(round(WIDTH / step)) + 0.5) * step - WIDTH / 2
    y = (np.arange(round(HEIGHT / step)) + 0.5) * step - 0.10
    across, down = np.meshgrid(x / 0.27, y / 0.16)
    top = 0.42 * np.abs(across) ** 2.6 + 0.05 * np.exp(-((across / 0.12) ** 2))
    alpha = _ramp((down - top) / 0.14) * _ramp((1.0 - np.abs(across)) / 0.12)
    dome = 0.80 - 0.30 * np.abs(across) ** 2 - 0.10 * np.exp(-((across / 0.07) ** 2))
    lit = dome * (0.62 + 0.38 * np.exp(-(((down - top - 0.30) / 0.35) ** 2)))
    wet = 0.16 * np.exp(-((across / 0.5) ** 2) - (((down - top - 0.22) / 0.10) ** 2))
    grain = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 1, lit.shape), (0, 0), 3.0)
    light = np.clip(lit + wet + grain * 0.09, 0, 1)
    picture = np.dstack([light * 255] * 3 + [alpha * 255])
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def _ramp(x: Float64) -> Float64:
    t = np.clip(x, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def main(argv: list[str] | None = None) -> int:
    """Paint the three pictures into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to fill")
    folder: Path = parser.parse_args(argv).output
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"upper": paint_row(UPPER, 3), "lower": paint_row(LOWER, 4)}
    pictures["tongue"] = paint_tongue()
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
