"""Mouth shapes of speech in face units, and mixes of them spread over speech."""

from collections.abc import Mapping

import numpy as np

from lipstream_models.synthetic.body.head_model import mirrored

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
