"""The paste on film."""

import numpy as np
from numpy.typing import NDArray

from lipstream.compositor import Compositor, MouthArea, Target
from lipstream.model import ModelManifest
from lipstream.types import Float32, Image


class FilmPaste:
    """Put mouths into the pictures of films. One thread at a time."""

    def __init__(self, manifest: ModelManifest) -> None:
        area = MouthArea(manifest.face_size, manifest.mouth_top, manifest.mouth_bottom)
        self._compositor = Compositor(area)

    def target(self, image: Image, crop: Float32) -> Target:
        """Prepare a picture and its (2, 3) unit crop."""
        return self._compositor.target(image, crop)

    def paste(self, target: Target, mouth: NDArray[np.uint8], strength: float) -> Image:
        """Return a new picture with ``mouth`` in it."""
        return self._compositor.paste(target, mouth, strength)
