"""Teach the retargeter on renders, where the units behind every lip shape are known."""

from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from lipstream.errors import InputError
from lipstream.face.crop import fit_crop
from lipstream.types import Float32
from lipstream_models.synthetic.raster.capture import studio
from lipstream_models.synthetic.raster.figure import Figure
from lipstream_models.synthetic.raster.performance import viseme_basis
from lipstream_models.synthetic.raster.random_people import draw_person
from lipstream_models.synthetic.raster.retarget import Retargeter, fit, lip_shape
from lipstream_models.training.grid_corpus import to_crop_units
from lipstream_models.training.synthetic_speech import NAMES

_STREAM = 2
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
    rng = np.random.default_rng([seed, _STREAM, number])
    shop = studio()
    units = _mouths(rng, mouths, shop.anatomy.unit_names)
    frames = shop.film(Figure(shop.anatomy, draw_person(rng)), units, rng)
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
    mix = rng.dirichlet(np.full(len(NAMES), 0.12), count) * rng.uniform(0.2, 1.4, (count, 1))
    units = mix.astype(np.float32) @ viseme_basis(names)
    units *= np.exp(rng.normal(0, 0.25, units.shape)).astype(np.float32)
    units[0] = 0
    return np.asarray(np.clip(units, 0, 1.1), np.float32)
