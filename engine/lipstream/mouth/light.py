"""How a face is lit and how sharp its picture is: what is put between the lips must match both."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.types import Float32, Image

from .head_frame import HeadFrame
from .lip_edges import LipCurves

Float64 = NDArray[np.float64]

_EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
_CHEEKS = ((50, 205, 117), (280, 425, 346))
"""Mesh points on the cheek at the viewer's left and right."""
_LOWER_LIP = (84, 17, 314, 181, 405)
_LEAST_TOOTH, _MOST_TOOTH = 45.0, 232.0
_SHARPEST = 0.6
"""Spread of an edge in a picture that is as sharp as its pixels, pixels."""


@dataclass(frozen=True, slots=True)
class MouthLight:
    """Colours and sharpness of what stands between the lips of one picture; BGR levels."""

    tooth: Float32
    """(3,) an upper front tooth in full light."""
    cavity: Float32
    """(3,) the dark at the back."""
    flesh: Float32
    """(3,) the tongue in full light."""
    side: float
    """Light at the viewer's right over that at the left, as a logarithm."""
    blur_px: float
    """Blur that makes something sharp as soft as the picture, pixels (sigma)."""
    grain: float
    """Noise of the picture, levels (sigma)."""


def light_tint(image: Image, frame: HeadFrame, mesh: Float64) -> Float64:
    """Return (3,) float64: the colour of the light, BGR, its mean 1."""
    places = frame.pixels(mesh)
    left, right = (_colour(image, places[list(one)], frame.eye_px) for one in _CHEEKS)
    cheek = (left + right) / 2
    white = _eye_white(image, places, cheek)
    tint = white / white.mean() * 0.6 + cheek / cheek.mean() * [1.22, 1.0, 0.86] * 0.4
    return np.asarray(tint / tint.mean())


def measure_light(image: Image, frame: HeadFrame, mesh: Float64, curves: LipCurves) -> MouthLight:
    """Measure a picture; ``mesh`` is (468, 2) float64 in the head frame."""
    places = frame.pixels(mesh)
    left, right = (_colour(image, places[list(points)], frame.eye_px) for points in _CHEEKS)
    cheek = (left + right) / 2
    white = _eye_white(image, places, cheek)
    lip = _colour(image, places[list(_LOWER_LIP)], frame.eye_px * 0.3)
    dark = np.percentile(_at(image, frame.pixels(curves.upper)), 20, axis=0)
    cavity = np.clip(np.minimum(dark * [0.26, 0.24, 0.50], [20, 18, 52]), 3, 60)
    side = float(np.clip(np.log((right.mean() + 8) / (left.mean() + 8)), -0.9, 0.9))
    flesh = 0.65 * lip * [0.80, 0.72, 0.92] + 0.35 * cheek * [0.62, 0.56, 0.86]
    return MouthLight(
        _tooth(white, cheek).astype(np.float32),
        cavity.astype(np.float32),
        flesh.astype(np.float32),
        side,
        _blur(image, places),
        _grain(image, places),
    )


def _at(image: Image, places: Float64) -> Float64:
    height, width = image.shape[:2]
    x = np.clip(np.rint(places[:, 0]).astype(int), 0, width - 1)
    y = np.clip(np.rint(places[:, 1]).astype(int), 0, height - 1)
    return np.asarray(image[y, x], np.float64)


def _colour(image: Image, places: Float64, eye_px: float) -> Float64:
    """Return the median colour near some places."""
    reach = eye_px * 0.03 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    around = (places[:, None] + reach[None]).reshape(-1, 2)
    return np.asarray(np.median(_at(image, around), 0))


def _eye_white(image: Image, places: Float64, cheek: Float64) -> Float64:
    """Return the colour of the whites of the eyes; a guess from the skin where none show."""
    found = []
    for eye in _EYES:
        outline = places[list(eye)]
        left, top = np.maximum(np.floor(outline.min(0)).astype(int), 0)
        right, bottom = np.ceil(outline.max(0)).astype(int) + 1
        part = image[top:bottom, left:right]
        if part.size == 0:
            continue
        mask = np.zeros(part.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.rint(outline - [left, top]).astype(np.int32)], 255)
        found.append(part[mask > 0].astype(np.float64))
    inside = np.concatenate(found) if found else np.zeros((0, 3))
    if len(inside) < 20:
        return cheek * [1.15, 1.0, 0.9]
    level = inside.mean(1)
    return np.asarray(np.median(inside[level >= np.percentile(level, 80)], 0))


def _tooth(white: Float64, cheek: Float64) -> Float64:
    """Return a tooth's colour: the level of the eyes' whites, a little of the light's tint."""
    level = np.clip(white.mean(), 0.85 * cheek.mean(), 1.6 * cheek.mean() + 30) * 0.97
    tint = white / white.mean() * 0.6 + cheek / cheek.mean() * [1.22, 1.0, 0.86] * 0.4
    tint = 0.85 * tint / tint.mean() + 0.15 * np.array([0.95, 1.01, 1.04])
    return np.asarray(np.clip(level * tint, _LEAST_TOOTH, _MOST_TOOTH))


def _part(image: Image, places: Float64) -> Image:
    """Return the part of a picture round some places, never empty."""
    height, width = image.shape[:2]
    left, top = (
        int(np.clip(v, 0, most - 2)) for v, most in zip(places.min(0), (width, height), strict=True)
    )
    right, bottom = (int(v) for v in np.ceil(places.max(0)))
    return image[top : max(bottom, top + 2), left : max(right, left + 2)]


def _blur(image: Image, places: Float64) -> float:
    """Return the blur that the picture has over a sharp one.

    The steepest edges of eyes and lips: an edge blurred by sigma rises by its height over
    sigma sqrt(2 pi) a pixel.
    """
    parts = [places[list(eye)] for eye in _EYES] + [places[[61, 291, 0, 17]]]
    found = []
    for part in parts:
        margin = (part.max(0) - part.min(0)) * 0.15
        grey = cv2.cvtColor(
            _part(image, np.stack([part.min(0) - margin, part.max(0) + margin])),
            cv2.COLOR_BGR2GRAY,
        ).astype(np.float32)
        if min(grey.shape) < 5:
            continue
        slope = np.hypot(
            cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3) / 8,
            cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3) / 8,
        )
        window = np.ones((9, 9), np.uint8)
        height = cv2.dilate(grey, window) - cv2.erode(grey, window)
        strong = slope >= np.percentile(slope, 97)
        found.append(float(np.median(height[strong] / np.maximum(slope[strong], 1e-3))))
    if not found:
        return 0.0
    sigma = min(found) / np.sqrt(2 * np.pi)
    return float(np.sqrt(max(sigma**2 - _SHARPEST**2 - 0.5, 0.0)))


def _grain(image: Image, places: Float64) -> float:
    """Return the noise of the picture on the cheeks, in levels."""
    middle = places[[50, 280, 205, 425]]
    reach = np.linalg.norm(places[263] - places[33]) * 0.06
    levels = []
    for place in middle:
        part = _part(image, np.stack([place - reach, place + reach]))
        grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY).astype(np.float32)
        rough = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
        levels.append(float(np.median(np.abs(rough)) / 0.6745))
    return float(np.median(levels))
