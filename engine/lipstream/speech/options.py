"""Command-line arguments that say who speaks a text."""

import argparse
from pathlib import Path

from lipstream.errors import InputError
from lipstream.speech.voices import PROVIDERS, SpeechSettings

_DEFAULTS = SpeechSettings()
_LARGEST_FILE = 8_000_000
"""Bytes of a text file."""


def add_text_arguments(group: argparse._ActionsContainer, instead_of: str) -> None:
    """Add ``--text`` and ``--text-file``."""
    group.add_argument(
        "--text", metavar="TEXT", help=f"in place of {instead_of}: what is said, read by --voice"
    )
    group.add_argument(
        "--text-file", type=Path, metavar="FILE", help="the same from a file, in UTF-8"
    )


def text_of(arguments: argparse.Namespace) -> str | None:
    """Return the text of ``--text`` or ``--text-file``; None for neither. Raises InputError."""
    if arguments.text is not None and arguments.text_file is not None:
        raise InputError("give --text or --text-file: not both")
    return arguments.text if arguments.text_file is None else read_text(arguments.text_file)


def add_voice_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--voice``, ``--provider`` and what belongs to them."""
    group = parser.add_argument_group("the voice that reads text")
    group.add_argument(
        "--voice",
        metavar="NAME",
        help="espeak-ng: a language and perhaps a variant, such as ar, en-in or en-us+f3 (default:"
        " en-us); piper: a voice's name or FILE.onnx, perhaps with #speaker; openai: a name the"
        " server knows",
    )
    group.add_argument(
        "--provider",
        choices=list(PROVIDERS),
        default=_DEFAULTS.provider,
        help="espeak-ng and piper work offline; openai is any server with OpenAI's"
        " /v1/audio/speech (default: espeak-ng)",
    )
    group.add_argument(
        "--speed",
        type=float,
        default=_DEFAULTS.speed,
        metavar="TIMES",
        help="times the voice's usual speed, 0.5 to 2 (default: 1)",
    )
    group.add_argument(
        "--speech-url",
        metavar="URL",
        help="the openai server, such as http://127.0.0.1:8880/v1; its key is read from the"
        " environment, LIPSTREAM_SPEECH_KEY",
    )
    group.add_argument(
        "--speech-model",
        default=_DEFAULTS.model,
        metavar="NAME",
        help=f"model asked of the server (default: {_DEFAULTS.model})",
    )
    group.add_argument(
        "--speech-rate",
        type=int,
        default=_DEFAULTS.rate,
        metavar="HZ",
        help=f"of the sound that the server sends (default: {_DEFAULTS.rate})",
    )


def settings_of(arguments: argparse.Namespace) -> SpeechSettings:
    """Return the settings that were asked for."""
    return SpeechSettings(
        provider=arguments.provider,
        voice=arguments.voice,
        speed=arguments.speed,
        url=arguments.speech_url,
        model=arguments.speech_model,
        rate=arguments.speech_rate,
    )


def read_text(path: Path) -> str:
    """Read a text file in UTF-8; raises InputError."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{path} is larger than {_LARGEST_FILE // 1_000_000} MB: cut it up")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
