"""How much of a mouth can be seen: less when the face turns away, more so when it is covered."""

import numpy as np
from numpy.typing import NDArray

from lipstream.types import Array

_TURNED = (0.42, 0.62)
"""Offset of the nose in eye distances from which a mouth fades, and at which it is gone. About 43
and 54 degrees: beyond, the far corner of the mouth is hidden."""
_UNSURE = (0.9, 0.5)
"""Score of the face from which a mouth fades, and at which it is gone."""
_COVERED = (0.25, 0.45)
"""Share of the lower face that looks like something else."""
_LEVELS, _SPREADS = 26.0, 5.0
"""A tile looks like something else when it is so many levels and so many spreads off its usual."""
_WINDOW = 500
"""Rows of one face over which the usual look is taken: light changes slowly."""


def visibility(rows: Array) -> NDArray[np.float64]:
    """Return (n,) float64 from 0 to 1 for rows of ``Sightings``."""
    turned = _ramp(np.abs(rows["turn"].astype(np.float64)), *_TURNED)
    unsure = _ramp(rows["score"].astype(np.float64), *_UNSURE)
    return turned * unsure * _ramp(_covered(rows), *_COVERED)


def _ramp(values: NDArray[np.float64], full: float, none: float) -> NDArray[np.float64]:
    return np.clip((values - none) / (full - none), 0.0, 1.0)


def _covered(rows: Array) -> NDArray[np.float64]:
    """Return the share of every lower face that does not look as it usually does."""
    covered = np.zeros(len(rows))
    for track in np.unique(rows["track"]):
        mine = np.flatnonzero(rows["track"] == track)
        for piece in np.array_split(mine, max(1, round(len(mine) / _WINDOW))):
            covered[piece] = _unusual(rows["lower"][piece])
    return covered


def _unusual(looks: Array) -> NDArray[np.float64]:
    """Return (n,): the share of tiles of (n, h, w, 3) looks that are off their median."""
    levels = looks.reshape(len(looks), -1, 3).astype(np.float32)
    usual = np.median(levels, 0)
    off = levels - usual
    off -= np.median(off, 1, keepdims=True)  # the light on all of the face
    size = np.abs(off).max(2)
    spread = 1.4826 * np.median(size, 0)
    return np.asarray((size > np.maximum(_LEVELS, _SPREADS * spread)).mean(1), np.float64)
