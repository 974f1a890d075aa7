"""The embedded people. None of them is a real person: the numbers are of our choosing."""

from lipstream.errors import InputError
from lipstream_models.synthetic.body.appearance import (
    Appearance,
    Beard,
    BrowStyle,
    Clothes,
    Complexion,
    Crop,
    HairTone,
    Light,
    Relief,
    Tied,
)
from lipstream_models.synthetic.body.head_model import Identity, mirrored

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
"""Everybody by name."""


def person_named(name: str) -> Appearance:
    """Return the look of one of PEOPLE; raises InputError when there is none of this name."""
    if name not in PEOPLE:
        raise InputError(f"there is no person {name!r}: give one of {', '.join(PEOPLE)}")
    return PEOPLE[name]
