"""What the words of a description look like: colours, pigments, shapes and face units.

All of our choosing. Colours are linear RGB. The keys are values of ``words.Description``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lipstream_models.synthetic.body.appearance import Beard, Colour, HairTone
from lipstream_models.synthetic.body.head_model import mirrored


@dataclass(frozen=True, slots=True)
class Origin:
    """What people of an origin have in common, for this head model."""

    african: float
    asian: float
    caucasian: float
    tones: tuple[float, float]
    """From the lightest to the darkest skin, rows of TONES."""
    hair: tuple[str, ...]
    """Colours, as likely as often they are named."""
    kinds: tuple[str, ...] = ("straight", "straight", "wavy")
    eyes: tuple[str, ...] = ("brown", "brown", "black")


ORIGINS: Mapping[str, Origin] = {
    "african": Origin(1.0, 0.0, 0.0, (4.4, 5.7), ("black",), ("afro",), ("black", "brown")),
    "european": Origin(
        0.0, 0.0, 1.0, (0.3, 1.2),
        ("dark brown", "brown", "brown", "light brown", "blond", "red"),
        eyes=("blue", "grey", "green", "hazel", "brown", "brown"),
    ),
    "east asian": Origin(0.0, 0.95, 0.05, (0.8, 1.6), ("black",), ("straight",)),
    "southeast asian": Origin(0.18, 0.75, 0.07, (1.9, 3.2), ("black",), ("straight",)),
    "south asian": Origin(0.28, 0.10, 0.62, (3.0, 4.4), ("black", "black", "dark brown")),
    "arab": Origin(0.15, 0.05, 0.80, (1.5, 2.9), ("black", "dark brown")),
    "latin american": Origin(0.12, 0.33, 0.55, (1.7, 3.1), ("black", "dark brown")),
    "mixed": Origin(0.45, 0.10, 0.45, (2.8, 4.2), ("black", "dark brown"), ("curly", "wavy")),
}  # fmt: skip

TONES = np.array(
    [
        [0.700, 0.450, 0.355],
        [0.605, 0.345, 0.235],
        [0.480, 0.285, 0.180],
        [0.385, 0.205, 0.122],
        [0.265, 0.125, 0.070],
        [0.160, 0.076, 0.043],
        [0.095, 0.046, 0.028],
    ]
)
"""Skin from pale to very dark."""
SKINS: Mapping[str, tuple[float, float]] = {
    "pale": (0.0, 0.3),
    "light": (0.6, 1.1),
    "olive": (1.8, 2.2),
    "tan": (2.6, 3.1),
    "brown": (3.6, 4.2),
    "dark": (4.5, 5.1),
    "very dark": (5.6, 6.0),
}
"""Rows of TONES."""
LIP_SHARES = np.array([[0.70, 0.41, 0.50], [0.86, 0.64, 0.86]])
"""Colour of the lips against the skin's, on the palest and on the darkest."""

HAIR: Mapping[str, tuple[HairTone, Colour]] = {
    "black": (HairTone(0.97, 0.10, 0.30), (0.020, 0.014, 0.012)),
    "dark brown": (HairTone(0.80, 0.30, 0.33), (0.045, 0.026, 0.016)),
    "brown": (HairTone(0.64, 0.35, 0.34), (0.070, 0.036, 0.021)),
    "light brown": (HairTone(0.45, 0.35, 0.35), (0.130, 0.075, 0.040)),
    "blond": (HairTone(0.22, 0.25, 0.36), (0.300, 0.190, 0.100)),
    "red": (HairTone(0.42, 0.95, 0.35), (0.200, 0.070, 0.025)),
    "auburn": (HairTone(0.66, 0.75, 0.34), (0.100, 0.035, 0.018)),
    "grey": (HairTone(0.80, 0.15, 0.38, grey=0.72), (0.160, 0.150, 0.140)),
    "white": (HairTone(0.30, 0.20, 0.38, grey=0.97), (0.400, 0.380, 0.360)),
}
"""Pigments, and the tint of the skin below."""
EYES: Mapping[str, Colour] = {
    "black": (0.020, 0.011, 0.007),
    "brown": (0.050, 0.026, 0.012),
    "hazel": (0.095, 0.062, 0.024),
    "green": (0.085, 0.105, 0.050),
    "blue": (0.085, 0.150, 0.230),
    "grey": (0.140, 0.160, 0.170),
}
CLOTHS: Mapping[str, Colour] = {
    "black": (0.010, 0.010, 0.011),
    "grey": (0.120, 0.125, 0.130),
    "white": (0.700, 0.690, 0.660),
    "beige": (0.400, 0.310, 0.210),
    "brown": (0.090, 0.045, 0.022),
    "red": (0.300, 0.014, 0.012),
    "dark red": (0.080, 0.008, 0.014),
    "orange": (0.480, 0.120, 0.012),
    "yellow": (0.560, 0.350, 0.030),
    "green": (0.030, 0.150, 0.050),
    "dark green": (0.012, 0.050, 0.030),
    "teal": (0.010, 0.110, 0.120),
    "blue": (0.020, 0.070, 0.260),
    "light blue": (0.200, 0.350, 0.540),
    "navy": (0.010, 0.018, 0.055),
    "purple": (0.070, 0.020, 0.130),
    "pink": (0.500, 0.160, 0.210),
}
WALLS: tuple[Colour, ...] = (
    (0.62, 0.68, 0.72), (0.36, 0.40, 0.40), (0.70, 0.66, 0.60), (0.42, 0.45, 0.50),
    (0.50, 0.47, 0.42),
)  # fmt: skip
"""Backgrounds to choose from when none is asked for."""
RIMS: Mapping[str, Colour] = {
    "black": (0.012, 0.011, 0.011),
    "brown": (0.070, 0.028, 0.012),
    "gold": (0.400, 0.240, 0.060),
    "silver": (0.150, 0.152, 0.158),
    "red": (0.250, 0.012, 0.015),
    "blue": (0.015, 0.045, 0.180),
}
BEARDS: Mapping[str, Beard] = {
    "stubble": Beard(count=15000, length=0.010, radius=0.0012, shade=0.30),
    "moustache": Beard("moustache", count=5200, length=0.032, radius=0.0018, shade=0.45),
    "goatee": Beard("goatee", count=9000, length=0.034, radius=0.0018, shade=0.45),
    "full": Beard(count=20000, length=0.034, radius=0.0017, shade=0.45),
}
BEARD_LENGTHS = {"short": 0.020, "long": 0.085}
"""dm."""
MOODS: Mapping[str, Mapping[str, float]] = {
    "smiling": mirrored(mouthSmile=0.40, cheekSquint=0.25, eyeSquint=0.06),
    "calm": mirrored(mouthSmile=-0.16, browOuterUp=-0.06),
    "serious": {"browInnerUp": -0.16, **mirrored(mouthSmile=-0.34, browDown=0.18, eyeWide=-0.05)},
    "sad": {"browInnerUp": 0.50, **mirrored(mouthSmile=-0.36, mouthFrown=0.22, browOuterUp=-0.12)},
    "angry": {
        "browInnerUp": -0.16,
        **mirrored(mouthSmile=-0.36, browDown=0.60, noseSneer=0.15, mouthFrown=0.12),
    },
    "surprised": {
        "browInnerUp": 0.45,
        **mirrored(mouthSmile=-0.20, eyeWide=0.40, browOuterUp=0.45),
    },
    "tired": {"browInnerUp": 0.10, **mirrored(mouthSmile=-0.30, eyeWide=-0.10, eyeSquint=0.22)},
}
"""Face units beyond those of a face at rest, which smiles faintly."""

PAIRS = (
    ("chin/chin-width-decr", "chin/chin-width-incr"),
    ("chin/chin-height-decr", "chin/chin-height-incr"),
    ("chin/chin-prominent-decr", "chin/chin-prominent-incr"),
    ("nose/nose-scale-horiz-decr", "nose/nose-scale-horiz-incr"),
    ("nose/nose-hump-decr", "nose/nose-hump-incr"),
    ("nose/nose-point-down", "nose/nose-point-up"),
    ("nose/nose-scale-vert-decr", "nose/nose-scale-vert-incr"),
    ("mouth/mouth-scale-horiz-decr", "mouth/mouth-scale-horiz-incr"),
    ("mouth/mouth-upperlip-volume-decr", "mouth/mouth-upperlip-volume-incr"),
    ("mouth/mouth-lowerlip-volume-decr", "mouth/mouth-lowerlip-volume-incr"),
    ("cheek/l-cheek-bones-decr", "cheek/l-cheek-bones-incr"),
    ("cheek/l-cheek-volume-decr", "cheek/l-cheek-volume-incr"),
    ("eyes/l-eye-scale-decr", "eyes/l-eye-scale-incr"),
    ("eyes/l-eye-corner2-down", "eyes/l-eye-corner2-up"),
    ("eyebrows/eyebrows-trans-down", "eyebrows/eyebrows-trans-up"),
    ("head/head-scale-horiz-decr", "head/head-scale-horiz-incr"),
    ("ears/l-ear-scale-decr", "ears/l-ear-scale-incr"),
)
"""Targets that make faces differ, less and more of the same."""
MEANS: Mapping[str, float] = {"eyes/l-eye-scale-incr": 0.28, "ears/l-ear-scale-incr": -0.4}
FEMALE: Mapping[str, float] = {"chin/chin-width-incr": -0.35, "nose/nose-scale-horiz-incr": -0.15}
"""Of the draws of faces: of everybody, and of women besides."""
SIDES = ("asym/asym-nose-1", "asym/asym-eye-2", "asym/asym-brown-1", "asym/asym-jaw-1")
"""Targets that make halves of a face differ, without their side."""
