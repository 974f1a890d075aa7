"""What every provider of speech gives, the table of providers, and voices opened by name."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lipstream.errors import InputError
from lipstream.lips.phones import Phone
from lipstream.machine import load_plugin, plugin_names
from lipstream.timing import check_rate
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
    phones: tuple[Phone, ...] = ()
    """What is spoken when, in samples of the piece, where the voice knows; the last may go on
    beyond the piece."""


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
AUTO = "auto"
"""Piper where a voice of it is installed or asked for, else espeak-ng."""
PLUGINS = "lipstream.voices"
"""Entry-point group of other packages' providers: name -> a module with these two."""


def provider_names() -> tuple[str, ...]:
    """Return every provider, those of other packages last; nothing is imported."""
    return (AUTO, *PROVIDERS, *(name for name in plugin_names(PLUGINS) if name not in PROVIDERS))


@dataclass(frozen=True, slots=True)
class SpeechSettings:
    """Who speaks."""

    provider: str = AUTO
    """One of ``provider_names()``; ``openai`` is any server with OpenAI's ``/v1/audio/speech``."""
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
    opener: Callable[[SpeechSettings], Voice] = _module(_provider(settings)).open_voice
    return opener(settings)


def list_voices(settings: SpeechSettings) -> Sequence[VoiceCard]:
    """Return the voices of a provider, in the order to show them; raises as ``open_voice``."""
    names = ("piper", "espeak-ng") if settings.provider == AUTO else (settings.provider,)
    listers: list[Callable[[SpeechSettings], Sequence[VoiceCard]]]
    listers = [_module(name).list_voices for name in names]
    return [card for lister in listers for card in lister(settings)]


def _provider(settings: SpeechSettings) -> str:
    """Return who has the voice that is asked for."""
    if settings.provider != AUTO:
        return settings.provider
    installed: Mapping[str, Path] = _module("piper").installed_voices()
    name = (settings.voice or next(iter(installed), "")).partition("#")[0]
    return "piper" if name in installed or name.endswith(".onnx") else "espeak-ng"


def _module(provider: str) -> Any:
    if module := PROVIDERS.get(provider):
        return importlib.import_module(module)
    added = load_plugin(PLUGINS, provider)
    if added is None:
        names = " or ".join(provider_names())
        raise InputError(f"no provider of speech '{provider}': give {names}")
    return added
