"""The shape of the lips as a few numbers: what a sound stage hears and a renderer paints.

Seventeen distances between points of the 468-point face mesh, measured along and across the line
between the outer eye corners and divided by its length, so that place, size and roll of the face do
not count. A *lip shape* is how far each is from the same face at rest, divided by its spread in
the speech of one filmed speaker (GRID s1): about -3 to 5, and 0 at rest, whoever the person is.

The same as ARKit's face units, for 3D avatars (VRM's "perfect sync", MetaHuman, three.js): each
unit, from 0 to 1, moves the lips of a head by known amounts of the seventeen measures. The
table of them was taken from ICT-FaceKit (MIT licence), a head with these units, by measuring its
landmarks as the face mesh's are measured (``lipstream train units``). A frame's units are those
that come nearest to its measures, all between 0 and 1 and none larger than needed: least squares
within bounds. On the film of GRID s1 they give back 0.73 to 1.0 of the variance of fifteen measures
(the gap 0.99), and 0.42 and 0.64 of how far the corners hang.
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
        *(0.0201, 0.0191, 0.0129, 0.0111, 0.0117, 0.0035, 0.0259, 0.0203, 0.0025),
        *(0.0035, 0.0131, 0.0139, 0.0024, 0.0039, 0.0010, 0.0201, 0.0096),
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


FITTED = (
    *("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLowerDown", "mouthUpperUp"),
    *("mouthPress", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    "mouthStretch",
)
"""Units that are solved for; those with a side move both sides alike."""
_BOTH_SIDES = frozenset(("mouthLowerDown", "mouthUpperUp", "mouthPress", "mouthStretch"))
_EFFECTS = np.array(
    [
        (
            *(18.3, 18.7, 23.5, -5.8, -4.1, 5.1, 14.8, 15.1, 0.4),
            *(-0.4, 9.2, 17.7, 3, 4, 8.2, 16.7, -7.8),
        ),
        (
            *(-21.7, -22.7, -31.6, 2.9, 2.1, 1.6, -13.6, -2.2, 1.1),
            *(21.8, -12.1, -14.3, -0.8, 0.4, -3.5, -5.8, 5.4),
        ),
        (
            *(7.7, 8.4, 8.2, -6.9, -6.6, -19.1, 3.9, 2.1, 2.8),
            *(1.9, 5.2, 7.2, 0.9, -0.4, 17.3, 2.6, -8.1),
        ),
        (
            *(-0.3, 0.6, -1.5, -9.4, -10.1, -13.4, 0.6, -0.7, 18),
            *(6.6, 1.3, 3.3, -6.3, -6.4, 2.1, -0.9, -10.4),
        ),
        (*(3.8, 3.8, 4.7, -0.1, 0.0, 0.0, 2.9, 2, 0.0), *(-0.5, 1, 4.4, -0.1, 3.8, 0.6, 2.7, 1)),
        (
            *(4, 4.4, 6, 0.4, -0.3, -21.2, 0.4, 0.7, 1.5),
            *(0.6, 3.1, 3.2, 12.9, 0.2, -7.5, 0.6, -0.7),
        ),
        (
            *(-1.4, -1.6, -1.7, -0.3, -0.6, 3, -1.5, -2.7, -3.4),
            *(-3.8, -2.3, -1.4, -6.8, -0.7, -3.8, -3.1, 0.9),
        ),
        (
            *(-2.1, -2.8, -1.6, 0.7, 1, 0.0, -4, 0.1, 0.0),
            *(-17.8, 0.3, -7.8, 0.0, -4.4, 0.0, -2.3, 1.9),
        ),
        (
            *(1, -0.7, 1.3, 3.2, 1.7, 13.4, -0.6, -0.7, -32.6),
            *(-0.2, -5.1, 0.4, -0.4, -0.1, 5.4, -0.7, 0.4),
        ),
        (
            *(-3.8, -4, -5.3, 1.4, 1.6, 0.0, -3.3, -4.5, 0.0),
            *(-2.4, -1.5, -4.8, 0.1, 1.4, -0.3, -6.2, 0.9),
        ),
        (
            *(2.9, 3.3, 3.7, -0.1, 0.1, -14.2, 0.5, 0.7, 2),
            *(0.0, 4.7, 0.2, 1.3, 0.0, 11.9, 0.7, -0.4),
        ),
        (
            *(-0.2, -0.3, -0.3, 13.3, 13.4, 2.1, -0.5, -0.6, -2.8),
            *(-3, 1.9, -3.3, 13.9, 9.5, 4.9, -1.6, 11.8),
        ),
    ],
    np.float64,
)
"""(12, 17): what each of FITTED moves, SPREADs."""
_LIPS_PART = 0.1 * _EFFECTS[0] + 0.7 * _EFFECTS[4] + 0.3 * _EFFECTS[5]
OPENINGS = np.stack([one / one[0] for one in (_EFFECTS[0], _LIPS_PART)]).astype(np.float32)
"""(2, 17) SPREADs: how lips stand for one SPREAD of gap that the jaw makes, as in ah, and that they
make themselves, as in ee."""
_EASE = 4.0
"""Weight of small units against near measures: without it units fight each other."""
_MOST_TURNS = 24
_TONGUE_TIP = 0.3
"""ARKit's ``tongueOut`` while the tip of the tongue is between the teeth; 1 puts all of it out."""

_ENTRIES = tuple(
    (index, name + side)
    for index, name in enumerate(FITTED)
    for side in (("Left", "Right") if name in _BOTH_SIDES else ("",))
)
UNIT_NAMES = (*(name for _, name in _ENTRIES), "tongueOut")
"""ARKit's names of what ``arkit_units`` returns, in its order; every other unit of ARKit is 0."""
_ENTRY_OF = np.array([index for index, _ in _ENTRIES])
_GRAM = _EFFECTS @ _EFFECTS.T + _EASE * np.eye(len(FITTED))


def arkit_units(lips: LipFrame) -> Float32:
    """Return (17,) float32, 0 to 1: the unit of each of UNIT_NAMES; all 0 at rest. A new array."""
    tongue = _TONGUE_TIP * lips.tongue_out
    return np.append(_fit(lips.measures)[_ENTRY_OF], tongue).astype(np.float32)


def named_units(lips: LipFrame) -> dict[str, float]:
    """Return the same by name, to four digits, as JSON carries it."""
    units = arkit_units(lips).tolist()
    return {name: round(unit, 4) for name, unit in zip(UNIT_NAMES, units, strict=True)}


def _fit(measures: Float32) -> Float32:
    """Return (12,): bounded least squares by pivoting on the units that are free of a bound."""
    assert measures.shape == (MEASURES,), "one frame"
    wanted = _EFFECTS @ measures.astype(np.float64)
    units = np.zeros(len(FITTED))
    free = np.ones(len(FITTED), bool)
    for _ in range(_MOST_TURNS):
        units[~free] = units[~free].clip(0.0, 1.0)
        bound = _GRAM[np.ix_(free, ~free)] @ units[~free]
        units[free] = np.linalg.solve(_GRAM[np.ix_(free, free)], wanted[free] - bound)
        beyond = (units < 0.0) | (units > 1.0)
        if beyond.any():
            units = units.clip(0.0, 1.0)
            free &= ~beyond
            continue
        pull = wanted - _GRAM @ units
        back = ~free & (((units == 0.0) & (pull > 1e-9)) | ((units == 1.0) & (pull < -1e-9)))
        if not back.any():
            break
        free[np.argmax(np.where(back, np.abs(pull), 0.0))] = True
    return units.clip(0.0, 1.0).astype(np.float32)
