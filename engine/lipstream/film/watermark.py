"""A label in the pictures that says they are synthetic, for those who want it seen."""

import cv2
import numpy as np

from lipstream.errors import InputError
from lipstream.types import Image

DEFAULT_LABEL = "AI-generated"
_HEIGHT = 0.032
"""Height of the letters, as a share of the picture's shorter side."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PIXELS = 22.0
"""Height of that font's capitals at scale 1."""
_SHADE = 0.45
"""Brightness that is left under the letters."""


def check_label(text: str) -> str:
    """Return the text; raises InputError for one that cannot be drawn."""
    if not text.strip() or not text.isascii() or not text.isprintable() or len(text) > 60:
        raise InputError(f"--label '{text}': give 1 to 60 plain letters, digits and signs (ASCII)")
    return text


def labelled(image: Image, text: str) -> Image:
    """Return a new picture with the text below on the left, on a shade."""
    height, width = image.shape[:2]
    scale = max(8.0, _HEIGHT * min(height, width)) / _FONT_PIXELS
    thick = max(1, round(1.6 * scale))
    (across, up), below = cv2.getTextSize(text, _FONT, scale, thick)
    if across > 0.9 * width:
        scale *= 0.9 * width / across
        (across, up), below = cv2.getTextSize(text, _FONT, scale, thick)
    pad = max(2, up // 2)
    top, right = max(0, height - up - below - 3 * pad), min(width, across + 3 * pad)
    box = (slice(top, height - pad), slice(pad, right))
    out = image.copy()
    out[box] = (out[box].astype(np.float32) * _SHADE).astype(np.uint8)
    place = (2 * pad, height - 2 * pad - below // 2)
    cv2.putText(out, text, place, _FONT, scale, (255, 255, 255), thick, cv2.LINE_AA)
    return out
