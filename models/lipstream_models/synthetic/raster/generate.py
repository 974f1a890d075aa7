"""Make films of synthetic people who speak, and the examples that retargeting learns from."""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from lipstream.errors import FaceNotFound, InputError
from lipstream.face.crop import cut_crop, fit_crop
from lipstream.face.tracker import FaceTracker
from lipstream.types import Array, Float32
from lipstream_models.corpora.grid_corpus import (
    FACE_SIZE,
    FACELESS,
    FRAMES,
    TO_DO,
    PreparationProgress,
    PreparedClip,
    PreparedFolder,
    split_rows,
    steady_crops,
    to_crop_units,
    track_points,
)
from lipstream_models.corpora.synthetic_speech import SpeechSynthesizer
from lipstream_models.synthetic.body.head_model import HeadSource
from lipstream_models.synthetic.body.visemes import VISEME_NAMES
from lipstream_models.synthetic.raster.anatomy import Anatomy, unit_names
from lipstream_models.synthetic.raster.figure import PersonMesh
from lipstream_models.synthetic.raster.motion import (
    Performance,
    Retargeter,
    filmed,
    fit,
    lip_shape,
    spoken,
    upper_face,
    views,
    viseme_basis,
)
from lipstream_models.synthetic.raster.random_people import draw_person
from lipstream_models.synthetic.raster.scene import (
    RasterScene,
    develop,
    draw_film,
    draw_scene,
    exposure,
)

SIDE = 176
"""Side of the pictures that the tracker sees, pixels."""


class Studio:
    """Films figures. Used by one thread. Raises InputError where the head model is missing."""

    def __init__(self, side: int = SIDE) -> None:
        cv2.setNumThreads(1)
        self.anatomy = Anatomy(HeadSource())
        self.stage = RasterScene(side)
        self.tracker = FaceTracker.open(threads=1)

    def film(
        self, figure: PersonMesh, units: Float32, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Film a figure that goes through (T, U) units: (T, S, S, 3) uint8 BGR."""
        scene, camera = draw_scene(rng), draw_film(rng)
        frames, gain = [], 0.0
        for row, view in zip(units, views(rng, len(units)), strict=True):
            solid = figure.pose(self.anatomy.named(row))
            picture = self.stage.render(figure, solid, view, scene)
            gain = gain or exposure(picture, camera)  # set once, as the first frame wants it
            frames.append(develop(picture, camera, gain, rng))
        return np.stack(frames)


@cache
def studio() -> Studio:
    """Return the studio of this process, opened on first use."""
    return Studio()


_STREAM = 1
"""Keeps these random numbers apart from those of the regressor's lessons."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A filmed speaker whose lips and sound drive every second person."""

    clips: Path
    """Prepared folder; its held-out rows are left alone."""
    retargeter: Retargeter


@dataclass(frozen=True, slots=True)
class Order:
    """Whom to make. The same order makes the same person, whatever was made before.

    Made-up speech is the same to a few samples: espeak-ng's flutter runs on between utterances.
    """

    seed: int
    number: int
    driver: Driver | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """One person's three seconds."""

    clip: PreparedClip
    units: Float32
    """(75, U) face units on top of the resting face."""
    quiet: NDArray[np.bool_]
    """(75,) nobody speaks."""


def make_talk(order: Order) -> Talk | None:
    """Make one person and film them; None when the tracker finds no face in some frame."""
    rng = np.random.default_rng([order.seed, _STREAM, order.number])
    shop = studio()
    anatomy = shop.anatomy
    person = draw_person(rng)
    performance = _perform(order, rng, anatomy.unit_names, person.gain)
    units = performance.units.copy()
    for name, track in upper_face(rng, FRAMES).tracks.items():
        units[:, anatomy.unit_names.index(name)] += track.astype(np.float32)
    frames = shop.film(PersonMesh(anatomy, person), units, rng)
    try:
        points = track_points(frames, shop.tracker)
    except FaceNotFound:
        return None
    affines = steady_crops(points)
    crops = [cut_crop(f, a, FACE_SIZE) for f, a in zip(frames, affines, strict=True)]
    clip = PreparedClip(np.stack(crops), to_crop_units(points, affines), performance.mel)
    return Talk(clip, units, performance.quiet)


def _perform(
    order: Order, rng: np.random.Generator, names: tuple[str, ...], gain: float
) -> Performance:
    if order.driver is None or order.number % 2 == 0:
        return spoken(rng, _speaker(), names, gain)
    folder = PreparedFolder(order.driver.clips)
    return filmed(rng, folder, split_rows(folder)[0], order.driver.retargeter, gain)


@cache
def _speaker() -> SpeechSynthesizer:
    return SpeechSynthesizer()


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
    def progress(self) -> PreparationProgress:
        """How far it is."""
        done = np.asarray(self.prepared.done)
        return PreparationProgress(
            int((done != TO_DO).sum()), len(done), int((done == FACELESS).sum())
        )


def open_folder(out: Path, people: int, seed: int) -> HeadsFolder:
    """Make or continue a folder. Raises InputError."""
    if people < 1:
        raise InputError(f"{people} people asked for: ask for one or more")
    return HeadsFolder.create(out, people, seed, unit_names(HeadSource()))


def generate(
    folder: HeadsFolder, *, seed: int, driver: Driver | None = None, jobs: int = 1
) -> Iterator[PreparationProgress]:
    """Fill the rows that are left; yields after each person."""
    rows = folder.left
    orders = [Order(seed, row, driver) for row in rows]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for row, talk in zip(rows, pool.map(make_talk, orders), strict=True):
            folder.write(row, talk)
            yield folder.progress


_RETARGET_STREAM = 2
PEOPLE, MOUTHS = 60, 30
"""Renders that the regressor learns on: people, and mouths of each."""


def open_retargeter(path: Path) -> Retargeter:
    """Read a stored regressor. Raises InputError."""
    try:
        with np.load(path) as stored:
            return Retargeter(stored["scale"], stored["weights"])
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise InputError(f"{path} is no stored regressor ({error}): delete it") from error


def save_retargeter(path: Path, retargeter: Retargeter) -> None:
    """Store a regressor, whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("wb") as opened:
        np.savez(opened, scale=retargeter.scale, weights=retargeter.weights)
    part.replace(path)


def lessons(seed: int, people: int = PEOPLE, mouths: int = MOUTHS) -> Iterator["Lesson"]:
    """Render people one by one."""
    return (lesson(seed, number, mouths) for number in range(people))


Lesson = tuple[Float32, Float32]
"""Lip shapes relative to rest (n, F) of one person, and their units (n, U)."""


def lesson(seed: int, number: int, mouths: int) -> Lesson:
    """Render one person's mouths and measure them."""
    rng = np.random.default_rng([seed, _RETARGET_STREAM, number])
    shop = studio()
    units = _mouths(rng, mouths, shop.anatomy.unit_names)
    frames = shop.film(PersonMesh(shop.anatomy, draw_person(rng)), units, rng)
    shop.tracker.reset()
    found = [shop.tracker.step(np.asarray(frame, np.uint8)) for frame in frames]
    if found[0] is None:  # the resting face, which all others are measured from
        return lip_shape(np.zeros((0, 468, 2), np.float32)), units[:0]
    points = np.stack([seen.points for seen in found if seen is not None])
    shapes = lip_shape(to_crop_units(points, np.stack([fit_crop(each) for each in points])))
    return shapes - shapes[0], units[[seen is not None for seen in found]]


def learn(taught: list[Lesson]) -> Retargeter:
    """Fit the regressor to all lessons."""
    return fit(np.concatenate([x for x, _ in taught]), np.concatenate([y for _, y in taught]))


def _mouths(rng: np.random.Generator, count: int, names: tuple[str, ...]) -> Float32:
    """Return (count, U) mouths of speech, at rest first: random mixes of visemes."""
    mix = rng.dirichlet(np.full(len(VISEME_NAMES), 0.12), count) * rng.uniform(0.2, 1.4, (count, 1))
    units = mix.astype(np.float32) @ viseme_basis(names)
    units *= np.exp(rng.normal(0, 0.25, units.shape)).astype(np.float32)
    units[0] = 0
    return np.asarray(np.clip(units, 0, 1.1), np.float32)
