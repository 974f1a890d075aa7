"""A person's own teeth: cut out of a picture of an open mouth, shown in that picture or another.

What stands between the lips of an open mouth is cut out in the head frame, the upper teeth as part
of the skull, and in a wide mouth what lies below its middle as part of the jaw. Towards the lip
each layer repeats its last row, so that it reaches under lips that draw back.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lipstream.face.crop import HeadFrame, smooth_step
from lipstream.mouth.rig import NODES, LipCurves
from lipstream.types import Float32, Float64, Image

_TOOTH_SHARE, _INTO_LIP = 0.45, 0.004
"""Where teeth are looked for, shares of the opening from above; where the lower lip's colour is
taken, head units above the edge."""
_UNLIKE = 60.0
"""Sum of levels by which a lip differs from teeth, at least."""
_LIP_MIDDLE = 0.65
"""Share of half the width from a corner on which it counts wholly: shaded teeth look like lips."""
_LIP_PARTS = 14
"""The lip's line is the mean of medians over this part of the width to both sides."""
_MARGIN = 0.016
"""What is left out along the lips, where they colour the teeth, head units."""
_LEAST_GAP = 0.085
"""Gap from which teeth show enough to be kept, head units: less of them ends in the dark."""
_LEAST_HEIGHT = 0.03
"""Height of what shows of them, at least, head units: less of it is a torn edge below the lip."""
_WIDE_GAP = 0.11
"""Gap from which there may be dark between the rows, head units."""
_DARK = 0.5
"""Level against that of the teeth, below which it is the dark between the rows."""
_ABOVE, _BELOW = 0.06, 0.05
"""How far the layers reach beyond the lips, head units."""
_MOST_PIXELS = 900.0
_TOOTH_OF_SKIN, _PALER = 0.6, 0.75
"""Level of teeth over the cheeks', at least, and their redness over the cheeks', at most."""
_FROM_LIP = 0.45
"""Level of a tooth at the upper lip over its brightest, at least."""
_THICKEST = 0.05
"""How much of a lip may lie inside an edge, head units."""
_UPPER_LIP, _BELOW_LIP = 13, 0.075
"""Mesh point at the edge of the upper lip, and how far below it upper teeth begin, at most: in a
smile the mesh sees it too high."""
_LIP_SHADE, _BESIDE_LIP = 0.6, 0.05
"""Level above upper teeth over that of the lower lip, at least; where the lower lip's is taken,
head units below the edge."""
_LARGE_GAP, _CELLS = 0.2, 200.0
"""Gap, head units, in which lips are looked for between the edges, and rows a head unit."""
_BEYOND_EDGE, _REDDER, _DARK_LIP, _MOST_LIP = 0.03, 0.03, 0.3, 0.4
"""Where the colour of a lip is taken, head units beyond the edge; how much redder than teeth it is,
at least; its level over theirs, at least; share of the opening that may be lip, at most."""
_SECOND_GAP, _WAIST = 0.015, 0.4
"""By how much a second opening beside the first widens again, head units, at least; the first one's
gap between the two over its widest, at most."""
_MIXED_PX = 1.0
"""Pixels along a lip whose colour is mixed of lip and teeth."""
_SIDE, _WIDER = 0.82, 1.25
"""Share of half the width up to which teeth are taken: what lies beside repeats the last column, as
far as the layer is wider than the mouth, which narrows when it opens."""
_FINER = 1.15
"""Pixels of a layer for one of the picture that it is shown in."""
_LEAST_BLUR = 0.25
"""Blur too small to be seen, pixels."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One picture at the scale of a face: premultiplied, and how far its tip is from the top."""

    picture: Float32
    """(h, w, 4) float32: BGR levels times alpha, alpha 0 to 1."""
    pixels: float
    """Pixels a head unit."""
    tip: float
    """Head units from the top of the picture to the biting edge or the tip."""

    def without_colour(self) -> "Layer":
        """Return the same in greys."""
        grey = self.picture.copy()
        grey[..., :3] = self.picture[..., :3].mean(-1, keepdims=True)
        return replace(self, picture=grey)


@dataclass(frozen=True, slots=True)
class OwnTeeth:
    """Teeth cut out of one picture; premultiplied BGR levels, lit as that picture is."""

    upper: Layer
    lower: Layer | None
    """None where the mouth was hardly open: all that shows belongs to the skull."""
    upper_lip: float
    """Height of the upper lip's edge in that picture, head units: where ``upper`` hangs."""
    jaw: float = 0.0
    """How far the jaw was down in that picture, head units: ``lower`` hangs on it."""
    gap: float = 0.0
    """Height of what was cut out, head units."""
    borrowed: bool = False
    """Whether they are shown in another picture, where less light may reach them."""
    hangs: bool = True
    """Whether it begins at the upper lip, and not in the dark of the mouth, above lower teeth."""

    def shown_in(self, scene: "OtherPicture") -> "OwnTeeth":
        """Return them for another picture of the same person."""
        return OwnTeeth(
            _relit(self.upper, scene),
            None if self.lower is None else _relit(self.lower, scene),
            self.upper_lip + scene.drop,
            self.jaw + scene.jaw,
            self.gap,
            borrowed=True,
            hangs=self.hangs,
        )

    def tooth_area(self, skin: Float32) -> float:
        """Return how much of teeth the upper row shows: square head units of bright and pale.

        They begin at the upper lip: where dark is above them, they are the lower ones.
        Half of it where rows lie one upon the other, though they are far apart: the lower ones
        would stay with the upper ones.
        ``skin`` (3,) is the BGR level of the cheeks in the same picture.
        """
        alpha = self.upper.picture[..., 3]
        colour = self.upper.picture[..., :3] / np.maximum(alpha, 1e-3)[..., None]
        bright = colour.mean(-1) > _TOOTH_OF_SKIN * skin.mean()
        redness = (colour[..., 2] - colour[..., 1]) / np.maximum(colour.sum(-1), 1.0)
        pale = redness < _PALER * (skin[2] - skin[1]) / skin.sum()
        level = np.where(alpha > 0.5, colour.mean(-1), 0.0)
        from_lip = level[0] > _FROM_LIP * level.max(0)
        area = float(((alpha > 0.5) & bright & pale & from_lip).sum() / self.upper.pixels**2)
        return area if self.lower is not None or self.gap < _WIDE_GAP else area / 2


@dataclass(frozen=True, slots=True)
class OtherPicture:
    """How a picture differs from the one that teeth were cut out of."""

    drop: float
    """How much lower the base of the nose is in it, and all that belongs to the skull; head
    units."""
    jaw: float
    """How much further the jaw was down in the picture of the teeth, against the nose."""
    light: Float32
    """(3,): its skin over that of the picture of the teeth."""
    pixels: float
    """Pixels a head unit in it."""
    blur: float
    """Blur that it has over the picture of the teeth, head units (sigma)."""


def _relit(layer: Layer, scene: OtherPicture) -> Layer:
    """Return a layer as large, as lit and as soft as another picture."""
    picture, scale = layer.picture, min(1.0, scene.pixels * _FINER / layer.pixels)
    if scale < 1.0:
        size = [max(2, round(side * scale)) for side in picture.shape[1::-1]]
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
    pixels = layer.pixels * picture.shape[1] / layer.picture.shape[1]
    if scene.blur * pixels > _LEAST_BLUR:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), scene.blur * pixels), np.float32)
    return Layer(picture * np.append(scene.light, np.float32(1.0)), pixels, layer.tip)


def cut_teeth(image: Image, frame: HeadFrame, mesh: Float64, curves: LipCurves) -> OwnTeeth | None:
    """Return the teeth of a picture whose mouth is open, None where it shows none."""
    gaps = (curves.lower - curves.upper)[:, 1]
    if not curves.open or float(gaps.max()) < _LEAST_GAP:
        return None
    pixels = min(frame.eye_px, _MOST_PIXELS)
    middle, anchor = float(curves.middle[0]), float(curves.upper[NODES // 2, 1])
    half = curves.half_width
    top, bottom = float(curves.upper[:, 1].min()) - _ABOVE, float(curves.lower[:, 1].max()) + _BELOW
    columns, rows = round(2 * half * _WIDER * pixels), round((bottom - top) * pixels)
    x = middle + (np.arange(columns) + 0.5 - columns / 2) / pixels
    x = np.clip(x, middle - _SIDE * half, middle + _SIDE * half)
    y = np.asarray(top + (np.arange(rows) + 0.5) / pixels, np.float64)
    upper, lower = (np.interp(x, one[:, 0], one[:, 1]) for one in (curves.upper, curves.lower))
    low, high = upper + _MARGIN, np.maximum(lower - _MARGIN, upper + _MARGIN)
    seen = _sample(image, frame, np.stack(np.broadcast_arrays(x[None], y[:, None]), -1))
    low, high = _between_lips(seen, y, (low, high), _THICKEST)
    low, high = low + _MIXED_PX / pixels, np.maximum(high, low) - _MIXED_PX / pixels
    shows = smooth_step((high - low) / 0.02)
    heights = np.clip(y[:, None], low, np.maximum(high, low))
    colour = _sample(image, frame, np.stack(np.broadcast_arrays(x[None], heights), -1))
    share = _dark_share(colour, y[:, None], low, high) if float(gaps.max()) > _WIDE_GAP else None
    if share is None:
        high = _above_lip(colour, y, low, high)
    split = high + 1.0 if share is None else low + (high - low) * share
    ends = smooth_step((high - y[:, None]) / 0.012 + 0.2) if share is None else 1.0
    above = ends * smooth_step((split - y[:, None]) / 0.016 + 0.5) * shows
    tip = anchor - top
    upper_layer = _layer(colour, above, pixels, tip)
    below = smooth_step((y[:, None] - split) / 0.016 + 0.5) * shows
    lower_layer = None if share is None else _layer(colour, below, pixels, tip)
    above, below = (_colours_at(seen, y, at) for at in (low - _BEYOND_EDGE, high + _BESIDE_LIP))
    lit = float(np.median(above.mean(-1))) > _LIP_SHADE * float(np.median(below.mean(-1)))
    edge = float(np.median(low[columns * 2 // 5 : columns * 3 // 5]))
    hangs = lit and edge - float(mesh[_UPPER_LIP, 1]) < _BELOW_LIP
    gap = float((high - low).max())
    if gap < _LEAST_HEIGHT:
        return None
    return OwnTeeth(upper_layer, lower_layer, anchor, gap=gap, hangs=hangs)


def without_lips(image: Image, frame: HeadFrame, curves: LipCurves) -> LipCurves:
    """Return the curves of open lips without thick pieces of lip between them; else the same.

    Light brown lips that shine may look like teeth.
    """
    gaps = (curves.lower - curves.upper)[:, 1]
    if not curves.open or float(gaps.max()) < _LARGE_GAP:
        return curves
    x = curves.upper[:, 0]
    top, bottom = float(curves.upper[:, 1].min()) - _ABOVE, float(curves.lower[:, 1].max()) + _BELOW
    y = np.arange(top, bottom, 1.0 / min(frame.eye_px, _CELLS))
    seen = _sample(image, frame, np.stack(np.broadcast_arrays(x[None], y[:, None]), -1))
    low, high = curves.upper[:, 1] + _MARGIN, curves.lower[:, 1] - _MARGIN
    bounds = _between_lips(seen, y, (low, np.maximum(high, low)), _MOST_LIP)
    middle = slice(NODES // 4, NODES - NODES // 4)
    lip = [np.maximum(bounds[0] - low, 0.0), np.maximum(high - bounds[1], 0.0)]
    if max(float(one[middle].max()) for one in lip) < _THICKEST:
        return curves
    inside = smooth_step(np.minimum(np.arange(NODES), np.arange(NODES)[::-1]) / 5.0)
    upper, lower = curves.upper.copy(), curves.lower.copy()
    upper[:, 1] += lip[0] * inside
    lower[:, 1] -= lip[1] * inside
    return LipCurves(upper, lower, open=True)


def without_skin(curves: LipCurves) -> LipCurves:
    """Return the curves of open lips without a second opening towards a corner; else the same.

    Light skin beside the corner of narrow lips may look like teeth: an opening narrows on its way
    to its corners, so beyond a waist it is drawn straight to the corner.
    """
    if not curves.open:
        return curves
    upper, lower = curves.upper.copy(), curves.lower.copy()
    gaps, middle = lower[:, 1] - upper[:, 1], (lower[:, 1] + upper[:, 1]) / 2
    inner = slice(NODES // 4, NODES - NODES // 4)
    widest = inner.start + int(gaps[inner].argmax())
    for outward in (np.arange(widest, NODES), np.arange(widest, -1, -1)):
        gap = gaps[outward]
        rise = gap - np.minimum.accumulate(gap)
        waist = int(gap[: int(rise.argmax()) + 1].argmin())
        if float(rise.max()) < _SECOND_GAP or gap[waist] > _WAIST * gap[0]:
            continue
        beyond = outward[waist:]
        left = np.linspace(1.0, 0.0, len(beyond))
        line = middle[beyond[-1]] + (middle[beyond[0]] - middle[beyond[-1]]) * left
        upper[beyond, 1] = line - gap[waist] / 2 * left
        lower[beyond, 1] = line + gap[waist] / 2 * left
    return LipCurves(upper, lower, open=True)


def _above_lip(colour: Float32, y: Float64, low: Float64, high: Float64) -> Float64:
    """Return (columns,) float64: where teeth end and the lower lip begins, above ``high``.

    The lower edge of an opening may lie a little inside the lip, most of all in the middle of a
    smile. What is nearer in colour to the lip than to the teeth is the lip's.
    """
    teeth = _colours_at(colour, y, low + (high - low) * _TOOTH_SHARE)
    lip = _colours_at(colour, y, high - _INTO_LIP)
    tooth_colour, lip_colour = np.median(teeth, 0), np.median(lip, 0)
    if np.abs(tooth_colour - lip_colour).sum() < _UNLIKE:
        return high
    is_lip = np.abs(colour - lip_colour).sum(-1) < np.abs(colour - tooth_colour).sum(-1)
    is_lip &= (y[:, None] > low + (high - low) * _TOOTH_SHARE) & (y[:, None] < high)
    smooth = _smooth_line(np.where(is_lip.any(0), y[is_lip.argmax(0)], high))
    beside = np.abs(np.linspace(-1.0, 1.0, len(smooth)))
    middle = smooth_step((1.0 - beside) / _LIP_MIDDLE)
    return np.asarray(high - np.maximum(high - smooth, 0.0) * middle, np.float64)


def _between_lips(
    seen: Float32, y: Float64, edges: tuple[Float64, Float64], thickest: float
) -> tuple[Float64, Float64]:
    """Return (columns,) each: two edges without lips that lie inside them, ``thickest`` at most.

    ``seen`` is (rows, columns, 3). On a small picture an edge is a tenth of the mouth off. What is
    redder than midway between teeth and lip, from an edge on, is lip.
    """
    low, high = edges
    inside = (y[:, None] >= low) & (y[:, None] <= high)
    level, red = seen.mean(-1), (seen[..., 2] - seen[..., 1]) / (seen.sum(-1) + 20.0)
    bright = inside & (level > _TOOTH_OF_SKIN * np.percentile(level[inside], 90))
    if not bright.any():
        return edges
    tooth = float(np.percentile(red[bright], 30))
    most = np.minimum(_MOST_LIP * (high - low), thickest)
    bounds = []
    for edge, outward, rows in ((low, -1, slice(None)), (high, 1, slice(None, None, -1))):
        lip = float(np.median(_red_at(red, y, edge + outward * _BEYOND_EDGE)))
        other = inside & ~((red > (tooth + lip) / 2) & (level > _DARK_LIP * level[bright].mean()))
        ends = y[rows][other[rows].argmax(0)]
        trimmed = np.where(other.any(0) & (lip - tooth > _REDDER), (ends - edge) * -outward, 0.0)
        bounds.append(edge - outward * _smooth_line(np.clip(trimmed, 0.0, most)))
    return bounds[0], bounds[1]


def _red_at(red: Float32, y: Float64, heights: Float64) -> Float32:
    """Return (columns // 2,): the redness at a height each, of the middle half of the columns."""
    return _colours_at(red[..., None], y, heights)[:, 0]


def _smooth_line(heights: Float64) -> Float64:
    """Return (columns,): a mean of medians of what stands beside."""
    width = 2 * (len(heights) // _LIP_PARTS) + 1
    padded = np.pad(heights, width // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), -1)
    padded = np.pad(smooth, width // 2, mode="edge")
    return np.asarray(np.convolve(padded, np.full(width, 1.0 / width), "valid"), np.float64)


def _colours_at(colour: Float32, y: Float64, heights: Float64) -> Float32:
    """Return (columns // 2, 3): the colours at a height each, of the middle half of the columns."""
    rows = np.clip(np.searchsorted(y, heights), 0, len(y) - 1)
    middle = np.arange(len(heights) // 4, len(heights) - len(heights) // 4)
    return np.asarray(colour[rows[middle], middle], np.float32)


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
