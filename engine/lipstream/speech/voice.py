"""What every provider of speech gives: voices that say a sentence piece by piece."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from lipstream.types import Pcm


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment at which a sentence or a word begins."""

    kind: Literal["sentence", "word"]
    start: int
    """Index of its first character in the text that was given to be said."""
    stop: int
    """Index past its last character."""
    sample: int
    """Sample of the piece that carries it, 0 to one less than the piece has."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of speech and what begins in it."""

    pcm: Pcm
    """(n,) int16 mono at the voice's rate, n > 0, owned by the receiver."""
    marks: tuple[Mark, ...] = ()
    """In order of time."""


@dataclass(frozen=True, slots=True)
class VoiceCard:
    """A voice that can be asked for."""

    name: str
    """What ``SpeechSettings.voice`` takes."""
    language: str | None
    """BCP 47 tag such as ``en-IN``; None when the provider does not say."""
    title: str
    """For people, such as ``English (Great Britain)``."""


class Voice(Protocol):
    """Somebody who speaks. One thing at a time, on one thread; ``stop`` from any."""

    @property
    def name(self) -> str:
        """What it is asked for by."""
        ...

    @property
    def language(self) -> str | None:
        """BCP 47 tag, which says which scripts it reads; None when nobody knows."""
        ...

    @property
    def rate(self) -> int:
        """Samples a second of what it says."""
        ...

    def say(self, sentence: str, /) -> Iterator[Spoken]:
        """Yield the speech of one sentence as it is made, the first piece as soon as there is one.

        Word marks come from providers that know when words begin. Raises InputError or
        BackendUnavailable in one sentence when it cannot be said, or not to its end.
        """
        ...

    def stop(self) -> None:
        """Let ``say`` end early and without an error; does nothing when nothing is being said."""
        ...

    def close(self) -> None:
        """Let go of what it holds. Closing twice is fine."""
        ...
