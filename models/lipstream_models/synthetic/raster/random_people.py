"""Draw a person at random: shape, colours, hair, teeth, and how they move."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lipstream_models.synthetic.body.head_model import Float, Identity

Colour = tuple[float, float, float]

_TONES = np.array(
    [
        [0.70, 0.45, 0.36],
        [0.60, 0.345, 0.245],
        [0.47, 0.265, 0.165],
        [0.30, 0.155, 0.088],
        [0.17, 0.082, 0.045],
        [0.085, 0.042, 0.026],
    ]
)
"""Skin from light to dark, linear RGB."""
_HAIR = np.array(
    [[0.010, 0.008, 0.007], [0.035, 0.018, 0.010], [0.10, 0.052, 0.025], [0.33, 0.20, 0.09],
     [0.20, 0.060, 0.018], [0.40, 0.38, 0.36]]
)  # fmt: skip
"""Black, dark brown, brown, blond, red, grey."""
_IRIS = np.array(
    [[0.035, 0.017, 0.008], [0.09, 0.05, 0.022], [0.10, 0.10, 0.04], [0.10, 0.17, 0.24],
     [0.15, 0.17, 0.17]]
)  # fmt: skip
_LOOSE = {
    "head": ("oval", "rectangular", "round", "square", "triangular", "invertedtriangular",
             "diamond", "fat-decr", "fat-incr", "scale-horiz-decr", "scale-horiz-incr"),
    "chin": ("bones-decr", "bones-incr", "cleft-incr", "height-decr", "height-incr",
             "jaw-drop-decr", "jaw-drop-incr", "prominent-decr", "prominent-incr", "width-decr",
             "width-incr", "prognathism-decr", "prognathism-incr"),
    "nose": ("base-down", "base-up", "curve-concave", "curve-convex", "flaring-decr",
             "flaring-incr", "greek-decr", "greek-incr", "hump-decr", "hump-incr", "point-down",
             "point-up", "point-width-decr", "point-width-incr", "scale-depth-decr",
             "scale-horiz-decr", "scale-horiz-incr", "scale-vert-decr", "scale-vert-incr",
             "volume-decr", "volume-incr", "width1-decr", "width1-incr", "width2-decr",
             "width2-incr", "width3-decr", "width3-incr", "nostrils-width-decr",
             "nostrils-width-incr"),
    "mouth": ("cupidsbow-decr", "cupidsbow-incr", "cupidsbow-width-decr", "cupidsbow-width-incr",
              "lowerlip-height-decr", "lowerlip-height-incr", "lowerlip-volume-decr",
              "lowerlip-volume-incr", "upperlip-height-decr", "upperlip-height-incr",
              "upperlip-volume-decr", "upperlip-volume-incr", "scale-horiz-decr",
              "scale-horiz-incr", "laugh-lines-in", "philtrum-volume-decr",
              "philtrum-volume-incr", "trans-up", "trans-down", "dimples-in"),
    "cheek": ("l-cheek-bones-decr", "l-cheek-bones-incr", "l-cheek-inner-decr",
              "l-cheek-inner-incr", "l-cheek-volume-decr", "l-cheek-volume-incr"),
    "eyes": ("l-eye-scale-decr", "l-eye-scale-incr", "l-eye-height2-decr", "l-eye-height2-incr",
             "l-eye-corner1-down", "l-eye-corner1-up", "l-eye-corner2-down", "l-eye-corner2-up",
             "l-eye-bag-incr", "l-eye-trans-in", "l-eye-trans-out", "l-eye-eyefold-down"),
    "eyebrows": ("angle-down", "angle-up", "trans-up", "trans-down"),
    "forehead": ("scale-vert-decr", "scale-vert-incr", "temple-decr", "temple-incr"),
}  # fmt: skip
"""Detail targets that vary, each by itself; the two of an opposite pair are never both drawn."""
_STRENGTH = {"mouth": 0.40, "eyes": 0.22, "nose": 0.28, "eyebrows": 0.3}


@dataclass(frozen=True, slots=True)
class FaceColours:
    """Colours of skin, lips, brows and eyes; linear RGB."""

    skin: Colour
    lips: Colour
    hair: Colour
    brow: Colour
    iris: Colour
    blush: float
    freckles: float
    """0 none to 1 many."""
    brow_strength: float
    brow_width: float
    brow_lift: float
    """How far the brows are painted above their usual place, dm."""
    eye_liner: float
    oil: float
    """Gloss of the skin, about 1."""
    lip_gloss: float
    seed: int


@dataclass(frozen=True, slots=True)
class FaceHair:
    """Hair on the lower face; each 0 to 1."""

    stubble: float = 0.0
    moustache: float = 0.0
    chin: float = 0.0
    cheeks: float = 0.0
    length: float = 0.0
    """How far it stands off, dm."""


@dataclass(frozen=True, slots=True)
class Dental:
    """How the teeth look."""

    tint: Colour
    size: float
    """Scale of the rows, about 1."""
    lift: float
    """How much higher the upper row sits than usual, dm: less is seen of it."""
    forward: float
    gap: float
    """0 none to 1: dark lines between the teeth."""


@dataclass(frozen=True, slots=True)
class Wear:
    """Hair on the scalp and what is worn."""

    style: str
    """``bald``, ``short``, ``long``, ``scarf``, ``cap``."""
    thickness: float
    fringe: float
    """How far the hair comes down over the brow, dm."""
    colour: Colour
    """Of the cloth."""
    neckline: float
    """How far the shirt leaves the neck free in front, dm."""
    glasses: bool


@dataclass(frozen=True, slots=True)
class RandomPerson:
    """Somebody."""

    identity: Identity
    face: FaceColours
    beard: FaceHair
    dental: Dental
    wear: Wear
    gain: float
    """How strongly they move their lips."""
    habits: dict[str, float] = field(default_factory=dict)
    """Face units of their resting face, beyond closed lips."""


def draw_person(rng: np.random.Generator) -> RandomPerson:
    """Return a random person."""
    origin = rng.dirichlet([0.45, 0.45, 0.6])
    gender = float(np.clip(rng.beta(0.35, 0.35), 0.02, 0.98))
    age = float(rng.beta(1.0, 2.4) * 0.9)
    identity = Identity(
        gender=gender,
        age=age,
        african=float(origin[0]),
        asian=float(origin[1]),
        caucasian=float(origin[2]),
        muscle=float(rng.uniform(0.35, 0.75)),
        weight=float(rng.uniform(0.25, 0.8)),
        details=_details(rng),
    )
    face = _face(rng, identity)
    beard = _beard(rng) if gender > 0.55 and rng.random() < 0.62 else FaceHair()
    return RandomPerson(
        identity, face, beard, _dental(rng), _wear(rng, identity),
        float(rng.uniform(0.8, 1.5)), _habits(rng),
    )  # fmt: skip


def _details(rng: np.random.Generator) -> dict[str, float]:
    chosen: dict[str, float] = {}
    opposites = (("decr", "incr"), ("up", "down"), ("in", "out"), ("concave", "convex"))
    for folder, names in _LOOSE.items():
        for name in names:
            weight = abs(float(rng.normal(0, _STRENGTH.get(folder, 0.22))))
            if rng.random() < 0.65 or weight < 0.02:
                continue
            key = f"{folder}/{name if name.startswith('l-') else f'{folder}-{name}'}"
            stems = {key.rsplit("-", 1)[0] + "-" + word for pair in opposites for word in pair}
            if not stems & chosen.keys():
                chosen[key] = min(weight, 0.9)
    return chosen


def _between(table: Float, at: float) -> Float:
    """Return the colour at a fractional row."""
    low = min(int(at), len(table) - 2)
    return np.asarray(table[low] + (at - low) * (table[low + 1] - table[low]))


def _face(rng: np.random.Generator, identity: Identity) -> FaceColours:
    depth = 4.2 * identity.african + 1.3 * identity.asian + 0.7 * identity.caucasian
    depth = rng.uniform(0, 5) if rng.random() < 0.25 else depth + rng.normal(0, 0.65)
    tone = float(np.clip(depth, 0, 4.99))
    warm = np.array([1.0, 1 + 0.06 * identity.asian, 1 - 0.12 * identity.asian])
    skin = _between(_TONES, tone) * warm * np.exp(rng.normal(0, [0.05, 0.06, 0.09]))
    female = identity.gender < 0.5
    natural = skin * np.array([0.84, 0.50, 0.56]) + np.array([0.02, 0.0, 0.005])
    lips = natural * np.exp(rng.normal(0, [0.12, 0.16, 0.16]))
    if female and rng.random() < 0.45:
        green = rng.uniform(0.02, 0.16)
        stick = np.array([rng.uniform(0.25, 0.6), green, green * rng.uniform(0.85, 1.6)])
        share = rng.uniform(0.3, 0.95)
        lips = lips * (1 - share) + stick * share
    elif rng.random() < 0.25:
        share = rng.uniform(0.3, 0.8)  # pale lips, hardly set off from the skin
        lips = lips * (1 - share) + skin * np.array([0.93, 0.78, 0.80]) * share
    hair = _hair_colour(rng, identity)
    brow = hair * rng.uniform(0.3, 0.9) if hair.max() < 0.3 else hair * rng.uniform(0.08, 0.4)
    iris = _between(_IRIS, rng.uniform(0, 1.0 if tone > 1.6 or identity.asian > 0.5 else 3.99))
    return FaceColours(
        _colour(skin), _colour(lips), _colour(hair), _colour(brow), _colour(iris),
        blush=float(rng.uniform(0.1, 1.1)),
        freckles=float(rng.beta(0.4, 2.5)) if tone < 1.5 else 0.0,
        brow_strength=float(rng.uniform(0.5, 1.1)),
        brow_width=float(rng.uniform(0.7, 1.5)) * (1.25 if identity.gender > 0.5 else 0.9),
        brow_lift=float(rng.normal(0, 0.02)),
        eye_liner=float(rng.uniform(0.3, 1.0) if female else rng.uniform(0.0, 0.4)),
        oil=float(rng.uniform(0.4, 1.5)),
        lip_gloss=float(rng.uniform(0.3, 1.2) if female else rng.uniform(0.15, 0.7)),
        seed=int(rng.integers(1 << 30)),
    )  # fmt: skip


def _hair_colour(rng: np.random.Generator, identity: Identity) -> Float:
    if rng.random() < max(0.0, 1.6 * identity.age - 0.2):
        return np.asarray(_HAIR[5] * rng.uniform(0.35, 1.1))
    if identity.caucasian > 0.6:
        kind = rng.choice(5, p=[0.14, 0.3, 0.3, 0.18, 0.08])
    else:
        kind = rng.choice(3, p=[0.7, 0.25, 0.05])
    return np.asarray(_HAIR[kind] * rng.uniform(0.6, 1.5))


def _beard(rng: np.random.Generator) -> FaceHair:
    kind = rng.choice(["stubble", "moustache", "goatee", "full"], p=[0.42, 0.14, 0.16, 0.28])
    stubble = float(rng.uniform(0.1, 0.6))
    long = float(rng.uniform(0.005, 0.05))
    if kind == "stubble":
        return FaceHair(stubble=stubble)
    if kind == "moustache":
        return FaceHair(stubble * 0.4, float(rng.uniform(0.5, 1)), length=long * 0.7)
    if kind == "goatee":
        strong = float(rng.uniform(0.5, 1))
        return FaceHair(stubble * 0.5, strong, strong, 0.0, long)
    strong = float(rng.uniform(0.5, 1))
    return FaceHair(stubble, strong, strong, strong * float(rng.uniform(0.6, 1)), long)


def _dental(rng: np.random.Generator) -> Dental:
    bright, yellow = rng.uniform(0.62, 1.1), rng.beta(1.2, 3)
    return Dental(
        _colour(bright * np.array([1.0, 1 - 0.10 * yellow, 1 - 0.38 * yellow])),
        size=float(rng.uniform(0.92, 1.08)),
        lift=float(rng.uniform(-0.035, 0.05)),
        forward=float(rng.uniform(-0.02, 0.015)),
        gap=float(rng.uniform(0.1, 1.0)),
    )


def _wear(rng: np.random.Generator, identity: Identity) -> Wear:
    if identity.gender < 0.5:
        style = rng.choice(["short", "long", "scarf", "cap"], p=[0.3, 0.46, 0.2, 0.04])
    else:
        styles = ["bald", "short", "long", "cap", "scarf"]
        style = rng.choice(styles, p=[0.18, 0.62, 0.08, 0.1, 0.02])
    cloth = rng.dirichlet([0.6, 0.6, 0.6]) * rng.uniform(0.05, 1.6)
    if rng.random() < 0.4:
        cloth = np.full(3, rng.uniform(0.01, 0.8)) * rng.uniform(0.85, 1.15, 3)
    return Wear(
        str(style),
        thickness=float(rng.uniform(0.03, 0.25)),
        fringe=float(max(0.0, rng.normal(0.0, 0.18))),
        colour=_colour(np.clip(cloth, 0.01, 0.85)),
        neckline=float(rng.uniform(0.05, 0.75)),
        glasses=bool(rng.random() < 0.15),
    )


def _habits(rng: np.random.Generator) -> dict[str, float]:
    smile = max(0.0, float(rng.normal(0.12, 0.18)))
    frown = max(0.0, float(rng.normal(-0.1, 0.15))) if smile < 0.05 else 0.0
    tilt = float(rng.normal(0, 0.04))
    return _sides("mouthSmile", smile, tilt) | _sides("mouthFrown", frown, 0.0) | {
        "browInnerUp": max(0.0, float(rng.normal(0.0, 0.15))),
        **_sides("browDown", max(0.0, float(rng.normal(0.0, 0.15))), 0.0),
        **_sides("eyeWide", max(0.0, float(rng.normal(0.03, 0.08))), 0.0),
        **_sides("eyeSquint", max(0.0, float(rng.normal(0.05, 0.12))), 0.0),
    }  # fmt: skip


def _sides(name: str, weight: float, tilt: float) -> dict[str, float]:
    return {f"{name}Left": max(0.0, weight + tilt), f"{name}Right": max(0.0, weight - tilt)}


def _colour(values: Sequence[float] | Float) -> Colour:
    r, g, b = np.clip(values, 0.004, 0.95)
    return float(r), float(g), float(b)
