"""A picture of what was measured: for each clip the truth above, the network below."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.types import Image
from lipstream_models.evaluation import MEASURED, Evaluation

_FRAMES = range(4, len(MEASURED) - 4, 6)
"""Places among the measured frames that are shown."""
_LARGER = 2


def make_sheet(evaluation: Evaluation, rows: Sequence[int]) -> Image:
    """Return a picture: two strips for each clip, the reference at their left ends."""
    strips = []
    for row in rows:
        truth, frames = evaluation.truth(row), list(_FRAMES)
        painted = evaluation.painted(row)
        strips.append(_strip("truth", truth.reference, truth.crops[frames]))
        strips.append(_strip("painted", truth.reference, painted[frames]))
    return np.concatenate(strips, 0)


def _strip(label: str, reference: Image, crops: NDArray[np.uint8]) -> Image:
    strip = np.concatenate([reference, *crops], 1)
    large = cv2.resize(strip, None, fx=_LARGER, fy=_LARGER, interpolation=cv2.INTER_CUBIC)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(large, label, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width)
    return np.asarray(large, np.uint8)
