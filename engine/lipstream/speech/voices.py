"""What every provider of speech gives, the table of providers, and voices opened by name."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lipstream.audio.resampler import check_rate
from lipstream.errors import InputError
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
class SpeechChunk:
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

    def say(self, sentence: str, /) -> Iterator[SpeechChunk]:
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


PROVIDERS = {
    "espeak-ng": "lipstream.speech.espeak",
    "piper": "lipstream.speech.piper",
    "openai": "lipstream.speech.openai_speech",
}
"""Provider -> module with ``open_voice(settings) -> Voice`` and ``list_voices(settings)``."""


@dataclass(frozen=True, slots=True)
class SpeechSettings:
    """Who speaks."""

    provider: str = "espeak-ng"
    """One of ``PROVIDERS``; ``openai`` is any server with OpenAI's ``/v1/audio/speech``."""
    voice: str | None = None
    """A voice's name; None for the provider's default. For Piper also an ``.onnx`` file."""
    speed: float = 1.0
    """Times the voice's own speed, 0.5 to 2."""
    url: str | None = None
    """Where the ``openai`` server is, such as ``http://127.0.0.1:8880/v1``."""
    model: str = "tts-1"
    """Model that the ``openai`` server is asked for."""
    rate: int = 24_000
    """Samples a second of the PCM that the ``openai`` server sends."""


def open_voice(settings: SpeechSettings) -> Voice:
    """Open the voice asked for.

    Raises InputError for a provider, voice or value that does not exist, and BackendUnavailable
    when the provider is not installed, naming what to install.
    """
    if not 0.5 <= settings.speed <= 2:
        raise InputError(f"speech at {settings.speed:g} times its speed: give 0.5 to 2")
    check_rate(settings.rate)
    opener: Callable[[SpeechSettings], Voice] = _module(settings.provider).open_voice
    return opener(settings)


def list_voices(settings: SpeechSettings) -> Sequence[VoiceCard]:
    """Return the voices of a provider, in the order to show them; raises as ``open_voice``."""
    lister: Callable[[SpeechSettings], Sequence[VoiceCard]] = _module(settings.provider).list_voices
    return lister(settings)


def _module(provider: str) -> Any:
    module = PROVIDERS.get(provider)
    if module is None:
        raise InputError(f"no provider of speech '{provider}': give {' or '.join(PROVIDERS)}")
    return importlib.import_module(module)
