"""The lip shapes of filmed clips: measures of ``lips.shape`` against the person at rest."""

import numpy as np
from numpy.typing import NDArray

from lipstream.lips.shape import MEASURES, NAMES, SPREAD, measure_lips
from lipstream.types import Float32

__all__ = ["MEASURES", "NAMES", "SPREAD", "lip_shapes", "measure_lips"]

_RESTING_SHARE = 5
"""Where no word times are known, the fifth of the frames with the smallest gap is at rest."""
_FEWEST_RESTING = 4
_STEADY = np.array([0.25, 0.5, 0.25])
"""Smoothing over time, frames: the mesh trembles a little."""


def lip_shapes(points: Float32, quiet: NDArray[np.bool_] | None = None) -> Float32:
    """Return the lip shapes of a clip: (T, 468, 2) points to (T, 17) float32, 0 at rest.

    ``quiet`` is (T,) bool, the frames where nobody speaks; without enough of them the frames with
    the smallest gap are taken for the person at rest.
    """
    measures = measure_lips(points)
    resting = np.flatnonzero(quiet) if quiet is not None else np.zeros(0, np.intp)
    if len(resting) < _FEWEST_RESTING:
        resting = np.argsort(measures[:, 0])[: max(1, len(measures) // _RESTING_SHARE)]
    rest = np.median(measures[resting], 0)
    padded = np.pad((measures - rest) / SPREAD, ((1, 1), (0, 0)), mode="edge")
    steady = sum(weight * padded[k : k + len(measures)] for k, weight in enumerate(_STEADY))
    return np.asarray(steady, np.float32)


def lip_gap(points: Float32) -> Float32:
    """Return the gap between the inner lips, mean of three places, of (..., 468, 2) points."""
    upper, lower = points[..., [81, 13, 311], 1], points[..., [178, 14, 402], 1]
    return np.asarray((lower - upper).mean(-1), np.float32)
