"""Command-line arguments that several commands share."""

import argparse
from fractions import Fraction
from pathlib import Path


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
