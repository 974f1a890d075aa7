"""Light, background, the camera's place, and the camera itself: from a posed figure to a film."""

from dataclasses import dataclass

import cv2
import numpy as np

from lipstream.types import Float32, Image
from lipstream_models.synthetic.body.head_model import Float
from lipstream_models.synthetic.raster.figure import PersonMesh, TriangleMesh
from lipstream_models.synthetic.raster.rasterizer import (
    Lighting,
    Mesh,
    Shadows,
    draw,
    fresh_buffers,
    shade,
)

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
_SHADOW_SPAN, _SHADOW_BIAS = 3.4, 0.05
"""Width of the key light's depth map, and the depth over which a shadow sets in, dm."""


@dataclass(frozen=True, slots=True)
class CameraView:
    """Where the camera stands and how the head is turned towards it in one frame."""

    turn: Float32
    """(3, 3) rotation of the head."""
    shift: Float32
    """(3,) dm: of the head's middle from the picture's."""
    distance: float
    """dm from the head's middle."""
    height: float
    """What the picture's height spans at the head's middle, dm."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What stays the same in every frame."""

    lighting: Lighting
    background: Float32
    """(H, W, 3) linear RGB."""


class RasterScene:
    """Draws figures. Used by one thread."""

    def __init__(self, side: int = 176, finer: int = 2) -> None:
        self.side, self._finer = side, finer
        self._buffers = fresh_buffers(side * finer)
        self._shadow = fresh_buffers(_SHADOW_SIDE)

    def render(
        self, figure: PersonMesh, solid: TriangleMesh, view: CameraView, scene: Scene
    ) -> Float32:
        """Return a (side, side, 3) float32 linear RGB picture."""
        big = self.side * self._finer
        turned = (solid.points - figure.centre) @ view.turn.T + view.shift
        normals = np.ascontiguousarray(solid.normals @ view.turn.T, np.float32)
        mesh = Mesh(
            figure.triangles, figure.two_sided, figure.materials, _OPTICS, normals, solid.paint
        )
        away = view.distance - turned[:, 2]
        zoom = big / view.height * view.distance / away
        screen = np.stack([big / 2 + turned[:, 0] * zoom, big / 2 - turned[:, 1] * zoom, away], 1)
        draw(np.ascontiguousarray(screen, np.float32), mesh, self._buffers)
        shadows = self._shadows(turned, mesh, scene.lighting)
        picture = cv2.resize(scene.background, (big, big), interpolation=cv2.INTER_LINEAR)
        shade(self._buffers, mesh, scene.lighting, shadows, picture)
        return np.asarray(
            cv2.resize(picture, (self.side, self.side), interpolation=cv2.INTER_AREA), np.float32
        )

    def _shadows(self, turned: Float32, mesh: Mesh, lighting: Lighting) -> Shadows:
        """Draw the depth map of the key light."""
        towards = lighting.key.astype(np.float64)
        side = np.cross([0.0, 1.0, 0.0], towards)
        side /= np.linalg.norm(side)
        frame = np.stack([side, -np.cross(towards, side), -towards])
        seen = turned @ frame.T
        seen[:, :2] = seen[:, :2] * (_SHADOW_SIDE / _SHADOW_SPAN) + _SHADOW_SIDE / 2
        places = np.ascontiguousarray(seen, np.float32)
        draw(places, mesh, self._shadow)
        return Shadows(self._shadow.depth, places, _SHADOW_BIAS)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Return random light before a random background."""
    return Scene(draw_lighting(rng), draw_background(rng))


def draw_lighting(rng: np.random.Generator) -> Lighting:
    """Return random light: mostly from above and before, of some colour."""
    side, height = rng.normal(0, 0.75), rng.normal(0.6, 0.45)
    key = np.array([np.sin(side), height, np.cos(side) * 0.9 + 0.25])
    fill = np.array([-np.sin(side) * rng.uniform(0.2, 1.2), rng.uniform(-0.3, 0.5), 0.7])
    cast = np.exp(rng.normal(0, [0.12, 0.03, 0.16]))
    cool = np.exp(rng.normal(0, [0.10, 0.03, 0.12]))
    hardness = float(rng.beta(1.2, 1.2))
    around = (1.15 - 0.75 * hardness) * rng.uniform(0.6, 1.1)
    return Lighting(
        _row(key / np.linalg.norm(key)),
        _row(cast * (1.0 * hardness + 0.38)),
        _row(fill / np.linalg.norm(fill)),
        _row(cool * rng.uniform(0.05, 0.45)),
        _row(cool * around * 0.9),
        _row(cast * around * rng.uniform(0.25, 0.7)),
        float(rng.uniform(0.3, 0.95)) * hardness + 0.05,
    )


def _row(values: Float) -> Float32:
    return np.ascontiguousarray(values, np.float32)


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
        picture = 0.4 * picture + 0.6 * mixed * rng.uniform(0.1, 1)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 6)), np.float64)
    return np.clip(picture, 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class CameraLook:
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


def draw_film(rng: np.random.Generator) -> CameraLook:
    """Return a random camera."""
    return CameraLook(
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


def exposure(picture: Float32, film: CameraLook) -> float:
    """Return the gain with which a camera exposes for the middle of a linear picture.

    It leaves dark and bright scenes a little so: the power is below one.
    """
    side = len(picture)
    middle = picture[side // 3 : -side // 4, side // 3 : -side // 3]
    return float((film.brightness / max(1e-3, float(middle.mean()))) ** 0.7)


def develop(picture: Float32, film: CameraLook, gain: float, rng: np.random.Generator) -> Image:
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
