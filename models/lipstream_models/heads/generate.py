"""Make prepared folders of synthetic people, and the regressor that films drive them with."""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from lipstream.errors import FaceNotFound, InputError
from lipstream.faces import cut_crop, fit_crop
from lipstream.landmarks import FaceTracker
from lipstream.types import Array, Float32, Image
from lipstream_models.dataset import split_rows
from lipstream_models.grid import (
    FACE_SIZE,
    FRAMES,
    TO_DO,
    Clip,
    PreparedFolder,
    Progress,
    steady_crops,
    to_crop_units,
    track_points,
)
from lipstream_models.heads.anatomy import Anatomy, unit_names
from lipstream_models.heads.figure import Figure
from lipstream_models.heads.looks import draw_person
from lipstream_models.heads.motion import upper_face, views
from lipstream_models.heads.performance import Performance, filmed, spoken, viseme_basis
from lipstream_models.heads.retarget import Retargeter, fit, lip_shape
from lipstream_models.heads.stage import (
    Stage,
    develop,
    draw_background,
    draw_film,
    draw_lights,
    exposure,
)
from lipstream_models.portrait.source import HeadSource
from lipstream_models.speech import NAMES, Speaker

_PERFORM, _LEARN = 1, 2
"""Streams of random numbers."""


@dataclass(frozen=True, slots=True)
class Talk:
    """One person's three seconds."""

    clip: Clip
    units: Float32
    """(75, U) face units on top of the resting face."""
    quiet: NDArray[np.bool_]


class Workshop:
    """Everything that people are made with, opened once a process. Used by one thread."""

    def __init__(self, side: int = 176) -> None:
        cv2.setNumThreads(1)
        self.anatomy = Anatomy(HeadSource())
        self.stage = Stage(side)
        self.tracker = FaceTracker.open(threads=1)

    def film(self, figure: Figure, units: Float32, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Film a figure that goes through (T, U) units: (T, S, S, 3) uint8 BGR."""
        names, lights = self.anatomy.unit_names, draw_lights(rng)
        background, camera = draw_background(rng), draw_film(rng)
        frames, gain = [], 0.0
        for row, view in zip(units, views(rng, len(units)), strict=True):
            weights = {name: float(w) for name, w in zip(names, row, strict=True) if w > 1e-3}
            picture = self.stage.render(figure, figure.pose(weights), view, lights, background)
            gain = gain or exposure(picture, camera)
            frames.append(develop(picture, camera, gain, rng))
        return np.stack(frames)


@cache
def _workshop() -> Workshop:
    return Workshop()


@cache
def _speaker() -> Speaker:
    return Speaker()


@dataclass(frozen=True, slots=True)
class Order:
    """What to make."""

    seed: int
    number: int
    clips: Path | None = None
    """Prepared folder of a filmed speaker who drives every second person."""
    retargeter: Retargeter | None = None


def make_talk(order: Order) -> Talk | None:
    """Make one person and film them talking; None when the tracker finds no face."""
    rng = np.random.default_rng([order.seed, _PERFORM, order.number])
    shop = _workshop()
    person = draw_person(rng, shop.anatomy.source)
    performance = _perform(order, rng, shop.anatomy.unit_names, person.gain)
    units = performance.units.copy()
    for name, track in upper_face(rng, FRAMES).tracks.items():
        units[:, shop.anatomy.unit_names.index(name)] += track.astype(np.float32)
    frames = shop.film(Figure(shop.anatomy, person), units, rng)
    try:
        points = track_points(frames, shop.tracker)
    except FaceNotFound:
        return None
    affines = steady_crops(points)
    crops = [cut_crop(f, a, FACE_SIZE) for f, a in zip(frames, affines, strict=True)]
    clip = Clip(np.stack(crops), to_crop_units(points, affines), performance.mel)
    return Talk(clip, units, performance.quiet)


def _perform(
    order: Order, rng: np.random.Generator, names: tuple[str, ...], gain: float
) -> Performance:
    if order.clips is not None and order.retargeter is not None and order.number % 2:
        folder = PreparedFolder(order.clips)
        return filmed(rng, folder, split_rows(folder)[0], order.retargeter, gain)
    return spoken(rng, _speaker(), names, gain)


class HeadsFolder:
    """A prepared folder with the face units of every frame beside it."""

    def __init__(self, folder: PreparedFolder, units: Array) -> None:
        self.prepared, self.units = folder, units

    @classmethod
    def create(cls, out: Path, people: int, seed: int, names: tuple[str, ...]) -> "HeadsFolder":
        """Make the empty arrays, or open those of an unfinished run."""
        clips = [f"person-{seed}-{number:05d}" for number in range(people)]
        folder = PreparedFolder.create(out, clips, np.zeros((people, FRAMES), np.bool_))
        path = out / "units.npy"
        if not path.exists():
            open_memmap(path, "w+", np.float16, (people, FRAMES, len(names)))
            listing = {"clips": clips, "units": list(names)}
            (out / "clips.json").write_text(json.dumps(listing), "utf-8")
        return cls(folder, np.load(path, mmap_mode="r+"))

    def write(self, row: int, talk: Talk | None) -> None:
        """Store a person, or that no face was found."""
        if talk is not None:
            self.units[row], self.prepared.quiet[row] = talk.units, talk.quiet
        self.prepared.write(row, None if talk is None else talk.clip)


def generate(
    out: Path, people: int, *, seed: int = 1, clips: Path | None = None, jobs: int = 1
) -> Iterator[Progress]:
    """Fill a folder with talking people, continuing where an earlier run stopped."""
    if people < 1:
        raise InputError(f"{people} people asked for: ask for one or more")
    folder = HeadsFolder.create(out, people, seed, unit_names(HeadSource()))
    done = folder.prepared.done
    rows = [row for row in range(people) if done[row] == TO_DO]
    retargeter = None if clips is None or not rows else open_retargeter(out / "retarget.npz", seed)
    orders = [Order(seed, row, clips, retargeter) for row in rows]
    with ProcessPoolExecutor(jobs) as pool:
        for row, talk in zip(rows, pool.map(make_talk, orders), strict=True):
            folder.write(row, talk)
            found = np.asarray(done)
            yield Progress(int((found != TO_DO).sum()), people, int((found == 2).sum()))


def open_retargeter(path: Path, seed: int) -> Retargeter:
    """Read the regressor, or learn and store it."""
    if not path.exists():
        learned = learn_retargeter(seed)
        with path.open("wb") as opened:
            np.savez(opened, scale=learned.scale, weights=learned.weights)
    with np.load(path) as stored:
        return Retargeter(stored["scale"], stored["weights"])


def learn_retargeter(seed: int, people: int = 60, shapes: int = 30) -> Retargeter:
    """Learn face units from lip shapes on ``people`` renders with ``shapes`` mouths each."""
    relative, units = zip(*(lip_samples(seed, k, shapes) for k in range(people)), strict=True)
    return fit(np.concatenate(relative), np.concatenate(units))


def lip_samples(seed: int, number: int, shapes: int) -> tuple[Float32, Float32]:
    """Return lip shapes relative to rest (n, F) of one person and their units (n, U)."""
    rng = np.random.default_rng([seed, _LEARN, number])
    shop = _workshop()
    names = shop.anatomy.unit_names
    units = _mouths(rng, shapes, names)
    frames = shop.film(Figure(shop.anatomy, draw_person(rng, shop.anatomy.source)), units, rng)
    return _measured(frames, units, shop.tracker)


def _measured(
    frames: NDArray[np.uint8], units: Float32, tracker: FaceTracker
) -> tuple[Float32, Float32]:
    tracker.reset()
    found = [tracker.step(np.asarray(frame, np.uint8)) for frame in frames]
    kept = [k for k, seen in enumerate(found) if seen is not None]
    if not kept or kept[0] != 0:
        return np.zeros((0, 16), np.float32), units[:0]
    points = np.stack([seen.points for seen in found if seen is not None])
    affines = np.stack([fit_crop(each) for each in points])
    shapes = lip_shape(to_crop_units(points, affines))
    return shapes - shapes[0], units[kept]


def _mouths(rng: np.random.Generator, count: int, names: tuple[str, ...]) -> Float32:
    """Return (count, U) mouths of speech, at rest first: mixes of visemes and loose units."""
    basis = viseme_basis(names)
    mix = rng.dirichlet(np.full(len(NAMES), 0.12), count) * rng.uniform(0.2, 1.4, (count, 1))
    units = mix.astype(np.float32) @ basis
    units *= np.exp(rng.normal(0, 0.25, units.shape)).astype(np.float32)
    units[0] = 0
    return np.clip(units, 0, 1.1)


def sheet(folder: PreparedFolder, rows: list[int], columns: int = 12) -> Image:
    """Return a picture of some frames of some rows."""
    at = np.linspace(0, FRAMES - 1, columns).astype(int)
    return np.asarray(np.vstack([np.hstack(list(folder.crops[row][at])) for row in rows]), np.uint8)
