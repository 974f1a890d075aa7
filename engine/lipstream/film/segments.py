"""Segments as people write them: words on the command line, or a TOML file.

``sound=a.wav,at=3,until=8`` and, in a file::

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
from fractions import Fraction
from pathlib import Path
from typing import Any

from lipstream.errors import InputError
from lipstream.film.job import Cut, FaceChoice, Segment, SpokenText

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
