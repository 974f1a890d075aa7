"""``lipstream train heads``: make a prepared folder of synthetic talking people."""

import argparse
import sys
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--people", type=int, default=400, help="how many (default 400)")
    parser.add_argument(
        "--clips", type=Path, help="prepared folder of a speaker whose lips drive every second one"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; continued if there"
    )
    parser.add_argument("--seed", type=int, default=1, help="other seeds make other people")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Make the folder, telling how long it will take."""
    from lipstream_models.heads.generate import generate  # noqa: PLC0415

    began, first = time.monotonic(), None
    for progress in generate(
        arguments.out,
        arguments.people,
        seed=arguments.seed,
        clips=arguments.clips,
        jobs=arguments.jobs,
    ):
        first = progress.done - 1 if first is None else first
        pace = (time.monotonic() - began) / (progress.done - first)
        left = pace * (progress.total - progress.done) / 60
        line = (
            f"{progress.done} of {progress.total} people, {progress.faceless} without a face,"
            f" {left:.0f} min left "
        )
        sys.stderr.write(f"\r{line}")
    sys.stderr.write("\n")
    return 0
