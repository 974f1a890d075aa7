"""Put the painted mouth into the picture so that nobody sees where.

A network paints 48 rows of a 96-pixel face; pasted as they are, they blur the skin and show an
edge. So only the *change* is pasted, scaled up and added: what the network painted less what it
paints for silence, or, in a film whose people speak, less the same rows of the picture. Where
nothing moves the picture stays as it was, to the pixel, and what a network gets wrong about a face
it never met cancels out. Where the change is large, the fine detail of the resting mouth is faded
out, or its closed lips would show through the open ones.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import cut_crop, pixel_affine, smooth_step
from lipstream.inference.backends import PATCH_PIXELS, PasteTarget
from lipstream.inference.model import MouthModel
from lipstream.lips.decoder import DecoderSettings, LipDecoder
from lipstream.lips.phones import CLASSES, with_known_phones
from lipstream.lips.shape import MEASURES, LipFrame
from lipstream.mouth.compositor import ShapeCompositor, ShapeTarget
from lipstream.types import NOWHERE, Array, AvFrame, Box, Float32, Image, Patch, Planes, Still

_FEATHER_TOP, _FEATHER_SIDE, _FEATHER_BOTTOM = 0.06, 0.10, 0.05
"""Width of the soft edge, in crop sides."""
_DETAIL_FADE = (4.0, 20.0)
"""Change in levels from which detail starts to fade, and at which it is gone."""
_UNSEEN = np.array([0.25, 0.25, 0.25, 0.001])
"""Change in levels, and fading of detail, too small to reach another level once scaled up."""
_REACH = 3
"""Pixels of the mouth that one pixel can touch when it is scaled up (cubic), and one to spare."""
_CHROMA = np.array(
    [
        [0.5, -0.5 * 0.587 / 0.886, -0.5 * 0.299 / 0.886],
        [-0.5 * 0.114 / 0.701, -0.5 * 0.587 / 0.701, 0.5],
    ]
)
"""B, G, R to Cb and Cr of ITU-R BT.601, before they are scaled to 224 levels round 128."""
_TO_CHROMA = np.column_stack([_CHROMA * 224 / 255, [128.0, 128.0]]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class MouthArea:
    """The rows of a crop that a network paints."""

    face_size: int
    """Side of the crop, pixels."""
    top: int
    """First painted row."""
    bottom: int
    """One past the last painted row."""


@dataclass(frozen=True, slots=True)
class Target:
    """One avatar picture and what is known of it before any sound."""

    still: Still
    """The picture."""
    rest: NDArray[np.uint8]
    """(rows, S, 3) uint8 BGR: the mouth that changes nothing."""
    affine: Float32
    """(2, 3) float32: pixels of ``rest`` to pixels of ``image``."""
    region: Box
    """Where in ``image`` the mouth can touch it."""
    detail: NDArray[np.int16]
    """(h, w, 3) int16: what the region shows over its own mouth rows scaled up, in levels."""

    @property
    def image(self) -> Image:
        """The picture itself: (H, W, 3) uint8 BGR, never written to."""
        return self.still.image

    @property
    def patch_box(self) -> Box:
        """``region`` with even edges, or those of the picture."""
        height, width = self.image.shape[:2]
        return _even(self.region[0], height), _even(self.region[1], width)


@cache
def open_shapes() -> ShapeCompositor:
    """Return what moves lips, one for all models and sessions."""
    return ShapeCompositor.open()


class Compositor:
    """Paste mouths of one area into pictures. Holds no picture; any thread, several at once."""

    def __init__(self, area: MouthArea) -> None:
        self._area = area
        self._feather = _feather(area)
        self._feathers: Float32 = np.repeat(self._feather[..., None], 4, 2)
        edge = self._feather < 0.5
        edge[len(edge) // 2 :] = False
        self._edge = edge.astype(np.uint8)

    def reset(self) -> None:
        """Do nothing: no frame depends on another."""

    def target(
        self, image: Image, crop: Float32, silent_mouth: NDArray[np.uint8] | None = None
    ) -> Target:
        """Prepare a picture and its (2, 3) unit crop for pasting.

        ``silent_mouth`` (rows, S, 3) is what the network paints on this face for silence, copied;
        None takes the picture's own mouth for what changes nothing.
        """
        face = cut_crop(image, crop, self._area.face_size)
        return self.target_of_face(image, crop, face, silent_mouth)

    def target_of_face(
        self,
        image: Image,
        crop: Float32,
        face: Image,
        silent_mouth: NDArray[np.uint8] | None = None,
    ) -> Target:
        """Do as ``target`` does, with the (S, S, 3) face that was cut out by ``crop`` already."""
        area = self._area
        own = face[area.top : area.bottom]
        rest = own if silent_mouth is None else silent_mouth.copy()
        affine = pixel_affine(crop, area.face_size, area.top)
        region = _region(image, affine, (0, 0, own.shape[1], own.shape[0]))
        detail = cv2.subtract(image[region], _warp(own, affine, region), dtype=cv2.CV_16S)
        return Target(Still(image), rest, affine, region, np.asarray(detail, np.int16))

    @property
    def feather(self) -> Float32:
        """The soft edge of a mouth: (rows, S) float32 from 0 to 1."""
        return self._feather

    def paste_target(self, target: Target) -> PasteTarget | None:
        """Return a picture as a GPU pastes into it; None where that is too large, or odd."""
        rows, columns = box = target.patch_box
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if height * width > PATCH_PIXELS or height % 2 or width % 2:
            return None
        detail = np.zeros((height, width, 3), np.int16)
        above, before = (
            own.start - wide.start for own, wide in zip(target.region, box, strict=True)
        )
        tall, broad = target.detail.shape[:2]
        detail[above : above + tall, before : before + broad] = target.detail
        turn = np.asarray(cv2.invertAffineTransform(target.affine.astype(np.float64)))
        corner = turn[:, :2] @ (columns.start, rows.start) + turn[:, 2]
        inverse = np.column_stack([turn[:, :2], corner]).astype(np.float32)
        return PasteTarget(target.image[box], detail, target.rest, inverse)

    def paste(self, target: Target, mouth: NDArray[np.uint8], openness: float = 1.0) -> Image:
        """Return a new picture with ``mouth`` (rows, S, 3) in it.

        ``openness`` from 0 to 1 fades between the picture's own mouth and the network's.
        """
        return self.patch(target, mouth, openness).image()

    def patch(self, target: Target, mouth: NDArray[np.uint8], openness: float) -> Patch:
        """Do as ``paste`` does, and make the part alone that changes: a whole copy takes longer."""
        box, change = self._change(target, mouth, openness)
        if change is None:
            return Patch(target.still, NOWHERE, target.image[NOWHERE])
        height, width = target.image.shape[:2]
        rows, columns = wide = _even(box[0], height), _even(box[1], width)
        part = target.image[wide].copy()
        inside = part[
            box[0].start - rows.start : box[0].stop - rows.start,
            box[1].start - columns.start : box[1].stop - columns.start,
        ]
        cv2.add(inside, change, inside, dtype=cv2.CV_8U)
        return Patch(target.still, wide, part)

    def _change(
        self, target: Target, mouth: NDArray[np.uint8], openness: float
    ) -> tuple[Box, Array | None]:
        """Return where the picture changes and what is to be added there, float32."""
        if openness <= 0.0:
            return NOWHERE, None
        layers = self._layers(target, mouth, openness)
        rows, columns = box = _seen(layers, target)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return NOWHERE, None
        spread = _warp(layers, target.affine, box)
        top, left = (edge.start for edge in target.region)
        detail = target.detail[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        # Into arrays that are there already: new ones for each step take half as long again.
        change = cv2.cvtColor(spread, cv2.COLOR_BGRA2BGR)
        faded = cv2.cvtColor(cv2.extractChannel(spread, 3), cv2.COLOR_GRAY2BGR)
        cv2.multiply(faded, detail, faded, dtype=cv2.CV_32F)
        return box, cv2.subtract(change, faded, change)

    def _layers(self, target: Target, mouth: NDArray[np.uint8], openness: float) -> Float32:
        """Return (rows, S, 4) float32: the change in B, G, R and how much detail to fade."""
        change = cv2.subtract(mouth, target.rest, dtype=cv2.CV_32F)
        seam = np.array(cv2.mean(change, self._edge))  # its colour is matched
        blue, green, red = cv2.split(cv2.absdiff(change, seam))
        size = cv2.GaussianBlur(cv2.max(cv2.max(blue, green), red), (0, 0), 1.0)
        start, full = _DETAIL_FADE
        fade = np.minimum(np.maximum((size - start) * (1.0 / (full - start)), 0.0), 1.0)
        layers = np.empty(self._feathers.shape, np.float32)
        cv2.mixChannels([cv2.subtract(change, seam), fade], [layers], [0, 0, 1, 1, 2, 2, 3, 3])
        return np.asarray(cv2.multiply(layers, self._feathers, layers, openness), np.float32)


class MouthCompositor(Protocol):
    """Puts what a model says of a frame into its picture. One session's, unless it says other."""

    def patch(self, target: Any, mouth: Array, openness: float) -> Patch:
        """Return the picture with the mouth in it; ``openness`` 0 shows the picture's own."""
        ...

    def reset(self) -> None:
        """Forget the frames before: the next one is the first."""
        ...


class LipCompositor:
    """Move the lips of pictures by what a network hears. One session's: events have a memory."""

    def __init__(self, shapes: ShapeCompositor, decoder: LipDecoder | None) -> None:
        """Without a decoder what the network says are the measures themselves."""
        self.shapes, self._decoder = shapes, decoder

    def patch(self, target: ShapeTarget, mouth: Array, openness: float) -> Patch:
        """Return the picture with its lips as (n,) float32, what the model says, has them."""
        return self.shapes.patch(target, self.lips(mouth), openness)

    def lips(self, heard: Array, known: Float32 | None = None) -> LipFrame:
        """Return the lips of the next frame of (n,) float32: measures, then classes.

        ``known`` (k, 14) stands in place of those classes where it says something.
        """
        measures = np.asarray(heard[:MEASURES], np.float32)
        if self._decoder is None:
            return LipFrame(measures.copy())
        classes = np.asarray(heard[MEASURES:], np.float32).reshape(-1, len(CLASSES))
        if known is not None:
            classes = with_known_phones(classes, known)
        return self._decoder.step(classes, measures)

    def reset(self) -> None:
        """Forget the events that were on."""
        if self._decoder is not None:
            self._decoder.reset()


def make_compositor(model: MouthModel) -> Compositor | LipCompositor:
    """Return what puts into pictures what ``model`` says of a frame; for one session."""
    manifest = model.manifest
    if manifest.paints == "shape":
        table = manifest.decoder
        decoder = None if table is None else LipDecoder(DecoderSettings.parse(table))
        return LipCompositor(open_shapes(), decoder)
    return pixel_compositor(model)


def pixel_compositor(model: MouthModel) -> Compositor:
    """Return a compositor for the rows that a model of pixels paints."""
    manifest = model.manifest
    return Compositor(MouthArea(manifest.face_size, manifest.mouth_top, manifest.mouth_bottom))


def _feather(area: MouthArea) -> Float32:
    rows, size = area.bottom - area.top, area.face_size
    v = (np.arange(rows) + 0.5) / size
    u = (np.arange(size) + 0.5) / size
    across = smooth_step(u / _FEATHER_SIDE) * smooth_step((1.0 - u) / _FEATHER_SIDE)
    down = smooth_step(v / _FEATHER_TOP) * smooth_step((rows / size - v) / _FEATHER_BOTTOM)
    return np.asarray(down[:, None] * across[None, :], np.float32)


def _seen(layers: Float32, target: Target) -> Box:
    """Return the part of the target's region in which layers can be seen; empty when nowhere."""
    unseen = cv2.inRange(layers, -_UNSEEN, _UNSEEN)
    x, y, width, height = cv2.boundingRect(cv2.bitwise_not(unseen))
    if width == 0:
        return NOWHERE
    corners = (x - _REACH, y - _REACH, x + width + _REACH, y + height + _REACH)
    part = _region(target.image, target.affine, corners)
    return _common(part[0], target.region[0]), _common(part[1], target.region[1])


def _common(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _region(image: Image, affine: Float32, corners: tuple[int, int, int, int]) -> Box:
    """Return where in an image a rectangle of mouth pixels lies: left, top, right, bottom."""
    left, top, right, bottom = corners
    height, width = image.shape[:2]
    columns, rows = (_reach(one, (left, right), (top, bottom)) for one in affine.tolist())
    return (
        slice(max(math.floor(rows[0]), 0), min(math.ceil(rows[1]) + 1, height)),
        slice(max(math.floor(columns[0]), 0), min(math.ceil(columns[1]) + 1, width)),
    )


def _reach(row: list[float], across: tuple[int, int], down: tuple[int, int]) -> tuple[float, float]:
    """Return the least and the most that a row of an affine gives in a rectangle."""
    places = [row[0] * x + row[1] * y + row[2] for x in across for y in down]
    return min(places), max(places)


def _warp(layers: Array, affine: Float32, region: Box) -> Array:
    """Scale (rows, S, C) up into a region; outside float layers there is nothing."""
    rows, columns = region
    affine = affine.copy()
    affine[:, 2] -= (columns.start, rows.start)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    border = cv2.BORDER_REPLICATE if layers.dtype == np.uint8 else cv2.BORDER_CONSTANT
    warped = cv2.warpAffine(layers, affine, size, flags=cv2.INTER_CUBIC, borderMode=border)
    return warped


def draw(frame: AvFrame, planes: Planes) -> None:
    """Write a frame's picture, of even sides, into planes: its still and what differs."""
    picture = frame.shown
    if not isinstance(picture, Patch):
        convert(picture, _all_of(picture), planes)
        return
    still = planes_of(picture.still)
    np.copyto(planes.y, still.y)
    np.copyto(planes.u, still.u)
    np.copyto(planes.v, still.v)
    if picture.planes is not None and picture.whole is None:
        half = _half(picture.box)
        planes.y[picture.box] = picture.planes.y
        planes.u[half], planes.v[half] = picture.planes.u, picture.planes.v
        return
    part = picture.part if picture.whole is None else picture.whole[picture.box]
    convert(part, picture.box, planes)


def i420(frame: AvFrame) -> NDArray[np.uint8]:
    """Return a picture of even sides as (H * W * 3 // 2,) uint8: planes Y, U and V, a copy."""
    height, width = frame.shape[:2]
    area, small = height * width, (height // 2, width // 2)
    picture = np.empty(area * 3 // 2, np.uint8)
    y, u, v = np.split(picture, [area, area * 5 // 4])
    draw(frame, Planes(y.reshape(height, width), u.reshape(small), v.reshape(small)))
    return picture


def empty_planes(height: int, width: int) -> Planes:
    """Return planes of an even size, their content not set."""
    small = (height // 2, width // 2)
    made = [np.empty(size, np.uint8) for size in ((height, width), small, small)]
    return Planes(*made)


def planes_of(still: Still) -> Planes:
    """Return a still as encoders take it: computed once, then shared, never written to."""
    if still.planes is None:
        height, width = still.image.shape[:2]
        planes = empty_planes(height, width)
        convert(still.image, _all_of(still.image), planes)
        still.planes = planes
    return still.planes


def _all_of(image: Image) -> Box:
    return slice(0, image.shape[0]), slice(0, image.shape[1])


def _even(one: slice, most: int) -> slice:
    return slice(one.start // 2 * 2, min(-(-one.stop // 2) * 2, most))


def convert(part: Image, box: Box, planes: Planes) -> None:
    """Write what a picture shows in a box of even edges into its planes.

    Any cutting into parts gives the same planes. A colour is the mean of the four pixels it is for.
    """
    rows, columns = box
    if part.size == 0:
        return
    height, width = part.shape[:2]
    planes.y[rows, columns] = cv2.cvtColor(part, cv2.COLOR_BGR2YUV_I420)[:height]
    small = cv2.resize(part, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    colour = cv2.transform(small, _TO_CHROMA)
    half = _half(box)
    planes.u[half], planes.v[half] = colour[..., 0], colour[..., 1]


def _half(box: Box) -> Box:
    """Return where a box of even edges is in the planes of colour."""
    rows, columns = box
    return slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)


def pasted_patch(target: Target, pasted: Planes) -> Patch:
    """Return a picture with what a GPU pasted into its ``patch_box``, copied."""
    height, width = pasted.y.shape
    flat = np.concatenate([pasted.y.reshape(-1), pasted.u.reshape(-1), pasted.v.reshape(-1)])
    half, luma, colour = (height // 2, width // 2), height * width, height * width // 4
    planes = Planes(
        flat[:luma].reshape(height, width),
        flat[luma : luma + colour].reshape(half),
        flat[luma + colour :].reshape(half),
    )
    part = cv2.cvtColor(flat.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420)
    return Patch(target.still, target.patch_box, np.asarray(part, np.uint8), planes=planes)
