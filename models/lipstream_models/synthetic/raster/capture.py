"""Everything that people are filmed with: anatomy, stage, and the tracker of real films."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.errors import FaceNotFound
from lipstream.face.crop import cut_crop
from lipstream.face.tracker import FaceTracker
from lipstream.types import Float32
from lipstream_models.synthetic.body.anatomy import Anatomy
from lipstream_models.synthetic.body.head_model import HeadSource
from lipstream_models.synthetic.raster.camera import develop, draw_film, exposure
from lipstream_models.synthetic.raster.figure import Figure
from lipstream_models.synthetic.raster.motion import upper_face, views
from lipstream_models.synthetic.raster.performance import Performance, filmed, spoken
from lipstream_models.synthetic.raster.random_people import draw_person
from lipstream_models.synthetic.raster.retarget import Retargeter
from lipstream_models.synthetic.raster.scene import Stage, draw_scene
from lipstream_models.training.dataset import split_rows
from lipstream_models.training.grid_corpus import (
    FACE_SIZE,
    FRAMES,
    Clip,
    PreparedFolder,
    steady_crops,
    to_crop_units,
    track_points,
)
from lipstream_models.training.synthetic_speech import Speaker

SIDE = 176
"""Side of the pictures that the tracker sees, pixels."""


class Studio:
    """Films figures. Used by one thread. Raises InputError where the head model is missing."""

    def __init__(self, side: int = SIDE) -> None:
        cv2.setNumThreads(1)
        self.anatomy = Anatomy(HeadSource())
        self.stage = Stage(side)
        self.tracker = FaceTracker.open(threads=1)

    def film(self, figure: Figure, units: Float32, rng: np.random.Generator) -> NDArray[np.uint8]:
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


pass

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

    clip: Clip
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
    frames = shop.film(Figure(anatomy, person), units, rng)
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
    if order.driver is None or order.number % 2 == 0:
        return spoken(rng, _speaker(), names, gain)
    folder = PreparedFolder(order.driver.clips)
    return filmed(rng, folder, split_rows(folder)[0], order.driver.retargeter, gain)


@cache
def _speaker() -> Speaker:
    return Speaker()
