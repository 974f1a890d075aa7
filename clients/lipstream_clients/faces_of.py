"""The faces that a session can be given: an avatar pack, a picture, or a film."""

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipstream.avatar import Avatar, embedded_pack
from lipstream.errors import FaceNotFound
from lipstream.model import MouthModel
from lipstream.pipeline import PreparedAvatar, Scene
from lipstream.types import Float32, Image
from lipstream_clients.crops import open_crop_finder
from lipstream_clients.dubbing.casting import CastSettings, cast, padded
from lipstream_clients.dubbing.crowd import open_crowd
from lipstream_clients.dubbing.footage import AS_IT_IS, Footage, View
from lipstream_clients.dubbing.living import LivingPicture
from lipstream_clients.dubbing.programme import WHOLE, Cut
from lipstream_clients.dubbing.sightings import box_crop, watch_picture
from lipstream_clients.dubbing.who import LARGEST, Who
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
    who: Who = LARGEST
    """Of several faces in a picture, the one that speaks."""
    box: tuple[int, int, int, int] | None = None
    """Top, bottom, left and right of the face in pixels, in place of finding it."""
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels added to a picture's face above, below, left and right."""
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

    Raises MediaError or AvatarError when it cannot be read, InputError for parts that are not in
    it, FaceNotFound for a picture without the face asked for. A film need not show a face.
    """
    if is_avatar(face):
        avatar = Avatar.open(face)
        scene = PreparedAvatar.prepare(avatar, model)
        own = DEFAULT_FPS if len(avatar) == 1 else avatar.fps
        return Posed(scene, avatar.width, avatar.height, options.fps or own)
    if is_picture(face):
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
    if options.box is not None:
        crop = box_crop(options.box, image.shape[1], image.shape[0])
    elif options.who.rule == "largest":
        crop = _face_in(image, path.name, options.s3fd)
    else:
        crop = _picked(image, path.name, options)
    return Avatar.from_frames([image], padded(crop[None], options.pads), name=path.stem)


def _picked(image: Image, name: str, options: FaceOptions) -> Float32:
    """Return the crop of the face that a rule picks: of a film of one frame."""
    with contextlib.closing(open_crowd(options.s3fd)) as crowd:
        sightings = watch_picture(image, crowd)
    casting = cast(sightings, options.who, DEFAULT_FPS, CastSettings(smooth=False, faded=False))
    if casting.strength[0] == 0:
        raise FaceNotFound(
            f"--who asks for a face that is not in {name}: {len(sightings.rows)} found there"
        )
    return np.asarray(casting.crops[0], np.float32)


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
