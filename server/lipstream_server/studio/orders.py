"""An order as the page sends it, checked: every wrong value is named in one sentence."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, TypeGuard, get_args

from lipstream.errors import InputError
from lipstream.face.tracker import MOST_FACES
from lipstream.film.job import Cut, Ends, FaceChoice
from lipstream.film.timeline import ClipPlacement, SoundClip, place_clips
from lipstream.media import Quality, SoundFile, playable_rate
from lipstream.timing import Timing
from lipstream_server.config import StudioLimits
from lipstream_server.studio.records import FilmOrder, Length, Media, Piece, display_name
from lipstream_server.studio.tasks import is_whole_sound


def is_number(written: object) -> TypeGuard[int | float]:
    """Return whether a value of a JSON object is a finite number."""
    if isinstance(written, bool) or not isinstance(written, int | float):
        return False
    return math.isfinite(written)


@dataclass(frozen=True, slots=True)
class Speakers:
    """Those among whom an order may choose."""

    face: Media | None
    """The picture or film they are in; None for an avatar."""
    follow: bool
    """Whether whoever is chosen is kept through the film."""

    @classmethod
    def of(cls, face: Media | None, follow: object) -> Self:
        """Check what an order says of following. Raises InputError."""
        if not isinstance(follow, bool):
            raise InputError("follow is true or false")
        if follow and face is None:
            raise InputError("an avatar is one person: leave out who and follow")
        if follow and face is not None and face.kind == "picture":
            raise InputError(
                "follow stays with a person through a film: leave it out for a picture"
            )
        return cls(face, follow)

    def of_film(self, asked: object) -> FaceChoice:
        """Return who speaks where a piece names nobody. Raises InputError."""
        if asked == "largest":
            return FaceChoice(follow=self.follow)
        if self.face is None:
            raise InputError("an avatar is one person: leave out who and follow")
        if isinstance(asked, int) and not isinstance(asked, bool):
            return self._nth(asked, self.face)
        if isinstance(asked, dict) and set(asked) == {"x", "y"}:
            return self._nearest(asked["x"], asked["y"], self.face)
        raise InputError(
            "who is largest, a number (1 is the face on the left), or a point: an object with x"
            " and y"
        )

    def of_piece(self, asked: object, name: str) -> FaceChoice | None:
        """Return who speaks the piece ``name``; None for whoever speaks in all the film.

        Raises InputError.
        """
        if asked is None:
            return None
        if self.face is None or self.face.kind != "film":
            raise InputError(
                f"{name}: only in a film may pieces be spoken by different people: leave out its"
                " who"
            )
        try:
            return self.of_film(asked)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    def _nth(self, place: int, face: Media) -> FaceChoice:
        found = len(face.faces) if face.kind == "picture" else MOST_FACES
        if not 1 <= place <= found:
            raise InputError(
                f"who asks for face {place}, and {face.name} may have 1 to {found}: the first is"
                " the one on the left"
            )
        return FaceChoice("nth", place=place, follow=self.follow)

    def _nearest(self, x: object, y: object, face: Media) -> FaceChoice:
        if not (is_number(x) and is_number(y) and 0 <= x <= face.width and 0 <= y <= face.height):
            raise InputError(
                f"the point of who does not lie in {face.name}, which is"
                f" {face.width}x{face.height}: give x and y in its pixels"
            )
        return FaceChoice("nearest", x=float(x), y=float(y), follow=self.follow)


LARGEST_ORDER = 64 * 1024
"""Bytes."""
_KEYS = {"title", "face", "who", "follow", "speech", "length", "ends", "quality", "still"}
_PIECE_KEYS = {"sound", "at", "until", "from", "to", "who"}
_CHOICES: dict[str, tuple[str, ...]] = {
    "length": get_args(Length),
    "ends": get_args(Ends),
    "quality": get_args(Quality),
}


@dataclass(frozen=True, slots=True)
class OrderChoices:
    """What an order may name."""

    media: Callable[[str], Media]
    """Gives a file taken in; raises InputError."""
    avatars: Collection[str]


def parse_json(body: bytes) -> dict[str, Any]:
    """Read a JSON object. Raises InputError."""
    try:
        written = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise InputError("what was sent is not JSON: send an object") from None
    if not isinstance(written, dict):
        raise InputError("what was sent is not a JSON object: send one")
    return written


def parse_order(
    written: Mapping[str, Any], choices: OrderChoices, limits: StudioLimits
) -> FilmOrder:
    """Read an order and check that its film can be made. Raises InputError."""
    _check_keys(written, _KEYS, "the order")
    face, avatar = _face(written.get("face"), choices)
    speakers = Speakers.of(face, written.get("follow", False))
    pieces = _pieces(written.get("speech"), speakers, choices, limits)
    chosen = {key: _choice(written, key) for key in _CHOICES if key in written}
    still = written.get("still", False)
    if not isinstance(still, bool):
        raise InputError("still is true or false")
    name = avatar.capitalize() if avatar is not None else face.name if face else ""
    given = written.get("title")
    title = display_name(given if isinstance(given, str) else "", f"{name}: {pieces[0].sound.name}")
    who = speakers.of_film(written.get("who", "largest"))
    order = FilmOrder(title, face, avatar, pieces, still=still, who=who, **chosen)  # type: ignore[arg-type]
    _check_times(order, limits)
    return order


def _face(written: object, choices: OrderChoices) -> tuple[Media | None, str | None]:
    if isinstance(written, dict) and set(written) == {"avatar"}:
        if written["avatar"] not in choices.avatars:
            raise InputError(f"there is no such avatar: choose one of {', '.join(choices.avatars)}")
        return None, written["avatar"]
    if isinstance(written, dict) and set(written) == {"media"}:
        media = choices.media(str(written["media"]))
        if media.kind != "sound":
            return media, None
    raise InputError("nobody is there to speak: add a picture or film, or choose an avatar")


def _pieces(
    written: object, speakers: Speakers, choices: OrderChoices, limits: StudioLimits
) -> tuple[Piece, ...]:
    if not isinstance(written, list) or not written:
        raise InputError("nothing is said: type, record or add some speech first")
    if len(written) > limits.pieces:
        raise InputError(f"{len(written)} pieces of speech: send {limits.pieces} at most")
    return tuple(_piece(one, speakers, choices) for one in written)


def _piece(written: object, speakers: Speakers, choices: OrderChoices) -> Piece:
    if not isinstance(written, dict):
        raise InputError(
            "each piece of speech is an object with sound, at, until, from, to and who"
        )
    _check_keys(written, _PIECE_KEYS, "a piece of speech")
    sound = choices.media(str(written.get("sound")))
    if sound.kind != "sound":
        raise InputError(f"{sound.name} was added as a face: add it as speech, too")
    at, start = (_seconds(written.get(key, 0), sound.name) for key in ("at", "from"))
    until, stop = (
        None if written.get(key) is None else _seconds(written[key], sound.name)
        for key in ("until", "to")
    )
    who = speakers.of_piece(written.get("who"), sound.name)
    return Piece(sound, at, until, Cut(start, stop), who)


def _seconds(written: object, name: str) -> Fraction:
    if not is_number(written) or not 0 <= written < 1e6:
        raise InputError(f"{name}: its times must be seconds, 0 or more")
    return Fraction(round(written * 1000), 1000)


def _choice(written: Mapping[str, Any], key: str) -> str:
    if written[key] not in _CHOICES[key]:
        raise InputError(f"there is no such {key}: choose one of {', '.join(_CHOICES[key])}")
    return str(written[key])


def _check_keys(written: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(set(written) - known):
        raise InputError(
            f"{what} has an unknown {unknown[0][:40]}: send {', '.join(sorted(known))}"
        )


def _check_times(order: FilmOrder, limits: StudioLimits) -> None:
    """Raise InputError for speech outside the film, that overlaps, or makes the film too long."""
    film = order.face if order.face is not None and order.face.kind == "film" else None
    if film is not None and order.length == "speech" and not is_whole_sound(order):
        raise InputError(
            "a film can be as long as the speech only when one piece is spoken from its beginning"
            " to its end: keep the film's length, or leave one piece"
        )
    fps = film.fps if film is not None else Fraction(25)
    placed = film is not None and order.length == "film"
    heard = film if placed and film is not None and film.rate else order.pieces[0].sound
    passages = place_clips(
        [_spoken(piece) for piece in order.pieces],
        Timing(playable_rate(heard.rate), fps),
        film.frames if placed and film is not None else None,
    )
    end = passages[-1].stop
    if placed and film is not None and end > film.frames:
        raise InputError(
            f"{passages[-1].clip.name} would be spoken until {float(end / fps):.2f} s,"
            f" but the film ends at {float(film.frames / fps):.2f} s: begin earlier, end it sooner,"
            " or let the film be as long as the speech"
        )
    if end / fps > limits.film_seconds:
        raise InputError(
            f"the film would last {float(end / fps):.0f} s, and at most {limits.film_seconds} s"
            " are made here: say less, or begin earlier"
        )


def _spoken(piece: Piece) -> ClipPlacement:
    sound = piece.sound
    opened = SoundFile(Path(sound.name), sound.rate, sound.channels, sound.samples)
    return ClipPlacement(SoundClip.of(opened, piece.cut), piece.at, piece.until)


def _no_number(name: str) -> float:
    raise ValueError(name)
