"""``lipstream train heads``: make a prepared folder of synthetic talking people."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipstream_models.synthetic.raster.generate import Driver


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
    """Make the folder, telling how long it will take. Raises InputError."""
    from lipstream_models.synthetic.raster.generate import generate, open_folder  # noqa: PLC0415

    folder = open_folder(arguments.out, arguments.people, arguments.seed)
    if not folder.left:
        sys.stderr.write(f"{arguments.out} is complete\n")
        return 0
    driver = _driver(arguments.clips, arguments.out / "retarget.npz", arguments.seed)
    began, first = time.monotonic(), folder.progress.done
    people = generate(folder, seed=arguments.seed, driver=driver, jobs=arguments.jobs)
    for progress in people:
        pace = (time.monotonic() - began) / (progress.done - first)
        _tell(
            f"{progress.done} of {progress.total} people, {progress.faceless} without a face,"
            f" {pace * (progress.total - progress.done) / 60:.0f} min left"
        )
    sys.stderr.write("\n")
    return 0


def _driver(clips: Path | None, stored: Path, seed: int) -> "Driver | None":
    """Return the filmed speaker, learning first how lips make units if that is not stored."""
    from lipstream_models.corpora.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.synthetic.raster import generate as school  # noqa: PLC0415
    from lipstream_models.synthetic.raster.generate import Driver  # noqa: PLC0415

    if clips is None:
        return None
    PreparedFolder(clips)  # complains early
    if not stored.exists():
        taught = []
        for lesson in school.lessons(seed):
            taught.append(lesson)
            _tell(f"learning how lips move: person {len(taught)} of {school.PEOPLE}")
        school.save_retargeter(stored, school.learn(taught))
    return Driver(clips, school.open_retargeter(stored))


def _tell(line: str) -> None:
    sys.stderr.write(f"\r{line:<78}")
    sys.stderr.flush()
