"""What shows between the lips: the dark, the tongue, the lower teeth and the upper ones.

The upper teeth are part of the skull and follow half of the upper lip, the lower ones and the
tongue ride on the jaw. All is drawn from three flat pictures at the resolution of the face, lit
and blurred as the face is.

A person's own teeth, where a picture shows them, are better than anybody's: what stands between
the lips of an open mouth is cut out in the head frame, the upper teeth as part of the skull, and in
a wide mouth what lies below its middle as part of the jaw. Towards the lip each layer repeats its
last row, so that it reaches under lips that draw back.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.errors import ModelError
from lipstream.face.crop import smooth_step
from lipstream.types import Float32, Image

from .head_frame import HeadFrame, Layer, PixelBox, place
from .light import MouthLight
from .lip_edges import NODES, LipCurves
from .rig import Float64

_MARGIN = 0.016
"""What is left out along the lips, where they colour the teeth, head units."""
_LEAST_GAP = 0.085
"""Gap from which teeth show enough to be kept, head units: less of them ends in the dark."""
_WIDE_GAP = 0.11
"""Gap from which there may be dark between the rows, head units."""
_DARK = 0.5
"""Level against that of the teeth, below which it is the dark between the rows."""
_ABOVE, _BELOW = 0.06, 0.05
"""How far the layers reach beyond the lips, head units."""
_MOST_PIXELS = 900.0


@dataclass(frozen=True, slots=True)
class OwnTeeth:
    """Teeth cut out of one picture; premultiplied BGR levels, not lit anew."""

    upper: Layer
    lower: Layer | None
    """None where the mouth was hardly open: all that shows belongs to the skull."""
    upper_lip: float
    """Height of the upper lip's edge in that picture, head units: where ``upper`` hangs."""


def cut_teeth(image: Image, frame: HeadFrame, curves: LipCurves) -> OwnTeeth | None:
    """Return the teeth of a picture whose mouth is open, None where it shows none."""
    gaps = (curves.lower - curves.upper)[:, 1]
    if not curves.open or float(gaps.max()) < _LEAST_GAP:
        return None
    pixels = min(frame.eye_px, _MOST_PIXELS)
    middle, anchor = float(curves.middle[0]), float(curves.upper[NODES // 2, 1])
    half = curves.half_width
    top, bottom = float(curves.upper[:, 1].min()) - _ABOVE, float(curves.lower[:, 1].max()) + _BELOW
    columns, rows = round(2 * half * pixels), round((bottom - top) * pixels)
    x = middle + (np.arange(columns) + 0.5 - columns / 2) / pixels
    y = np.asarray(top + (np.arange(rows) + 0.5) / pixels, np.float64)
    upper, lower = (np.interp(x, one[:, 0], one[:, 1]) for one in (curves.upper, curves.lower))
    low, high = upper + _MARGIN, np.maximum(lower - _MARGIN, upper + _MARGIN)
    shows = smooth_step((lower - upper - 2 * _MARGIN) / 0.02)
    heights = np.clip(y[:, None], low, high)
    colour = _sample(image, frame, np.stack(np.broadcast_arrays(x[None], heights), -1))
    share = _dark_share(colour, y[:, None], low, high) if float(gaps.max()) > _WIDE_GAP else None
    split = high + 1.0 if share is None else low + (high - low) * share
    ends = smooth_step((high - y[:, None]) / 0.012 + 0.2) if share is None else 1.0
    above = ends * smooth_step((split - y[:, None]) / 0.016 + 0.5) * shows
    tip = anchor - top
    upper_layer = _layer(colour, above, pixels, tip)
    below = smooth_step((y[:, None] - split) / 0.016 + 0.5) * shows
    lower_layer = None if share is None else _layer(colour, below, pixels, tip)
    return OwnTeeth(upper_layer, lower_layer, anchor)


def _dark_share(colour: Float32, y: Float64, low: Float64, high: Float64) -> float | None:
    """Return where between the edges, 0 to 1, the dark parts the two rows of teeth.

    None where teeth fill the opening, as in a smile: then all belongs to the skull.
    """
    middle = slice(colour.shape[1] * 3 // 8, colour.shape[1] * 5 // 8)
    level, share = colour[:, middle].mean(-1), ((y - low) / np.maximum(high - low, 1e-6))[:, middle]
    parts = [level[(share >= k / 12) & (share < (k + 1) / 12)] for k in range(12)]
    if any(part.size == 0 for part in parts):  # too few rows to tell
        return None
    bins = [float(part.mean()) for part in parts]
    darkest = 2 + int(np.argmin(bins[2:10]))
    return (darkest + 0.5) / 12 if bins[darkest] < _DARK * max(bins[:6]) else None


def _sample(image: Image, frame: HeadFrame, places: Float64) -> Float32:
    at = frame.pixels(places).astype(np.float32)
    seen = cv2.remap(
        image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return seen.astype(np.float32)


def _layer(colour: Float32, alpha: Float64, pixels: float, tip: float) -> Layer:
    weight = alpha.astype(np.float32)[..., None]
    return Layer(np.dstack([colour * weight, weight]), pixels, tip)


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
_LEAST_BLUR = 0.25
"""Blur too small to be seen, pixels."""
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
        self._layers: dict[tuple[int, int], dict[str, Layer]] = {}  # any thread may add the same

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

    def layers(self, eye_px: float, blur_px: float) -> dict[str, Layer]:
        """Return the pictures for a face ``eye_px`` wide between the eyes, blurred; not yet lit.

        Faces of nearly one size and blur share them.
        """
        key = (round(math.log(eye_px) * _SIZES), round(blur_px * _BLURS))
        layers = self._layers.get(key)
        if layers is None:
            size, blur = math.exp(key[0] / _SIZES), key[1] / _BLURS
            layers = {name: self._layer(name, size, blur) for name in PICTURES}
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
        blur = blur_px * pixels / eye_px
        if blur > _LEAST_BLUR:
            layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), blur), np.float32)
        return Layer(layer, pixels, _TIPS[name])


def paint_opening(look: MouthLook, frame: HeadFrame, opening: Opening, box: PixelBox) -> Float32:
    """Return (h, w, 3) float32 BGR levels: what shows between the lips in a box."""
    layers, light, own = look.layers, look.light, look.teeth
    middle, aside = opening.middle_x, opening.middle_x + opening.jaw_x
    painted = np.empty((box.height, box.width, 3), np.float32)
    painted[:] = light.cavity
    flesh = np.asarray(light.flesh / 255 * opening.tongue_light, np.float32)
    enamel = np.asarray(light.tooth / _ENAMEL, np.float32)
    _lay(painted, place(layers["tongue"], frame, (aside, opening.tongue), box), flesh)
    lower = place(layers["lower"], frame, (aside, opening.lower_edge), box)
    _lay(painted, lower, np.asarray(enamel * _LOWER_LIGHT, np.float32))
    if own is None:
        _lay(painted, place(layers["upper"], frame, (middle, opening.upper_edge), box), enamel)
    shade = _shade(light, frame, opening, box)[..., None]
    painted *= shade
    if own is not None:
        lip = own.upper_lip
        if own.lower is not None:
            _lay(painted, place(own.lower, frame, (aside, lip + opening.jaw_y), box))
        _lay(painted, place(own.upper, frame, (middle, lip + opening.lifted), box))
        painted *= _contact_shadow(frame, opening, box)[..., None]
    return painted


def _lay(under: Float32, layer: Float32, light: Float32 | None = None) -> None:
    """Lay a premultiplied layer over what is there, in place; ``light`` is a factor a channel."""
    under *= 1 - layer[..., 3:]
    under += layer[..., :3] if light is None else layer[..., :3] * light


def _coarse(frame: HeadFrame, opening: Opening, box: PixelBox) -> tuple[Float64, Float64, Float64]:
    """Return places across, and heights below the upper and above the lower edge, on a grid."""
    columns = min(_SHADE_CELLS, box.width)
    rows = max(2, min(_SHADE_CELLS // 2, box.height))
    x = (np.arange(columns) + 0.5) * box.width / columns - 0.5 + box.left
    y = (np.arange(rows) + 0.5) * box.height / rows - 0.5 + box.top
    places = frame.places(np.stack(np.meshgrid(x, y), -1))
    across, down = places[..., 0], places[..., 1]
    upper = np.interp(across, opening.upper[:, 0], opening.upper[:, 1])
    lower = np.interp(across, opening.lower[:, 0], opening.lower[:, 1])
    return across, down - upper, lower - down


def _enlarged(shade: Float64, box: PixelBox) -> Float32:
    size = (box.width, box.height)
    return np.asarray(
        cv2.resize(shade.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32
    )


def _contact_shadow(frame: HeadFrame, opening: Opening, box: PixelBox) -> Float32:
    """Return (h, w) float32: the narrow shadow of the upper lip on a person's own teeth."""
    _, below, _ = _coarse(frame, opening, box)
    return _enlarged(0.70 + 0.30 * smooth_step(below / 0.022), box)


def _shade(light: MouthLight, frame: HeadFrame, opening: Opening, box: PixelBox) -> Float32:
    """Return (h, w) float32: how much light reaches each pixel.

    The shadow of the upper lip, the dark of the corners, and how wide the mouth is open.
    """
    across, below, above = _coarse(frame, opening, box)
    gap = opening.gap
    from_top = smooth_step(below / (0.020 + 0.16 * gap))
    from_bottom = smooth_step(above / (0.020 + 0.10 * gap))
    beside = np.abs(across - opening.middle_x) / opening.half_width
    corners = 1.0 - 0.72 * smooth_step((beside - 0.35) / 0.62)
    wide = 0.45 + 0.55 * max(float(smooth_step(np.asarray(gap / 0.075))), opening.tucked)
    sides = np.exp(light.side * np.clip((across - opening.middle_x) / 0.45, -1, 1) / 2)
    return _enlarged(
        (0.68 + 0.32 * from_top) * (0.80 + 0.20 * from_bottom) * corners * wide * sides, box
    )
