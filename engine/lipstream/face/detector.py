"""Where the faces are in a picture: BlazeFace, or S3FD when the user brings it.

BlazeFace sees 128 x 128 pixels, so a face may be too small in the whole picture, or too large when
it fills it. The search widens step by step, and stops when the face it found will do.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import cv2
import numpy as np

from lipstream.errors import ModelError
from lipstream.face.crop import Region, cut_region
from lipstream.inference.backends import Backend, open_backend
from lipstream.inference.manifest import embedded_folder
from lipstream.storage import sha256_of
from lipstream.types import Array, Float32, Image

DIGESTS = "sha256sums.txt"
"""List of checksums that may lie beside a network."""
_SIDE = 128
"""Side of BlazeFace's input, pixels."""
_SCORE, _OVERLAP = 0.5, 0.3
"""Least score, and overlap above which two boxes are one face; both as in MediaPipe."""
_LONGEST = 1536
"""Pictures are shrunk to this longest side before the search: a tile is then 128 to 384 pixels."""
_TILE_SHARES = (1.0, 2.0, 0.5, 0.25)
"""Tiles tried in turn, as shares of the longest side; 2 sets the picture in a wide black frame."""

_CLOSE = 2.5
"""Side of the second, closer look at a face, in sizes of its box."""


@dataclass(frozen=True, slots=True)
class FaceBox:
    """One face, in pixels of the picture it was found in."""

    score: float
    """0 to 1."""
    left: float
    top: float
    right: float
    bottom: float
    roll: float = 0.0
    """Turn of the head in the picture's plane, radians, positive when its left eye is lower."""

    @property
    def centre(self) -> tuple[float, float]:
        """Return x and y of the middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def size(self) -> float:
        """Return the longer side."""
        return max(self.right - self.left, self.bottom - self.top)


class Detector(Protocol):
    """What finds faces in a picture."""

    def search(self, image: Image, *, thorough: bool = True) -> Iterator[list[FaceBox]]:
        """Yield the faces of a (H, W, 3) uint8 BGR picture, best score first, look by look.

        A later list comes from looking closer: ask for it when nobody in the earlier ones will do.
        """
        ...

    def close(self) -> None:
        """Free the network."""
        ...


def rank_faces(boxes: Sequence[FaceBox], image: Image, wanted: int) -> list[FaceBox]:
    """Return boxes best first: where several are wanted, by size.

    Where one is wanted, it is the face that the picture is about: large, sure and near the middle.
    """
    height, width = image.shape[:2]

    def weight(box: FaceBox) -> float:
        x, y = box.centre
        off_centre = math.hypot(x / width - 0.5, y / height - 0.5)
        return box.size * box.score * (1.0 - 0.5 * min(1.0, off_centre))

    return sorted(boxes, key=lambda box: -(weight(box) if wanted == 1 else box.size))


def open_face_network(
    path: Path, wanted: dict[str, tuple[int | None, ...]], threads: int, frame_threads: int = 1
) -> Backend:
    """Open a face network and check its outputs' shapes (without the batch axis).

    ``threads`` and ``frame_threads`` are those of ``open_backend``.

    Raises ModelError when it is missing, corrupt, another network, or not what the list of
    checksums beside it says.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing: install lipstream again, or run 'lipstream export'")
    _check_digest(path)
    network = open_backend(path, threads=threads, frame_threads=frame_threads)
    for name, shape in wanted.items():
        tensor = network.outputs.get(name)
        if tensor is None or len(tensor.shape) != len(shape) + 1:
            raise ModelError(f"{path} is another network: it has no output {name} {shape}")
        if any(a not in (None, b) for a, b in zip(tensor.shape[1:], shape, strict=True)):
            raise ModelError(f"{path}: output {name} should be {shape}, found {tensor.shape[1:]}")
    return network


def _check_digest(path: Path) -> None:
    listed = path.with_name(DIGESTS)
    if not listed.is_file():
        return
    for line in listed.read_text("utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if name == path.name and digest != (actual := sha256_of(path)):
            raise ModelError(
                f"{path} is damaged: sha256 {actual[:12]}…, {DIGESTS} says {digest[:12]}…;"
                " install lipstream again"
            )


class FaceDetector:
    """BlazeFace, short range. Used by one thread."""

    def __init__(self, network: Backend) -> None:
        self._network = network

    @classmethod
    def open(cls, path: Path | None = None, *, threads: int = 1) -> Self:
        """Open the embedded network, or another copy of it. Raises ModelError."""
        path = path or embedded_folder() / "faces" / "detector.onnx"
        shapes: dict[str, tuple[int | None, ...]] = {"boxes": (896, 16), "scores": (896,)}
        return cls(open_face_network(path, shapes, threads))

    def detect(self, image: Image) -> list[FaceBox]:
        """Return the faces of the first look that shows any, best score first."""
        return next(self.search(image), [])

    def search(self, image: Image, *, thorough: bool = True) -> Iterator[list[FaceBox]]:
        """Yield the faces of a (H, W, 3) uint8 BGR picture of any size, look by look.

        Not ``thorough`` looks once at the whole picture (two milliseconds); else also at the
        picture in a frame and at ever smaller tiles, up to 60 times. Empty lists are left out.
        """
        small, shrink = shrink_to(image, _LONGEST if thorough else 3 * _SIDE)
        for share in _TILE_SHARES if thorough else _TILE_SHARES[:1]:
            boxes = [box for tile in _tiles(small, share) for box in self._detect_in(small, tile)]
            if boxes:
                closer = [self._detect_closer(small, box) for box in merge_boxes(boxes, _OVERLAP)]
                yield [scaled_box(box, shrink) for box in closer]

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._network.close()

    def _detect_closer(self, image: Image, box: FaceBox) -> FaceBox:
        """Return the box as seen from near, where its score and place are surer."""
        x, y = box.centre
        size = _CLOSE * box.size
        near = self._detect_in(image, Region(x, y, size))
        same = [other for other in near if overlap_of(other, box) > _OVERLAP]
        return merge_boxes(same, _OVERLAP)[0] if same else box

    def _detect_in(self, image: Image, tile: Region) -> list[FaceBox]:
        cut = cut_region(image, tile, _SIDE, border=cv2.BORDER_CONSTANT)
        sight = cv2.cvtColor(cut, cv2.COLOR_BGR2RGB).astype(np.float32) / 127.5 - 1.0
        outputs = self._network.run({"image": sight[None]})
        boxes = _decode(outputs["boxes"][0], outputs["scores"][0])
        left, top = tile.x - tile.size / 2, tile.y - tile.size / 2
        return [scaled_box(box, tile.size / _SIDE, left, top) for box in boxes]


def shrink_to(image: Image, longest: int) -> tuple[Image, float]:
    """Return the picture with its longer side at most ``longest``, and the factor back."""
    height, width = image.shape[:2]
    factor = max(height, width) / longest
    if factor <= 1.0:
        return image, 1.0
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), factor


def _tiles(image: Image, share: float) -> Iterator[Region]:
    """Yield squares that cover the picture, each overlapping the next by half."""
    height, width = image.shape[:2]
    size = share * max(height, width)
    if size < _SIDE and share < 1.0:
        return  # an enlarged tile shows nothing that the larger one did not
    for y in _middles(height, size):
        for x in _middles(width, size):
            yield Region(x, y, size)


def _middles(length: int, size: float) -> list[float]:
    if length <= size:
        return [length / 2]
    count = math.ceil(2 * (length - size) / size) + 1
    return [float(middle) for middle in np.linspace(size / 2, length - size / 2, count)]


@functools.cache
def _anchors() -> Float32:
    """Return (896, 2) float32 anchor centres in pixels: 2 on each 8 x 8 cell, 6 on each 16 x 16."""
    centres: list[Float32] = []
    for stride, each in ((8, 2), (16, 6)):
        places = (np.arange(_SIDE // stride, dtype=np.float32) + 0.5) * stride
        grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(grid, each, axis=0))
    return np.concatenate(centres)


def _decode(regressors: Array, logits: Array) -> list[FaceBox]:
    """Return the boxes in input pixels; regressors are (896, 16): box, then six points (x, y)."""
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -80.0, 80.0)))
    boxes: list[FaceBox] = []
    for index in np.flatnonzero(scores >= _SCORE):
        points = regressors[index].reshape(8, 2).astype(np.float64)
        anchor = _anchors()[index]
        (x, y), (width, height) = points[0] + anchor, points[1]
        if width <= 0.0 or height <= 0.0:
            continue
        across = points[3] - points[2]  # from the person's right eye to the left one
        half_width, half_height = width / 2, height / 2
        box = FaceBox(
            score=float(scores[index]),
            left=float(x - half_width),
            top=float(y - half_height),
            right=float(x + half_width),
            bottom=float(y + half_height),
            roll=math.atan2(across[1], across[0]),
        )
        boxes.append(box)
    return boxes


def scaled_box(box: FaceBox, scale: float, left: float = 0.0, top: float = 0.0) -> FaceBox:
    """Return the box times ``scale``, then shifted."""
    return FaceBox(
        box.score,
        box.left * scale + left,
        box.top * scale + top,
        box.right * scale + left,
        box.bottom * scale + top,
        box.roll,
    )


def merge_boxes(boxes: Sequence[FaceBox], overlap: float) -> list[FaceBox]:
    """Merge boxes that overlap into their mean weighted by score, best score first.

    Weighted non-maximum suppression as in BlazeFace (Bazarevsky et al., 2019): steadier from frame
    to frame than keeping the best box alone.
    """
    left_over = sorted(boxes, key=lambda box: -box.score)
    merged: list[FaceBox] = []
    while left_over:
        best = left_over[0]
        same = [box for box in left_over if overlap_of(box, best) > overlap]
        left_over = [box for box in left_over if overlap_of(box, best) <= overlap]
        total = sum(box.score for box in same)
        left, top, right, bottom = (
            sum(getattr(box, side) * box.score for box in same) / total
            for side in ("left", "top", "right", "bottom")
        )
        merged.append(FaceBox(best.score, left, top, right, bottom, best.roll))
    return merged


def overlap_of(one: FaceBox, other: FaceBox) -> float:
    """Return intersection over union, 0 to 1."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    if width <= 0.0 or height <= 0.0:
        return 1.0 if one is other else 0.0
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


_STRIDES = (4, 8, 16, 32, 64, 128)
_CENTRE_SPREAD, _SIZE_SPREAD = 0.1, 0.2
"""Variances of the offsets, as in SSD."""
_S3FD_LONGEST, _LEAST = 720, 64
"""Longest side looked at, pixels, and the least either side is padded to."""
_BELOW = 10.0
"""Pixels that Wav2Lip's scripts add below the box (their ``--pads 0 10 0 0``)."""


class S3fdDetector:
    """S3FD as a Detector. Used by one thread."""

    def __init__(self, network: Backend) -> None:
        self._network = network

    @classmethod
    def open(cls, path: Path, *, threads: int = 0) -> Self:
        """Open ``s3fd.onnx``. Raises ModelError."""
        shapes: dict[str, tuple[int | None, ...]] = {"score0": (None, None)}
        shapes["offset5"] = (4, None, None)
        return cls(open_face_network(path, shapes, threads))

    def detect(self, image: Image) -> list[FaceBox]:
        """Return the faces of a (H, W, 3) uint8 BGR picture, best score first."""
        small, shrink = shrink_to(image, _S3FD_LONGEST)
        short = [max(0, _LEAST - side) for side in small.shape[:2]]
        padded = np.pad(small, ((0, short[0]), (0, short[1]), (0, 0)))
        outputs = self._network.run({"image": np.ascontiguousarray(padded)[None]})
        rows = np.concatenate(
            [
                _decode_scale(outputs[f"score{level}"][0], outputs[f"offset{level}"][0], stride)
                for level, stride in enumerate(_STRIDES)
            ]
        )
        return [scaled_box(box, shrink) for box in _best_boxes(rows)]

    def search(self, image: Image, *, thorough: bool = True) -> Iterator[list[FaceBox]]:
        """Yield the faces, if any: one look sees every size."""
        del thorough
        if boxes := self.detect(image):
            yield boxes

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._network.close()


def crop_of_box(box: FaceBox) -> Float32:
    """Return the crop Wav2Lip's scripts cut for a box: (2, 3), unit crop coordinates to pixels."""
    width, height = box.right - box.left, box.bottom + _BELOW - box.top
    return np.array([[width, 0.0, box.left], [0.0, height, box.top]], np.float32)


def _decode_scale(scores: Array, offsets: Array, stride: int) -> Array:
    """Return the boxes of one level as rows (score, left, top, width, height), float64.

    ``scores`` are (h, w), ``offsets`` (4, h, w) from square priors: the prior of a cell is centred
    on it and four strides wide (Zhang et al., 2017, table 1). Offsets are shifts in prior sizes and
    logarithms of sizes, each divided by a variance.
    """
    row, column = np.nonzero(scores > _SCORE)
    offset = offsets[:, row, column].astype(np.float64)
    prior = 4.0 * stride
    middles = (np.stack([column, row]) + 0.5) * stride + offset[:2] * _CENTRE_SPREAD * prior
    sizes = prior * np.exp(offset[2:] * _SIZE_SPREAD)
    return np.column_stack([scores[row, column], (middles - sizes / 2).T, sizes.T])


def _best_boxes(rows: Array) -> list[FaceBox]:
    """Keep the best of each heap of overlapping boxes, best first."""
    if len(rows) == 0:
        return []
    indices = cv2.dnn.NMSBoxes(rows[:, 1:].tolist(), rows[:, 0].tolist(), _SCORE, _OVERLAP)
    return [
        FaceBox(float(score), float(x), float(y), float(x + width), float(y + height))
        for score, x, y, width, height in rows[np.asarray(indices, np.int64).ravel()]
    ]
