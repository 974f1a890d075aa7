"""Make one synthetic person and film them talking: a row of a prepared folder."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lipstream.errors import FaceNotFound
from lipstream.faces import cut_crop
from lipstream.types import Float32
from lipstream_models.dataset import split_rows
from lipstream_models.grid import (
    FACE_SIZE,
    FRAMES,
    Clip,
    PreparedFolder,
    steady_crops,
    to_crop_units,
    track_points,
)
from lipstream_models.heads.figure import Figure
from lipstream_models.heads.looks import draw_person
from lipstream_models.heads.motion import upper_face
from lipstream_models.heads.performance import Performance, filmed, spoken
from lipstream_models.heads.retarget import Retargeter
from lipstream_models.heads.studio import studio
from lipstream_models.speech import Speaker

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
