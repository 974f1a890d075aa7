"""An order as the page sends it, checked: every wrong value is named in one sentence.

msgspec checks the form (types, bounds, unknown names), here it is checked whether the film can be
made. Pydantic would do as well, at ten times the size; what both say of a wrong value is meant for
programmers, so the sentences are ours.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import msgspec

from lipstream.errors import InputError
from lipstream.face.tracker import MOST_FACES
from lipstream.film.job import Cut, Ends, FaceChoice
from lipstream.film.timeline import ClipPlacement, SoundClip, place_clips
from lipstream.media import Quality, SoundFile, playable_rate
from lipstream.timing import Timing
from lipstream_server.config import StudioLimits
from lipstream_server.studio.records import FilmOrder, Length, Media, Piece, display_name
from lipstream_server.studio.tasks import is_whole_sound

LARGEST_ORDER = 64 * 1024
"""Bytes."""
Seconds = Annotated[float, msgspec.Meta(ge=0, lt=1e6)]
FaceNumber = Annotated[int, msgspec.Meta(ge=-999, le=999)]
"""1 is the face on the left; whether there are so many is checked with the picture."""


class PointMessage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A point in the picture or film, in its pixels."""

    x: float
    y: float


SpeakerMessage = Literal["largest"] | FaceNumber | PointMessage


class FaceMessage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Who is seen: one of the two."""

    media: str | None = None
    """Id of a picture or film taken in."""
    avatar: str | None = None
    """Name of an embedded avatar."""


class PieceMessage(
    msgspec.Struct,
    forbid_unknown_fields=True,
    frozen=True,
    rename={"start": "from", "stop": "to"},
):
    """A piece of speech; what its fields mean is told at ``Piece``."""

    sound: str
    at: Seconds = 0.0
    until: Seconds | None = None
    start: Seconds = 0.0
    stop: Seconds | None = None
    who: SpeakerMessage | None = None


class OrderMessage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An order; what its fields mean is told at ``FilmOrder``."""

    face: FaceMessage
    speech: list[PieceMessage]
    title: str | None = None
    who: SpeakerMessage = "largest"
    follow: bool = False
    length: Length = "film"
    ends: Ends = "repeat"
    quality: Quality = "medium"
    still: bool = False
    captions: bool = False
    preview: bool = False


class SpeechMessage(msgspec.Struct, frozen=True):
    """A text to be spoken."""

    text: str
    voice: str | None = None
    speed: Annotated[float, msgspec.Meta(ge=0.5, le=2)] = 1.0


_WHO = "who is largest, a number (1 is the face on the left), or a point: an object with x and y"
_SENTENCES = {
    r"\$\.face\b.*|\$": "nobody is there to speak: add a picture or film, or choose an avatar",
    r"\$\.speech": "nothing is said: type, record or add some speech first",
    r"\$\.speech\[\d+\]": "each piece of speech is an object with its sound's id, and perhaps at,"
    " until, from, to and who",
    r"\$\.speech\[\d+\]\.sound": "each piece of speech names its sound by the sound's id",
    r"\$\.speech\[\d+\]\.(at|until|from|to)": "its times must be seconds, 0 or more",
    r"\$.*\.who": _WHO,
    r"\$.*\.who\.(x|y)": "the point of who is in the picture: give x and y in its pixels",
    r"\$\.(follow|still|captions|preview)": r"\1 is true or false",
    r"\$\.title": "the title is text",
    r"\$\.length": f"there is no such length: choose one of {', '.join(get_args(Length))}",
    r"\$\.ends": f"there is no such ends: choose one of {', '.join(get_args(Ends))}",
    r"\$\.quality": f"there is no such quality: choose one of {', '.join(get_args(Quality))}",
    r"\$\.text": "there is no text: type what is to be said",
    r"\$\.voice": "voice is the name of one of the voices",
    r"\$\.speed": "speed is a number from 0.5 to 2",
}
"""Where in a message something is wrong (a pattern) -> what is told of it."""
_WRONG = re.compile(r"(?P<what>.*?)(?: - at `(?P<where>\$.*)`)?", re.DOTALL)
_PIECE = re.compile(r"\$\.speech\[(?P<index>\d{1,5})\](?P<field>.*)")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


@dataclass(frozen=True, slots=True)
class OrderChoices:
    """What an order may name."""

    media: Callable[[str], Media]
    """Gives a file taken in; raises InputError."""
    avatars: Collection[str]


@dataclass(frozen=True, slots=True)
class SpeakerChoices:
    """Those among whom an order may choose."""

    face: Media | None
    """The picture or film they are in; None for an avatar."""
    follow: bool
    """Whether whoever is chosen is kept through the film."""

    @classmethod
    def of(cls, face: Media | None, follow: bool) -> Self:
        """Check what an order says of following. Raises InputError."""
        if follow and face is None:
            raise InputError("an avatar is one person: leave out who and follow")
        if follow and face is not None and face.kind == "picture":
            raise InputError(
                "follow stays with a person through a film: leave it out for a picture"
            )
        return cls(face, follow)

    def of_film(self, asked: SpeakerMessage) -> FaceChoice:
        """Return who speaks where a piece names nobody. Raises InputError."""
        if asked == "largest":
            return FaceChoice(follow=self.follow)
        if self.face is None:
            raise InputError("an avatar is one person: leave out who and follow")
        if isinstance(asked, PointMessage):
            return self._nearest(asked, self.face)
        return self._nth(int(asked), self.face)

    def of_piece(self, asked: SpeakerMessage | None, name: str) -> FaceChoice | None:
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
        count = len(face.faces) if face.kind == "picture" else MOST_FACES
        if not 1 <= place <= count:
            raise InputError(
                f"who asks for face {place}, and {face.name} may have 1 to {count}: the first is"
                " the one on the left"
            )
        return FaceChoice("nth", place=place, follow=self.follow)

    def _nearest(self, point: PointMessage, face: Media) -> FaceChoice:
        if not (0 <= point.x <= face.width and 0 <= point.y <= face.height):
            raise InputError(
                f"the point of who does not lie in {face.name}, which is"
                f" {face.width}x{face.height}: give x and y in its pixels"
            )
        return FaceChoice("nearest", x=point.x, y=point.y, follow=self.follow)


def parse_json(body: bytes) -> dict[str, Any]:
    """Read a JSON object. Raises InputError."""
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        raise InputError("what was sent is not JSON: send an object") from None
    if not isinstance(decoded, dict):
        raise InputError("what was sent is not a JSON object: send one")
    return decoded


def parse_order(body: Mapping[str, Any], choices: OrderChoices, limits: StudioLimits) -> FilmOrder:
    """Read an order and check that its film can be made. Raises InputError."""
    try:
        message = msgspec.convert(body, OrderMessage)
    except msgspec.ValidationError as error:
        raise InputError(_sentence(str(error), body, choices)) from None
    face, avatar = _face(message.face, choices)
    speakers = SpeakerChoices.of(face, message.follow)
    pieces = _pieces(message.speech, speakers, choices, limits)
    name = avatar.capitalize() if avatar is not None else face.name if face else ""
    order = FilmOrder(
        display_name(message.title or "", f"{name}: {pieces[0].sound.name}"),
        face,
        avatar,
        pieces,
        length=message.length,
        ends=message.ends,
        quality=message.quality,
        still=message.still,
        captions=message.captions,
        preview=message.preview,
        who=speakers.of_film(message.who),
    )
    _check_times(order, limits)
    return order


def parse_speech(body: Mapping[str, Any]) -> SpeechMessage:
    """Read a text to be spoken. Raises InputError."""
    try:
        message = msgspec.convert(body, SpeechMessage)
    except msgspec.ValidationError as error:
        where = _where(str(error)) if "text" in body else "$.text"
        raise InputError(_sentence_at(where)) from None
    if not message.text.strip():
        raise InputError(_sentence_at("$.text"))
    return message


def _sentence(message: str, order: Mapping[str, Any], choices: OrderChoices) -> str:
    """Return what is told of the first thing that msgspec found wrong in an order."""
    where = _where(message)
    in_piece = _PIECE.match(where)
    if (unknown := _UNKNOWN.match(message.partition(" - at ")[0])) and (
        where == "$" or (in_piece and not in_piece["field"])
    ):
        fields = (PieceMessage if in_piece else OrderMessage).__struct_encode_fields__
        what = "a piece of speech" if in_piece else "the order"
        name = " ".join(unknown[1][:40].split())
        return f"{what} has an unknown {name}: send {', '.join(sorted(fields))}"
    if where == "$.face.avatar":
        return f"there is no such avatar: choose one of {', '.join(choices.avatars)}"
    if where == "$" and "face" in order:
        where = "$.speech"
    sentence = _sentence_at(where)
    if in_piece and in_piece["field"] not in {"", ".sound"}:
        return f"{_sound_name(order.get('speech'), int(in_piece['index']), choices)}: {sentence}"
    return sentence


def _sound_name(pieces: object, index: int, choices: OrderChoices) -> str:
    piece = pieces[index] if isinstance(pieces, list) and index < len(pieces) else None
    sound = piece.get("sound") if isinstance(piece, dict) else None
    return choices.media(sound).name if isinstance(sound, str) else "a piece of speech"


def _sentence_at(where: str) -> str:
    for pattern, sentence in _SENTENCES.items():
        if match := re.fullmatch(pattern, where):
            return match.expand(sentence)
    return f"something is wrong at {where[:80]}"


def _where(message: str) -> str:
    match = _WRONG.fullmatch(message)
    return (match and match["where"]) or "$"


def _face(message: FaceMessage, choices: OrderChoices) -> tuple[Media | None, str | None]:
    if message.avatar is not None and message.media is None:
        if message.avatar not in choices.avatars:
            raise InputError(f"there is no such avatar: choose one of {', '.join(choices.avatars)}")
        return None, message.avatar
    if message.media is not None and message.avatar is None:
        media = choices.media(message.media)
        if media.kind != "sound":
            return media, None
    raise InputError(_sentence_at("$.face"))


def _pieces(
    messages: list[PieceMessage],
    speakers: SpeakerChoices,
    choices: OrderChoices,
    limits: StudioLimits,
) -> tuple[Piece, ...]:
    if not messages:
        raise InputError(_sentence_at("$.speech"))
    if len(messages) > limits.pieces:
        raise InputError(f"{len(messages)} pieces of speech: send {limits.pieces} at most")
    return tuple(_piece(one, speakers, choices) for one in messages)


def _piece(message: PieceMessage, speakers: SpeakerChoices, choices: OrderChoices) -> Piece:
    sound = choices.media(message.sound)
    if sound.kind != "sound":
        raise InputError(f"{sound.name} was added as a face: add it as speech, too")
    until, stop = (
        None if seconds is None else _milliseconds(seconds)
        for seconds in (message.until, message.stop)
    )
    cut = Cut(_milliseconds(message.start), stop)
    who = speakers.of_piece(message.who, sound.name)
    return Piece(sound, _milliseconds(message.at), until, cut, who)


def _milliseconds(seconds: float) -> Fraction:
    return Fraction(round(seconds * 1000), 1000)


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
    own_sound = film if placed and film is not None and film.rate else order.pieces[0].sound
    ranges = place_clips(
        [_spoken(piece) for piece in order.pieces],
        Timing(playable_rate(own_sound.rate), fps),
        film.frames if placed and film is not None else None,
    )
    end = ranges[-1].stop
    if placed and film is not None and end > film.frames:
        raise InputError(
            f"{ranges[-1].clip.name} would be spoken until {float(end / fps):.2f} s,"
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
