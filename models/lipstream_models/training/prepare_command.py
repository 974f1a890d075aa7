"""``lipstream train prepare``: cut a corpus of clips into training arrays."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--grid", type=Path, required=True, help="folder with one speaker's clips")
    parser.add_argument("--alignments", type=Path, help="table of word times (clip, start_s, ...)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; continued if there"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")


def run(arguments: argparse.Namespace) -> int:
    """Prepare what is not there yet."""
    from lipstream_models.training.grid_corpus import prepare  # noqa: PLC0415

    for progress in prepare(
        arguments.grid, arguments.out, alignments=arguments.alignments, jobs=arguments.jobs
    ):
        line = f"{progress.done} of {progress.total} clips, {progress.faceless} without a face"
        sys.stderr.write(f"\r{line}")
    sys.stderr.write("\n")
    return 0
