"""What ``lipstream render`` is asked to do, in values: files, parts of them, times and faces.

A segment is written as ``sound=a.wav,at=3,until=8`` and, in a file::

    [[segment]]
    sound = "a.wav"      # beside the TOML file, unless the path is absolute
    at = 3               # seconds, or "1:03.5": when in the film
    until = 8            # optional: when in the film the sound is cut off
    from = 0.5           # optional: the part of the sound that is used
    to = 4
    who = "2"            # optional: largest, a number from the left, or a point "x,y"

    [[segment]]
    text = "Good day."   # in place of a sound
    voice = "en-in"      # optional, as is speed = 1.2: else those of --voice and --speed
    at = 10
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from lipstream.avatar.pack import is_avatar
from lipstream.errors import InputError
from lipstream.film.provenance import Certificate
from lipstream.media import DEFAULT_ENCODING, Encoding, is_picture
from lipstream.speech import SpeechSettings
from lipstream.timing import exact_fps
from lipstream.types import Float32, Image

LEAST_SIDE, _MOST_SIDE = 16, 8192
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


Fit = Literal["pad", "crop", "stretch"]
"""Where a size has other proportions than the picture: black beside it, its edges left out, or
all of it out of shape."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How pictures are shown: first cropped, then sized."""

    crop: Rectangle | None = None
    """A ``bottom`` or ``right`` of -1 is the picture's own."""
    shrink: float | None = None
    """Sides are divided by this."""
    size: tuple[int, int] | None = None
    """Width and height; either may be -1 for what keeps the proportions."""
    fit: Fit = "pad"

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
        if not all(LEAST_SIDE <= side <= _MOST_SIDE for side in (across, down)):
            raise InputError(
                f"the film would be {across}x{down} pixels: choose --crop and --resize so that"
                f" both sides have {LEAST_SIDE} to {_MOST_SIDE}"
            )
        return across, down

    def of(self, image: Image) -> Image:
        """Return the picture as shown; the same array when nothing changes."""
        if self == AS_IT_IS:
            return image
        height, width = image.shape[:2]
        part, place = self._placed(width, height)
        image = image[part.top : part.bottom, part.left : part.right]
        size = (place.right - place.left, place.bottom - place.top)
        sized = np.ascontiguousarray(image) if size == image.shape[1::-1] else _sized(image, *size)
        across, down = self.shown_size(width, height)
        if size == (across, down):
            return sized
        canvas = np.zeros((down, across, 3), np.uint8)
        canvas[place.top : place.bottom, place.left : place.right] = sized
        return canvas

    def affine(self, width: int, height: int) -> Float32:
        """Return the (2, 3) affine from places in a picture to places in what is shown of it."""
        part, place = self._placed(width, height)
        across = (place.right - place.left) / (part.right - part.left)
        down = (place.bottom - place.top) / (part.bottom - part.top)
        left, top = place.left - across * part.left, place.top - down * part.top
        return np.array([[across, 0, left], [0, down, top]], np.float32)

    def _placed(self, width: int, height: int) -> tuple[Rectangle, Rectangle]:
        """Return which part of a picture is shown, and where in what is shown it lies."""
        part, (across, down) = self.rectangle(width, height), self.shown_size(width, height)
        wide, high = part.right - part.left, part.bottom - part.top
        if self.fit == "stretch" or self.size is None or -1 in self.size:
            return part, Rectangle(0, down, 0, across)
        if self.fit == "pad":
            scale = min(across / wide, down / high)
            shown_wide = min(across, max(1, round(wide * scale)))
            shown_high = min(down, max(1, round(high * scale)))
            return part, _centred(shown_wide, shown_high, Rectangle(0, down, 0, across))
        scale = max(across / wide, down / high)
        part_wide = min(wide, max(1, round(across / scale)))
        part_high = min(high, max(1, round(down / scale)))
        return _centred(part_wide, part_high, part), Rectangle(0, down, 0, across)


def _centred(width: int, height: int, room: Rectangle) -> Rectangle:
    """Return a rectangle of a size in the middle of another."""
    left = room.left + (room.right - room.left - width) // 2
    top = room.top + (room.bottom - room.top - height) // 2
    return Rectangle(top, top + height, left, left + width)


def _sized(image: Image, width: int, height: int) -> Image:
    smaller = width < image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


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


_FILES = (
    *("face", "sound", "output", "model", "s3fd", "restore"),
    *("sheet", "units", "captions", "tracks", "growing"),
)


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
    draft: bool = False
    """Whether of a film's pictures with a mouth every second one stands for the next one, too."""
    encoding: Encoding = DEFAULT_ENCODING
    restore: Path | None = None
    """ONNX of a face restoration network of GFPGAN's kind."""
    label: str | None = None
    """Text shown in the pictures; None for none."""
    captions: Path | None = None
    """SRT or WebVTT file to write of what is said, where the words are known."""
    burn_captions: bool = False
    """Whether the same is drawn into the pictures."""
    sheet: Path | None = None
    """Picture to write with frames before and after, side by side."""
    tracks: Path | None = None
    """File of where the faces are, for films: read when it is of this film, else written."""
    growing: Path | None = None
    """MP4 to write part by part, beside ``output``, which plays while the film is made; it stays
    under that name whatever happens."""
    units: Path | None = None
    """Table to write of the lips in each frame as ARKit's units and lip measures: CSV or JSON."""
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
_OF_PLACE = ("--who", "--box", "--pads", "--s3fd", "--still")
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
        "--who": job.who.rule != "largest",
        "--box": job.box is not None,
        "--pads": any(job.pads),
        "--s3fd": job.s3fd is not None,
        "--still": job.still,
    }
    return {option for option, is_given in given.items() if is_given}


def _refuse(asked: set[str], useless: tuple[str, ...], face: str) -> None:
    pairs = {"--from": "--from and --to"}
    given = [pairs.get(option, option) for option in useless if option in asked]
    if given:
        raise InputError(f"the face is {face}, which has no use for {', '.join(given)}: leave out")


_OF_TEXT = ("voice", "speed")
_KEYS = ("sound", "text", *_OF_TEXT, "at", "until", "from", "to", "who")
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")
_WORD = re.compile(r",\s*(?=(?:" + "|".join(_KEYS) + r")\s*=)")
"""A comma that begins another key: others belong to texts, file names and points."""


def parse_time(text: str) -> Fraction:
    """Parse seconds, such as 63.5, or 1:03.5, or 1:00:03.5; raises InputError."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise InputError(f"'{text}' is no time: give seconds, such as 63.5, or 1:03.5")
    hours, minutes, seconds = (Fraction(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_cut(start: str | None, stop: str | None) -> Cut:
    """Parse the two times between which a file is used, None for its own; raises InputError."""
    return Cut(parse_time(start or "0"), None if stop is None else parse_time(stop))


def collect_segments(path: Path | None, texts: Sequence[str]) -> tuple[Segment, ...]:
    """Return the segments of a TOML file, if one is given, then those of texts."""
    listed = [] if path is None else read_segments(path)
    return (*listed, *(parse_segment(text) for text in texts))


def parse_segment(text: str) -> Segment:
    """Parse ``sound=a.wav,at=3``; raises InputError."""
    entry: dict[str, Any] = {}
    for word in _WORD.split(text):
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(
                f"segment '{text}': '{word}' is not key=value; write sound=a.wav,at=3 (keys:"
                f" {', '.join(_KEYS)})"
            )
        entry[key.strip()] = value.strip()
    return _segment(entry, Path(), f"segment '{text}'")


def read_segments(path: Path) -> list[Segment]:
    """Read a TOML file of segments; raises InputError that says which entry is wrong."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}") from error
    entries = document.get("segment")
    unknown = set(document) - {"segment"}
    tables = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if unknown or not entries or not tables:
        raise InputError(
            f"{path} should hold [[segment]] tables with the keys {', '.join(_KEYS)}; found"
            f" {', '.join(sorted(document)) or 'nothing'}"
        )
    return [
        _segment(entry, path.parent, f"{path}, segment {number}")
        for number, entry in enumerate(entries, 1)
    ]


def _segment(entry: Mapping[str, Any], folder: Path, where: str) -> Segment:
    unknown = ", ".join(sorted(set(entry) - set(_KEYS)))
    if unknown:
        raise InputError(f"{where}: unknown {unknown}; the keys are {', '.join(_KEYS)}")
    source = _source_of(entry, folder, where)

    def time(key: str) -> Fraction | None:
        value = entry.get(key)
        try:
            return None if value is None else parse_time(str(value))
        except InputError as error:
            raise InputError(f"{where}, {key}: {error}") from None

    who = entry.get("who")
    return Segment(
        source,
        time("at") or Fraction(0),
        time("until"),
        Cut(time("from") or Fraction(0), time("to")),
        None if who is None else parse_face_choice(str(who)),
    )


def _source_of(entry: Mapping[str, Any], folder: Path, where: str) -> Path | SpokenText:
    """Return the sound or the text of an entry, which has one of them."""
    sound, text = entry.get("sound"), entry.get("text")
    if not sound and not text:
        raise InputError(
            f"{where}: it names no sound and no text; write sound=a.wav, or text=Hello"
        )
    if sound and text:
        raise InputError(f"{where}: it names a sound and a text; leave one out")
    if sound:
        useless = " and ".join(key for key in _OF_TEXT if key in entry)
        if useless:
            raise InputError(f"{where}, {useless}: for a text, not for a sound; leave out")
        return folder / str(sound)
    voice = entry.get("voice")
    if not isinstance(text, str) or not isinstance(voice, str | None):
        raise InputError(f"{where}: text and voice are strings; write them in quotes")
    return SpokenText(text, voice or None, _speed(entry.get("speed"), where))


def _speed(value: object, where: str) -> float | None:
    try:
        return None if value is None else float(str(value))
    except ValueError:
        raise InputError(f"{where}: speed '{value}' is no number; give 0.5 to 2") from None


_POINT = re.compile(r"(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)")


def parse_face_choice(text: str, follow: bool = False) -> FaceChoice:
    """Parse ``largest``, a number from 1 or a point ``x,y``; raises InputError."""
    text = text.strip()
    if text == "largest":
        return FaceChoice(follow=follow)
    if text.isdecimal() and int(text) >= 1:
        return FaceChoice("nth", place=int(text), follow=follow)
    if point := _POINT.fullmatch(text):
        return FaceChoice("nearest", x=float(point[1]), y=float(point[2]), follow=follow)
    raise InputError(
        f"'{text}' picks no face: give largest, a number (1 is the face on the left), or a point"
        " x,y in pixels"
    )
