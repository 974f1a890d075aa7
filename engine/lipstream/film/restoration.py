"""Finer mouths by a face restoration network that is brought, such as GFPGAN.

The contract: an ONNX graph with one float32 input and one first float32 output, (1, 3, 512, 512),
RGB from -1 to 1, of a face aligned as in FFHQ. Only the mouth region of what comes back is used.
"""

import contextlib
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from lipstream.errors import ModelError
from lipstream.face.crop import CROP_HEIGHT, CROP_LEFT, CROP_TOP, CROP_WIDTH, smooth_step
from lipstream.inference.backends import Backend, open_backend
from lipstream.inference.manifest import ModelManifest
from lipstream.live.compositor import Target
from lipstream.mouth.compositor import ShapeTarget
from lipstream.types import Float32, Image

_SIDE = 512
_SHAPE = (3, _SIDE, _SIDE)
_EYES, _EYE_DISTANCE = (255.94, 240.07), 125.93
"""Middle of the eyes in FFHQ's 512-pixel alignment, and the distance of their centres, pixels: the
five-point template of GFPGAN's ``facexlib`` (``face_restoration_helper.py``)."""
_CENTRES = 0.692
"""Distance of the eyes' centres in outer-eye distances, on the mean face (``face.crop``)."""
_MOUTH, _MOUTH_RADII = (257.2, 382.0), (92.0, 74.0)
"""Middle of the mouth in that alignment, and half the size of the ellipse that is used."""
_SOFT = 0.35
"""Share of the ellipse's radius over which it fades out."""


class Restorer:
    """A restoration network and where its output goes. Used by one thread."""

    def __init__(self, network: Backend, manifest: ModelManifest) -> None:
        self._network, self._manifest = network, manifest
        self._input = next(iter(network.inputs))
        self._output = next(iter(network.outputs))
        self._mask = _mask()

    @classmethod
    def open(cls, path: Path, manifest: ModelManifest, backend: str = "auto") -> Self:
        """Open the graph and check it against the contract. Raises ModelError."""
        if not path.is_file():
            raise ModelError(
                f"there is no file {path}: give the ONNX file of a restoration network"
            )
        network = open_backend(path, backend)
        for what, tensors in (("input", network.inputs), ("output", network.outputs)):
            shape = next(iter(tensors.values())).shape
            fits = len(shape) == 4 and all(
                a in (None, b) for a, b in zip(shape[1:], _SHAPE, strict=True)
            )
            if not fits or (what == "input" and len(tensors) != 1):
                with contextlib.suppress(Exception):
                    network.close()
                raise ModelError(
                    f"{path.name} is no face restoration network of GFPGAN's kind: one {what}"
                    f" (1, 3, {_SIDE}, {_SIDE}) expected, found {len(tensors)}, first {shape}"
                )
        return cls(network, manifest)

    def restore(self, image: Image, target: Target | ShapeTarget, strength: float) -> Image:
        """Return a new picture with a finer mouth where ``target``'s mouth was pasted."""
        affine = self._aligned(target)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        face = cv2.warpAffine(
            image, affine, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        change = self._run(np.asarray(face, np.uint8)) - face.astype(np.float32)
        edge = (self._mask > 0) & (self._mask < 0.5)
        change -= change[edge].mean(0)  # the colours of the film, whatever the network's
        change *= self._mask[..., None] * np.float32(strength)
        size = (image.shape[1], image.shape[0])
        spread = cv2.warpAffine(change, affine, size, flags=cv2.INTER_LINEAR)
        return np.asarray(cv2.add(image, spread, dtype=cv2.CV_8U), np.uint8)

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._network.close()

    def _run(self, face: Image) -> Float32:
        rgb = cv2.cvtColor(face, cv2.COLOR_BGR2RGB).astype(np.float32) / 127.5 - 1.0
        outputs = self._network.run(
            {self._input: np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])}
        )
        painted = outputs[self._output][0].transpose(1, 2, 0)[..., ::-1]
        return np.asarray((np.clip(painted, -1.0, 1.0) + 1.0) * 127.5, np.float32)

    def _aligned(self, target: Target | ShapeTarget) -> Float32:
        """Return the (2, 3) affine from pixels of the aligned face to pixels of the picture."""
        unit = _CENTRES / _EYE_DISTANCE  # outer-eye distances a pixel
        if isinstance(target, ShapeTarget):
            into = np.array([[unit, 0, -_EYES[0] * unit], [0, unit, -_EYES[1] * unit], [0, 0, 1]])
            return np.asarray(target.frame.to_pixels @ into, np.float32)
        size = self._manifest.face_size
        across, down = size * unit / CROP_WIDTH, size * unit / CROP_HEIGHT
        left = size * (-_EYES[0] * unit - CROP_LEFT) / CROP_WIDTH
        top = size * (-_EYES[1] * unit - CROP_TOP) / CROP_HEIGHT - self._manifest.mouth_top
        into = np.array([[across, 0, left - 0.5], [0, down, top - 0.5], [0, 0, 1]])
        return np.asarray(target.affine @ into, np.float32)


def _mask() -> Float32:
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)
    far = np.hypot((x - _MOUTH[0]) / _MOUTH_RADII[0], (y - _MOUTH[1]) / _MOUTH_RADII[1])
    return np.asarray(smooth_step((1.0 - far) / _SOFT), np.float32)
