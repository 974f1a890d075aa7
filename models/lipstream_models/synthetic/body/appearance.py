"""What a person looks like, as plain values: head, skin, hair, brows, beard, clothes and light.

The embedded people are here, too; none of them is a real person: the numbers are of our choosing.
Colours are linear RGB; lengths are in decimetres on a head of life size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lipstream.errors import InputError
from lipstream_models.synthetic.body.head_model import Identity, mirrored

Colour = tuple[float, float, float]
"""Linear RGB."""

ENAMEL: Colour = (0.79, 0.68, 0.55)
"""Of the front teeth."""


@dataclass(frozen=True, slots=True)
class Complexion:
    """Skin colours and what marks them."""

    skin: Colour = (0.60, 0.335, 0.225)
    lips: Colour = (0.46, 0.150, 0.130)
    hair: Colour = (0.07, 0.036, 0.021)
    """Tint of the scalp under the hair and of the skin under the brows."""
    blush: float = 0.8
    """Redness of cheeks, nose and ears."""
    shadow: float = 0.30
    """Darkness under the eyes."""
    blotches: float = 1.0
    """Unevenness of the tone."""
    moles: int = 0
    """Number of small dark spots on face and neck."""
    pores: float = 0.0
    """Depth of pores and fine lines; 0 leaves only a soft grain."""
    shine: float = 0.25
    """Gloss of the cheeks, 0 to 1."""
    lip_shine: float = 0.45
    """Gloss of the lips beyond that, 0 to 1."""
    seed: int = 3


@dataclass(frozen=True, slots=True)
class Relief:
    """Folds of the skin that the head model does not have, depths in dm."""

    forehead: float = 0.0
    """Of the lines across the forehead."""
    frown: float = 0.0
    """Of the two lines between the brows."""
    eyes: float = 0.0
    """Of the lines beside and below the eyes."""
    lumps: float = 0.0
    """How far one half of the face differs from the other."""
    cheeks: float = 0.0
    """Of the folds beside nose and mouth."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class HairTone:
    """Colour of the hair by its pigments (the terms of Blender's hair shader)."""

    melanin: float = 0.66
    redness: float = 0.35
    roughness: float = 0.34
    grey: float = 0.0
    """Share of hairs without pigment."""


@dataclass(frozen=True, slots=True)
class Bob:
    """A side-parted bob."""

    count: int = 34000
    parting: float = 0.20
    """x of the parting, dm."""
    length: float = 6.34
    """y of the tips on the base head, dm."""
    radius: float = 0.0046
    wave: float = 0.0
    """How far hairs swing off their way, dm."""
    wave_length: float = 0.6
    """Between two swings, dm."""
    seed: int = 9


@dataclass(frozen=True, slots=True)
class Tied:
    """Hair parted and tied at the back of the head, with loose hairs."""

    count: int = 24000
    parting: float = 0.12
    radius: float = 0.0040
    loose: int = 260
    """Number of hairs that stand off the head."""
    locks: int = 90
    """Number of hairs in the lock that hangs before each ear."""
    seed: int = 4


@dataclass(frozen=True, slots=True)
class Crop:
    """Short hair."""

    count: int = 52000
    length: float = 0.22
    """On top; the sides are shorter."""
    recede: float = 0.0
    """How far the hairline lies back at the temples."""
    curl: float = 0.25
    """How much hairs bend off their way."""
    radius: float = 0.0026
    sides: float = 0.20
    """Length at the sides, against the top."""
    coil: float = 0.0
    """Radius of the coils of tight curls, dm; coiled hair stands up."""
    seed: int = 8


@dataclass(frozen=True, slots=True)
class Beard:
    """A beard with a moustache, or a part of one."""

    shape: Literal["full", "goatee", "moustache"] = "full"
    count: int = 15000
    length: float = 0.05
    radius: float = 0.0020
    grey: float = 0.0
    """Share of hairs without pigment."""
    shade: float = 0.35
    """How much it darkens the skin below."""
    tone: HairTone | None = None
    """None is that of the hair."""
    seed: int = 12


@dataclass(frozen=True, slots=True)
class Headwear:
    """Cloth on the head; it hides the hair."""

    kind: Literal["headscarf", "turban"]
    colour: Colour
    seed: int = 0
    """Of its folds."""


@dataclass(frozen=True, slots=True)
class Glasses:
    """Rims without glass, lengths in dm."""

    colour: Colour = (0.012, 0.011, 0.011)
    width: float = 0.245
    """Half the width of a rim."""
    height: float = 0.19
    power: float = 2.8
    """Of the rim's superellipse: 2 is round."""
    radius: float = 0.018
    """Of the wire."""


@dataclass(frozen=True, slots=True)
class BrowStyle:
    """The brows."""

    count: int = 760
    width: float = 1.0
    """Against the common width."""
    arch: float = 1.0
    """Height of the arch, against the common one."""
    length: float = 0.062
    radius: float = 0.0025
    untidy: float = 0.09
    """Spread of the directions, radians."""
    shade: float = 0.42
    """How much they darken the skin below."""
    melanin: float = 0.95
    """Against that of the hair."""
    grey: float = 0.0
    """Share of hairs without pigment."""


@dataclass(frozen=True, slots=True)
class Clothes:
    """What covers the shoulders."""

    kind: Literal["jumper", "shirt"] = "jumper"
    colour: Colour = (0.05, 0.10, 0.16)
    drop: float = 0.42
    """How much lower the neckline is in front, dm."""


@dataclass(frozen=True, slots=True)
class Light:
    """A square lamp that shines at the face."""

    name: str
    offset: tuple[float, float, float]
    """From the face, dm."""
    size: float
    """Side, dm."""
    power: float
    """Watts, on a stage where a decimetre counts as a metre."""
    colour: Colour
    mirrored: bool = True
    """Whether it shows in eyes and on skin as a highlight."""


STUDIO = (
    Light("key", (5.0, 5.0, 8.5), 3.6, 1750, (1.0, 0.95, 0.88)),
    Light("fill", (-8.0, 1.0, 6.5), 6.0, 700, (0.88, 0.93, 1.0)),
    Light("rim left", (-5.0, 5.0, -6.0), 3.0, 330, (1.0, 0.98, 0.96)),
    Light("rim right", (6.0, 4.0, -6.0), 3.0, 330, (0.9, 0.95, 1.0)),
    Light("mouth", (0.2, -1.6, 11.0), 2.0, 190, (1.0, 0.97, 0.93), mirrored=False),
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """A whole person, what they wear and how they are lit."""

    identity: Identity
    complexion: Complexion = field(default_factory=Complexion)
    relief: Relief | None = None
    hair: Bob | Tied | Crop | None = field(default_factory=Bob)
    """None is bald."""
    tone: HairTone = field(default_factory=HairTone)
    brows: BrowStyle = field(default_factory=BrowStyle)
    beard: Beard | None = None
    iris: Colour = (0.075, 0.043, 0.022)
    eye_white: Colour = (0.66, 0.63, 0.61)
    enamel: Colour = ENAMEL
    jaw: float = 1.0
    """Width of the rows of teeth against the common one: a narrow chin needs narrow ones."""
    manner: Mapping[str, float] = field(default_factory=dict)
    """Face units added to every pose: how the face rests, and what its halves do differently."""
    headwear: Headwear | None = None
    glasses: Glasses | None = None
    clothes: Clothes = field(default_factory=Clothes)
    background: Colour = (0.62, 0.68, 0.72)
    lights: tuple[Light, ...] = STUDIO


ADA = Appearance(
    Identity(
        gender=0.03,
        age=0.06,
        african=0.08,
        asian=0.17,
        caucasian=0.75,
        muscle=0.5,
        weight=0.45,
        details={
            "head/head-oval": 0.6,
            "head/head-scale-horiz-decr": 0.2,
            "chin/chin-width-decr": 0.6,
            "chin/chin-jaw-drop-decr": 0.2,
            "cheek/l-cheek-bones-incr": 0.25,
            "eyes/l-eye-scale-incr": 0.30,
            "eyes/l-eye-height2-incr": 0.20,
            "nose/nose-scale-horiz-decr": 0.25,
            "nose/nose-point-up": 0.15,
            "mouth/mouth-upperlip-volume-incr": 0.25,
            "mouth/mouth-lowerlip-volume-incr": 0.2,
            "mouth/mouth-scale-horiz-incr": 0.1,
            "eyebrows/eyebrows-trans-up": 0.25,
            "ears/l-ear-scale-decr": 0.8,
        },
    )
)

WINDOW = (
    Light("key", (5.5, 4.0, 8.5), 5.0, 1600, (1.0, 0.96, 0.90)),
    Light("fill", (-8.0, 0.5, 7.0), 5.0, 560, (0.90, 0.94, 1.0)),
    Light("rim left", (-5.5, 4.5, -5.5), 2.6, 360, (1.0, 0.97, 0.93)),
    Light("rim right", (6.0, 4.0, -6.0), 3.0, 280, (0.92, 0.96, 1.0)),
    Light("mouth", (0.2, -1.6, 11.0), 2.0, 240, (1.0, 0.97, 0.93), mirrored=False),
)
"""The light of a large window and a reflector."""

OMAR = Appearance(
    Identity(
        gender=1.0,
        age=0.40,
        african=0.40,
        asian=0.15,
        caucasian=0.45,
        muscle=0.55,
        weight=0.58,
        details={
            "head/head-square": 0.35,
            "chin/chin-width-incr": 0.25,
            "nose/nose-hump-incr": 0.30,
            "nose/nose-scale-depth-incr": 0.20,
            "mouth/mouth-laugh-lines-in": 0.45,
            "mouth/mouth-lowerlip-volume-incr": 0.25,
            "mouth/mouth-upperlip-volume-incr": 0.15,
            "eyes/l-eye-bag-incr": 0.45,
            "eyes/l-eye-scale-incr": 0.25,
            "eyebrows/eyebrows-trans-down": 0.10,
            "ears/l-ear-scale-decr": 0.3,
            "asym/asym-nose-1-l": 0.25,
            "asym/asym-eye-3-r": 0.25,
            "asym/asym-brown-1-l": 0.3,
            "asym/asym-mouth-1-r": 0.2,
            "asym/asym-jaw-1-l": 0.3,
        },
    ),
    Complexion(
        skin=(0.255, 0.118, 0.066),
        lips=(0.205, 0.078, 0.062),
        hair=(0.035, 0.026, 0.022),
        blush=0.45,
        shadow=0.55,
        blotches=1.7,
        moles=14,
        pores=1.0,
        shine=0.30,
        seed=21,
    ),
    relief=Relief(forehead=0.007, frown=0.006, eyes=0.004, lumps=0.012, seed=5),
    hair=Crop(count=44000, length=0.14, recede=0.22, radius=0.0028),
    tone=HairTone(melanin=0.90, redness=0.05, roughness=0.38, grey=0.55),
    brows=BrowStyle(
        count=820,
        width=1.1,
        arch=0.75,
        radius=0.0017,
        untidy=0.22,
        shade=0.34,
        melanin=0.85,
        grey=0.3,
    ),
    beard=Beard(count=20000, length=0.026, radius=0.0017, grey=0.6, shade=0.45),
    iris=(0.030, 0.015, 0.008),
    eye_white=(0.47, 0.43, 0.39),
    enamel=(0.55, 0.455, 0.35),
    manner={
        "browInnerUp": -0.08,
        "browOuterUpLeft": -0.04,
        **mirrored(eyeWide=-0.08, eyeSquint=0.08),
        "mouthSmileLeft": 0.03,
    },
    clothes=Clothes("shirt", (0.13, 0.20, 0.32), drop=0.46),
    background=(0.36, 0.40, 0.40),
    lights=WINDOW,
)

MEI = Appearance(
    Identity(
        gender=0.0,
        age=0.10,
        african=0.0,
        asian=0.95,
        caucasian=0.05,
        muscle=0.5,
        weight=0.42,
        details={
            "head/head-oval": 0.7,
            "head/head-scale-horiz-decr": 0.25,
            "chin/chin-width-decr": 0.30,
            "eyes/l-eye-scale-incr": 0.75,
            "eyes/l-eye-height2-incr": 0.2,
            "mouth/mouth-scale-horiz-incr": 0.3,
            "mouth/mouth-scale-vert-decr": 0.2,
            "mouth/mouth-upperlip-height-decr": 0.2,
            "eyebrows/eyebrows-trans-up": 0.25,
            "nose/nose-scale-horiz-decr": 0.15,
            "ears/l-ear-scale-decr": 0.5,
            "asym/asym-nose-2-r": 0.2,
            "asym/asym-eye-2-l": 0.2,
            "asym/asym-brown-2-r": 0.25,
            "asym/asym-mouth-2-l": 0.2,
            "asym/asym-jaw-2-r": 0.2,
        },
    ),
    Complexion(
        skin=(0.62, 0.375, 0.255),
        lips=(0.42, 0.140, 0.125),
        hair=(0.020, 0.014, 0.012),
        blush=0.65,
        shadow=0.28,
        blotches=1.3,
        moles=5,
        pores=0.6,
        shine=0.30,
        seed=33,
    ),
    relief=Relief(eyes=0.0012, lumps=0.008, seed=9),
    hair=Tied(),
    tone=HairTone(melanin=0.97, redness=0.1, roughness=0.28),
    brows=BrowStyle(
        count=620, width=0.85, arch=0.7, radius=0.0016, untidy=0.18, shade=0.3, melanin=0.88
    ),
    iris=(0.034, 0.017, 0.009),
    jaw=0.88,
    manner={
        **mirrored(eyeWide=-0.04, browOuterUp=-0.10, mouthSmile=0.10),
        "mouthSmileRight": 0.13,
    },
    clothes=Clothes("jumper", (0.045, 0.085, 0.075), drop=0.62),
    background=(0.70, 0.66, 0.60),
    lights=WINDOW,
)

PEOPLE = {"ada": ADA, "mei": MEI, "omar": OMAR}
"""The embedded people by name."""


def person_named(name: str) -> Appearance:
    """Return the look of one of PEOPLE; raises InputError when there is none of this name."""
    if name not in PEOPLE:
        raise InputError(f"there is no person {name!r}: give one of {', '.join(PEOPLE)}")
    return PEOPLE[name]
