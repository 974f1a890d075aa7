"""Fill a prepared folder with synthetic talking people.

Beside the arrays of ``lipstream_models.training.grid_corpus`` it holds

    units.npy     (N, 75, U) float16, face units on top of the person's resting face
    clips.json    also names the U units
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from lipstream.errors import InputError
from lipstream.types import Array
from lipstream_models.synthetic.body.anatomy import unit_names
from lipstream_models.synthetic.body.head_model import HeadSource
from lipstream_models.synthetic.raster.capture import Driver, Order, Talk, make_talk
from lipstream_models.training.grid_corpus import FACELESS, FRAMES, TO_DO, PreparedFolder, Progress


class HeadsFolder:
    """A prepared folder with the face units of every frame beside it."""

    def __init__(self, prepared: PreparedFolder, units: Array) -> None:
        self.prepared, self.units = prepared, units

    @classmethod
    def create(cls, out: Path, people: int, seed: int, names: tuple[str, ...]) -> "HeadsFolder":
        """Make the empty arrays, or open those of an unfinished run. Raises InputError."""
        clips = [f"person-{seed}-{number:05d}" for number in range(people)]
        prepared = PreparedFolder.create(out, clips, np.zeros((people, FRAMES), np.bool_))
        path = out / "units.npy"
        if not path.exists():
            open_memmap(path, "w+", np.float16, (people, FRAMES, len(names)))
            listing = {"clips": clips, "units": list(names)}
            (out / "clips.json").write_text(json.dumps(listing), "utf-8")
        units = np.load(path, mmap_mode="r+")
        if units.shape != (people, FRAMES, len(names)):
            raise InputError(
                f"{path} is {units.shape}, not {(people, FRAMES, len(names))}: choose another --out"
            )
        return cls(prepared, units)

    def write(self, row: int, talk: Talk | None) -> None:
        """Store a person, or that no face was found."""
        if talk is not None:
            self.units[row], self.prepared.quiet[row] = talk.units, talk.quiet
        self.prepared.write(row, None if talk is None else talk.clip)

    @property
    def left(self) -> list[int]:
        """The rows still to do."""
        return np.flatnonzero(np.asarray(self.prepared.done) == TO_DO).tolist()

    @property
    def progress(self) -> Progress:
        """How far it is."""
        done = np.asarray(self.prepared.done)
        return Progress(int((done != TO_DO).sum()), len(done), int((done == FACELESS).sum()))


def open_folder(out: Path, people: int, seed: int) -> HeadsFolder:
    """Make or continue a folder. Raises InputError."""
    if people < 1:
        raise InputError(f"{people} people asked for: ask for one or more")
    return HeadsFolder.create(out, people, seed, unit_names(HeadSource()))


def generate(
    folder: HeadsFolder, *, seed: int, driver: Driver | None = None, jobs: int = 1
) -> Iterator[Progress]:
    """Fill the rows that are left; yields after each person."""
    rows = folder.left
    orders = [Order(seed, row, driver) for row in rows]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for row, talk in zip(rows, pool.map(make_talk, orders), strict=True):
            folder.write(row, talk)
            yield folder.progress
