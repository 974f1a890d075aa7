"""Mouth shapes of speech in face units, and the library of shapes a mouth network learns from."""

from .source import mirrored

NEUTRAL = {
    "mouthClose": 0.04,
    "browInnerUp": 0.16,
    **mirrored(mouthSmile=0.36, cheekSquint=0.18, eyeWide=0.10, browOuterUp=0.12),
}
"""At rest: lips closed, a faint friendliness."""

VISEMES: dict[str, dict[str, float]] = {
    "rest": {"mouthClose": 0.03},
    "MBP": {
        "mouthClose": 0.05,
        "mouthRollLower": 0.30,
        "mouthRollUpper": 0.22,
        **mirrored(mouthPress=0.35),
    },
    "AA": {"jawOpen": 0.75, **mirrored(mouthLowerDown=0.30, mouthUpperUp=0.35)},
    "EE": {
        "jawOpen": 0.10,
        **mirrored(mouthSmile=0.35, mouthStretch=0.5, mouthLowerDown=0.75, mouthUpperUp=0.6),
    },
    "OH": {"jawOpen": 0.45, "mouthFunnel": 0.70, "mouthPucker": 0.15},
    "OO": {"jawOpen": 0.12, "mouthPucker": 0.85, "mouthFunnel": 0.35},
    "FV": {
        "jawOpen": 0.06,
        "mouthRollLower": 0.85,
        "mouthShrugLower": 0.25,
        **mirrored(mouthUpperUp=0.75),
    },
    "L": {"jawOpen": 0.28, "tongueOut": 0.35, **mirrored(mouthUpperUp=0.45, mouthLowerDown=0.35)},
}
