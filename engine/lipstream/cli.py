"""The command line: a lazy table of commands, each in its own package, and shared options."""

import argparse
import importlib
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from lipstream.avatar.pack import EMBEDDED as DEFAULT_AVATAR
from lipstream.avatar.pack import embedded_avatars
from lipstream.errors import InputError, LipstreamError
from lipstream.inference.backends import PRECISIONS, backend_names
from lipstream.inference.manifest import EMBEDDED as DEFAULT_MODEL
from lipstream.inference.manifest import embedded_models
from lipstream.machine import EXTRA_OF
from lipstream.speech.voices import SpeechSettings, provider_names


@dataclass(frozen=True, slots=True)
class Command:
    """One word after ``lipstream``."""

    module: str
    """Module with ``add_arguments(parser)`` and ``run(arguments) -> int``."""
    summary: str


COMMANDS = {
    "serve": Command("lipstream_server.command", "a talking avatar at http://127.0.0.1:8080"),
    "window": Command("lipstream_clients.window.command", "microphone or text to a window"),
    "render": Command("lipstream_clients.render_command", "a face and a sound or a text to a film"),
    "avatar": Command(
        "lipstream_clients.avatar_command", "make an avatar of a picture, a film or a description"
    ),
    "export": Command("lipstream_export.command", "turn a checkpoint into ONNX"),
    "models": Command("lipstream_models.models_command", "list, check and fetch models"),
    "bench": Command("lipstream_bench.command", "measure stages, latency and sessions"),
    "train": Command(
        "lipstream_models.training.command", "prepare data and train the mouth network"
    ),
    "evaluate": Command("lipstream_models.evaluation.command", "measure a trained network"),
    "doctor": Command("lipstream_bench.doctor", "what is installed here, fit for a bug report"),
    "completion": Command(
        "lipstream.completion_command", "a script that completes these in a shell"
    ),
}
FAILED = 2
"""Exit code when the input was bad."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in a sentence, and how to see the usage, in place of all of it."""

    def error(self, message: str) -> NoReturn:
        """Leave with the exit code of bad input."""
        self.exit(FAILED, f"{self.prog}: {message}: '{self.prog} --help' says what it takes\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``lipstream``; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    if not arguments or arguments[0] not in COMMANDS:
        parser.parse_args(arguments or ["--help"])
    name, rest = arguments[0], arguments[1:]
    try:
        return _run(name, rest)
    except LipstreamError as error:
        print(f"lipstream: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lipstream"):
            raise
        package = (error.name or "").partition(".")[0]
        print(
            f"lipstream: '{name}' needs the package {package}: {_advice(name, package)}",
            file=sys.stderr,
        )
        return FAILED
    except KeyboardInterrupt:
        return 130


def _run(name: str, rest: list[str]) -> int:
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    parser = _Parser(f"lipstream {name}", description=command.summary)
    parser.add_argument("-v", "--verbose", action="store_true", help="log what the engine does")
    module.add_arguments(parser)
    parsed = parser.parse_args(rest)
    level = logging.INFO if parsed.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    code: int = module.run(parsed)
    return code


def _parser() -> _Parser:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {entry.summary}" for name, entry in COMMANDS.items())
    parser = _Parser(
        "lipstream",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Live sound in, a talking face out.",
        epilog=f"commands:\n{lines}\n\n'lipstream COMMAND --help' says more.",
    )
    parser.add_argument("--version", action="version", version=f"lipstream {version('lipstream')}")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND")
    return parser


_EXTRAS = {"export": "export", "train": "train", "evaluate": "train", "serve": "serve"}
"""Command -> the extra that brings all it needs."""


def _advice(name: str, package: str) -> str:
    extra = _EXTRAS.get(name) or EXTRA_OF.get(package)
    return f"pip install 'lipstream[{extra}]'" if extra else f"pip install {package}"


def add_engine_arguments(parser: argparse.ArgumentParser, model: str = DEFAULT_MODEL) -> None:
    """Add ``--model``, ``--backend`` and ``--precision``; ``model`` is taken when none is named."""
    add_model_argument(parser, model)
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help=f"{one_of(['auto', *backend_names()])} (default: auto, the first installed of them)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="fp16, bf16 and int8 are faster and change the picture a little; fp16 and int8 need"
        " a model exported with them (default: fp32)",
    )


def add_model_argument(parser: argparse.ArgumentParser, default: str = DEFAULT_MODEL) -> None:
    """Add ``--model``: None where none is named; ``default`` is what the command then takes."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR|NAME",
        help=f"{one_of(embedded_models())}, or a model folder from 'lipstream export'"
        f" (default: {default})",
    )


def add_avatar_argument(
    parser: argparse.ArgumentParser, files: str = "an avatar pack", metavar: str = "AVATAR"
) -> None:
    """Add ``--avatar``; ``files`` says what may stand there besides a name."""
    parser.add_argument(
        "--avatar",
        type=Path,
        metavar=metavar,
        help=f"{one_of(embedded_avatars())}, or {files} (default: {DEFAULT_AVATAR})",
    )


def one_of(names: Iterable[str]) -> str:
    """Return names as a choice: ``ada, mei or omar``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def add_s3fd_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--s3fd``."""
    parser.add_argument(
        "--s3fd",
        type=Path,
        metavar="FILE",
        help="find faces by this s3fd.onnx, from 'lipstream export s3fd.pth', as Wav2Lip does",
    )


def frames_a_second(text: str) -> Fraction:
    """Parse a frame rate such as 25, 29.97 or 30000/1001."""
    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no frame rate: give 25 or 30000/1001"
        ) from None
    if not 1 <= fps <= 240:
        raise argparse.ArgumentTypeError(f"{text} frames a second: give 1 to 240")
    return fps


_VOICE = SpeechSettings()
_LARGEST_TEXT = 8_000_000
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
        help="piper: a voice's name or FILE.onnx, perhaps with #speaker; espeak-ng: a language and"
        " perhaps a variant, such as ar, en-in or en-us+f3; openai: a name the server knows"
        " (default: the first of Piper's that is installed, else espeak-ng's en-us)",
    )
    group.add_argument(
        "--provider",
        choices=provider_names(),
        default=_VOICE.provider,
        help="piper and espeak-ng work offline, and auto takes the one that has the voice; openai"
        " is any server with OpenAI's /v1/audio/speech (default: auto)",
    )
    group.add_argument(
        "--speed",
        type=float,
        default=_VOICE.speed,
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
        default=_VOICE.model,
        metavar="NAME",
        help=f"model asked of the server (default: {_VOICE.model})",
    )
    group.add_argument(
        "--speech-rate",
        type=int,
        default=_VOICE.rate,
        metavar="HZ",
        help=f"of the sound that the server sends (default: {_VOICE.rate})",
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
        if path.stat().st_size > _LARGEST_TEXT:
            raise InputError(f"{path} is larger than {_LARGEST_TEXT // 1_000_000} MB: cut it up")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
