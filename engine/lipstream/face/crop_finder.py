"""Where the face is, picture by picture: by its landmarks, or by the boxes of S3FD."""

from pathlib import Path
from typing import Protocol, Self

from lipstream.face.crop import fit_crop
from lipstream.face.detector import main_face
from lipstream.face.landmarks import FaceTracker
from lipstream.face.s3fd import S3fdDetector, crop_of_box
from lipstream.types import Float32, Image


class CropFinder(Protocol):
    """Finds the face in the pictures of one film, in order. Used by one thread."""

    def step(self, image: Image) -> Float32 | None:
        """Return the (2, 3) unit crop of the face in the next picture, or None."""
        ...

    def reset(self) -> None:
        """Forget the face: the next picture is searched as a first one."""
        ...

    def close(self) -> None:
        """Free the networks; closing twice is fine."""
        ...


def open_crop_finder(s3fd: Path | None = None) -> CropFinder:
    """Open the embedded face finder, or the ``s3fd.onnx`` given. Raises ModelError."""
    return LandmarkCrops() if s3fd is None else S3fdCrops.open(s3fd)


class LandmarkCrops:
    """Crops fitted to points that rest in speech."""

    def __init__(self) -> None:
        self._tracker = FaceTracker.open()

    def step(self, image: Image) -> Float32 | None:
        """Return the crop of the face in the next picture, or None."""
        face = self._tracker.step(image)
        return None if face is None else fit_crop(face.points)

    def reset(self) -> None:
        """Forget the face."""
        self._tracker.reset()

    def close(self) -> None:
        """Free the networks."""
        self._tracker.close()


class S3fdCrops:
    """The crops that Wav2Lip's scripts cut, each picture searched anew."""

    def __init__(self, detector: S3fdDetector) -> None:
        self._detector = detector

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open ``s3fd.onnx``. Raises ModelError."""
        return cls(S3fdDetector.open(path))

    def step(self, image: Image) -> Float32 | None:
        """Return the crop of the largest face near the middle, or None."""
        face = main_face(self._detector.detect(image), image)
        return None if face is None else crop_of_box(face)

    def reset(self) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Free the network."""
        self._detector.close()
