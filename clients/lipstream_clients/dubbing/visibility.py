"""How much of a mouth can be seen: less when the face turns away, more so when it is covered."""

import numpy as np
from numpy.typing import NDArray

from lipstream.types import Array

_TURNED = (0.42, 0.62)
"""Offset of the nose in eye distances from which a mouth fades, and at which it is gone. About 43
and 54 degrees: beyond, the far corner of the mouth is hidden."""
_UNSURE = (0.9, 0.5)
"""Score of the face from which a mouth fades, and at which it is gone."""
_OFF = (10.5, 14.5)
_UNLIKE = (0.88, 0.78)
"""How far the lower face is off its usual look in levels, and how it correlates with it, from which
a mouth fades, and at which it is gone. Speech alone stays below 9.5 and above 0.91 (11 clips of 9
speakers); a hand of the skin's own colour gives 10 to 17, other things 14 to 40, or below 0.8."""
_WINDOW = 500
"""Rows of one face over which the usual look is taken: light changes slowly."""


def visibility(rows: Array) -> NDArray[np.float64]:
    """Return (n,) float64 from 0 to 1 for rows of ``Sightings``."""
    turned = _ramp(np.abs(rows["turn"].astype(np.float64)), *_TURNED)
    unsure = _ramp(rows["score"].astype(np.float64), *_UNSURE)
    return turned * unsure * _uncovered(rows)


def _ramp(values: NDArray[np.float64], full: float, none: float) -> NDArray[np.float64]:
    return np.clip((values - none) / (full - none), 0.0, 1.0)


def _uncovered(rows: Array) -> NDArray[np.float64]:
    """Return how much every lower face looks as the same face usually does, 0 to 1."""
    usual = np.ones(len(rows))
    for track in np.unique(rows["track"]):
        mine = np.flatnonzero(rows["track"] == track)
        for piece in np.array_split(mine, max(1, round(len(mine) / _WINDOW))):
            usual[piece] = _usual(rows["lower"][piece])
    return usual


def _usual(looks: Array) -> NDArray[np.float64]:
    """Return (n,) from 0 to 1 for (n, h, w, 3) looks, by their median, light taken out."""
    levels = looks.astype(np.float64)
    levels -= levels.mean((1, 2), keepdims=True)
    median = np.median(levels, 0)
    off = np.sqrt(np.square(levels - median).mean((1, 2, 3)))
    size = np.sqrt(np.square(levels).mean((1, 2, 3)) * np.square(median).mean())
    likeness = (levels * median).mean((1, 2, 3)) / np.maximum(size, 1e-6)
    likeness[size < 1.0] = 1.0  # nothing is on this face that could be told apart
    return _ramp(off, *_OFF) * _ramp(likeness, *_UNLIKE)
