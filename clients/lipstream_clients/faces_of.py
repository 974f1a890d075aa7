"""The faces that a session can be given: an avatar pack, a picture, or a film."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from lipstream.avatar import Avatar
from lipstream.errors import FaceNotFound, MediaError
from lipstream.faces import CropSmoother, cut_crop
from lipstream.model import MouthModel, embedded_folder
from lipstream.pipeline import Picture, PreparedAvatar, Scene, make_compositor
from lipstream.types import Image
from lipstream_clients.crops import CropFinder, open_crop_finder
from lipstream_clients.media import Film, is_picture, read_picture

log = logging.getLogger(__name__)

AVATAR_SUFFIX = ".avatar"
DEFAULT_FPS = Fraction(25)
LONGEST_SIDE = 1920
"""Still pictures are shrunk to this longest side, pixels: a film of a photograph needs no more."""


_MOST_BOUNCE_BYTES = 400_000_000
"""Pictures kept to be played backwards: 20 s of 512 x 512."""

Ends = Literal["repeat", "bounce", "hold"]
"""After the last picture of a film: from the first again, backwards and forth, or no change."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A scene and the shape of the film that it makes."""

    scene: Scene
    width: int
    height: int
    fps: Fraction
    """The scene's own rate."""
    pixel_aspect: Fraction = Fraction(1)


def open_stage(
    face: Path, model: MouthModel, ends: Ends = "repeat", s3fd: Path | None = None
) -> Stage:
    """Open an avatar pack, the name of an embedded avatar, a picture or a film as a scene.

    ``ends`` says what follows a film that is shorter than the sound; ``s3fd`` is the detector to
    use in place of the embedded face finder. Raises MediaError or
    AvatarError when it cannot be read, FaceNotFound for a picture without a face. A film need not
    show a face in every picture.
    """
    embedded = embedded_folder() / "avatars" / f"{face}{AVATAR_SUFFIX}"
    if not face.exists() and embedded.is_file():
        return _avatar_stage(Avatar.open(embedded), model)
    if face.suffix.lower() == AVATAR_SUFFIX:
        return _avatar_stage(Avatar.open(face), model)
    if is_picture(face):
        return _avatar_stage(avatar_of_picture(face, LONGEST_SIDE, s3fd), model)
    film = Film(face)
    scene = FilmScene(film, model, open_crop_finder(s3fd), ends)
    return Stage(scene, film.width, film.height, film.fps, film.pixel_aspect)


def avatar_of_picture(path: Path, longest_side: int, s3fd: Path | None = None) -> Avatar:
    """Make an avatar of one still picture; raises FaceNotFound when nobody is in it."""
    image = shrunk(read_picture(path), longest_side)
    with contextlib.closing(open_crop_finder(s3fd)) as finder:
        crop = finder.step(image)
    if crop is None:
        raise FaceNotFound(
            f"no face found in {path.name} ({image.shape[1]}x{image.shape[0]}): give a picture"
            " where a face is seen from the front, well lit, and at least 50 pixels wide"
        )
    return Avatar.from_frames([image], [crop], name=path.stem)


def shrunk(image: Image, longest_side: int) -> Image:
    """Return the picture with its longer side at most ``longest_side``; the same if it is."""
    height, width = image.shape[:2]
    factor = max(height, width) / longest_side
    if factor <= 1:
        return image
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


class FilmScene:
    """The pictures of a film, the face in each found and followed.

    A picture without a face has no target, so it passes through untouched. Used by one thread.
    """

    rests = False
    """The people in a film speak, so its own mouths are not shown in silence."""

    def __init__(
        self, film: Film, model: MouthModel, finder: CropFinder, ends: Ends = "repeat"
    ) -> None:
        """Take over ``finder``. Raises MediaError for a film too long to play backwards."""
        self._film, self._model, self._ends = film, model, ends
        size = film.width * film.height * 3 * film.seconds * float(film.fps)
        if ends == "bounce" and size > _MOST_BOUNCE_BYTES:
            raise MediaError(
                f"{film.path.name} is too long to play backwards ({film.seconds:.0f} s of"
                f" {film.width}x{film.height}): use '--ends repeat', or shorten it"
            )
        self._compositor = make_compositor(model)
        self._finder = finder
        self._smoother = CropSmoother(float(film.fps))
        self._pictures: Iterator[Image] | None = None
        self.faceless = 0
        """Pictures so far in which no face was found."""

    def picture(self, index: int, fps: Fraction) -> Picture:  # noqa: ARG002
        """Return the film's next picture at ``fps``, and where the mouth in it is."""
        image = self._next(fps)
        found = self._finder.step(image)
        if found is None:
            self.faceless += 1
            self._smoother.reset()
            return Picture(image, None, None)
        crop = self._smoother.step(found)
        features = self._model.face_features(
            cut_crop(image, crop, self._model.manifest.face_size)[None]
        )
        return Picture(image, self._compositor.target(image, crop), features)

    def close(self) -> None:
        """Free the face networks."""
        self._finder.close()

    def _next(self, fps: Fraction) -> Image:
        if self._pictures is None:
            self._pictures = self._endless(fps)
            self._smoother = CropSmoother(float(fps))
        return next(self._pictures)

    def _endless(self, fps: Fraction) -> Iterator[Image]:
        """Yield the film's pictures, and then what ``ends`` says, for ever."""
        kept: list[Image] = []
        last: Image | None = None
        for last in self._film.pictures(fps):
            if self._ends == "bounce":
                kept.append(last)
            yield last
        assert last is not None, "a film has at least one picture"
        log.info("the film is shorter than the sound: %s", self._ends)
        while self._ends == "hold":
            yield last
        while self._ends == "bounce":
            yield from kept[-2:0:-1]
            yield from kept
        while True:
            self._finder.reset()
            self._smoother.reset()
            yield from self._film.pictures(fps)


def _avatar_stage(avatar: Avatar, model: MouthModel) -> Stage:
    scene = PreparedAvatar.prepare(avatar, model)
    fps = DEFAULT_FPS if len(avatar) == 1 else avatar.fps
    return Stage(scene, avatar.width, avatar.height, fps)
