"""Put the person together: shape, paint, props, hair and clothes, posed by face units."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .clothes import collar, jumper
from .hair import Brows, Cut, Lashes, Surface, bob
from .materials import Colour, bump, cloth, hairs, painted, plain
from .mesh import Part, normals, refine
from .props import Prop, eyes, teeth
from .scene import Camera, Solid, Stage
from .skin import Complexion, paint, read_mask
from .source import Float, HeadSource, Identity
from .visemes import NEUTRAL

TONGUE = (0.60, 0.21, 0.20)


@dataclass(frozen=True, slots=True)
class Look:
    """A whole person and what they wear."""

    identity: Identity
    complexion: Complexion = field(default_factory=Complexion)
    cut: Cut = field(default_factory=Cut)
    iris: Colour = (0.075, 0.043, 0.022)
    melanin: float = 0.66
    redness: float = 0.35
    jumper: Colour = (0.05, 0.10, 0.16)
    background: Colour = (0.62, 0.68, 0.72)


ADA = Look(
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


class Person:
    """The person on a stage."""

    def __init__(self, source: HeadSource, look: Look, size: int = 512, threads: int = 2) -> None:
        self._source, self._look = source, look
        base = source.base
        faces = base.groups["body"]
        corners = base.vertices[base.quads[faces]]
        bust = (corners[..., 1].min(1) > 4.3) & (np.abs(corners[..., 0]).max(1) < 3.0)
        self._body = refine(base, faces[bust], 2)
        self._tongue = refine(base, base.groups["helper-tongue"], 2)
        self._places = self._body.place(base.vertices)
        self._shape = source.shape(look.identity)
        posed = source.pose(self._shape, NEUTRAL)
        skin = self._surface(posed)
        self._brows, self._lashes = Brows(skin), Lashes(base)
        self._props: list[Prop] = teeth(base) + eyes(base, look.iris, look.complexion.seed)
        self._stage = Stage(_camera(base.vertices, posed, size), look.background, threads)
        self._build(skin, posed)

    def pose(self, units: Mapping[str, float]) -> None:
        """Move the face to the given units (with what they imply: teeth, tongue, lashes, gaze)."""
        posed = self._source.pose(self._shape, units)
        skin = self._surface(posed)
        self._stage.move_mesh("skin", skin.points)
        self._stage.move_mesh("tongue", _lowered(self._tongue, posed))
        for prop in self._props:
            self._stage.move_mesh(prop.name, prop.place(self._source.base.vertices, posed))
        self._stage.move_strands("brows", self._brows.strands(skin))
        self._stage.move_strands("lashes", self._lashes.strands(posed))

    @property
    def stage(self) -> Stage:
        """The stage, to render on."""
        return self._stage

    def _surface(self, posed: Float) -> Surface:
        points = self._body.place(posed)
        return Surface(points, normals(points, self._body.quads), self._body.quads, self._places)

    def _build(self, skin: Surface, posed: Float) -> None:
        look, stage, body = self._look, self._stage, self._body
        lips = read_mask(self._source.mask("lips"), body.texture, 2.0)
        inside = read_mask(self._source.mask("inside-mouth"), body.texture, 3.0)
        colours = paint(self._places, lips, inside, look.complexion)
        leather = bump(painted("skin", (0.52, 0.24), 0.035), 90.0, 0.16, 0.012)
        stage.add_mesh("skin", Solid(skin.points, skin.quads, colours, self._places, 1), leather)
        materials = {
            "teeth": painted("enamel", (0.5, 0.16), 0.0),
            "eye": painted("eye", (0.5, 0.25), 0.0, coat=1.0),
        }
        for prop in self._props:
            kind = "eye" if prop.name.endswith("eye") else "teeth"
            points = prop.place(self._source.base.vertices, posed)
            stage.add_mesh(prop.name, Solid(points, prop.quads, prop.colours), materials[kind])
        tongue = Solid(_lowered(self._tongue, posed), self._tongue.quads)
        stage.add_mesh("tongue", tongue, plain("tongue", TONGUE, 0.38))
        wool = cloth("wool", look.jumper)
        for name, garment in (("jumper", jumper(skin)), ("collar", collar(skin))):
            solid = Solid(garment.vertices, garment.quads, places=garment.vertices, levels=1)
            stage.add_mesh(name, solid, wool)
        dark = hairs("brow", look.melanin * 0.95, look.redness * 0.3, 0.5)
        stage.add_strands(
            "hair", bob(skin, look.cut), hairs("hair", look.melanin, look.redness, 0.34)
        )
        stage.add_strands("brows", self._brows.strands(skin), dark)
        stage.add_strands("lashes", self._lashes.strands(posed), plain("lash", (0.01,) * 3, 0.6))


def _lowered(tongue: Part, posed: Float) -> Float:
    """Return the tongue's vertices, flattened and set back: as shipped it fills the mouth."""
    points = tongue.place(posed)
    floor = points[:, 1].min()
    middle = points[:, 0].mean()
    points[:, 1] = floor + (points[:, 1] - floor) * 0.76 - 0.01
    points[:, 2] -= 0.06
    points[:, 0] = middle + (points[:, 0] - middle) * 1.05
    return points


def _camera(base: Float, posed: Float, size: int) -> Camera:
    """Frame the face: eyes at 0.42 of the height, their outer corners a quarter of it apart."""
    marks = [(0.31, 7.28, 1.39), (-0.31, 7.28, 1.39)]
    eyes_at = posed[[int(((base - m) ** 2).sum(1).argmin()) for m in marks]].mean(0)
    height = 3.62
    target = eyes_at + np.array([0.0, -0.08 * height, -0.2])
    target[0] = 0.0
    return Camera(target, height_dm=height, size=size)
