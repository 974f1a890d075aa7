"""What ``lipstream render`` is asked to do, in values: files, parts of them, times and faces."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from lipstream.avatar.making import is_avatar
from lipstream.errors import InputError
from lipstream.film.provenance import Certificate
from lipstream.media import DEFAULT_ENCODING, Encoding, is_picture
from lipstream.speech import SpeechSettings
from lipstream.timing import exact_fps
from lipstream.types import Image

_LEAST_SIDE, _MOST_SIDE = 16, 8192
"""Pixels that a film may have on a side."""
Ends = Literal["repeat", "bounce", "hold", "cut"]
"""After the last picture of a film that is shorter than the sound: from the first again, backwards
and forth, no change, or nothing: the sound is cut."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Part of a picture, in pixels; ``bottom`` and ``right`` are one past it."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Framing:
    """How pictures are shown: first cropped, then sized."""

    crop: Rectangle | None = None
    """A ``bottom`` or ``right`` of -1 is the picture's own."""
    shrink: float | None = None
    """Sides are divided by this."""
    size: tuple[int, int] | None = None
    """Width and height; either may be -1 for what keeps the proportions."""

    def rectangle(self, width: int, height: int) -> Rectangle:
        """Return the part that is shown of pictures of one size; raises InputError."""
        crop = self.crop or Rectangle(0, -1, 0, -1)
        bottom = height if crop.bottom == -1 else crop.bottom
        right = width if crop.right == -1 else crop.right
        if not (0 <= crop.top < bottom <= height and 0 <= crop.left < right <= width):
            raise InputError(
                f"--crop {crop.top} {crop.bottom} {crop.left} {crop.right} does not lie in a"
                f" picture of {width}x{height}: give top, bottom, left and right in pixels"
            )
        return Rectangle(crop.top, bottom, crop.left, right)

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height as shown; raises InputError."""
        part = self.rectangle(width, height)
        across, down = part.right - part.left, part.bottom - part.top
        if self.shrink is not None:
            across, down = round(across / self.shrink), round(down / self.shrink)
        if self.size is not None:
            wide, high = self.size
            wide = round(high * across / down) if wide == -1 else wide
            high = round(wide * down / across) if high == -1 else high
            across, down = wide, high
        if not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in (across, down)):
            raise InputError(
                f"the film would be {across}x{down} pixels: choose --crop and --resize so that"
                f" both sides have {_LEAST_SIDE} to {_MOST_SIDE}"
            )
        return across, down

    def of(self, image: Image) -> Image:
        """Return the picture as shown; the same array when nothing changes."""
        if self == AS_IT_IS:
            return image
        height, width = image.shape[:2]
        part, size = self.rectangle(width, height), self.shown_size(width, height)
        image = image[part.top : part.bottom, part.left : part.right]
        if size == image.shape[1::-1]:
            return np.ascontiguousarray(image)
        smaller = size[0] < image.shape[1]
        how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


AS_IT_IS = Framing()


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a file that is used."""

    start_s: Fraction = Fraction(0)
    stop_s: Fraction | None = None
    """None for the file's end."""


WHOLE = Cut()


@dataclass(frozen=True, slots=True)
class SpokenText:
    """A text that is still to be spoken."""

    text: str
    voice: str | None = None
    """None for the voice of the whole job."""
    speed: float | None = None
    """Times the voice's usual speed; None for the speed of the whole job."""


@dataclass(frozen=True, slots=True)
class FaceChoice:
    """A rule that picks a face from those in a picture."""

    rule: Literal["largest", "nth", "nearest"] = "largest"
    place: int = 1
    """For ``nth``: 1 for the face on the left, 2 for the next to its right, and so on."""
    x: float = 0.0
    """For ``nearest``: the point, in pixels of the film as it is written."""
    y: float = 0.0
    follow: bool = False
    """Whether the person picked first is kept through the film."""


LARGEST = FaceChoice()


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of sound and the time in the film from which it is spoken."""

    sound: Path | SpokenText
    at_s: Fraction = Fraction(0)
    until_s: Fraction | None = None
    """Time in the film at which the sound is cut off; None for the sound's own end."""
    cut: Cut = WHOLE
    """The part of the sound that is spoken."""
    who: FaceChoice | None = None
    """Whose mouth; None for the film's own choice."""
    name: str | None = None
    """What messages call it; None for the sound file's name."""


_FILES = ("face", "sound", "output", "model", "s3fd", "restore", "sheet")


@dataclass(frozen=True, slots=True)
class RenderJob:
    """What to render. A sound or a text for all of the film, or segments; the rest has defaults.

    Files may be given as text, and ``fps`` as 25, 29.97 or "30000/1001": they are converted.
    """

    face: Path
    """Avatar pack, picture or film."""
    sound: Path | None
    """What is said; None when ``segments`` or ``text`` say it."""
    output: Path
    model: Path | None = None
    """Model folder, or an embedded model's name; None for ``quality``."""
    backend: str = "auto"
    precision: str = "fp32"
    """One of ``lipstream.inference.backends.PRECISIONS``."""
    fps: Fraction | None = None
    """Frames a second; None for the film's or avatar's own, 25 for a picture."""
    ends: Ends = "repeat"
    """What follows a film that is shorter than the sound."""
    s3fd: Path | None = None
    """``s3fd.onnx`` to find faces with; None for the embedded face finder."""
    text: str | None = None
    """What is said, to be spoken by the voice of ``speech``."""
    speech: SpeechSettings = field(default_factory=SpeechSettings)
    """Who speaks ``text``, and the texts of segments that name no voice of their own."""
    segments: tuple[Segment, ...] = ()
    """Pieces of sound or text and when they are spoken; the rest of the film is kept as it is."""
    keep: bool = False
    """Whether a film longer than the sound goes on to its end, as it is; else it is cut."""
    face_cut: Cut = WHOLE
    """The part of the film that is used."""
    sound_cut: Cut = WHOLE
    """The part of the sound that is used."""
    view: Framing = AS_IT_IS
    who: FaceChoice = LARGEST
    box: tuple[int, int, int, int] | None = None
    """Top, bottom, left and right of the face in pixels, in place of finding it."""
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels added to the face above, below, left and right."""
    smooth: bool = True
    """Whether the place of the face is smoothed over time."""
    still: bool = False
    """Whether a picture stays still where it would breathe, blink and move a little."""
    encoding: Encoding = DEFAULT_ENCODING
    restore: Path | None = None
    """ONNX of a face restoration network of GFPGAN's kind."""
    label: str | None = None
    """Text shown in the pictures; None for none."""
    sheet: Path | None = None
    """Picture to write with frames before and after, side by side."""
    certificate: Certificate | None = None
    """What to sign the film with."""

    def __post_init__(self) -> None:
        for name in _FILES:
            file = getattr(self, name)
            if isinstance(file, str):
                object.__setattr__(self, name, Path(file))
        if self.fps is not None:
            object.__setattr__(self, "fps", exact_fps(self.fps))

    @property
    def sources(self) -> tuple[Path, ...]:
        """All files that are read as media."""
        sounds = [self.sound] if self.sound is not None else []
        spoken = [one.sound for one in self.segments if isinstance(one.sound, Path)]
        return tuple(dict.fromkeys([self.face, *sounds, *spoken]))


_OF_TIME = ("--from", "--ends", "--keep", "--follow", "who= of a segment", "--no-smooth")
"""What only a film has use for."""
_OF_PLACE = ("--crop", "--who", "--box", "--pads", "--s3fd", "--still")
"""What only a face that is yet to be found has use for."""


def check_options(job: RenderJob) -> None:
    """Raise InputError that names the options that the job's face has no use for."""
    asked = _asked(job)
    if is_avatar(job.face):
        _refuse(asked, _OF_TIME + _OF_PLACE, "an avatar")
    elif is_picture(job.face):
        _refuse(asked, _OF_TIME, "a picture")
    else:
        _refuse(asked, ("--still",), "a film")
    if job.box is not None:
        _refuse(asked, ("--who", "--follow", "who= of a segment", "--s3fd"), "given by --box")


def _asked(job: RenderJob) -> set[str]:
    """Return the options that were given, the first of those that go together."""
    given = {
        "--from": job.face_cut != WHOLE,
        "--ends": job.ends != "repeat",
        "--keep": job.keep,
        "--follow": job.who.follow,
        "who= of a segment": any(segment.who is not None for segment in job.segments),
        "--no-smooth": not job.smooth,
        "--crop": job.view != AS_IT_IS,
        "--who": job.who.rule != "largest",
        "--box": job.box is not None,
        "--pads": any(job.pads),
        "--s3fd": job.s3fd is not None,
        "--still": job.still,
    }
    return {option for option, is_given in given.items() if is_given}


def _refuse(asked: set[str], useless: tuple[str, ...], face: str) -> None:
    pairs = {"--from": "--from and --to", "--crop": "--crop and --resize"}
    given = [pairs.get(option, option) for option in useless if option in asked]
    if given:
        raise InputError(f"the face is {face}, which has no use for {', '.join(given)}: leave out")
