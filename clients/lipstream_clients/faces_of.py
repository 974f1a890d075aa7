"""The faces that a session can be given: an avatar pack, a picture, or a film."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipstream.avatar import Avatar
from lipstream.errors import FaceNotFound
from lipstream.faces import CropSmoother, cut_crop, fit_crop
from lipstream.landmarks import FaceTracker
from lipstream.model import MouthModel
from lipstream.pipeline import Picture, PreparedAvatar, Scene, make_compositor
from lipstream.types import Image
from lipstream_clients.media import Film, is_picture, read_picture

log = logging.getLogger(__name__)

AVATAR_SUFFIX = ".avatar"
DEFAULT_FPS = Fraction(25)
LONGEST_SIDE = 1920
"""Still pictures are shrunk to this longest side, pixels: a film of a photograph needs no more."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A scene and the shape of the film that it makes."""

    scene: Scene
    width: int
    height: int
    fps: Fraction
    """The scene's own rate."""
    pixel_aspect: Fraction = Fraction(1)


def open_stage(face: Path, model: MouthModel, fps: Fraction | None = None) -> Stage:
    """Open an avatar pack, picture or film as a scene.

    Raises MediaError or AvatarError when it cannot be read, FaceNotFound for a picture without a
    face. A film need not show a face in every picture.
    """
    if face.suffix.lower() == AVATAR_SUFFIX:
        return _avatar_stage(Avatar.open(face), model)
    if is_picture(face):
        return _avatar_stage(avatar_of_picture(face, LONGEST_SIDE), model)
    film = Film(face)
    scene = FilmScene(film, model)
    return Stage(scene, film.width, film.height, fps or film.fps, film.pixel_aspect)


def avatar_of_picture(path: Path, longest_side: int) -> Avatar:
    """Make an avatar of one still picture; raises FaceNotFound when nobody is in it."""
    image = shrunk(read_picture(path), longest_side)
    with FaceTracker.open() as tracker:
        face = tracker.step(image)
    if face is None:
        raise FaceNotFound(
            f"no face found in {path.name} ({image.shape[1]}x{image.shape[0]}): give a picture"
            " where a face is seen from the front, well lit, and at least 50 pixels wide"
        )
    return Avatar.from_frames([image], [fit_crop(face.points)], name=path.stem)


def shrunk(image: Image, longest_side: int) -> Image:
    """Return the picture with its longer side at most ``longest_side``; the same if it is."""
    height, width = image.shape[:2]
    factor = max(height, width) / longest_side
    if factor <= 1:
        return image
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


class FilmScene:
    """The pictures of a film, the face in each found and followed; at its end it begins anew.

    A picture without a face has no target, so it passes through untouched. Used by one thread.
    """

    rests = False
    """The people in a film speak, so its own mouths are not shown in silence."""

    def __init__(self, film: Film, model: MouthModel) -> None:
        self._film, self._model = film, model
        self._compositor = make_compositor(model)
        self._tracker = FaceTracker.open()
        self._smoother = CropSmoother(float(film.fps))
        self._pictures: Iterator[Image] = iter(())
        self.faceless = 0
        """Pictures so far in which no face was found."""

    def picture(self, index: int, fps: Fraction) -> Picture:
        """Return the film's next picture at ``fps``, and where the mouth in it is."""
        image = self._next(index, fps)
        face = self._tracker.step(image)
        if face is None:
            self.faceless += 1
            self._smoother.reset()
            return Picture(image, None, None)
        crop = self._smoother.step(fit_crop(face.points))
        features = self._model.face_features(
            cut_crop(image, crop, self._model.manifest.face_size)[None]
        )
        return Picture(image, self._compositor.target(image, crop), features)

    def close(self) -> None:
        """Free the face networks."""
        self._tracker.close()

    def _next(self, index: int, fps: Fraction) -> Image:
        image = next(self._pictures, None)
        if image is None:
            if index > 0:
                log.info("the film is shorter than the sound: it begins anew at frame %d", index)
            self._pictures = self._film.pictures(fps)
            self._smoother = CropSmoother(float(fps))
            self._tracker.reset()
            image = next(self._pictures)
        return image


def _avatar_stage(avatar: Avatar, model: MouthModel) -> Stage:
    scene = PreparedAvatar.prepare(avatar, model)
    fps = DEFAULT_FPS if len(avatar) == 1 else avatar.fps
    return Stage(scene, avatar.width, avatar.height, fps)
