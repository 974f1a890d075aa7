"""``lipstream train``: prepare data, train the mouth network, export it."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the steps and their options."""
    steps = parser.add_subparsers(dest="step", required=True)
    _add_prepare(steps.add_parser("prepare", help="cut a corpus of clips into training arrays"))


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grid", type=Path, required=True, help="folder with one speaker's clips")
    parser.add_argument("--alignments", type=Path, help="table of word times (clip, start_s, ...)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; continued if there"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")


def run(arguments: argparse.Namespace) -> int:
    """Run one step."""
    steps = {"prepare": _prepare}
    return steps[arguments.step](arguments)


def _prepare(arguments: argparse.Namespace) -> int:
    from lipstream_models.grid import prepare  # noqa: PLC0415

    for progress in prepare(
        arguments.grid, arguments.out, alignments=arguments.alignments, jobs=arguments.jobs
    ):
        line = f"{progress.done} of {progress.total} clips, {progress.faceless} without a face"
        sys.stderr.write(f"\r{line}")
    sys.stderr.write("\n")
    return 0
