"""Prepare the pictures of an avatar, and those of a film, for lips that move in them."""

import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import Region
from lipstream.face.landmarks import FaceMesh, region_of_points
from lipstream.lips.shape import measure_lips
from lipstream.types import Float32, Image

from .compositor import ShapeCompositor, ShapeTarget
from .head_frame import HeadFrame

_LOOKED_AT = 9
"""Pictures of an avatar that the mesh looks at: more, where the lips move between them."""
_STILL = 0.02
"""Spread of a lip measure, head units, up to which the lips of an avatar rest."""
_MIDDLE, _HEIGHT = 0.32, 2.2
"""Of the mesh in the head frame: below the eyes, and from forehead to chin."""
_MARGIN = 1.5
_LOOKS = 3


class LipFinder:
    """Finds the mesh points of faces whose crops are known. Used by one thread."""

    def __init__(self) -> None:
        self._mesh = FaceMesh.open()

    def points(self, image: Image, crop: Float32) -> Float32:
        """Return (468, 2) float32 in pixels of the face that a (2, 3) unit crop lies on."""
        frame = HeadFrame.of_crop(crop)
        x, y = frame.pixels(np.array([0.0, _MIDDLE])) + 0.5
        across = frame.to_pixels[:, 0]
        region = Region(
            float(x),
            float(y),
            _MARGIN * _HEIGHT * frame.eye_px,
            float(np.arctan2(across[1], across[0])),
        )
        for _ in range(_LOOKS):
            points = self._mesh.landmarks(image, region).points
            region = region_of_points(points)
        return points

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._mesh.close()


def shape_targets(
    frames: NDArray[np.uint8], crops: Float32, shapes: ShapeCompositor
) -> tuple[ShapeTarget, ...]:
    """Prepare every frame of an avatar: (F, H, W, 3) and its crops (F, 2, 3).

    Where the lips rest, the face of one frame is carried to the others by their crops: what is
    found anew in every frame trembles.
    """
    finder = LipFinder()
    try:
        places = sorted({int(k) for k in np.linspace(0, len(frames) - 1, _LOOKED_AT)})
        seen = {k: finder.points(frames[k], crops[k]) for k in places}
        if _rests(list(seen.values())):
            mesh = np.median([_unit(crops[k], seen[k]) for k in places], 0)
            crop = crops[0]
            points = (mesh @ crop[:, :2].T + crop[:, 2]).astype(np.float32)
            first = shapes.target(frames[0], crop, points)
            return tuple(first.carried(*pair) for pair in zip(frames, crops, strict=True))
        every = [finder.points(*pair) for pair in zip(frames, crops, strict=True)]
    finally:
        finder.close()
    triples = zip(frames, crops, every, strict=True)
    return tuple(shapes.target(*triple) for triple in triples)


def _rests(faces: list[Float32]) -> bool:
    """Return whether the lips stand alike in all pictures."""
    return bool(measure_lips(np.stack(faces)).std(0).max() < _STILL)


def _unit(crop: Float32, points: Float32) -> NDArray[np.float64]:
    """Return points in coordinates of their crop."""
    back = np.linalg.inv(crop[:, :2].astype(np.float64))
    return np.asarray((points - crop[:, 2]) @ back.T)
