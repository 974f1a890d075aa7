"""Command-line arguments that several commands share: which model, avatar and backend."""

import argparse
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from lipstream.avatar.pack import EMBEDDED as DEFAULT_AVATAR
from lipstream.avatar.pack import embedded_avatars
from lipstream.inference.backends import BACKENDS, PRECISIONS
from lipstream.inference.manifest import EMBEDDED as DEFAULT_MODEL
from lipstream.inference.manifest import embedded_models


def add_engine_arguments(parser: argparse.ArgumentParser, model: str = DEFAULT_MODEL) -> None:
    """Add ``--model``, ``--backend`` and ``--precision``; ``model`` is taken when none is named."""
    add_model_argument(parser, model)
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help=f"{one_of(['auto', *BACKENDS])} (default: auto, the first installed of them)",
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
    if not 1 <= fps <= 120:
        raise argparse.ArgumentTypeError(f"{text} frames a second: give 1 to 120")
    return fps
