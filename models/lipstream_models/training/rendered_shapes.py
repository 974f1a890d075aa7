"""Pictures of one face with many mouth shapes, as ``synthetic.blender`` renders them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.errors import FaceNotFound, InputError
from lipstream.face.crop import cut_crop, fit_crop
from lipstream.face.landmarks import FaceMesh, region_of_points
from lipstream.face.tracker import FaceTracker
from lipstream.types import Float32, Image
from lipstream_models.training.grid_corpus import FACE_SIZE, to_crop_units


@dataclass(frozen=True, slots=True)
class Library:
    """Pictures of one face with many mouth shapes, the first one at rest."""

    crops: NDArray[np.uint8]
    """(L, 96, 96, 3) uint8 BGR."""
    points: Float32
    """(L, 468, 2) float32 in crop units."""


def open_library(folder: Path) -> Library:
    """Read the pictures ``NNN.png`` of a folder. Raises InputError or FaceNotFound."""
    paths = sorted(folder.glob("[0-9]*.png"))
    pictures = [picture for path in paths if (picture := cv2.imread(str(path))) is not None]
    if len(pictures) < 2:
        raise InputError(
            f"{folder} holds {len(pictures)} readable pictures NNN.png of mouth shapes, fewer than"
            " 2: render with 'python -m lipstream_models.synthetic.blender render --shapes 140'"
        )
    images = [np.asarray(picture, np.uint8) for picture in pictures]
    affine, points = _measure(images, folder)
    crops = np.stack([cut_crop(image, affine, FACE_SIZE) for image in images])
    return Library(crops, to_crop_units(points, np.stack([affine] * len(points))))


def _measure(images: Sequence[Image], folder: Path) -> tuple[Float32, Float32]:
    """Fit one crop to all pictures, by the first, and find the points of each, in pixels."""
    with FaceTracker.open() as tracker:
        found = tracker.step(images[0])
    if found is None:
        raise FaceNotFound(f"no face in the first picture of {folder}")
    mesh, region = FaceMesh.open(), region_of_points(found.points)
    points = np.stack([mesh.landmarks(image, region).points for image in images])
    mesh.close()
    return fit_crop(found.points), points
