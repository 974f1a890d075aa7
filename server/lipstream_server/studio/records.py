"""What the studio knows of its files, orders and films: plain values, to JSON and back.

Names come from visitors: they are shown and offered for download, but never a part of a path.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal, Self

from lipstream.film.job import LARGEST, WHOLE, Cut, Ends, FaceChoice
from lipstream.media import Quality

LONGEST = 80
_SUFFIXES = (
    ".aac .aif .aiff .amr .avi .avif .bmp .caf .flac .flv .gif .heic .heif .jpeg .jpg .m4a .m4v"
    " .mkv .mov .mp3 .mp4 .mpeg .mpg .mts .oga .ogg .opus .png .tif .tiff .ts .wav .webm .webp .wma"
    " .wmv"
)
_KNOWN = {suffix: suffix for suffix in _SUFFIXES.split()}
_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def display_name(given: str, otherwise: str) -> str:
    """Return a name fit to show: one short line without folders and invisible letters."""
    last = given.replace("\\", "/").rpartition("/")[2]
    letters = (c if unicodedata.category(c) not in _UNSHOWN else " " for c in last)
    name = " ".join("".join(letters).split())
    if len(name) > LONGEST:
        name = name[: LONGEST - 1].rstrip() + "…"
    return name or otherwise


def safe_suffix(given: str) -> str:
    """Return the ending to keep a file under: one of ours, whatever the visitor wrote."""
    _, dot, last = given.lower().rpartition(".")
    return _KNOWN.get(dot + last, ".media")


MediaKind = Literal["picture", "film", "sound"]
State = Literal["waiting", "working", "done", "failed", "cancelled"]
Length = Literal["film", "speech"]
"""Whether a film keeps its own length, its other sound included, or is as long as the speech."""
OVER: tuple[State, ...] = ("done", "failed", "cancelled")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class FacePosition:
    """A face in a picture, pixels of that picture."""

    x: int
    """Its middle."""
    y: int
    size: int
    """Its height."""


@dataclass(frozen=True, slots=True)
class Media:
    """A checked file."""

    id: str
    kind: MediaKind
    name: str
    """What its owner calls it."""
    file: str
    """Its name in the folder that holds it, chosen by us."""
    kept: float
    """When it was taken in, seconds since 1970."""
    width: int = 0
    height: int = 0
    frames: int = 0
    """Pictures of a film."""
    fps: Fraction = Fraction(25)
    rate: int = 0
    """Samples a second of its sound; 0 without sound."""
    channels: int = 0
    samples: int = 0
    """Length of a sound."""
    faces: tuple[FacePosition, ...] = ()
    """Those in the picture, or in the film's poster, from left to right."""

    @property
    def seconds(self) -> Fraction | None:
        """Length of a film or sound, seconds; None for a picture."""
        if self.kind == "picture":
            return None
        return self.frames / self.fps if self.kind == "film" else Fraction(self.samples, self.rate)

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return asdict(self) | {"fps": str(self.fps)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote. Raises KeyError, TypeError or ValueError."""
        faces = tuple(FacePosition(**face) for face in record.get("faces", ()))
        return cls(**{**record, "fps": Fraction(record["fps"]), "faces": faces})


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of speech and when in the film it is spoken."""

    sound: Media
    at: Fraction = Fraction(0)
    """Seconds."""
    until: Fraction | None = None
    """Where it is cut off; None for its own end."""
    cut: Cut = WHOLE
    """The part of the sound that is used."""
    who: FaceChoice | None = None
    """Whose mouth says it; None for that of the whole order."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        until, stop = (None if one is None else str(one) for one in (self.until, self.cut.stop_s))
        times = {"at": str(self.at), "until": until, "from": str(self.cut.start_s), "to": stop}
        who = None if self.who is None else asdict(self.who)
        return {"sound": self.sound.to_json(), "who": who} | times

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote. Raises KeyError, TypeError or ValueError."""
        until, stop = (
            None if record.get(key) is None else Fraction(record[key]) for key in ("until", "to")
        )
        cut = Cut(Fraction(record.get("from", 0)), stop)
        who = None if record.get("who") is None else FaceChoice(**record["who"])
        return cls(Media.from_json(record["sound"]), Fraction(record["at"]), until, cut, who)


@dataclass(frozen=True, slots=True)
class FilmOrder:
    """What a visitor wants."""

    title: str
    face: Media | None
    """A picture or film; None when an avatar speaks."""
    avatar: str | None
    """Name of an embedded avatar."""
    pieces: tuple[Piece, ...]
    length: Length = "film"
    ends: Ends = "repeat"
    """What follows a film that is shorter than the speech, when ``length`` is ``speech``."""
    quality: Quality = "medium"
    still: bool = False
    """Whether a picture stays still where it would breathe and blink."""
    captions: bool = False
    """Whether what is said is drawn into the pictures."""
    preview: bool = False
    """Whether it is made small, before others, to see how it will be."""
    who: FaceChoice = LARGEST
    """Of several people in ``face``, the one who speaks, unless a piece names another."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        face = None if self.face is None else self.face.to_json()
        pieces = [piece.to_json() for piece in self.pieces]
        return plain | {"face": face, "pieces": pieces, "who": asdict(self.who)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote. Raises KeyError, TypeError or ValueError."""
        face = record["face"]
        pieces = tuple(Piece.from_json(piece) for piece in record["pieces"])
        face = None if face is None else Media.from_json(face)
        who = FaceChoice(**record["who"]) if "who" in record else LARGEST
        return cls(**{**record, "face": face, "pieces": pieces, "who": who})


@dataclass(frozen=True, slots=True)
class FinishedFilm:
    """A finished film."""

    frames: int
    seconds: float
    faceless: int
    """Spoken frames in which nobody's mouth was driven."""
    bytes: int
    turned: int = 0
    """Those in which the face is turned away."""
    covered: int = 0
    """Those in which the mouth is covered."""
    captions: bool = False
    """Whether its captions are kept beside it."""


@dataclass(frozen=True, slots=True)
class Job:
    """An order and what became of it."""

    id: str
    order: FilmOrder
    asked: float
    """When, seconds since 1970."""
    state: State = "waiting"
    ended: float | None = None
    message: str | None = None
    """Why it failed, one sentence."""
    starts: int = 0
    """How often work on it began."""
    made: FinishedFilm | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in OVER

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        made = None if self.made is None else asdict(self.made)
        return {"format": FORMAT} | plain | {"order": self.order.to_json(), "made": made}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote. Raises KeyError, TypeError or ValueError."""
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, not {FORMAT}")
        plain = {name: record[name] for name in cls.__slots__}
        made = None if plain["made"] is None else FinishedFilm(**plain["made"])
        return cls(**{**plain, "order": FilmOrder.from_json(plain["order"]), "made": made})
