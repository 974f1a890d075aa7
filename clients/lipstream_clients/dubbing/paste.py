"""The paste on film: the engine's, with mouths as sharp as the film they come into.

The compositor adds only the change, so skin keeps its grain, and matches colours along the seam. A
network's lips and teeth are softer than a camera's, though: here they are sharpened until the lower
face as a whole has the edges that it has in the film. Each frame is a function of itself alone, so
that a film can be taken up anywhere.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.compositor import Compositor, MouthArea, Target
from lipstream.manifest import ModelManifest
from lipstream.types import Float32, Image

_RADIUS = 1.0
"""Of the blur that sharpening takes the picture apart with, pixels of the crop."""
_MOST = 0.8
"""Most that edges are raised: more, and the blocks of a compressed film would show."""
_LEAST_EDGES = 0.25
"""Mean edge in levels below which there is nothing to compare: plain grey."""


class FilmPaste:
    """Put mouths into the pictures of films. Any thread, several at once."""

    def __init__(self, manifest: ModelManifest) -> None:
        area = MouthArea(manifest.face_size, manifest.mouth_top, manifest.mouth_bottom)
        self._compositor = Compositor(area)

    def target(self, image: Image, crop: Float32, face: Image) -> Target:
        """Prepare a picture, its (2, 3) unit crop and the (S, S, 3) face cut out by it."""
        return self._compositor.target_of_face(image, crop, face)

    def paste(self, target: Target, mouth: NDArray[np.uint8], strength: float) -> Image:
        """Return a new picture with ``mouth`` (rows, S, 3) in it, as far as ``strength`` says."""
        return self._compositor.paste(target, sharpened(mouth, target.rest), strength)


def sharpened(mouth: NDArray[np.uint8], film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mouth with edges as strong as the film's in the same rows; never softer."""
    soft, edges = _taken_apart(mouth)
    _, wanted = _taken_apart(film)
    found, sought = (float(np.abs(part).mean()) for part in (edges, wanted))
    if found < _LEAST_EDGES or sought <= found:
        return mouth
    raised = soft + edges * np.float32(min(1.0 + _MOST, sought / found))
    return np.clip(np.rint(raised), 0, 255).astype(np.uint8)


def _taken_apart(mouth: NDArray[np.uint8]) -> tuple[Float32, Float32]:
    """Return the blurred picture and what the blur took away."""
    levels = mouth.astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(levels, (0, 0), _RADIUS), np.float32)
    return soft, levels - soft
