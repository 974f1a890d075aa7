"""The faces that a session can be given: an avatar pack, a picture, or a film."""

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipstream.avatar import Avatar, embedded_pack
from lipstream.errors import FaceNotFound, InputError
from lipstream.model import MouthModel
from lipstream.pipeline import PreparedAvatar, Scene
from lipstream.types import Float32, Image
from lipstream_clients.crops import open_crop_finder
from lipstream_clients.dubbing.footage import AS_IT_IS, Footage, View
from lipstream_clients.dubbing.living import LivingPicture
from lipstream_clients.dubbing.programme import WHOLE, Cut
from lipstream_clients.media import Film, is_picture, read_picture

AVATAR_SUFFIX = ".avatar"
DEFAULT_FPS = Fraction(25)
LONGEST_SIDE = 1920
"""Still pictures are shrunk to this longest side, pixels: a film of a photograph needs no more."""


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """How a face is to be taken from its file."""

    fps: Fraction | None = None
    """Frames a second; None for the film's or avatar's own, 25 for a picture."""
    cut: Cut = WHOLE
    """The part of a film that is used."""
    view: View = AS_IT_IS
    s3fd: Path | None = None
    """``s3fd.onnx`` to find faces with; None for the embedded face finder."""
    box: tuple[int, int, int, int] | None = None
    """Top, bottom, left and right of the face in pixels, in place of finding it."""
    still: bool = False
    """Whether a picture stays still where it would breathe, blink and move a little."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A scene without an end, and the shape of its pictures."""

    scene: Scene
    width: int
    height: int
    fps: Fraction


def open_face(face: Path, model: MouthModel, options: FaceOptions) -> Footage | Posed:
    """Open an avatar pack, the name of an embedded avatar, a picture or a film.

    Raises MediaError or AvatarError when it cannot be read, InputError for options that do not fit
    it, FaceNotFound for a picture without a face. A film need not show a face.
    """
    if is_avatar(face):
        _refuse_film_options(options, "an avatar", views=True)
        avatar = Avatar.open(face)
        scene = PreparedAvatar.prepare(avatar, model)
        own = DEFAULT_FPS if len(avatar) == 1 else avatar.fps
        return Posed(scene, avatar.width, avatar.height, options.fps or own)
    if is_picture(face):
        _refuse_film_options(options, "a picture", views=False)
        return _pose(_portrait(face, options), model, options)
    film = Film(face)
    return Footage(film, options.fps or film.fps, options.cut, options.view)


def is_avatar(face: Path) -> bool:
    """Return whether ``face`` is a pack or names an embedded avatar.

    Raises AvatarError for a name that nobody has.
    """
    return face.suffix.lower() == AVATAR_SUFFIX or embedded_pack(face) is not None


def avatar_of_picture(path: Path, longest_side: int, s3fd: Path | None = None) -> Avatar:
    """Make an avatar of one still picture; raises FaceNotFound when nobody is in it."""
    image = shrunk(read_picture(path), longest_side)
    return Avatar.from_frames([image], [_face_in(image, path.name, s3fd)], name=path.stem)


def shrunk(image: Image, longest_side: int) -> Image:
    """Return the picture with its longer side at most ``longest_side``; the same if it is."""
    height, width = image.shape[:2]
    factor = max(height, width) / longest_side
    if factor <= 1:
        return image
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _portrait(path: Path, options: FaceOptions) -> Avatar:
    image = options.view.of(shrunk(read_picture(path), LONGEST_SIDE))
    if options.box is None:
        crop = _face_in(image, path.name, options.s3fd)
    else:
        top, bottom, left, right = options.box
        if not (0 <= top < bottom <= image.shape[0] and 0 <= left < right <= image.shape[1]):
            raise InputError(
                f"--box {top} {bottom} {left} {right} does not lie in the picture, which is"
                f" {image.shape[1]}x{image.shape[0]}: give top, bottom, left and right in pixels"
            )
        crop = np.array([[right - left, 0, left], [0, bottom - top, top]], np.float32)
    return Avatar.from_frames([image], [crop], name=path.stem)


def _pose(avatar: Avatar, model: MouthModel, options: FaceOptions) -> Posed:
    still = PreparedAvatar.prepare(avatar, model)
    scene: Scene = still if options.still else LivingPicture.of(still, model)
    return Posed(scene, avatar.width, avatar.height, options.fps or DEFAULT_FPS)


def _face_in(image: Image, name: str, s3fd: Path | None) -> Float32:
    with contextlib.closing(open_crop_finder(s3fd)) as finder:
        crop = finder.step(image)
    if crop is None:
        raise FaceNotFound(
            f"no face found in {name} ({image.shape[1]}x{image.shape[0]}): give a picture"
            " where a face is seen from the front, well lit, and at least 50 pixels wide"
        )
    return crop


def _refuse_film_options(options: FaceOptions, what: str, *, views: bool) -> None:
    asked = []
    if options.cut != WHOLE:
        asked.append("--from and --to")
    if views and options.view != AS_IT_IS:
        asked.append("--crop and --resize")
    if views and options.box is not None:
        asked.append("--box")
    if asked:
        raise InputError(f"{' and '.join(asked)} are for films, and the face is {what}: leave out")
