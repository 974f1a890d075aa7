"""What a cheap camera does to a picture: exposure, colour, blur, noise and JPEG."""

from dataclasses import dataclass

import cv2
import numpy as np

from lipstream.types import Float32, Image


@dataclass(frozen=True, slots=True)
class Film:
    """What one camera does to every frame."""

    brightness: float
    """Mean of the picture's middle that the camera exposes for, linear."""
    contrast: float
    lift: float
    balance: Float32
    """(3,) gains of red, green, blue."""
    saturation: float
    blur_px: float
    sharpen: float
    noise: float
    jpeg: int
    """Quality 1 to 100; 0 for none."""


def draw_film(rng: np.random.Generator) -> Film:
    """Return a random camera."""
    return Film(
        brightness=float(np.exp(rng.normal(-1.25, 0.3))),
        contrast=float(rng.uniform(0.88, 1.28)),
        lift=float(rng.uniform(-0.03, 0.04)),
        balance=np.exp(rng.normal(0, [0.08, 0.025, 0.11])).astype(np.float32),
        saturation=float(rng.uniform(0.65, 1.25)),
        blur_px=float(rng.uniform(0.3, 0.9) if rng.random() < 0.45 else 0.0),
        sharpen=float(rng.uniform(0.2, 0.9) if rng.random() < 0.3 else 0.0),
        noise=float(rng.beta(1, 3) * 0.028),
        jpeg=int(rng.integers(45, 96)) if rng.random() < 0.6 else 0,
    )


def exposure(picture: Float32, film: Film) -> float:
    """Return the gain with which a camera exposes for the middle of a linear picture.

    It leaves dark and bright scenes a little so: the power is below one.
    """
    side = len(picture)
    middle = picture[side // 3 : -side // 4, side // 3 : -side // 3]
    return float((film.brightness / max(1e-3, float(middle.mean()))) ** 0.7)


def develop(picture: Float32, film: Film, gain: float, rng: np.random.Generator) -> Image:
    """Turn a linear RGB picture into what the camera stores: (H, W, 3) uint8 BGR."""
    light = picture * (np.float32(gain) * film.balance)
    light = light / (1 + 0.25 * light)
    shown = np.clip(light, 0, 1) ** np.float32(1 / 2.2)
    grey = shown @ np.array([0.299, 0.587, 0.114], np.float32)
    shown = grey[..., None] + (shown - grey[..., None]) * np.float32(film.saturation)
    shown = (shown - 0.5) * np.float32(film.contrast) + np.float32(0.5 + film.lift)
    if film.blur_px:
        shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), film.blur_px), np.float32)
    if film.sharpen:
        soft = cv2.GaussianBlur(shown, (0, 0), 1.2)
        shown = shown + np.float32(film.sharpen) * (shown - soft)
    if film.noise:
        shown = shown + film.noise * rng.standard_normal(shown.shape, np.float32)
    stored = np.ascontiguousarray((np.clip(shown, 0, 1) * 255 + 0.5)[..., ::-1].astype(np.uint8))
    if not film.jpeg:
        return stored
    packed = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, film.jpeg])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
