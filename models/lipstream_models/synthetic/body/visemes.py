"""Mouth shapes of speech in face units, and the library of shapes a mouth network learns from."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lipstream.types import Float32
from lipstream_models.corpora.synthetic_speech import PAD_S, Phoneme
from lipstream_models.synthetic.body.head_model import mirrored

_LEAD_S = 0.03
"""Lips are at their place this much before the sound."""


Units = dict[str, float]

NEUTRAL: Units = {
    "mouthClose": 0.04,
    "browInnerUp": 0.16,
    **mirrored(mouthSmile=0.36, cheekSquint=0.18, eyeWide=0.10, browOuterUp=0.12),
}
"""At rest: lips closed, a faint friendliness."""

VISEMES: dict[str, Units] = {
    "rest": {"mouthClose": 0.04, **mirrored(mouthSmile=0.36)},
    "MBP": {
        "mouthClose": 0.05,
        "mouthRollLower": 0.30,
        "mouthRollUpper": 0.22,
        **mirrored(mouthPress=0.35, mouthSmile=0.2),
    },
    "AA": {"jawOpen": 0.75, **mirrored(mouthLowerDown=0.30, mouthUpperUp=0.35, mouthSmile=0.2)},
    "AH": {"jawOpen": 0.34, **mirrored(mouthLowerDown=0.22, mouthUpperUp=0.26, mouthSmile=0.25)},
    "EH": {
        "jawOpen": 0.26,
        **mirrored(mouthSmile=0.35, mouthStretch=0.25, mouthLowerDown=0.45, mouthUpperUp=0.40),
    },
    "EE": {
        "jawOpen": 0.10,
        **mirrored(mouthSmile=0.35, mouthStretch=0.5, mouthLowerDown=0.75, mouthUpperUp=0.6),
    },
    "S": {
        "jawOpen": 0.02,
        **mirrored(mouthSmile=0.25, mouthStretch=0.35, mouthLowerDown=0.65, mouthUpperUp=0.5),
    },
    "SH": {
        "jawOpen": 0.05,
        "mouthFunnel": 0.65,
        **mirrored(mouthLowerDown=0.45, mouthUpperUp=0.35, mouthSmile=0.1),
    },
    "OH": {"jawOpen": 0.45, "mouthFunnel": 0.70, "mouthPucker": 0.15, **mirrored(mouthSmile=0.1)},
    "OO": {"jawOpen": 0.12, "mouthPucker": 0.85, "mouthFunnel": 0.35, **mirrored(mouthSmile=0.1)},
    "UH": {"jawOpen": 0.18, "mouthFunnel": 0.30, **mirrored(mouthLowerDown=0.15, mouthSmile=0.2)},
    "FV": {
        "jawOpen": 0.06,
        "mouthRollLower": 0.85,
        "mouthShrugLower": 0.25,
        **mirrored(mouthUpperUp=0.75, mouthSmile=0.2),
    },
    "L": {
        "jawOpen": 0.28,
        "tongueOut": 0.35,
        **mirrored(mouthUpperUp=0.45, mouthLowerDown=0.35, mouthSmile=0.3),
    },
}
VISEME_NAMES = tuple(VISEMES)
"""Visemes in the order of weight vectors."""
_VISEME_OF: dict[str, tuple[str, float, float]] = {
    # mnemonic: viseme, weight, how firmly it is held (1: the lips must get there)
    "": ("rest", 1.0, 0.6),
    **dict.fromkeys("pbm", ("MBP", 1.0, 1.0)),
    **dict.fromkeys("fv", ("FV", 0.9, 1.0)),
    **dict.fromkeys("szTD", ("S", 0.75, 0.7)),
    **dict.fromkeys(("S", "Z", "tS", "dZ"), ("SH", 0.9, 0.8)),
    **dict.fromkeys(("t", "d", "n", "t#", "k", "g", "N"), ("S", 0.45, 0.35)),
    "l": ("L", 0.8, 0.6),
    "r": ("UH", 0.9, 0.5),
    "w": ("OO", 0.9, 0.9),
    "j": ("EE", 0.6, 0.5),
    "h": ("AH", 0.4, 0.2),
    "?": ("AH", 0.3, 0.1),
    "@": ("AH", 0.5, 0.4),
    "3": ("UH", 0.9, 0.7),
    "a": ("AA", 0.65, 0.8),
    "A": ("AA", 0.8, 0.9),
    "V": ("AH", 0.9, 0.7),
    "E": ("EH", 0.95, 0.8),
    "e": ("EH", 0.85, 0.8),
    "i": ("EE", 0.9, 0.8),
    "I": ("EE", 0.6, 0.6),
    "O": ("OH", 0.9, 0.9),
    "0": ("OH", 0.8, 0.8),
    "o": ("OH", 0.8, 0.8),
    "U": ("OO", 0.7, 0.7),
    "u": ("OO", 0.95, 0.9),
}

_GLIDES = {"aI": "aI", "eI": "eI", "OI": "OI", "aU": "aU", "oU": "oU", "@U": "oU"}
"""Diphthongs: the mouth goes from the first letter's shape to the second's."""


def blend(shapes: Mapping[str, float]) -> Units:
    """Return the units of a weighted mean of visemes, on a face at rest; weights sum to 1."""
    mouth = {unit for shape in VISEMES.values() for unit in shape}
    units = {unit: weight for unit, weight in NEUTRAL.items() if unit not in mouth}
    for name, weight in shapes.items():
        for unit, value in VISEMES[name].items():
            units[unit] = units.get(unit, 0.0) + weight * value
    return units


def blink(shut: float) -> Units:
    """Return a resting face with its lids lowered: 0 open, 0.7 closed."""
    units = NEUTRAL | mirrored(eyeBlink=shut, eyeWide=0.10 * (1 - shut))
    return units | {"browInnerUp": NEUTRAL["browInnerUp"] * (1 - 0.3 * shut)}


def mouth_shapes(count: int, seed: int = 0) -> list[Units]:
    """Return ``count`` mouth shapes spread over speech, the closed ones and the pure ones first.

    Each viseme comes at four strengths; the others are random mixes of two or three with the
    openings of conversation: jawOpen mostly below 0.45, at most 0.7.
    """
    rng = np.random.default_rng(seed)
    shapes = [blend({"rest": 1.0}), blend({"MBP": 0.6, "rest": 0.4}), blend({"MBP": 1.0})]
    for strength in (1.0, 0.7, 0.45, 0.22):
        shapes += [
            blend({name: strength, "rest": 1 - strength})
            for name in VISEMES
            if name not in {"rest", "MBP"}
        ]
    names = list(VISEMES)
    likely = np.array([0.3, 0.6, 1.5, 1.6, 1.3, 1.1, 0.9, 0.8, 1.5, 0.9, 1.0, 0.8, 1.0])
    while len(shapes) < count:
        chosen = rng.choice(len(names), rng.integers(2, 4), replace=False, p=likely / likely.sum())
        weights = rng.dirichlet(np.full(len(chosen), 0.6)) * rng.uniform(0.5, 1.0)
        mix = {names[k]: float(w) for k, w in zip(chosen, weights, strict=True)}
        mix["rest"] = mix.get("rest", 0.0) + 1 - sum(mix.values())
        shapes.append(_varied(blend(mix), rng))
    return [{unit: round(weight, 4) for unit, weight in shape.items()} for shape in shapes[:count]]


def _varied(units: Units, rng: np.random.Generator) -> Units:
    """Vary a shape as people do: each unit by a fifth, the jaw within its range."""
    varied = {unit: weight * float(rng.uniform(0.8, 1.2)) for unit, weight in units.items()}
    for unit in list(varied):
        if unit.endswith("Right"):  # both sides alike
            varied[unit] = varied[unit.removesuffix("Right") + "Left"]
    for unit in NEUTRAL:
        if not unit.startswith("mouth"):  # eyes and brows as in the plate
            varied[unit] = NEUTRAL[unit]
    if "jawOpen" in varied:
        varied["jawOpen"] = min(varied["jawOpen"], 0.7)
    return varied


def visemes_of(name: str) -> tuple[tuple[str, float, float], ...]:
    """Return the visemes of a phoneme, in order: (viseme, weight, firmness)."""
    glide = _GLIDES.get(name)
    if glide is not None:
        return _VISEME_OF[glide[0]], _VISEME_OF[glide[1]]
    found = _VISEME_OF.get(name) or _VISEME_OF.get(name[:2]) or _VISEME_OF.get(name[:1])
    return (found or ("AH", 0.4, 0.2),)


@dataclass(frozen=True, slots=True)
class _Goal:
    """A shape the mouth heads for."""

    at_s: float
    width_s: float
    viseme: str
    weight: float
    firmness: float


def viseme_track(phonemes: tuple[Phoneme, ...], frames: int, fps: int) -> Float32:
    """Return (frames, visemes) weights, each row summing to 1, for frames at ``fps``.

    Each viseme pulls with a bell round its middle; firm ones (closed lips) win over loose ones:
    a dominance model after Cohen and Massaro, "Modeling coarticulation in synthetic visual speech"
    (1993).
    """
    goals = _goals(phonemes)
    at = np.arange(frames)[:, None] / fps + _LEAD_S
    middle = np.array([goal.at_s for goal in goals])
    width = np.array([goal.width_s for goal in goals])
    firmness = np.array([goal.firmness for goal in goals])
    outside = np.maximum(0.0, np.abs(at - middle) - 0.5 * width)
    pull = (0.05 + firmness) ** 2 * np.exp(-((outside / 0.045) ** 1.5))
    pull /= pull.sum(1, keepdims=True) + 1e-9
    track = np.zeros((frames, len(VISEME_NAMES)))
    for column, goal in enumerate(goals):
        track[:, VISEME_NAMES.index(goal.viseme)] += pull[:, column] * goal.weight
    track[:, VISEME_NAMES.index("rest")] += 1.0 - track.sum(1)
    return track.astype(np.float32)


def _goals(phonemes: tuple[Phoneme, ...]) -> list[_Goal]:
    last = Phoneme("", phonemes[-1].start_s + 2 * PAD_S)
    goals = []
    for phoneme, following in pairwise([*phonemes, last]):
        shapes = visemes_of(phoneme.name)
        length = (following.start_s - phoneme.start_s) / len(shapes)
        for number, (viseme, weight, firmness) in enumerate(shapes):
            middle = phoneme.start_s + (number + 0.5) * length
            # a short vowel does not reach its full opening
            reach = weight if firmness == 1.0 else weight * min(1.0, 0.55 + length / 0.2)
            goals.append(_Goal(middle, 0.7 * length, viseme, reach, firmness))
    return goals
