"""What shows between the lips: the dark, the tongue, the lower teeth and the upper ones.

The upper teeth are part of the skull and follow half of the upper lip, the lower ones and the
tongue ride on the jaw. All is drawn from three flat pictures at the resolution of the face, lit
and blurred as the face is.

A person's own teeth, where a picture shows them, are better than anybody's (``own_teeth``).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.errors import ModelError
from lipstream.face.crop import HeadFrame, nearest_pixels, smooth_share, smooth_step
from lipstream.mouth.own_teeth import Layer, OwnTeeth
from lipstream.mouth.rig import LipCurves
from lipstream.types import Array, Float32, Float64, Image, PixelBox

_EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
_CHEEKS = ((50, 205, 117), (280, 425, 346))
"""Mesh points on the cheek at the viewer's left and right."""
_LOWER_LIP = (84, 17, 314, 181, 405)
_LEAST_TOOTH, _MOST_TOOTH = 45.0, 232.0
_HUES_FROM, _DARK, _ONE_HUE = 32, 30.0, 0.018
"""Side of the face on which hues are looked at, and fewest pixels that tell; the level below which
none is seen; how far hues are apart in one tone, at most: in 22 photographs 0.027 and more."""
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
    skin: Float32
    """(3,) the cheeks."""
    side: float
    """Light at the viewer's right over that at the left, as a logarithm."""
    blur_px: float
    """Blur that makes something sharp as soft as the picture, pixels (sigma)."""
    grain: float
    """Noise of the picture, levels (sigma)."""
    colourless: bool
    """Whether the picture is of one tone: black and white, or a sepia of it."""


def light_tint(image: Image, frame: HeadFrame, mesh: Float64) -> Float64:
    """Return (3,) float64: the colour of the light, BGR, its mean 1."""
    places = frame.pixels(mesh)
    left, right = (_colour(image, places[list(one)], frame.eye_px) for one in _CHEEKS)
    cheek = (left + right) / 2
    white = np.maximum(_eye_white(image, places, cheek), 1.0)  # a black picture has no colour
    cheek = np.maximum(cheek, 1.0)
    tint = white / white.mean() * 0.6 + cheek / cheek.mean() * [1.22, 1.0, 0.86] * 0.4
    return np.asarray(tint / tint.mean())


def measure_light(image: Image, frame: HeadFrame, mesh: Float64, curves: LipCurves) -> MouthLight:
    """Measure a picture; ``mesh`` is (468, 2) float64 in the head frame."""
    places = frame.pixels(mesh)
    left, right = (_colour(image, places[list(points)], frame.eye_px) for points in _CHEEKS)
    cheek = (left + right) / 2
    white = _eye_white(image, places, cheek)
    lip = _colour(image, places[list(_LOWER_LIP)], frame.eye_px * 0.3)
    dark = np.percentile(nearest_pixels(image, frame.pixels(curves.upper)), 20, axis=0)
    cavity = np.clip(np.minimum(dark * [0.26, 0.24, 0.50], [20, 18, 52]), 3, 60)
    side = float(np.clip(np.log((right.mean() + 8) / (left.mean() + 8)), -0.9, 0.9))
    flesh = 0.65 * lip * [0.80, 0.72, 0.92] + 0.35 * cheek * [0.62, 0.56, 0.86]
    inside = [_tooth(white, cheek), cavity, flesh]
    colourless = _is_colourless(image, places)
    if colourless:
        tone = cheek / max(float(cheek.mean()), 1.0)
        inside = [one.mean() * tone for one in inside]
    return MouthLight(
        inside[0].astype(np.float32),
        inside[1].astype(np.float32),
        inside[2].astype(np.float32),
        cheek.astype(np.float32),
        side,
        _blur(image, places),
        _grain(image, places),
        colourless,
    )


def _is_colourless(image: Image, places: Float64) -> bool:
    """Return whether skin, lips, eyes and brows are of one hue: a picture in black and white."""
    part = _part(image, places)
    if min(part.shape[:2]) > _HUES_FROM:
        size = [max(1, side * _HUES_FROM // min(part.shape[:2])) for side in part.shape[1::-1]]
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    colours = part[part.mean(-1) > _DARK].astype(np.float64)
    if len(colours) < _HUES_FROM:
        return False
    hues = (colours[:, 1:] - colours[:, :2]) / (colours.sum(1, keepdims=True) + _DARK)
    low, high = np.percentile(hues, [10, 90], axis=0)
    return float(np.linalg.norm(high - low)) < _ONE_HUE


def _colour(image: Image, places: Float64, eye_px: float) -> Float64:
    """Return the median colour near some places."""
    reach = eye_px * 0.03 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    around = (places[:, None] + reach[None]).reshape(-1, 2)
    return np.asarray(np.median(nearest_pixels(image, around), 0))


def _eye_white(image: Image, places: Float64, cheek: Float64) -> Float64:
    """Return the colour of the whites of the eyes; a guess from the skin where none show."""
    whites = []
    for eye in _EYES:
        outline = places[list(eye)]
        left, top = np.maximum(np.floor(outline.min(0)).astype(int), 0)
        right, bottom = np.ceil(outline.max(0)).astype(int) + 1
        part = image[top:bottom, left:right]
        if part.size == 0:
            continue
        mask = np.zeros(part.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.rint(outline - [left, top]).astype(np.int32)], 255)
        whites.append(part[mask > 0].astype(np.float64))
    inside = np.concatenate(whites) if whites else np.zeros((0, 3))
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
    widths = []
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
        widths.append(float(np.median(height[strong] / np.maximum(slope[strong], 1e-3))))
    if not widths:
        return 0.0
    sigma = min(widths) / np.sqrt(2 * np.pi)
    return float(np.sqrt(max(sigma**2 - _SHARPEST**2 - 0.5, 0.0)))


def _grain(image: Image, places: Float64) -> float:
    """Return the noise of the picture on the cheeks, in levels."""
    middle = places[[50, 280, 205, 425]]
    reach = np.linalg.norm(places[263] - places[33]) * 0.06
    levels = []
    for cheek in middle:
        part = _part(image, np.stack([cheek - reach, cheek + reach]))
        grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY).astype(np.float32)
        rough = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
        levels.append(float(np.median(np.abs(rough)) / 0.6745))
    return float(np.median(levels))


_PIXELS = 900
"""Pixels of the pictures a head unit."""
PICTURES = ("upper", "lower", "tongue")
"""Names of the pictures."""
_TIPS = {"upper": 0.20, "lower": 0.10, "tongue": 0.10}
"""Where the biting edge or the tip lies in each picture, head units from its top."""
_ENAMEL = np.array([212.0, 226.0, 234.0], np.float32)
"""BGR of lit enamel in the pictures."""
_SIZES, _BLURS, _MOST_KEPT = 24, 4, 64
"""Steps of size a factor of e and of blur a pixel that layers are made for, and how many stay."""
_LOWER_LIGHT = 0.80
"""Light on the lower teeth against that on the upper ones."""
_BORROWED_SHADE = 0.6
"""Power of the shading on teeth of another picture, which bring some of their own."""
_LEAST_BLUR = 0.25
"""Blur too small to be seen, pixels."""
_SAMPLING_BLUR = 0.35
"""Blur of a layer that is shrunk and sampled between its pixels, pixels of the picture (sigma): so
much less has to be added. By 1 / 1.15 of a pixel, 0.25, and linear weights, 0.41 on the average,
it would be 0.48; teeth of small films are then sharper than filmed ones, by 1.36."""
_UNCHANGED = (1.0, 1.0, 1.0)
_SHADE_CELLS = 40
"""Width of the grid on which shading is worked out."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How an open mouth stands in one frame; head units."""

    upper: Float64
    """(n, 2): lower edge of the upper lip, from the viewer's left to right."""
    lower: Float64
    """(n, 2): upper edge of the lower lip."""
    middle_x: float
    half_width: float
    upper_edge: float
    """Height of the upper teeth's biting edge."""
    lower_edge: float
    """Height of the lower teeth's biting edge."""
    jaw_x: float
    """How far the jaw went aside."""
    tongue: float
    """Height of the tongue's tip."""
    tongue_light: float
    """How much light falls on the tongue, 0 to 1."""
    lifted: float
    """How far the upper teeth have followed the upper lip, down positive."""
    jaw_y: float
    """How far the jaw went down."""
    tucked: float
    """How much the lower lip lies against the upper teeth, 0 to 1: these are in full light."""
    hidden: float = 0.0
    """How far pursed lips, which stand off the teeth, hide each row."""

    @property
    def gap(self) -> float:
        """Where it is widest."""
        return float((self.lower[:, 1] - self.upper[:, 1]).max())


@dataclass(frozen=True, slots=True)
class MouthLook:
    """What the inside of one person's mouth looks like in one light."""

    layers: dict[str, Layer]
    """Rows of teeth and tongue of nobody in particular."""
    light: MouthLight
    teeth: OwnTeeth | None
    """The person's own; None where no picture shows them."""


class InnerMouth:
    """The three pictures of a model. Read-only after opening; any thread."""

    def __init__(self, pictures: dict[str, NDArray[np.uint8]]) -> None:
        """Take (h, w, 4) uint8 BGRA pictures, straight alpha, by the names in PICTURES."""
        self._pictures = pictures
        self._layers: dict[tuple[int, int, bool], dict[str, Layer]] = {}  # any thread may add

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the pictures; raises ModelError when one cannot be read."""
        pictures = {}
        for name in PICTURES:
            path = folder / f"{name}.png"
            read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if read is None or read.ndim != 3 or read.shape[2] != 4:
                raise ModelError(f"{path} is no picture with alpha: install lipstream again")
            pictures[name] = np.asarray(read, np.uint8)
        return cls(pictures)

    def layers(self, eye_px: float, light: MouthLight) -> dict[str, Layer]:
        """Return the pictures for a face ``eye_px`` wide between the eyes, blurred; not yet lit.

        Faces of nearly one size and blur share them. In a picture without colour they have none.
        """
        sizes = round(math.log(eye_px) * _SIZES), round(light.blur_px * _BLURS)
        key = (*sizes, light.colourless)
        layers = self._layers.get(key)
        if layers is None:
            size, blur = math.exp(key[0] / _SIZES), key[1] / _BLURS
            layers = {name: self._layer(name, size, blur) for name in PICTURES}
            if light.colourless:
                layers = {name: layer.without_colour() for name, layer in layers.items()}
            if len(self._layers) < _MOST_KEPT:
                self._layers[key] = layers
        return layers

    def _layer(self, name: str, eye_px: float, blur_px: float) -> Layer:
        picture = self._pictures[name]
        scale = min(1.0, eye_px * 1.15 / _PIXELS)
        layer = picture.astype(np.float32)
        layer[..., :3] *= layer[..., 3:] / 255
        layer[..., 3] /= 255
        size = [max(8, round(side * scale)) for side in picture.shape[1::-1]]
        layer = np.asarray(cv2.resize(layer, size, interpolation=cv2.INTER_AREA), np.float32)
        pixels = _PIXELS * size[0] / picture.shape[1]
        blur = math.sqrt(max(blur_px**2 - _SAMPLING_BLUR**2, 0.0)) * pixels / eye_px
        if blur > _LEAST_BLUR:
            layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), blur), np.float32)
        return Layer(layer, pixels, _TIPS[name])


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """A layer as it stands in an open mouth."""

    layer: Layer
    tip: tuple[float, float]
    """Where its tip is, head units."""
    light: tuple[float, float, float]
    """How much of the light it gives back, BGR."""


@dataclass(frozen=True, slots=True)
class InnerLights:
    """Light in an open mouth on a coarse grid over its box, (rows, columns) float32 each."""

    behind: Float32
    """On all but a person's own teeth."""
    own: Float32 | None
    """On a person's own teeth; None where these are lit as they were."""
    contact: Float32 | None
    """On everything, besides, where a person's own teeth show: the narrow shadow of the lips."""


def layers_between(
    look: MouthLook, opening: Opening
) -> tuple[list[PlacedLayer], list[PlacedLayer]]:
    """Return what stands between the lips, from the back: nobody's own teeth, and the person's."""
    layers, light, own = look.layers, look.light, look.teeth
    middle, aside = opening.middle_x, opening.middle_x + opening.jaw_x
    flesh = light.flesh / 255 * opening.tongue_light
    enamel = light.tooth / (_ENAMEL.mean() if light.colourless else _ENAMEL)
    behind = [
        PlacedLayer(layers["tongue"], (aside, opening.tongue), _factors(flesh)),
        PlacedLayer(layers["lower"], (aside, opening.lower_edge), _factors(enamel * _LOWER_LIGHT)),
    ]
    if own is None:
        upper = PlacedLayer(layers["upper"], (middle, opening.upper_edge), _factors(enamel))
        return [*behind, upper], []
    lip, before = own.upper_lip, []
    hidden = opening.hidden if own.borrowed else 0.0  # a picture's own lips hid them already
    if own.lower is not None:
        jaw = opening.jaw_y - own.jaw
        before.append(PlacedLayer(own.lower, (aside, lip + jaw + hidden), _UNCHANGED))
    before.append(PlacedLayer(own.upper, (middle, lip + opening.lifted - hidden), _UNCHANGED))
    return behind, before


def _factors(light: Array) -> tuple[float, float, float]:
    blue, green, red = light.tolist()
    return blue, green, red


def layer_affine(one: PlacedLayer, frame: HeadFrame, box: PixelBox) -> tuple[float, ...]:
    """Return the six numbers that lead from pixels of a box of the picture to those of a layer."""
    (a, b, x), (c, d, y) = frame.to_head.tolist()
    layer, pixels = one.layer, one.layer.pixels
    across = a * box.left + b * box.top + x - one.tip[0]
    down = c * box.left + d * box.top + y - one.tip[1]
    middle, tip = layer.picture.shape[1] / 2 - 0.5, layer.tip * pixels - 0.5
    places = (a * pixels, b * pixels, across * pixels + middle)
    return (*places, c * pixels, d * pixels, down * pixels + tip)


def _placed(one: PlacedLayer, frame: HeadFrame, box: PixelBox) -> Float32:
    """Return (h, w, 4) float32: a layer in a box of the picture."""
    return np.asarray(
        cv2.warpAffine(
            one.layer.picture,
            np.array(layer_affine(one, frame, box)).reshape(2, 3),
            (box.width, box.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        ),
        np.float32,
    )


def paint_opening(look: MouthLook, frame: HeadFrame, opening: Opening, box: PixelBox) -> Float32:
    """Return (h, w, 3) float32 BGR levels: what shows between the lips in a box."""
    behind, before = layers_between(look, opening)
    lights = inner_lights(look, frame, opening, box)
    painted = np.empty((3, box.height, box.width), np.float32)  # numpy is quick along whole planes
    painted[:] = look.light.cavity[:, None, None]
    for one in behind:
        _lay(painted, _placed(one, frame, box), np.asarray(one.light, np.float32))
    painted *= _enlarged(lights.behind, box)
    for one in before:
        lit = None if lights.own is None else _enlarged(lights.own, box)
        _lay(painted, _placed(one, frame, box), lit)
    if lights.contact is not None:
        painted *= _enlarged(lights.contact, box)
    return np.asarray(cv2.merge(tuple(painted)), np.float32)


def _lay(under: Float32, layer: Float32, light: Float32 | None = None) -> None:
    """Lay a premultiplied (h, w, 4) layer over (3, h, w) planes, in place.

    ``light`` is a factor for each channel, (3,), or for each pixel, (h, w).
    """
    *colours, alpha = cv2.split(layer)
    under *= 1 - alpha
    for k, colour in enumerate(colours):
        under[k] += colour if light is None else colour * (light[k] if light.ndim == 1 else light)


def inner_lights(look: MouthLook, frame: HeadFrame, opening: Opening, box: PixelBox) -> InnerLights:
    """Return how much light reaches each place of a box.

    The shadow of the upper lip, the dark of the corners, and how wide the mouth is open.
    """
    across, below, above = _coarse(frame, opening, box)
    beside = np.abs(across - opening.middle_x) / opening.half_width
    behind = _shade(look.light, opening, (across, below, above), beside)
    if look.teeth is None:
        return InnerLights(behind, None, None)
    own = np.power(behind, np.float32(_BORROWED_SHADE)) if look.teeth.borrowed else None
    corners = 1.0 - 0.6 * smooth_step((beside - 0.75) / 0.25)
    contact = (0.70 + 0.30 * smooth_step(below / 0.022)) * corners
    return InnerLights(behind, own, np.asarray(contact, np.float32))


def _coarse(frame: HeadFrame, opening: Opening, box: PixelBox) -> tuple[Float64, Float64, Float64]:
    """Return places across, and heights below the upper and above the lower edge, on a grid."""
    columns = max(2, min(_SHADE_CELLS, box.width))
    rows = max(2, min(_SHADE_CELLS // 2, box.height))
    x = (np.arange(columns) + 0.5) * (box.width / columns) + (box.left - 0.5)
    y = ((np.arange(rows) + 0.5) * (box.height / rows) + (box.top - 0.5))[:, None]
    turn = frame.to_head
    across = turn[0, 0] * x + (turn[0, 1] * y + turn[0, 2])
    down = turn[1, 0] * x + (turn[1, 1] * y + turn[1, 2])
    upper = np.interp(across, opening.upper[:, 0], opening.upper[:, 1])
    lower = np.interp(across, opening.lower[:, 0], opening.lower[:, 1])
    return across, down - upper, lower - down


def _shade(
    light: MouthLight,
    opening: Opening,
    places: tuple[Float64, Float64, Float64],
    beside: Float64,
) -> Float32:
    across, below, above = places
    gap = opening.gap
    from_top = smooth_step(below / (0.020 + 0.16 * gap))
    from_bottom = smooth_step(above / (0.020 + 0.10 * gap))
    corners = 1.0 - 0.72 * smooth_step((beside - 0.35) / 0.62)
    wide = 0.45 + 0.55 * max(smooth_share(gap / 0.075), opening.tucked)
    sides = np.exp(
        light.side * np.minimum(np.maximum((across - opening.middle_x) / 0.45, -1), 1) / 2
    )
    shade = (0.68 + 0.32 * from_top) * (0.80 + 0.20 * from_bottom) * corners * wide * sides
    return np.asarray(shade, np.float32)


def _enlarged(shade: Float32, box: PixelBox) -> Float32:
    size = (box.width, box.height)
    return np.asarray(cv2.resize(shade, size, interpolation=cv2.INTER_LINEAR), np.float32)
