"""An avatar of a picture or a film: the face found and followed once, so that sessions need not."""

import contextlib
import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from lipstream.avatar.idle_motion import IdleMotion
from lipstream.avatar.pack import Avatar, is_avatar
from lipstream.errors import FaceNotFound, InputError
from lipstream.face.crop import CropSmoother, FacePicture
from lipstream.face.tracker import open_crop_tracker
from lipstream.lips.shape import NAMES, SPREAD
from lipstream.media import FilmReader, is_picture, read_picture, shrunk
from lipstream.mouth.compositor import ShapeCompositor
from lipstream.mouth.prepare import LipFinder, best_teeth, find_teeth
from lipstream.types import Float32, Image

log = logging.getLogger(__name__)

DEFAULT_FPS = Fraction(25)
LONGEST_SIDE = 1920
"""Still pictures are shrunk to this longest side, pixels: a film of a photograph needs no more."""


def avatar_of_picture(
    path: Path, longest_side: int, s3fd: Path | None = None, *, enlarge: bool = False
) -> Avatar:
    """Make an avatar of one still picture; raises FaceNotFound when nobody is in it."""
    image = shrunk(read_picture(path), longest_side, enlarge=enlarge)
    return Avatar.from_frames([image], [find_face(image, path.name, s3fd)], name=path.stem)


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
    enlarge: bool = False
    """Whether smaller pictures are enlarged to it."""
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
    open_mouth: Path | None = None
    """Picture or film of the same person with an open mouth, whose teeth are kept; None for those
    that the face itself shows."""


_REST_FRAMES = 15
"""The most closed frames of a film, whose median lips are those at rest."""
_RESTING = 1.5
"""Measures of lips at rest are within this, SPREADs: mesh points tremble by less."""
_RESTING_MEASURES = tuple(NAMES.index(name) for name in ("gap", "outer_width", "lower_lip"))
_SHORTEST_PLATE_S = 1.0
"""A film whose lips rest for less than this gives one picture instead."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One picture and the face in it."""

    image: Image
    crop: Float32
    lips: Float32 | None
    """(17,) outer-eye distances; None where no mesh was seen."""


def make_avatar(face: Path, settings: AvatarSettings) -> Avatar:
    """Make an avatar of a picture, or of the longest unbroken sight of a face in a film.

    With several faces the largest near the middle is taken. Of a film in which the person speaks
    the longest rest is shown, and the frame kept that shows most teeth. Raises FaceNotFound when
    there is no face, MediaError when the file cannot be read, and InputError for settings that it
    has no use for and for an open mouth without teeth.
    """
    if is_picture(face):
        if not settings.bounce:
            raise InputError("--no-bounce is for films, and the face is a picture: leave out")
        still = avatar_of_picture(
            face, settings.longest_side, settings.s3fd, enlarge=settings.enlarge
        )
        seen = [_Seen(still.frames[0], still.crops[0], None)]
        still_or_loop = (
            _avatar(seen, DEFAULT_FPS, settings) if settings.still else _living(seen[0], settings)
        )
        return still_or_loop.with_open_mouth(_open_mouth(settings, []))
    if settings.still:
        raise InputError("--still is for pictures, and the face is a film: leave out")
    seen, fps = _seen_in_film(face, settings)
    if not seen:
        raise FaceNotFound(
            f"no face found in the first {settings.seconds:g} s of {face.name}: give a film where"
            " one face is seen from the front and well lit"
        )
    plate = _plate(seen, fps)
    if len(plate) == 1 < len(seen):
        frames = _living(plate[0], settings)
    else:
        frames = _avatar(plate + (plate[-2:0:-1] if settings.bounce else []), fps, settings)
    return frames.with_open_mouth(_open_mouth(settings, seen))


def _avatar(seen: list[_Seen], fps: Fraction, settings: AvatarSettings) -> Avatar:
    images, crops = [one.image for one in seen], [one.crop for one in seen]
    return Avatar.from_frames(images, crops, fps=fps, name=settings.name, licence=settings.licence)


def _living(picture: _Seen, settings: AvatarSettings) -> Avatar:
    """Return an avatar of one picture that moves through one seamless loop."""
    fps = settings.fps or DEFAULT_FPS
    count = max(1, round(settings.seconds * fps))
    motion = IdleMotion(np.array(picture.image), np.array(picture.crop), float(count / fps))
    phases = [index / count for index in range(count)]
    loop = [_Seen(motion.image_at(phase), motion.crop_at(phase), None) for phase in phases]
    return _avatar(loop, fps, settings)


def _seen_in_film(face: Path, settings: AvatarSettings) -> tuple[list[_Seen], Fraction]:
    film = FilmReader(face)
    fps = settings.fps or film.fps
    return _longest_sight(film, fps, settings), fps


def _lips_from_rest(seen: list[_Seen]) -> Float32 | None:
    """Return (n, 17) SPREADs from the most closed frames; None where no mesh was seen."""
    measures = [one.lips for one in seen if one.lips is not None]
    if not measures or len(measures) < len(seen):
        return None
    lips = np.stack(measures)
    closed = np.argsort(lips[:, 0], kind="stable")[:_REST_FRAMES]
    return np.asarray((lips - np.median(lips[closed], 0)) / SPREAD, np.float32)


def _plate(seen: list[_Seen], fps: Fraction) -> list[_Seen]:
    """Return the longest run of frames whose lips rest; one frame where none is long enough."""
    lips = _lips_from_rest(seen)
    if lips is None:
        return list(seen)
    rests = (np.abs(lips[:, _RESTING_MEASURES]) < _RESTING).all(1)
    if rests.all():
        return list(seen)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rests, [False]]).astype(int)))
    runs = [range(first, stop) for first, stop in edges.reshape(-1, 2).tolist()]
    run = max(runs, key=len, default=range(0))
    if len(run) >= _SHORTEST_PLATE_S * fps:
        return seen[run.start : run.stop]
    return [seen[int(np.argmin(np.abs(lips).sum(1)))]]


def _open_mouth(settings: AvatarSettings, seen: list[_Seen]) -> FacePicture | None:
    """Return the picture that shows the person's teeth: the one given, or the film's best frame.

    Raises InputError where the one given shows none.
    """
    path = settings.open_mouth
    if path is None and not seen:
        return None
    with contextlib.closing(LipFinder()) as finder:
        if path is None:
            return _best_frame(seen, finder)
        if is_picture(path):
            still = avatar_of_picture(path, settings.longest_side, settings.s3fd)
            picture = FacePicture(still.frames[0], still.crops[0])
            best = None if find_teeth(picture, finder, ShapeCompositor.open()) is None else picture
        else:
            best = _best_frame(_seen_in_film(path, settings)[0], finder)
    if best is None:
        raise InputError(
            f"--open-mouth {path.name}: no teeth are seen in it: give a picture of the same person"
            " from the front, the mouth wide and open as in a laugh"
        )
    return best


def _best_frame(seen: list[_Seen], finder: LipFinder) -> FacePicture | None:
    lips = _lips_from_rest(seen) if seen else None
    if lips is None:
        return None
    pictures = [FacePicture(one.image, one.crop) for one in seen]
    best = best_teeth(lips, pictures.__getitem__, finder, ShapeCompositor.open())
    return None if best is None else pictures[best[0]]


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
            image = shrunk(picture, settings.longest_side, enlarge=settings.enlarge)
            faces = tracker.step(image)
            if not faces:
                smoother.reset()
                sights.append([])
                continue
            sights[-1].append(_Seen(image, smoother.step(faces[0].crop), faces[0].lips))
    return max(sights, key=len)
