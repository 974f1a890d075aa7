"""An avatar of a picture or a film: the face found and followed once, so that sessions need not."""

import contextlib
import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipstream.avatar.idle_motion import IdleMotion
from lipstream.avatar.pack import Avatar, embedded_pack
from lipstream.errors import FaceNotFound, InputError
from lipstream.face.crop import CropSmoother
from lipstream.face.tracker import open_crop_tracker
from lipstream.media import FilmReader, is_picture, read_picture
from lipstream.types import Float32, Image

log = logging.getLogger(__name__)

AVATAR_SUFFIX = ".avatar"
DEFAULT_FPS = Fraction(25)
LONGEST_SIDE = 1920
"""Still pictures are shrunk to this longest side, pixels: a film of a photograph needs no more."""


def is_avatar(face: Path) -> bool:
    """Return whether ``face`` is a pack or names an embedded avatar.

    Raises AvatarError for a name that nobody has.
    """
    return face.suffix.lower() == AVATAR_SUFFIX or embedded_pack(face) is not None


def avatar_of_picture(path: Path, longest_side: int, s3fd: Path | None = None) -> Avatar:
    """Make an avatar of one still picture; raises FaceNotFound when nobody is in it."""
    image = shrunk(read_picture(path), longest_side)
    return Avatar.from_frames([image], [find_face(image, path.name, s3fd)], name=path.stem)


def shrunk(image: Image, longest_side: int) -> Image:
    """Return the picture with its longer side at most ``longest_side``; the same if it is."""
    height, width = image.shape[:2]
    factor = max(height, width) / longest_side
    if factor <= 1:
        return image
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def find_face(image: Image, name: str, s3fd: Path | None) -> Float32:
    """Return the (2, 3) crop of the largest face near the middle; raises FaceNotFound."""
    with contextlib.closing(open_crop_tracker(s3fd, most_faces=1)) as tracker:
        faces = tracker.step(image)
    if not faces:
        raise FaceNotFound(
            f"no face found in {name} ({image.shape[1]}x{image.shape[0]}): give a picture"
            " where a face is seen from the front, well lit, and at least 50 pixels wide"
        )
    return faces[0].crop


@dataclass(frozen=True, slots=True)
class AvatarSettings:
    """How to make an avatar."""

    name: str
    licence: str = "unknown"
    longest_side: int = 512
    """Pictures are shrunk to this longest side, pixels."""
    seconds: float = 5.0
    """At most this much of a film is used, and the loop of a picture that lives is so long: frames
    are held in memory uncompressed."""
    bounce: bool = True
    """Play a film forwards, then backwards, so that it repeats without a jump."""
    fps: Fraction | None = None
    """Frames a second; None for the film's own."""
    s3fd: Path | None = None
    """``s3fd.onnx`` to find the face with; None for the embedded face finder."""
    still: bool = False
    """Whether a picture stays still where it would breathe, blink and move a little."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One picture and the face in it."""

    image: Image
    crop: Float32


def make_avatar(face: Path, settings: AvatarSettings) -> Avatar:
    """Make an avatar of a picture, or of the longest unbroken sight of a face in a film.

    With several faces the largest near the middle is taken. Raises FaceNotFound when there is none,
    MediaError when the file cannot be read, and InputError for settings that it has no use for.
    """
    if is_picture(face):
        if not settings.bounce:
            raise InputError("--no-bounce is for films, and the face is a picture: leave out")
        still = avatar_of_picture(face, settings.longest_side, settings.s3fd)
        return _still(still, settings) if settings.still else _living(still, settings)
    if settings.still:
        raise InputError("--still is for pictures, and the face is a film: leave out")
    film = FilmReader(face)
    fps = settings.fps or film.fps
    seen = _longest_sight(film, fps, settings)
    if not seen:
        raise FaceNotFound(
            f"no face found in the first {settings.seconds:g} s of {face.name}: give a film where"
            " one face is seen from the front and well lit"
        )
    if settings.bounce:
        seen += seen[-2:0:-1]
    images, crops = [one.image for one in seen], [one.crop for one in seen]
    return Avatar.from_frames(images, crops, fps=fps, name=settings.name, licence=settings.licence)


def _still(picture: Avatar, settings: AvatarSettings) -> Avatar:
    return Avatar.from_frames(
        picture.frames, picture.crops, name=settings.name, licence=settings.licence
    )


def _living(picture: Avatar, settings: AvatarSettings) -> Avatar:
    """Return an avatar of one picture that moves through one seamless loop."""
    fps = settings.fps or DEFAULT_FPS
    count = max(1, round(settings.seconds * fps))
    motion = IdleMotion(np.array(picture.frames[0]), np.array(picture.crops[0]), float(count / fps))
    phases = [index / count for index in range(count)]
    return Avatar.from_frames(
        [motion.image_at(phase) for phase in phases],
        [motion.crop_at(phase) for phase in phases],
        fps=fps,
        name=settings.name,
        licence=settings.licence,
    )


def open_avatar(face: Path | None) -> Avatar:
    """Open an avatar by file or name, or make one of a picture or film; None for the default."""
    if face is None or is_avatar(face):
        return Avatar.open(face)
    return make_avatar(face, AvatarSettings(face.stem))


def _longest_sight(film: FilmReader, fps: Fraction, settings: AvatarSettings) -> list[_Seen]:
    limit = max(1, int(settings.seconds * fps))
    sights: list[list[_Seen]] = [[]]
    smoother = CropSmoother(float(fps))
    with contextlib.closing(open_crop_tracker(settings.s3fd, most_faces=1)) as tracker:
        for count, picture in enumerate(film.pictures(fps)):
            if count == limit:
                log.warning("only the first %g s of the film are used", settings.seconds)
                break
            image = shrunk(picture, settings.longest_side)
            faces = tracker.step(image)
            if not faces:
                smoother.reset()
                sights.append([])
                continue
            sights[-1].append(_Seen(image, smoother.step(faces[0].crop)))
    return max(sights, key=len)
