"""The shape of the lips as a few numbers: what a sound stage hears and a renderer paints.

Seventeen distances between points of the 468-point face mesh, measured along and across the line
between the outer eye corners and divided by its length, so that place, size and roll of the face do
not count. A *lip shape* is how far each is from the same face at rest, divided by its spread in
the speech of one filmed speaker (GRID s1): about -3 to 5, and 0 at rest, whoever the person is.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from lipstream.types import Float32

NAMES = (
    "gap",
    "gap_middle",
    "gap_sides",
    "outer_width",
    "inner_width",
    "upper_lip",
    "lower_lip",
    "chin",
    "upper_thickness",
    "lower_thickness",
    "corners_below_top",
    "corners_above_bottom",
    "upper_bow_width",
    "lower_bow_width",
    "bow_depth",
    "chin_fold",
    "cheek_width",
)
"""Names of the measures, in order."""

MEASURES = len(NAMES)
SPREAD = np.array(
    [
        *(0.0161, 0.0153, 0.0103, 0.0111, 0.0117, 0.0028, 0.0207, 0.0162, 0.0020),
        *(0.0028, 0.0105, 0.0111, 0.0024, 0.0039, 0.0008, 0.0161, 0.0096),
    ],
    np.float32,
)
"""Standard deviation of each measure in the speech of GRID s1, outer-eye distances."""
_EYES = (33, 263)
_NOSE = [2, 94, 1, 168]


def measure_lips(points: Float32) -> Float32:
    """Measure the lips of (..., 468, 2) mesh points, any unit: (..., 17) outer-eye distances."""
    left, right = points[..., _EYES[0], :], points[..., _EYES[1], :]
    across = right - left
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    across = across / length
    down = np.stack([-across[..., 1], across[..., 0]], -1)
    middle = (left + right) / 2

    def x(point: int) -> Float32:
        return np.asarray(((points[..., point, :] - middle) * across).sum(-1) / length[..., 0])

    def y(point: int) -> Float32:
        return np.asarray(((points[..., point, :] - middle) * down).sum(-1) / length[..., 0])

    nose = sum(y(point) for point in _NOSE) / len(_NOSE)
    corners = (y(61) + y(291)) / 2
    measures = [
        y(14) - y(13),
        (y(87) - y(82) + y(317) - y(312)) / 2,
        (y(88) - y(80) + y(318) - y(310)) / 2,
        x(291) - x(61),
        x(308) - x(78),
        y(0) - nose,
        y(17) - nose,
        y(152) - nose,
        y(13) - y(0),
        y(17) - y(14),
        corners - y(0),
        y(17) - corners,
        x(267) - x(37),
        x(314) - x(84),
        y(37) + y(267) - 2 * y(0),
        y(200) - nose,
        x(287) - x(57),
    ]
    return np.stack(measures, -1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class LipFrame:
    """How the lips and the tongue stand in one frame."""

    measures: Float32
    """(17,) float32: how far each measure is from rest, in SPREADs; 0 at rest."""
    closed: float = 0.0
    """0 to 1: lips pressed together, as in p, b and m."""
    tucked: float = 0.0
    """0 to 1: the lower lip at the upper teeth, as in f and v."""
    rounded: float = 0.0
    """0 to 1: pursed, as in u, w and o."""
    tongue_up: float = 0.0
    """0 to 1: the tip of the tongue behind the upper teeth, as in l; less in t, d and n."""
    tongue_out: float = 0.0
    """0 to 1: the tip of the tongue between the teeth, as in th."""

    def scaled(self, openness: float) -> Self:
        """Return the lips with everything that leads from rest to them times ``openness``."""
        return type(self)(
            self.measures * np.float32(openness),
            self.closed * openness,
            self.tucked * openness,
            self.rounded * openness,
            self.tongue_up * openness,
            self.tongue_out * openness,
        )


REST = LipFrame(np.zeros(MEASURES, np.float32))
"""Lips at rest."""
