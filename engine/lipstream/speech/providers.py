"""The table of providers, and the voices asked of them by name."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lipstream.audio.resampler import check_rate
from lipstream.errors import InputError
from lipstream.speech.voice import Voice, VoiceCard

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
    """A voice's name; None for the provider's usual one. For Piper also an ``.onnx`` file."""
    speed: float = 1.0
    """Times the voice's usual speed, 0.5 to 2."""
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
