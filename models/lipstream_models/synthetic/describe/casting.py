"""Find somebody who fits a description: what it leaves open is drawn, repeatably, from a seed.

Every trait is drawn from its own stream, so another word changes what it speaks of and leaves the
rest of the person as they were.
"""

import zlib
from dataclasses import dataclass, replace

import numpy as np

from lipstream_models.synthetic.blender.people import WINDOW
from lipstream_models.synthetic.body.appearance import (  # fmt: skip
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
    Look,
    Relief,
    Tied,
)
from lipstream_models.synthetic.body.head_model import Float, Identity, mirrored
from lipstream_models.synthetic.describe import palette
from lipstream_models.synthetic.describe.words import Description

_FEW = 0.03
"""A smaller share of grey hairs is none: a coat of a handful of hairs may end up empty."""


@dataclass(frozen=True, slots=True)
class _Basics:
    """What the other traits depend on."""

    woman: bool
    years: float
    origin: palette.Origin
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


def cast(said: Description, seed: int) -> Look:
    """Return the look of somebody of whom ``said`` is true; ``seed`` is not negative."""
    dice = _Dice(seed)
    basics = _basics(said, dice)
    colour = said.hair_colour or _hair_colour(basics, dice)
    tone, tint = palette.HAIR[colour]
    if said.hair_colour is None and tone.grey == 0:
        grey = float(np.clip(1.6 * basics.worn - 0.5, 0, 0.5))
        tone = replace(tone, grey=grey if grey > _FEW else 0.0)
    skin = _colour(basics.tone)
    return Look(
        _identity(said, basics, dice),
        _complexion(said, basics, skin, tint, dice),
        relief=_relief(basics, dice),
        hair=_hair(said, basics, dice),
        tone=tone,
        brows=_brows(basics, tone, dice),
        beard=_beard(said, basics, tone, dice),
        iris=palette.EYES[said.eyes or dice.pick("eyes", basics.origin.eyes)],
        eye_white=_mix((0.66, 0.63, 0.61), (0.47, 0.43, 0.39), basics.tone / 5),
        jaw=0.92 if basics.woman else 1.0,
        manner=palette.MOODS.get(said.mood or "", mirrored(mouthSmile=-0.04)),
        clothes=_clothes(said, basics, dice),
        headwear=_headwear(said, dice),
        glasses=_glasses(said, dice),
        background=_background(said, dice),
        lights=WINDOW,
    )


def _basics(said: Description, dice: _Dice) -> _Basics:
    man = said.sex == "man" or said.beard not in (None, "none") or said.headwear == "turban"
    woman = said.sex == "woman" or said.headwear == "headscarf"
    undecided = said.sex is None and man == woman
    sex = dice.pick("sex", ("woman", "man")) if undecided else said.sex
    woman = sex == "woman" if sex else woman
    low, high = (said.age.low, said.age.high) if said.age else (22, 66)
    origin = palette.ORIGINS[said.origin or dice.pick("origin", tuple(palette.ORIGINS))]
    tones = palette.SKINS[said.skin] if said.skin else origin.tones
    years = dice.number("years", low, high)
    return _Basics(woman, years, origin, dice.number("tone", *tones))


def _colour(tone: float) -> Colour:
    low = min(int(tone), len(palette.TONES) - 2)
    return _mix(palette.TONES[low], palette.TONES[low + 1], tone - low)


def _mix(one: Colour | Float, other: Colour | Float, share: float) -> Colour:
    r, g, b = np.asarray(one) + np.clip(share, 0, 1) * (np.asarray(other) - np.asarray(one))
    return float(r), float(g), float(b)


def _identity(said: Description, basics: _Basics, dice: _Dice) -> Identity:
    rng, worn = dice.of("face"), basics.worn
    details = {"head/head-oval": 0.45} if basics.woman else {"head/head-square": 0.2}
    for less, more in palette.PAIRS:
        mean = palette.MEANS.get(more, 0.0) + (
            palette.FEMALE.get(more, 0.0) if basics.woman else 0.0
        )
        weight = float(np.clip(rng.normal(mean, 0.20), -0.6, 0.6))
        details[more if weight > 0 else less] = abs(weight)
    for name in palette.SIDES:
        side, strength = rng.choice(["l", "r"]), float(rng.uniform(0.1, 0.28))
        details[f"{name}-{side}"] = strength
    if worn:
        details |= {
            "mouth/mouth-laugh-lines-in": 0.9 * worn,
            "eyes/l-eye-bag-incr": 0.8 * worn,
            "head/head-age-incr": 0.6 * worn,
            "neck/neck-double-incr": 0.3 * worn,
        }
    build = {"thin": 0.22, "heavy": 0.92, "strong": 0.55}.get(said.build or "")
    origin = basics.origin
    return Identity(
        gender=0.03 if basics.woman else 1.0,
        age=float(np.clip((basics.years - 25) / 57, 0.02, 1.0)),
        african=origin.african,
        asian=origin.asian,
        caucasian=origin.caucasian,
        muscle=0.9 if said.build == "strong" else 0.5,
        weight=dice.number("weight", 0.38, 0.62) if build is None else build,
        details=details,
    )


def _complexion(
    said: Description, basics: _Basics, skin: Colour, tint: Colour, dice: _Dice
) -> Complexion:
    worn, depth = basics.worn, float(np.clip(basics.tone / 6, 0, 1))
    shares = palette.LIP_SHARES[0] * (1 - depth) + palette.LIP_SHARES[1] * depth
    made_up = np.array([1.08, 0.88, 0.92]) if basics.woman and worn < 0.7 else np.ones(3)
    return Complexion(
        skin=skin,
        lips=_mix(skin * shares * made_up, skin, 0.25 * worn),
        hair=tint,
        blush=(0.75 if basics.woman else 0.55) * (1 - 0.5 * depth),
        shadow=0.26 + 0.30 * worn + (0.25 if said.mood == "tired" else 0.0),
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


def _hair(said: Description, basics: _Basics, dice: _Dice) -> Bob | Tied | Crop | None:
    if said.hair_length == "bald":
        return None
    kind = said.hair_kind or dice.pick("hair kind", basics.origin.kinds)
    seed = int(dice.of("hair").integers(1, 1000))
    lengths = ("short", "medium", "medium", "long", "tied") if basics.woman else ("short",)
    length = said.hair_length or dice.pick("hair length", lengths)
    if kind == "tied" or (length == "tied" and said.hair_kind is None and kind != "afro"):
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


def _beard(said: Description, basics: _Basics, tone: HairTone, dice: _Dice) -> Beard | None:
    kind = said.beard
    if kind is None and (said.beard_length or said.beard_colour):
        kind = "full"
    if kind is None and not basics.woman:
        kind = dice.pick("beard", ("none", "none", "none", "stubble", "full"))
    if kind in (None, "none"):
        return None
    style = palette.BEARDS[str(kind)]
    own = palette.HAIR[said.beard_colour][0] if said.beard_colour else tone
    reach = palette.BEARD_LENGTHS.get(said.beard_length or "", style.length)
    shade = style.shade * (1 - 0.6 * own.grey)
    return replace(style, length=reach, tone=own, grey=own.grey, shade=shade)


def _clothes(said: Description, basics: _Basics, dice: _Dice) -> Clothes:
    kinds = ("jumper",) if basics.woman else ("shirt", "jumper")
    kind = said.clothes or dice.pick("clothes", kinds)
    colours = ("navy", "dark green", "dark red", "grey", "teal", "light blue", "beige")
    colour = palette.CLOTHS[said.clothes_colour or dice.pick("cloth", colours)]
    if kind == "shirt":
        return Clothes("shirt", colour, drop=0.46)
    return Clothes("jumper", colour, drop=0.5)


def _headwear(said: Description, dice: _Dice) -> Headwear | None:
    if said.headwear not in ("headscarf", "turban"):
        return None
    colours = ("dark red", "navy", "teal", "purple", "beige", "orange")
    colour = palette.CLOTHS[said.headwear_colour or dice.pick("headwear", colours)]
    seed = int(dice.of("folds").integers(1, 1000))
    return Headwear("turban" if said.headwear == "turban" else "headscarf", colour, seed)


def _glasses(said: Description, dice: _Dice) -> Glasses | None:
    if said.glasses != "yes" and not said.rims and not said.rim_shape:
        return None
    colour = palette.RIMS[said.rims or dice.pick("rims", ("black", "brown", "silver"))]
    thin = colour in (palette.RIMS["gold"], palette.RIMS["silver"])
    if said.rim_shape == "round":
        shape = Glasses(colour, 0.215, 0.205, 2.0)
    elif said.rim_shape == "square":
        shape = Glasses(colour, 0.235, 0.165, 4.0)
    else:
        shape = Glasses(colour, 0.235, 0.175, dice.number("rim", 2.4, 3.4))
    return replace(shape, radius=0.010 if thin else 0.016)


def _background(said: Description, dice: _Dice) -> Colour:
    if said.background:
        return palette.CLOTHS[said.background]
    return palette.WALLS[int(dice.of("wall").integers(len(palette.WALLS)))]
