"""Draw a picture whose lips have moved: its own pixels, and between the lips what shows there.

Above the seam one motion counts, below it the other. Their inverses tell each pixel where it comes
from, and round the seam two soft masks say how much each counts. Pixels are taken from between
their neighbours with a kernel that keeps hair, pores and grain, or a face would go soft whenever it
moves. ``warp_pixels.c`` does all of it in one pass over the rows, where it was compiled; elsewhere
numpy and OpenCV do, step by step.
"""

import ctypes
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import HeadFrame
from lipstream.machine import processor_flags
from lipstream.mouth.inner_mouth import (
    InnerLights,
    MouthLook,
    Opening,
    inner_lights,
    layer_affine,
    layers_between,
    paint_opening,
)
from lipstream.mouth.rig import COLUMNS, CORNER_REACH, LEFT, ROWS, STEP, TOP
from lipstream.types import Float32, Float64, Image, PixelBox

_SOFT_EDGE = 0.0045
"""Softness of the lips' inner edge (sigma), head units."""
_SOFTEST = 0.02
"""Blur of the picture that the edge takes over, at most, head units."""
_SHUT_GAP = 0.002
"""Gap up to which nothing shows between the lips, head units."""
LIBRARY = Path(__file__).with_name("warp_pixels.so")
"""What ``warp_pixels.c`` is compiled to when lipstream is installed (``hatch_build.py``). Where it
is missing numpy and OpenCV draw, in several times the time, at places rounded to 1/32 pixel."""
ABI = 3
"""Raised whenever ``warp_pixels.c`` and its callers here have to change together."""
_NEEDED = frozenset(("avx2", "bmi2", "fma"))
_RELAXATION, _ITERATIONS = 0.65, 7
"""Of the fixed point: relaxed it also converges where a field is steep."""
_SHARPENED = 4.0 / 3.0
"""How far OpenCV's cubic is moved away from linear, which brings it nearest to the kernel: at half
a pixel, where sampling is softest, the outer of four neighbours weigh -1/8 in both."""
_STRIP_ROWS = 64
"""Rows that numpy samples at once: their maps stay in the processor's cache."""
_MOST_BYTES = 2**31
"""Bytes of a picture: ``warp_pixels.c`` tells places in it by 32 bits."""
_LAYERS, _LIGHTS, _CELLS = 5, 3, 40
"""Most layers that ``warp_pixels.c`` lays into an opening, kinds of light, and cells across."""


@dataclass(frozen=True, slots=True)
class MovedLips:
    """How the lips of a picture have moved in one frame."""

    box: PixelBox
    """Where the picture moves, inside it."""
    above: Float32
    """(ROWS, COLUMNS, 2) float32: motion of what is above the seam, on the grid of a rig."""
    below: Float32
    """(ROWS, COLUMNS, 2) float32: of what is below."""
    opening: Opening
    """Where the edges of the lips are now, and what stands between them."""


class _Picture(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
    )


class _Box(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int32) for name in ("left", "top", "height", "width"))


class _DrawnLayer(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("place", ctypes.c_float * 6),
        ("light", ctypes.c_float * 3),
        ("own", ctypes.c_int32),
    )


class _DrawnOpening(ctypes.Structure):
    _fields_ = (
        ("box", _Box),
        ("dark", ctypes.c_float * 3),
        ("count", ctypes.c_int32),
        ("behind", ctypes.c_int32),
        ("layers", _DrawnLayer * _LAYERS),
        ("lights", ctypes.c_void_p * _LIGHTS),
        ("high", ctypes.c_int32),
        ("wide", ctypes.c_int32),
    )


class _Scene(ctypes.Structure):
    _fields_ = (
        ("picture", _Picture),
        ("above", ctypes.c_void_p),
        ("below", ctypes.c_void_p),
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("to_cells", ctypes.c_double * 6),
        ("to_pixels", ctypes.c_double * 4),
        ("box", _Box),
        ("band", _Box),
        ("upper", ctypes.c_void_p),
        ("lower", ctypes.c_void_p),
        ("opening", ctypes.POINTER(_DrawnOpening)),
        ("step", ctypes.c_int32),
    )


@cache
def load_library() -> ctypes.CDLL | None:
    """Return what ``warp_pixels.c`` was compiled to, for processors with AVX2.

    None on others, and where the library is missing or of another version.
    """
    if not processor_flags() >= _NEEDED:
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
        if library.lipstream_warp_abi() != ABI:
            return None
    except (OSError, AttributeError):
        return None
    pointer, number, ratio = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
    library.lipstream_inverse.argtypes = (
        *(pointer, pointer, number, number, ctypes.POINTER(_Box)),
        *(ratio, ratio, number),
    )
    library.lipstream_inverse.restype = None
    library.lipstream_draw.argtypes = (ctypes.POINTER(_Scene), pointer)
    return library


def draw_lips(image: Image, frame: HeadFrame, look: MouthLook, moved: MovedLips) -> Image:
    """Return (h, w, 3) uint8 BGR: the box of the picture with everything moved."""
    band = _band(frame, moved.opening, moved.box)
    hole = _hole(frame, moved.opening, band)
    library = load_library()
    if library is None or min(image.shape[:2]) < 2:
        return draw_by_steps(image, frame, look, moved)
    masks = _masks(frame, look.light.blur_px, moved.opening, band)
    image, box = _in_rows(image), moved.box
    sides = (
        (moved.above, replace(box, bottom=band.bottom)),
        (moved.below, replace(box, top=band.top)),
    )
    above, below = (inverse(motion, _reached(frame, part)) for motion, part in sides)
    scene = _scene(image, frame, box, band)
    scene.above, scene.below = above.ctypes.data, below.ctypes.data
    scene.upper, scene.lower = (mask.ctypes.data for mask in masks)
    if hole is not None:
        _require(_holds(band, hole), "its opening is not inside its seam")
    lights = None if hole is None else inner_lights(look, frame, moved.opening, hole)
    if hole is not None and lights is not None:
        scene.opening = ctypes.pointer(_opening(look, frame, moved.opening, hole, lights))
    return _drawn(library, scene)


def draw_moved(image: Image, frame: HeadFrame, back: Float32, box: PixelBox) -> Image:
    """Return (h, w, 3) uint8 BGR: a box of the picture, each pixel from where ``back`` leads.

    ``back`` is (ROWS, COLUMNS, 2) float32, head units, on the grid of a rig. Where each pixel comes
    from is worked out on a coarse grid that is stretched.
    """
    if box.height <= 0 or box.width <= 0:
        return np.zeros((max(box.height, 0), max(box.width, 0), 3), np.uint8)
    library = load_library()
    if library is None or min(image.shape[:2]) < 2:
        step = _coarse_step(frame)
        return _sampled_by_opencv(image, _sources(frame, back, box, step), step, box)
    image, back = _in_rows(image), np.ascontiguousarray(back, np.float32)
    scene = _scene(image, frame, box, replace(box, right=box.left, top=box.bottom))
    scene.above = scene.below = back.ctypes.data
    return _drawn(library, scene)


def _drawn(library: ctypes.CDLL, scene: _Scene) -> Image:
    drawn = np.empty((scene.box.height, scene.box.width, 3), np.uint8)
    if library.lipstream_draw(scene, drawn.ctypes.data):
        raise MemoryError("no memory for the picture of a mouth")
    return drawn


def _in_rows(image: Image) -> Image:
    """Return the picture as rows of pixels without gaps between them: itself or a copy."""
    in_rows = image.strides[1:] == (3, 1) and image.strides[0] >= 0
    return image if in_rows else np.ascontiguousarray(image)


def _scene(image: Image, frame: HeadFrame, box: PixelBox, band: PixelBox) -> _Scene:
    """Return a scene without its grids and masks; ``image`` has to outlive it."""
    _require(_holds(box, band), "its seam is not inside its box")
    _require(image.strides[0] * image.shape[0] < _MOST_BYTES, "its picture has 2 GiB or more")
    turn = frame.to_pixels
    return _Scene(
        picture=_Picture(image.ctypes.data, image.strides[0], *image.shape[:2]),
        rows=ROWS,
        columns=COLUMNS,
        to_cells=_to_cells(frame),
        to_pixels=(turn[0, 0], turn[0, 1], turn[1, 0], turn[1, 1]),
        box=_box(box),
        band=_box(band),
        step=_coarse_step(frame),
    )


def _holds(box: PixelBox, part: PixelBox) -> bool:
    across = box.left <= part.left <= part.right <= box.right
    return across and box.top <= part.top <= part.bottom <= box.bottom


def _require(holds: bool, what: str) -> None:
    """Raise ValueError for what the kernel would read out of bounds; -O leaves asserts out."""
    if not holds:
        raise ValueError(f"a mouth cannot be drawn: {what}")


def _box(box: PixelBox) -> _Box:
    return _Box(box.left, box.top, box.height, box.width)


def _to_cells(frame: HeadFrame) -> tuple[float, ...]:
    """Return the six numbers of the transform from pixels to cells of the grid."""
    (a, b, x), (c, d, y) = frame.to_head.tolist()
    cells = (a, b, x - LEFT, c, d, y - TOP)
    return tuple(one / STEP for one in cells)


def _coarse_step(frame: HeadFrame) -> int:
    """Return how many pixels lie between the nodes at which places are worked out."""
    return max(2, round(frame.eye_px * STEP))


def _opening(
    look: MouthLook, frame: HeadFrame, opening: Opening, hole: PixelBox, lights: InnerLights
) -> _DrawnOpening:
    """Return the inner mouth of a box; ``lights`` has to outlive it."""
    behind, before = layers_between(look, opening)
    _require(len(behind) + len(before) <= _LAYERS, "it has too many layers")
    high, wide = lights.behind.shape
    _require(high >= 2 and 2 <= wide <= _CELLS, "its light has too few or too many cells")
    layers = (_DrawnLayer * _LAYERS)()
    for made, one in zip(layers, (*behind, *before), strict=False):
        picture = one.layer.picture
        _require(picture.flags.c_contiguous, "a layer has gaps")
        _require(picture.dtype == np.float32, "a layer is not float32")
        _require(picture.shape[2] == 4, "a layer is not BGRA")
        made.pixels = picture.ctypes.data
        made.height, made.width = picture.shape[:2]
        made.place = layer_affine(one, frame, hole)
        made.light = one.light
    for made in layers[len(behind) : len(behind) + len(before)]:
        made.own = True
    kinds = (lights.behind, lights.own, lights.contact)
    return _DrawnOpening(
        box=_box(hole),
        dark=tuple(look.light.cavity.tolist()),
        count=len(behind) + len(before),
        behind=len(behind),
        layers=layers,
        lights=tuple(None if one is None else one.ctypes.data for one in kinds),
        high=high,
        wide=wide,
    )


def _reached(frame: HeadFrame, box: PixelBox) -> PixelBox:
    """Return the nodes of the grid that a box of the picture touches."""
    a, b, x, c, d, y = _to_cells(frame)
    reach = 2 * _coarse_step(frame)
    corners = [
        (across, down)
        for across in (box.left - reach, box.right + reach)
        for down in (box.top - reach, box.bottom + reach)
    ]
    columns = [a * across + b * down + x for across, down in corners]
    rows = [c * across + d * down + y for across, down in corners]
    return PixelBox(
        min(max(math.floor(min(columns)), 0), COLUMNS),
        min(max(math.floor(min(rows)), 0), ROWS),
        max(min(math.ceil(max(columns)) + 1, COLUMNS), 0),
        max(min(math.ceil(max(rows)) + 1, ROWS), 0),
    )


def inverse(motion: Float32, part: PixelBox | None = None) -> Float32:
    """Return (ROWS, COLUMNS, 2) float32: what leads from a moved place back to where it came from.

    ``motion`` leads from a place to where it moves. Both in head units, on the grid of a rig.
    Outside ``part``, which are nodes of it, anything or nothing may be worked out.
    """
    library = load_library()
    if library is None:
        return _inverse_by_opencv(motion)
    part = part or PixelBox(0, 0, COLUMNS, ROWS)
    motion = np.ascontiguousarray(motion, np.float32)
    _require(motion.shape == (ROWS, COLUMNS, 2), "a motion is not on the grid")
    back = np.zeros_like(motion)
    grids = (motion.ctypes.data, back.ctypes.data)
    library.lipstream_inverse(*grids, ROWS, COLUMNS, _box(part), STEP, _RELAXATION, _ITERATIONS)
    return back


def _inverse_by_opencv(motion: Float32) -> Float32:
    at_column, at_row = _nodes()
    in_cells = motion * np.float32(1.0 / STEP)
    back = -in_cells
    for _ in range(_ITERATIONS):
        there = cv2.remap(
            in_cells,
            at_column + back[..., 0],
            at_row + back[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        back = np.float32(1 - _RELAXATION) * back - np.float32(_RELAXATION) * there
    return np.asarray(back * np.float32(STEP), np.float32)


@cache
def _nodes() -> tuple[Float32, Float32]:
    across, down = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    return np.ascontiguousarray(across, np.float32), np.ascontiguousarray(down, np.float32)


def _sources(frame: HeadFrame, back: Float32, box: PixelBox, step: int) -> Float64:
    """Return (rows + 2, columns + 2, 2) float64: where the nodes over a box come from, pixels."""
    rows, columns = (-(-side // step) + 2 for side in (box.height, box.width))
    x = (np.arange(columns) - 0.5) * step - 0.5 + box.left
    y = (np.arange(rows) - 0.5) * step - 0.5 + box.top
    pixels = np.stack(np.meshgrid(x, y), -1).astype(np.float64)
    cells = ((frame.places(pixels) - [LEFT, TOP]) / STEP).astype(np.float32)
    motion = cv2.remap(
        back, cells[..., 0], cells[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(pixels + motion @ frame.to_pixels[:, :2].T, np.float64)


def _sampled_by_opencv(image: Image, source: Float64, step: int, box: PixelBox) -> Image:
    moved = np.empty((box.height, box.width, 3), np.uint8)
    cells_high = max(1, _STRIP_ROWS // step)
    for first in range(0, len(source) - 2, cells_high):
        strip = source[first : first + cells_high + 2]
        _sample_strip(image, strip, step, moved[first * step :])
    return moved


def _sample_strip(image: Image, source: Float64, step: int, moved: Image) -> None:
    """Write the first rows of ``moved``, those of a (rows + 2, columns + 2, 2) grid of places.

    Linear, four channels are sampled in half the time of three.
    """
    part, corner = _around(image, source)
    rows, columns = (side * step for side in source.shape[:2])
    maps = cv2.resize((source - corner).astype(np.float32), (columns, rows))
    height = min(rows - 2 * step, len(moved))
    across, down = cv2.split(maps[step : step + height, step : step + moved.shape[1]])
    edge = cv2.BORDER_REPLICATE
    layers = cv2.cvtColor(part, cv2.COLOR_BGR2BGRA)
    linear = cv2.remap(layers, across, down, cv2.INTER_LINEAR, borderMode=edge)
    cubic = cv2.remap(part, across, down, cv2.INTER_CUBIC, borderMode=edge)
    soft = cv2.cvtColor(linear, cv2.COLOR_BGRA2BGR)
    cv2.addWeighted(cubic, _SHARPENED, soft, 1 - _SHARPENED, 0, moved[:height])


def _around(image: Image, source: Float64) -> tuple[Image, NDArray[np.intp]]:
    """Return a view of the picture round all the places sampled, never empty, and its corner."""
    last = np.array(image.shape[1::-1]) - 1
    low = np.clip(np.floor(source.min((0, 1))).astype(int) - 3, 0, last)
    high = np.clip(np.ceil(source.max((0, 1))).astype(int) + 4, low, last) + 1
    return image[low[1] : high[1], low[0] : high[0]], low


def draw_by_steps(image: Image, frame: HeadFrame, look: MouthLook, moved: MovedLips) -> Image:
    """Do as ``draw_lips`` does, each step for the whole box, to a level."""
    band = _band(frame, moved.opening, moved.box)
    above, below = (inverse(one) for one in (moved.above, moved.below))
    sides = (
        draw_moved(image, frame, above, replace(moved.box, bottom=band.bottom)),
        draw_moved(image, frame, below, replace(moved.box, top=band.top)),
    )
    if band.height <= 0 or band.width <= 0:
        return np.concatenate([sides[0][: band.top - moved.box.top], sides[1]], 0)
    hole = _hole(frame, moved.opening, band)
    masks = _masks(frame, look.light.blur_px, moved.opening, band)
    inner = None if hole is None else paint_opening(look, frame, moved.opening, hole)
    return _joined(sides, masks, (moved.box, band, hole), inner)


def _joined(
    sides: tuple[Image, Image],
    masks: tuple[Image, Image],
    places: tuple[PixelBox, PixelBox, PixelBox | None],
    inner: Float32 | None,
) -> Image:
    """Return (h, w, 3) uint8: upper lip, lower lip, and the inner mouth where neither is.

    ``places`` are the box, the band in it and the hole in that, of which ``inner`` is the picture.
    """
    (box, band, hole), (top, bottom) = places, sides
    part = np.concatenate([top[: band.top - box.top], bottom], 0)
    columns = slice(band.left - box.left, band.right - box.left)
    above, below = (
        np.ascontiguousarray(one)
        for one in (top[band.top - box.top :, columns], bottom[: band.height, columns])
    )
    upper, lower = (mask.astype(np.float32) / np.float32(255) for mask in masks)
    mixed = np.asarray(cv2.blendLinear(above, below, upper + 1e-5, lower + 1e-5), np.uint8)
    if hole is not None and inner is not None:
        at = (
            slice(hole.top - band.top, hole.bottom - band.top),
            slice(hole.left - band.left, hole.right - band.left),
        )
        kept = upper[at] + lower[at]
        levels = np.clip(np.rint(inner), 0, 255).astype(np.uint8)
        weights = (kept, np.maximum(1.0 - kept, 1e-5))
        mixed[at] = cv2.blendLinear(np.ascontiguousarray(mixed[at]), levels, *weights)
    part[band.top - box.top : band.bottom - box.top, columns] = mixed
    return part


def _band(frame: HeadFrame, opening: Opening, box: PixelBox) -> PixelBox:
    """Return where the two fields differ round the seam: beyond it they are equal."""
    reach = np.array([CORNER_REACH, 0.0])
    ends = [opening.upper[0] - reach, opening.upper[-1] + reach]
    places = frame.pixels(np.concatenate([opening.upper, opening.lower, ends]))
    margin = frame.eye_px * 0.03 + 2
    (left, top), (right, bottom) = places.min(0).tolist(), places.max(0).tolist()
    return PixelBox(
        min(max(math.floor(left - margin), box.left), box.right),
        min(max(math.floor(top - margin), box.top), box.bottom),
        min(max(math.ceil(right + margin + 1), box.left), box.right),
        min(max(math.ceil(bottom + margin + 1), box.top), box.bottom),
    )


def _hole(frame: HeadFrame, opening: Opening, band: PixelBox) -> PixelBox | None:
    """Return the part of the band that shows what is between the lips; None where nothing does."""
    if opening.gap <= _SHUT_GAP:
        return None
    curves = frame.pixels(np.concatenate([opening.upper, opening.lower]))
    (left, top), (right, bottom) = curves.min(0).tolist(), curves.max(0).tolist()
    hole = PixelBox(
        max(math.floor(left) - 4, band.left),
        max(math.floor(top) - 4, band.top),
        min(math.ceil(right) + 5, band.right),
        min(math.ceil(bottom) + 5, band.bottom),
    )
    return hole if hole.width >= 2 and hole.height >= 2 else None


def _masks(
    frame: HeadFrame, blur_px: float, opening: Opening, band: PixelBox
) -> tuple[Image, Image]:
    """Return (h, w) uint8 each: how much of a pixel is above the upper edge, below the lower."""
    if band.height <= 0 or band.width <= 0:
        return np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8)
    blur = min(blur_px, frame.eye_px * _SOFTEST)
    sigma = math.hypot(max(0.5, frame.eye_px * _SOFT_EDGE), blur)
    turn, masks = frame.to_pixels[:, :2].T / frame.eye_px, []
    for curve, away in ((opening.upper, -1.0), (opening.lower, 1.0)):
        line = frame.pixels(curve) - (band.left, band.top)
        # Beyond all of the band, and not further: OpenCV walks along every row of an outline.
        beyond = 2.0 * (band.width + band.height + float(np.abs(line).max()))
        across, side = turn[0] * beyond, turn[1] * (beyond * away)
        outline = np.empty((len(line) + 4, 2))
        outline[1:-3] = line
        outline[0], outline[-3] = line[0] - across, line[-1] + across
        outline[-2], outline[-1] = outline[-3] + side, outline[0] + side
        mask = np.zeros((band.height, band.width), np.uint8)
        fixed = np.rint(np.minimum(np.maximum(outline, -2e4), 2e4) * 16).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, 4)
        masks.append(np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.uint8))
    return masks[0], masks[1]
