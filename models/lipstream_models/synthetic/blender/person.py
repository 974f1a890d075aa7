"""Put the person together: shape, paint, props, hair and clothes, posed by face units."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lipstream_models.synthetic.blender.garments import garments, glasses, headwear
from lipstream_models.synthetic.blender.hair import (
    Brows,
    Lashes,
    Strands,
    Surface,
    Whiskers,
    bob,
    cropped,
    tied,
)
from lipstream_models.synthetic.blender.scene import (
    BlenderScene,
    Camera,
    SubdivisionMesh,
    bump,
    cloth,
    hairs,
    painted,
    plain,
    pores,
)
from lipstream_models.synthetic.body.appearance import Appearance, Crop, HairTone, Tied
from lipstream_models.synthetic.body.head_model import NEUTRAL, Float, HeadSource
from lipstream_models.synthetic.body.mesh import Part, normals, refine
from lipstream_models.synthetic.body.skin import (
    Masks,
    beard_density,
    brow_density,
    paint,
    ramp,
    read_mask,
    relief,
    scalp_cover,
)
from lipstream_models.synthetic.body.teeth_and_eyes import Prop, eyes, teeth

TONGUE = (0.40, 0.135, 0.125)
"""At the tip, linear RGB."""
_SHAVEN = 0.10
"""How far a shaven scalp takes the tint of its hair, against one that is covered."""


@dataclass(frozen=True, slots=True)
class _Coat:
    """Hairs of one kind."""

    name: str
    grow: Callable[[Surface], Strands]
    tone: HairTone


class BlenderPerson:
    """The person on a stage."""

    def __init__(
        self, source: HeadSource, appearance: Appearance, size: int = 512, threads: int = 1
    ) -> None:
        self._source, self._appearance = source, appearance
        base = source.base
        faces = base.groups["body"]
        corners = base.vertices[base.quads[faces]]
        bust = (corners[..., 1].min(1) > 4.3) & (np.abs(corners[..., 0]).max(1) < 3.0)
        self._body = refine(base, faces[bust], 2)
        self._tongue = refine(base, base.groups["helper-tongue"], 2)
        self._places = self._body.place(base.vertices)
        self._lips = read_mask(source.mask("lips"), self._body.texture, 2.0)
        self._inside = read_mask(source.mask("inside-mouth"), self._body.texture, 3.0)
        self._relief = relief(self._places, appearance.relief) if appearance.relief else None
        self._shape = source.shape(appearance.identity)
        posed = source.pose(self._shape, self._units(NEUTRAL))
        skin = self._surface(posed)
        self._coats = [
            *_brow_coats(skin, appearance),
            *_beard_coats(skin, (self._lips, self._inside), appearance),
        ]
        self._lashes = Lashes(base)
        self._props: list[Prop] = teeth(base, appearance.jaw, appearance.enamel)
        self._props += eyes(base, appearance.iris, appearance.eye_white, appearance.complexion.seed)
        self._stage = BlenderScene(_camera(base.vertices, posed, size), appearance, threads)
        self._build(skin, posed)

    def pose(self, units: Mapping[str, float]) -> None:
        """Move the face to the given units (with what they imply: teeth, tongue, lashes, gaze)."""
        posed = self._source.pose(self._shape, self._units(units))
        skin = self._surface(posed)
        self._stage.move_mesh("skin", skin.points)
        self._stage.move_mesh("tongue", _lowered(self._tongue, posed))
        for prop in self._props:
            self._stage.move_mesh(prop.name, prop.place(self._source.base.vertices, posed))
        for coat in self._coats:
            self._stage.move_strands(coat.name, coat.grow(skin))
        self._stage.move_strands("lashes", self._lashes.strands(posed))

    def _units(self, units: Mapping[str, float]) -> dict[str, float]:
        """Return the units with the person's manner added."""
        total = dict(units)
        for name, weight in self._appearance.manner.items():
            total[name] = max(0.0, total.get(name, 0.0) + weight)
        return total

    @property
    def stage(self) -> BlenderScene:
        """The stage, to render on."""
        return self._stage

    def _surface(self, posed: Float) -> Surface:
        quads = self._body.quads
        points = self._body.place(posed)
        if self._relief is not None:
            points = points + self._relief[:, None] * normals(points, quads)
        return Surface(points, normals(points, quads), quads, self._places)

    def _build(self, skin: Surface, posed: Float) -> None:
        self._add_skin(skin)
        appearance, stage = self._appearance, self._stage
        materials = {
            "teeth": painted("enamel", (0.5, 0.16), 0.0),
            "eye": painted("eye", (0.5, 0.25), 0.0, coat=1.0),
        }
        for prop in self._props:
            kind = "eye" if prop.name.endswith("eye") else "teeth"
            points = prop.place(self._source.base.vertices, posed)
            stage.add_mesh(
                prop.name, SubdivisionMesh(points, prop.quads, prop.colours), materials[kind]
            )
        tongue = SubdivisionMesh(
            _lowered(self._tongue, posed),
            self._tongue.quads,
            _tongue_colours(self._tongue.place(self._source.base.vertices)),
        )
        stage.add_mesh("tongue", tongue, painted("tongue", (0.5, 0.3), 0.0))
        wool = cloth("cloth", appearance.clothes.colour)
        for name, garment in garments(skin, appearance.clothes).items():
            solid = SubdivisionMesh(
                garment.vertices, garment.quads, places=garment.vertices, levels=1
            )
            stage.add_mesh(name, solid, wool)
        self._add_headwear_and_glasses(skin, posed)
        for coat in [*_hair_coats(appearance), *self._coats]:
            stage.add_strands(coat.name, coat.grow(skin), hairs(coat.name, coat.tone))
        stage.add_strands(
            "lashes", self._lashes.strands(posed), plain("lash", (0.01, 0.01, 0.01), 0.6)
        )

    def _add_headwear_and_glasses(self, skin: Surface, posed: Float) -> None:
        appearance, stage = self._appearance, self._stage
        if appearance.headwear is not None:
            weave = cloth("headwear", appearance.headwear.colour)
            for name, part in headwear(skin, appearance.headwear).items():
                solid = SubdivisionMesh(part.vertices, part.quads, places=part.vertices, levels=1)
                stage.add_mesh(name, solid, weave)
        if appearance.glasses is not None:
            base = self._source.base
            groups = [base.group_vertices(f"helper-{side}-eye") for side in "lr"]
            eyes_at = np.stack([posed[group].mean(0) for group in groups])
            wire = glasses(skin, eyes_at, appearance.glasses)
            material = plain("glasses", appearance.glasses.colour, 0.25, 0.5)
            stage.add_mesh("glasses", SubdivisionMesh(wire.vertices, wire.quads), material)

    def _add_skin(self, skin: Surface) -> None:
        appearance = self._appearance
        masks = Masks(self._lips, self._inside, _hair_cover(self._places, self._lips, appearance))
        colours = paint(self._places, masks, appearance.complexion)
        leather = bump(painted("skin", (0.52, 0.24), 0.035), 90.0, 0.16, 0.012)
        if appearance.complexion.pores:
            pores(leather, appearance.complexion.pores)
        solid = SubdivisionMesh(skin.points, skin.quads, colours, self._places, 1)
        self._stage.add_mesh("skin", solid, leather)


def _hair_coats(appearance: Appearance) -> list[_Coat]:
    """Return the hair of the head that shows."""
    hair = appearance.hair
    if hair is None or appearance.headwear is not None:
        return []
    coats = []
    for k, (count, tone) in enumerate(_shares(hair.count, appearance.tone, appearance.tone.grey)):
        seed = hair.seed + k
        grow: Callable[[Surface], Strands]
        if isinstance(hair, Crop):
            grow = partial(cropped, cut=hair, count=count, seed=seed)
        elif isinstance(hair, Tied):
            grow = partial(tied, cut=replace(hair, count=count, seed=seed))
        else:
            grow = partial(bob, cut=replace(hair, count=count, seed=seed))
        coats.append(_Coat(f"hair {k}", grow, tone))
    return coats


def _brow_coats(skin: Surface, appearance: Appearance) -> list[_Coat]:
    style = appearance.brows
    dark = HairTone(appearance.tone.melanin * style.melanin, appearance.tone.redness * 0.3, 0.5)
    return [
        _Coat(f"brows {k}", Brows(skin, style, count, seed=5 + k).strands, tone)
        for k, (count, tone) in enumerate(_shares(style.count, dark, style.grey))
    ]


def _beard_coats(skin: Surface, masks: tuple[Float, Float], appearance: Appearance) -> list[_Coat]:
    """Return the hairs of the beard; ``masks`` tell the lips and the inside of the mouth."""
    lips, inside = masks
    if appearance.beard is None:
        return []
    tone = appearance.beard.tone or appearance.tone
    shares = _shares(appearance.beard.count, tone, appearance.beard.grey)
    seed = appearance.beard.seed
    coats = []
    for k, (count, tone) in enumerate(shares):
        whiskers = Whiskers(skin, lips, appearance.beard, count, seed + k)
        whiskers.drop(inside)
        coats.append(_Coat(f"beard {k}", whiskers.strands, tone))
    return coats


def _shares(count: int, tone: HairTone, grey: float) -> list[tuple[int, HairTone]]:
    """Return how many hairs have which tone: with pigment, and without."""
    pale = HairTone(0.06, 0.2, tone.roughness)
    numbers = (count - round(count * grey), round(count * grey))
    return [(n, t) for n, t in zip(numbers, (tone, pale), strict=True) if n]


def _hair_cover(places: Float, lips: Float, appearance: Appearance) -> Float:
    """Return how far hair tints the skin, (N,) 0 to 1."""
    recede = appearance.hair.recede if isinstance(appearance.hair, Crop) else 0.0
    grown = 0.0 if appearance.headwear else _SHAVEN if appearance.hair is None else 1.0
    cover = np.maximum(
        grown * scalp_cover(places, recede),
        appearance.brows.shade * brow_density(places, appearance.brows),
    )
    if appearance.beard is not None:
        beard = appearance.beard.shade * beard_density(places, lips, appearance.beard.shape)
        cover = np.maximum(cover, beard)
    return np.asarray(cover)


def _lowered(tongue: Part, posed: Float) -> Float:
    """Return the tongue's vertices, flattened and set back: as shipped it fills the mouth."""
    points = tongue.place(posed)
    floor = points[:, 1].min()
    middle = points[:, 0].mean()
    points[:, 1] = floor + (points[:, 1] - floor) * 0.70 - 0.02
    points[:, 2] -= 0.10
    points[:, 0] = middle + (points[:, 0] - middle) * 1.05
    return points


def _tongue_colours(places: Float) -> Float:
    """Return (N, 4) linear RGB and gloss: dark towards the throat, where little light gets."""
    tip = places[:, 2].max()
    lit = 0.22 + 0.78 * ramp(tip - 0.75, tip - 0.05, places[:, 2:])
    return np.column_stack([np.array(TONGUE) * lit, np.full(len(places), 0.5)])


def _camera(base: Float, posed: Float, size: int) -> Camera:
    """Frame the face: eyes at 0.42 of the height, their outer corners a quarter of it apart."""
    marks = [(0.31, 7.28, 1.39), (-0.31, 7.28, 1.39)]
    eyes_at = posed[[int(((base - m) ** 2).sum(1).argmin()) for m in marks]].mean(0)
    height = 3.62
    target = eyes_at + np.array([0.0, -0.08 * height, -0.2])
    target[0] = 0.0
    return Camera(target, height_dm=height, size=size)
