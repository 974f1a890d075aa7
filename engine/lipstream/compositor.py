"""Put the painted mouth into the picture so that nobody sees where.

A network paints 48 rows of a 96-pixel face; pasted as they are, they blur the skin and show an
edge. So only the *change* is pasted, scaled up and added: what the network painted less what it
paints for silence, or, in a film whose people speak, less the same rows of the picture. Where
nothing moves the picture stays as it was, to the pixel, and what a network gets wrong about a face
it never met cancels out. Where the change is large, the fine detail of the resting mouth is faded
out, or its closed lips would show through the open ones.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.faces import cut_crop, pixel_affine
from lipstream.types import Array, Float32, Image

_FEATHER_TOP, _FEATHER_SIDE, _FEATHER_BOTTOM = 0.06, 0.10, 0.05
"""Width of the soft edge, in crop sides."""
_DETAIL_FADE = (4.0, 20.0)
"""Change in levels from which detail starts to fade, and at which it is gone."""


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

    image: Image
    """(H, W, 3) uint8 BGR, never written to."""
    rest: NDArray[np.uint8]
    """(rows, S, 3) uint8 BGR: the mouth that changes nothing."""
    affine: Float32
    """(2, 3) float32: pixels of ``rest`` to pixels of ``image``."""
    region: tuple[slice, slice]
    """Rows and columns of ``image`` that the mouth can touch."""
    detail: NDArray[np.int16]
    """(h, w, 3) int16: what the region shows over its own mouth rows scaled up, in levels."""


class Compositor:
    """Paste mouths of one area into pictures. Holds no picture; one thread at a time."""

    def __init__(self, area: MouthArea) -> None:
        self._area = area
        self._feather = _feather(area)
        edge = (self._feather < 0.5) & (
            np.indices(self._feather.shape)[0] < len(self._feather) // 2
        )
        self._edge = edge.astype(np.float32) / np.float32(edge.sum())

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
        region = _region(image, affine, own.shape)
        detail = cv2.subtract(image[region], _warp(own, affine, region), dtype=cv2.CV_16S)
        return Target(image, rest, affine, region, np.asarray(detail, np.int16))

    def paste(self, target: Target, mouth: NDArray[np.uint8], openness: float = 1.0) -> Image:
        """Return a new picture with ``mouth`` (rows, S, 3) in it.

        ``openness`` from 0 to 1 fades between the picture's own mouth and the network's.
        """
        image = target.image.copy()
        rows, columns = target.region
        if openness <= 0.0 or rows.start >= rows.stop or columns.start >= columns.stop:
            return image
        spread = _warp(self._layers(target, mouth, openness), target.affine, target.region)
        change = spread[..., :3] - spread[..., 3:] * target.detail
        image[rows, columns] = cv2.add(image[rows, columns], change, dtype=cv2.CV_8U)
        return image

    def _layers(self, target: Target, mouth: NDArray[np.uint8], openness: float) -> Float32:
        """Return (rows, S, 4) float32: the change in B, G, R and how much detail to fade."""
        change = mouth.astype(np.float32) - target.rest
        change -= np.einsum("ij,ijc->c", self._edge, change)  # colour match along the seam
        weight = self._feather * np.float32(openness)
        blue, green, red = cv2.split(np.abs(change))
        size = cv2.GaussianBlur(cv2.max(cv2.max(blue, green), red), (0, 0), 1.0)
        start, full = _DETAIL_FADE
        fade = np.clip((size - start) / (full - start), 0.0, 1.0)
        layers = np.empty((*fade.shape, 4), np.float32)
        layers[..., :3] = change * weight[..., None]
        layers[..., 3] = fade * weight
        return layers


def _feather(area: MouthArea) -> Float32:
    rows, size = area.bottom - area.top, area.face_size
    v = (np.arange(rows) + 0.5) / size
    u = (np.arange(size) + 0.5) / size
    across = smooth_step(u / _FEATHER_SIDE) * smooth_step((1.0 - u) / _FEATHER_SIDE)
    down = smooth_step(v / _FEATHER_TOP) * smooth_step((rows / size - v) / _FEATHER_BOTTOM)
    return np.asarray(down[:, None] * across[None, :], np.float32)


def smooth_step(x: Array) -> Array:
    """Return 0 up to 0, 1 from 1 on, and a cubic without a kink between; new, of x's type."""
    t = np.clip(x, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _region(image: Image, affine: Float32, shape: tuple[int, ...]) -> tuple[slice, slice]:
    height, width = shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float32)
    places = corners @ affine.T
    low = np.maximum(np.floor(places.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(places.max(0)).astype(int) + 1, [image.shape[1], image.shape[0]])
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _warp(layers: Array, affine: Float32, region: tuple[slice, slice]) -> Array:
    """Scale (rows, S, C) up into a region; outside float layers there is nothing."""
    rows, columns = region
    affine = affine.copy()
    affine[:, 2] -= (columns.start, rows.start)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    border = cv2.BORDER_REPLICATE if layers.dtype == np.uint8 else cv2.BORDER_CONSTANT
    warped = cv2.warpAffine(layers, affine, size, flags=cv2.INTER_CUBIC, borderMode=border)
    return warped
