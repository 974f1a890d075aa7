"""S3FD in place of BlazeFace, for those who bring ``s3fd.pth`` and ``lipstream export`` it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from lipstream.face.detector import FaceBox, open_face_network, scaled_box, shrink_to
from lipstream.inference.backends import Backend
from lipstream.types import Array, Float32, Image

_STRIDES = (4, 8, 16, 32, 64, 128)
_CENTRE_SPREAD, _SIZE_SPREAD = 0.1, 0.2
"""Variances of the offsets, as in SSD."""
_SCORE, _OVERLAP = 0.5, 0.3
_LONGEST, _LEAST = 720, 64
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
        small, shrink = shrink_to(image, _LONGEST)
        short = [max(0, _LEAST - side) for side in small.shape[:2]]
        padded = np.pad(small, ((0, short[0]), (0, short[1]), (0, 0)))
        outputs = self._network.run({"image": np.ascontiguousarray(padded)[None]})
        rows = np.concatenate(
            [
                _decode(outputs[f"score{level}"][0], outputs[f"offset{level}"][0], stride)
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


def _decode(scores: Array, offsets: Array, stride: int) -> Array:
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
    kept = cv2.dnn.NMSBoxes(rows[:, 1:].tolist(), rows[:, 0].tolist(), _SCORE, _OVERLAP)
    return [
        FaceBox(float(score), float(x), float(y), float(x + width), float(y + height))
        for score, x, y, width, height in rows[np.asarray(kept, np.int64).ravel()]
    ]
