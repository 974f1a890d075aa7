"""The command line: a lazy table of commands, each in the package that owns it."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import NoReturn

from lipstream.errors import LipstreamError


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
    "models": Command("lipstream_models.models_command", "list and check models and avatars"),
    "bench": Command("lipstream_bench.command", "measure stages, latency and sessions"),
    "train": Command(
        "lipstream_models.training.command", "prepare data and train the mouth network"
    ),
    "evaluate": Command("lipstream_models.evaluation.command", "measure a trained network"),
    "doctor": Command("lipstream_bench.doctor", "what is installed here, fit for a bug report"),
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
        print(
            f"lipstream: '{name}' needs the package {error.name}: {_advice(name)}", file=sys.stderr
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


_EXTRAS = {"export": "export", "train": "train", "evaluate": "train", "window": "mic"}


def _advice(name: str) -> str:
    extra = _EXTRAS.get(name, "cpu")
    return f"pip install 'lipstream[{extra}]'"


if __name__ == "__main__":
    sys.exit(main())
