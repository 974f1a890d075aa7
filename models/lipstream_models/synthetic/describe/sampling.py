"""Draw one person that fits a description: what its words ask for, the rest at random.

Colours, pigments, shapes and face units are all of our choosing. Colours are linear RGB. The keys
of the tables are values of ``words.Description``.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lipstream_models.synthetic.body.appearance import (
    WINDOW,
    Appearance,
    Beard,
    Bob,
    BrowStyle,
    Clothes,
    Colour,
    Complexion,
    Crop,
    Glasses,
    HairTone,
    Headwear,
    Relief,
    Tied,
)
from lipstream_models.synthetic.body.head_model import Float, Identity, mirrored
from lipstream_models.synthetic.describe.words import Description


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


_FEW = 0.03
"""A smaller share of grey hairs is none: a coat of a handful of hairs may end up empty."""


@dataclass(frozen=True, slots=True)
class _Basics:
    """What the other traits depend on."""

    woman: bool
    years: float
    origin: Origin
    tone: float
    """Row of TONES."""

    @property
    def worn(self) -> float:
        """How far age shows, 0 at 32 years to 1 at 82."""
        return float(np.clip((self.years - 32) / 50, 0, 1))


class _Dice:
    """Independent draws by name."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])

    def pick(self, name: str, choices: tuple[str, ...]) -> str:
        return str(choices[int(self.of(name).integers(len(choices)))])

    def number(self, name: str, low: float, high: float) -> float:
        return float(self.of(name).uniform(low, high))


def sample_person(description: Description, seed: int) -> Appearance:
    """Return the look of somebody of whom ``description`` is true; ``seed`` is not negative."""
    dice = _Dice(seed)
    basics = _basics(description, dice)
    colour = description.hair_colour or _hair_colour(basics, dice)
    tone, tint = HAIR[colour]
    if description.hair_colour is None and tone.grey == 0:
        grey = float(np.clip(1.6 * basics.worn - 0.5, 0, 0.5))
        tone = replace(tone, grey=grey if grey > _FEW else 0.0)
    skin = _colour(basics.tone)
    return Appearance(
        _identity(description, basics, dice),
        _complexion(description, basics, skin, tint, dice),
        relief=_relief(basics, dice),
        hair=_hair(description, basics, dice),
        tone=tone,
        brows=_brows(basics, tone, dice),
        beard=_beard(description, basics, tone, dice),
        iris=EYES[description.eyes or dice.pick("eyes", basics.origin.eyes)],
        eye_white=_mix((0.66, 0.63, 0.61), (0.47, 0.43, 0.39), basics.tone / 5),
        jaw=0.92 if basics.woman else 1.0,
        manner=MOODS.get(description.mood or "", mirrored(mouthSmile=-0.04)),
        clothes=_clothes(description, basics, dice),
        headwear=_headwear(description, dice),
        glasses=_glasses(description, dice),
        background=_background(description, dice),
        lights=WINDOW,
    )


def _basics(description: Description, dice: _Dice) -> _Basics:
    man = (
        description.sex == "man"
        or description.beard not in (None, "none")
        or description.headwear == "turban"
    )
    woman = description.sex == "woman" or description.headwear == "headscarf"
    undecided = description.sex is None and man == woman
    sex = dice.pick("sex", ("woman", "man")) if undecided else description.sex
    woman = sex == "woman" if sex else woman
    low, high = (description.age.low, description.age.high) if description.age else (22, 66)
    origin = ORIGINS[description.origin or dice.pick("origin", tuple(ORIGINS))]
    tones = SKINS[description.skin] if description.skin else origin.tones
    years = dice.number("years", low, high)
    return _Basics(woman, years, origin, dice.number("tone", *tones))


def _colour(tone: float) -> Colour:
    low = min(int(tone), len(TONES) - 2)
    return _mix(TONES[low], TONES[low + 1], tone - low)


def _mix(one: Colour | Float, other: Colour | Float, share: float) -> Colour:
    r, g, b = np.asarray(one) + np.clip(share, 0, 1) * (np.asarray(other) - np.asarray(one))
    return float(r), float(g), float(b)


def _identity(description: Description, basics: _Basics, dice: _Dice) -> Identity:
    rng, worn = dice.of("face"), basics.worn
    details = {"head/head-oval": 0.45} if basics.woman else {"head/head-square": 0.2}
    for less, more in PAIRS:
        mean = MEANS.get(more, 0.0) + (FEMALE.get(more, 0.0) if basics.woman else 0.0)
        weight = float(np.clip(rng.normal(mean, 0.20), -0.6, 0.6))
        details[more if weight > 0 else less] = abs(weight)
    for name in SIDES:
        side, strength = rng.choice(["l", "r"]), float(rng.uniform(0.1, 0.28))
        details[f"{name}-{side}"] = strength
    if worn:
        details |= {
            "mouth/mouth-laugh-lines-in": 0.9 * worn,
            "eyes/l-eye-bag-incr": 0.8 * worn,
            "head/head-age-incr": 0.6 * worn,
            "neck/neck-double-incr": 0.3 * worn,
        }
    build = {"thin": 0.22, "heavy": 0.92, "strong": 0.55}.get(description.build or "")
    origin = basics.origin
    return Identity(
        gender=0.03 if basics.woman else 1.0,
        age=float(np.clip((basics.years - 25) / 57, 0.02, 1.0)),
        african=origin.african,
        asian=origin.asian,
        caucasian=origin.caucasian,
        muscle=0.9 if description.build == "strong" else 0.5,
        weight=dice.number("weight", 0.38, 0.62) if build is None else build,
        details=details,
    )


def _complexion(
    description: Description, basics: _Basics, skin: Colour, tint: Colour, dice: _Dice
) -> Complexion:
    worn, depth = basics.worn, float(np.clip(basics.tone / 6, 0, 1))
    shares = LIP_SHARES[0] * (1 - depth) + LIP_SHARES[1] * depth
    made_up = np.array([1.08, 0.88, 0.92]) if basics.woman and worn < 0.7 else np.ones(3)
    return Complexion(
        skin=skin,
        lips=_mix(skin * shares * made_up, skin, 0.25 * worn),
        hair=tint,
        blush=(0.75 if basics.woman else 0.55) * (1 - 0.5 * depth),
        shadow=0.26 + 0.30 * worn + (0.25 if description.mood == "tired" else 0.0),
        blotches=1.0 + 0.9 * worn,
        moles=round(3 + 10 * worn),
        pores=min(1.2, (0.25 if basics.woman else 0.6) + 0.8 * worn),
        shine=0.28 - 0.10 * depth,
        lip_shine=0.40 - 0.35 * depth,
        seed=int(dice.of("skin").integers(1, 1000)),
    )


def _relief(basics: _Basics, dice: _Dice) -> Relief:
    worn = basics.worn
    return Relief(
        forehead=0.016 * worn,
        frown=0.012 * worn,
        eyes=0.011 * worn,
        lumps=0.007 + 0.004 * worn,
        cheeks=0.022 * worn,
        seed=int(dice.of("relief").integers(1, 1000)),
    )


def _hair_colour(basics: _Basics, dice: _Dice) -> str:
    """Return a colour; the older, the likelier grey or white."""
    when = dice.number("grey", 52, 74)
    if basics.years > when + 12:
        return "white"
    return "grey" if basics.years > when else dice.pick("hair colour", basics.origin.hair)


def _hair(description: Description, basics: _Basics, dice: _Dice) -> Bob | Tied | Crop | None:
    if description.hair_length == "bald":
        return None
    kind = description.hair_kind or dice.pick("hair kind", basics.origin.kinds)
    seed = int(dice.of("hair").integers(1, 1000))
    lengths = ("short", "medium", "medium", "long", "tied") if basics.woman else ("short",)
    length = description.hair_length or dice.pick("hair length", lengths)
    if kind == "tied" or (length == "tied" and description.hair_kind is None and kind != "afro"):
        return Tied(seed=seed)
    if kind == "afro":
        reach = {"cropped": 0.05, "short": 0.11, "medium": 0.30, "tied": 0.22}.get(length, 0.45)
        return Crop(
            60000, reach, radius=0.0021, sides=0.35 if reach < 0.2 else 0.8, coil=0.02, seed=seed
        )
    if length in ("cropped", "short") and not (basics.woman and length == "short"):
        recede = 0.0 if basics.woman else 0.20 * basics.worn
        curl = {"curly": 0.9, "wavy": 0.5}.get(kind, 0.25)
        reach = 0.07 if length == "cropped" else dice.number("crop", 0.14, 0.20)
        if kind == "curly" and length == "short":
            return Crop(52000, 0.24, recede, radius=0.0024, coil=0.034, seed=seed)
        return Crop(52000, reach, recede, curl, seed=seed)
    tips = {"short": 6.68, "long": 5.15}.get(length, 6.25)
    parting = dice.number("parting", 0.08, 0.24)
    wave = {"wavy": (0.034, 0.75), "curly": (0.050, 0.36)}.get(kind, (0.0, 0.6))
    return Bob(34000, parting, tips, wave=wave[0], wave_length=wave[1], seed=seed)


def _brows(basics: _Basics, tone: HairTone, dice: _Dice) -> BrowStyle:
    grey = 0.7 * max(0.0, tone.grey - 0.2)
    if basics.woman:
        width, arch, radius = dice.number("brow", 0.8, 1.0), 0.95, 0.0019
    else:
        width, arch, radius = dice.number("brow", 1.0, 1.25), 0.75, 0.0018
    return BrowStyle(
        760, width, arch, radius=radius, untidy=0.12 + 0.08 * basics.worn, shade=0.34,
        melanin=0.88, grey=grey,
    )  # fmt: skip


def _beard(description: Description, basics: _Basics, tone: HairTone, dice: _Dice) -> Beard | None:
    kind = description.beard
    if kind is None and (description.beard_length or description.beard_colour):
        kind = "full"
    if kind is None and not basics.woman:
        kind = dice.pick("beard", ("none", "none", "none", "stubble", "full"))
    if kind in (None, "none"):
        return None
    style = BEARDS[str(kind)]
    own = HAIR[description.beard_colour][0] if description.beard_colour else tone
    reach = BEARD_LENGTHS.get(description.beard_length or "", style.length)
    shade = style.shade * (1 - 0.6 * own.grey)
    return replace(style, length=reach, tone=own, grey=own.grey, shade=shade)


def _clothes(description: Description, basics: _Basics, dice: _Dice) -> Clothes:
    kinds = ("jumper",) if basics.woman else ("shirt", "jumper")
    kind = description.clothes or dice.pick("clothes", kinds)
    colours = ("navy", "dark green", "dark red", "grey", "teal", "light blue", "beige")
    colour = CLOTHS[description.clothes_colour or dice.pick("cloth", colours)]
    if kind == "shirt":
        return Clothes("shirt", colour, drop=0.46)
    return Clothes("jumper", colour, drop=0.5)


def _headwear(description: Description, dice: _Dice) -> Headwear | None:
    if description.headwear not in ("headscarf", "turban"):
        return None
    colours = ("dark red", "navy", "teal", "purple", "beige", "orange")
    colour = CLOTHS[description.headwear_colour or dice.pick("headwear", colours)]
    seed = int(dice.of("folds").integers(1, 1000))
    return Headwear("turban" if description.headwear == "turban" else "headscarf", colour, seed)


def _glasses(description: Description, dice: _Dice) -> Glasses | None:
    if description.glasses != "yes" and not description.rims and not description.rim_shape:
        return None
    colour = RIMS[description.rims or dice.pick("rims", ("black", "brown", "silver"))]
    thin = colour in (RIMS["gold"], RIMS["silver"])
    if description.rim_shape == "round":
        shape = Glasses(colour, 0.215, 0.205, 2.0)
    elif description.rim_shape == "square":
        shape = Glasses(colour, 0.235, 0.165, 4.0)
    else:
        shape = Glasses(colour, 0.235, 0.175, dice.number("rim", 2.4, 3.4))
    return replace(shape, radius=0.010 if thin else 0.016)


def _background(description: Description, dice: _Dice) -> Colour:
    if description.background:
        return CLOTHS[description.background]
    return WALLS[int(dice.of("wall").integers(len(WALLS)))]
