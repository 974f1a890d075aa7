"""Light, camera and background, and what a cheap camera does to a picture."""

from dataclasses import dataclass

import cv2
import numpy as np

from lipstream.types import Float32, Image
from lipstream_models.heads.figure import Figure, Solid
from lipstream_models.heads.raster import Buffers, draw, shade

_OPTICS = np.array(
    [
        [0.30, 0.30, 18.0],  # skin
        [0.20, 0.90, 140.0],  # eye
        [0.25, 0.55, 60.0],  # tooth
        [0.30, 0.45, 30.0],  # tongue
        [0.00, 0.00, 1.0],  # lash
        [0.10, 0.35, 14.0],  # hair
        [0.15, 0.05, 6.0],  # cloth
    ],
    np.float32,
)
_SHADOW_SIDE = 192
_SHADOW_SPAN = 3.4
"""Width of the key light's depth map, dm."""


@dataclass(frozen=True, slots=True)
class Lights:
    """How a scene is lit, in camera space."""

    table: Float32
    """(7, 3) as ``raster.shade`` takes it."""


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera stands and how the head is turned towards it in one frame."""

    turn: Float32
    """(3, 3) rotation of the head."""
    shift: Float32
    """(3,) dm: of the head's middle from the picture's."""
    distance: float
    """dm from the head's middle."""
    height: float
    """What the picture's height spans at the head's middle, dm."""


class Stage:
    """Draws figures. Used by one thread."""

    def __init__(self, side: int = 176, finer: int = 2) -> None:
        self.side, self._finer = side, finer
        self._buffers = Buffers.of(side * finer)
        self._shadow = Buffers.of(_SHADOW_SIDE)

    def render(
        self, figure: Figure, solid: Solid, view: View, lights: Lights, background: Float32
    ) -> Float32:
        """Return a (side, side, 3) float32 linear RGB picture."""
        big = self.side * self._finer
        turned = (solid.points - figure.centre) @ view.turn.T + view.shift
        turned = np.ascontiguousarray(turned, np.float32)
        normals = np.ascontiguousarray(solid.normals @ view.turn.T, np.float32)
        away = np.float32(view.distance) - turned[:, 2]
        zoom = np.float32(big / view.height * view.distance) / away
        screen = np.stack([big / 2 + turned[:, 0] * zoom, big / 2 - turned[:, 1] * zoom, away], 1)
        draw(screen.astype(np.float32), figure.triangles, figure.two_sided, self._buffers)
        in_light = self._light_map(turned, figure, lights)
        picture = cv2.resize(background, (big, big), interpolation=cv2.INTER_LINEAR)
        buffers = self._buffers
        shade(
            buffers.triangle, buffers.first, buffers.second, figure.triangles, normals,
            solid.paint, figure.materials, _OPTICS, lights.table, in_light, self._shadow.depth,
            picture,
        )  # fmt: skip
        return np.asarray(
            cv2.resize(picture, (self.side, self.side), interpolation=cv2.INTER_AREA), np.float32
        )

    def _light_map(self, turned: Float32, figure: Figure, lights: Lights) -> Float32:
        """Draw the depth map of the key light; return the points in it."""
        towards = lights.table[0].astype(np.float64)
        side = np.cross([0.0, 1.0, 0.0], towards)
        side /= np.linalg.norm(side)
        frame = np.stack([side, -np.cross(towards, side), -towards])
        scale = _SHADOW_SIDE / _SHADOW_SPAN
        seen = turned @ frame.T.astype(np.float32)
        seen[:, :2] = seen[:, :2] * np.float32(scale) + np.float32(_SHADOW_SIDE / 2)
        seen = np.ascontiguousarray(seen, np.float32)
        draw(seen, figure.triangles, figure.two_sided, self._shadow)
        return seen


def draw_lights(rng: np.random.Generator) -> Lights:
    """Return random light: mostly from above and before, of some colour."""
    side, height = rng.normal(0, 0.75), rng.normal(0.6, 0.45)
    key = np.array([np.sin(side), height, np.cos(side) * 0.9 + 0.25])
    fill = np.array([-np.sin(side) * rng.uniform(0.2, 1.2), rng.uniform(-0.3, 0.5), 0.7])
    cast = np.exp(rng.normal(0, [0.12, 0.03, 0.16]))
    hardness = rng.beta(1.2, 1.2)
    strength = 0.9 * hardness + 0.35
    around = (1.15 - 0.75 * hardness) * rng.uniform(0.6, 1.1)
    cool = np.exp(rng.normal(0, [0.10, 0.03, 0.12]))
    table = np.array(
        [
            key / np.linalg.norm(key),
            cast * strength * 1.1,
            fill / np.linalg.norm(fill),
            cool * rng.uniform(0.05, 0.45),
            cool * around * 0.9,
            cast * around * rng.uniform(0.25, 0.7),
            [rng.uniform(0.3, 0.95) * hardness + 0.05, 0.05, 0.0],
        ]
    )
    return Lights(table.astype(np.float32))


def draw_background(rng: np.random.Generator, side: int = 64) -> Float32:
    """Return a (side, side, 3) float32 linear RGB background: plain, graded, or a blurred room."""
    base = rng.dirichlet([1.0, 1.0, 1.0]) * rng.uniform(0.05, 2.0)
    if rng.random() < 0.35:
        base = np.full(3, rng.uniform(0.02, 0.8))
    picture = np.tile(base, (side, side, 1))
    if rng.random() < 0.65:
        coarse = rng.random((rng.integers(2, 7), rng.integers(2, 7), 3))
        how = [cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_NEAREST][rng.integers(3)]
        mixed = cv2.resize(coarse, (side, side), interpolation=how)
        picture = picture * (1 - 0.6) + 0.6 * mixed * rng.uniform(0.1, 1)
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 6))
    return np.clip(picture, 0.0, 1.0).astype(np.float32)


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
        shown = cv2.GaussianBlur(shown, (0, 0), film.blur_px)
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
