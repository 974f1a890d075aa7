"""Colour a person's vertices: linear RGB, gloss and the share of open sky each vertex sees.

Everything is painted by place on the base head (dm), which all identities share.
"""

from dataclasses import dataclass

import numpy as np

from lipstream.types import Float32
from lipstream_models.synthetic.body.head_model import Float, Index
from lipstream_models.synthetic.body.mesh import normals, smoothing
from lipstream_models.synthetic.body.skin import (
    MOUTH_INSIDE,
    RED_PLACES,
    blob,
    hairline,
    ramp,
    waves,
)
from lipstream_models.synthetic.raster.anatomy import Anatomy
from lipstream_models.synthetic.raster.random_people import (
    Dental,
    FaceColours,
    FaceHair,
    RandomPerson,
)

LASH_COLOUR = (0.012, 0.010, 0.010)
TONGUE_COLOUR = (0.50, 0.19, 0.18)


@dataclass(frozen=True, slots=True)
class Coat:
    """A painted head."""

    paint: Float32
    """(N, 5): linear RGB, gloss, share of open sky."""
    stand_off: Float32
    """(N skin,) how far hair lifts the surface along its normal, dm."""


def coat(anatomy: Anatomy, person: RandomPerson, rest: Float) -> Coat:
    """Paint a person; ``rest`` is the (V, 3) base mesh of the resting face."""
    colours = np.zeros((anatomy.count, 5), np.float32)
    colours[:, 4] = 1.0
    colours[anatomy.part(0), :4] = _skin(anatomy, person)
    whole = anatomy.whole
    colours[anatomy.part(0), 4] = open_sky(whole.place(rest), whole.quads)[anatomy.nearest]
    colours[anatomy.part(1), :4] = (*TONGUE_COLOUR, 0.7)
    colours[anatomy.part(2), :4] = (*LASH_COLOUR, 0.1)
    for number, eye in enumerate(anatomy.eyes):
        part = anatomy.part(3 + number)
        colours[part, :4] = _eye(eye.polar, eye.angle, person.face)
        height = eye.prop.vertices[:, 1] - eye.prop.vertices[:, 1].mean()
        colours[part, 4] = 0.45 + 0.5 * ramp(0.09, -0.06, height)  # the lid's shade
    for number, row in enumerate(anatomy.teeth):
        colours[anatomy.part(5 + number), :4] = row.colours
        colours[anatomy.part(5 + number), :3] *= _enamel(row.colours, person.dental)
    return Coat(colours, stand_off(anatomy.places, person).astype(np.float32))


def _enamel(colours: Float, dental: Dental) -> Float:
    """Return (n, 3) what a row of teeth is multiplied with; gums stay as they are.

    The model darkens enamel by up to a third towards gaps and gums; ``dental.gap`` deepens that.
    """
    enamel = colours[:, 1] > 0.3
    shade = colours[:, 1] / colours[enamel, 1].max()
    deeper = shade ** (4.0 * dental.gap)
    return np.where(enamel[:, None], deeper[:, None] * np.array(dental.tint), 1.0)


def open_sky(points: Float, quads: Index) -> Float:
    """Return (N,) 0 to 1: less in hollows, by how far a vertex lies below its surroundings."""
    matrix, around = smoothing(quads, len(points)), points
    outward, hollow = normals(points, quads), np.zeros(len(points))
    for reach in (2, 5, 12):
        for _ in range(reach):
            around = matrix @ around
        below = ((around - points) * outward).sum(1)
        hollow = np.maximum(hollow, below / (0.012 + 0.0044 * reach))
    return np.asarray(np.clip(1.04 - 0.65 * np.clip(hollow, 0, 1.3), 0.18, 1.0))


def _skin(anatomy: Anatomy, person: RandomPerson) -> Float:
    face, places = person.face, anatomy.places
    colours = _bare(places, face)
    _cover(colours, ramp(0.15, 0.85, anatomy.lips) * 0.92, _creased(places, face))
    _cover(colours, ramp(0.2, 0.8, anatomy.inside), np.array(MOUTH_INSIDE))
    outside = (1 - ramp(0.2, 0.8, anatomy.inside)) * (1 - ramp(0.15, 0.7, anatomy.lips))
    lip = ramp(0.3, 0.9, anatomy.lips) * (1 - ramp(0.2, 0.8, anatomy.inside))
    colours[:, 3] = np.where(lip > 0.5, face.lip_gloss, colours[:, 3] * face.oil)
    rng = np.random.default_rng(face.seed)
    grey = waves(places, 2.5, face.seed + 5, 3)[:, None] * rng.uniform(0.0, 0.12)
    colours[:, :3] *= 1 + grey * outside[:, None]
    spots = ramp(0.75, 1.0, rng.random(len(places))) * face.freckles * outside
    spots *= ramp(6.4, 6.8, places[:, 1]) * ramp(7.8, 7.3, places[:, 1])
    colours[:, :3] *= 1 - 0.35 * spots[:, None] * np.array([0.7, 1.0, 1.1])
    _lay(colours, _brows(places, face, rng), face.brow)
    liner = _lid_rim(places) * face.eye_liner
    _lay(colours, np.clip(liner, 0, 1), (0.02, 0.016, 0.015))
    front = (1 + np.cos(np.arctan2(places[:, 0], places[:, 2] - 0.2))) / 2
    _lay(colours, ramp(0.0, -0.02, places[:, 1] - 5.98 + person.wear.neckline * front**1.2),
         person.wear.colour)  # fmt: skip
    _lay(colours, beard_cover(places, person.beard, rng) * outside, face.hair)
    if person.wear.style != "bald":
        cover = scalp_cover(places, person)
        strand = 1 + 0.5 * np.clip(waves(places * [1, 0.25, 1], 70.0, face.seed + 9, 3), -1, 1)
        tint = np.array(face.hair)[None] * strand[:, None]
        colours[:, :3] = colours[:, :3] * (1 - cover[:, None]) + tint * cover[:, None]
    return np.asarray(np.clip(colours, 0.002, 1.5))


def _bare(places: Float, face: FaceColours) -> Float:
    """Return (N, 4) linear RGB and gloss of skin alone."""
    colour = np.repeat(np.array(face.skin)[None], len(places), 0)
    for strength, centre, radius in RED_PLACES:
        weight = strength * face.blush * blob(places, centre, radius)
        colour *= 1 - weight[:, None] * np.array([-0.02, 0.25, 0.30])
    shadow = 0.3 * blob(places, (0.27, 7.13, 1.42), (0.15, 0.055, 0.2))
    colour *= 1 - shadow[:, None] * np.array([0.45, 0.55, 0.45])
    mottle = waves(places, 9.0, face.seed)[:, None] * np.array([0.020, 0.045, 0.05])
    grain = waves(places, 60.0, face.seed + 1, 3)[:, None] * np.array([0.02, 0.035, 0.035])
    colour *= 1 + mottle + grain
    oily = 0.35 * blob(places, (0.0, 7.0, 1.62), (0.10, 0.4, 0.2))
    oily += 0.15 * blob(places, (0.0, 7.72, 1.5), (0.4, 0.25, 0.4))
    return np.column_stack([colour, 0.25 + oily])


def _creased(places: Float, face: FaceColours) -> Float:
    """Return (N, 3) colours of lips with their fine folds."""
    folds = np.sin(places[:, 0] * 150 + 3 * waves(places, 20.0, face.seed + 10, 3))
    return np.asarray(np.array(face.lips)[None] * (1 + 0.07 * folds)[:, None])


def _cover(colours: Float, share: Float, tint: Float) -> None:
    """Cover the skin with a colour, in place."""
    colours[:, :3] = colours[:, :3] * (1 - share[:, None]) + tint * share[:, None]


def _lay(colours: Float, cover: Float, tint: tuple[float, float, float]) -> None:
    """Lay a matt colour over the skin, in place."""
    colours[:, :3] = colours[:, :3] * (1 - cover[:, None]) + np.array(tint) * cover[:, None]
    colours[:, 3] *= 1 - 0.7 * cover


def _brows(places: Float, face: FaceColours, rng: np.random.Generator) -> Float:
    """Return how much brow hair covers the skin, (N,) 0 to 1."""
    along = (np.abs(places[:, 0]) - 0.115) / 0.45
    inside = np.clip(along, 0, 1)
    line = 7.458 + face.brow_lift + 0.075 * np.sin(inside * 2.35) - 0.034 * inside
    half = 0.031 * face.brow_width * (1 - 0.62 * inside**1.6)
    width = ramp(1.35, 0.2, np.abs(places[:, 1] - line) / half)
    ends = ramp(-0.06, 0.34, along) ** 0.8 * ramp(1.06, 0.75, along)
    hairs = 0.75 + 0.5 * rng.random(len(places))
    cover = width * ends * (places[:, 2] > 0.9) * face.brow_strength * hairs
    return np.asarray(np.clip(cover, 0, 0.95))


def _lid_rim(places: Float) -> Float:
    """Return a line along the upper lid, (N,) 0 to 1."""
    x, y, z = np.abs(places[:, 0]) - 0.308, places[:, 1] - 7.284, places[:, 2] - 1.245
    out = np.sqrt(x**2 + y**2 + z**2) / 0.147
    upper = ramp(-0.03, 0.02, y)
    return np.asarray(ramp(1.22, 1.08, out) * upper * (places[:, 2] > 1.2))


def beard_cover(places: Float, beard: FaceHair, rng: np.random.Generator) -> Float:
    """Return how much of the skin beard hair covers, (N,) 0 to 1."""
    if beard == FaceHair():
        return np.zeros(len(places))
    moustache, chin, cheeks = beard_regions(places)
    grown = np.maximum.reduce(
        [moustache * beard.moustache, chin * beard.chin, cheeks * beard.cheeks]
    )
    clumps = 0.5 + 0.5 * waves(places * [1, 0.45, 1], 80.0, 23, 4)
    hairs = ramp(0.0, 0.8, 0.4 * clumps + 0.6 * rng.random(len(places)))
    shadow = np.maximum.reduce([moustache, chin, cheeks]) * beard.stubble
    speckle = 0.5 + 0.9 * rng.random(len(places))
    full = grown * (0.62 + 0.38 * hairs)
    return np.asarray(np.clip(np.maximum(full, 0.62 * shadow * speckle), 0, 0.97))


def beard_regions(places: Float) -> tuple[Float, Float, Float]:
    """Return where moustache, chin beard and cheek beard grow, (N,) 0 to 1 each."""
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    front = ramp(0.9, 1.15, z)
    ragged = 0.02 * waves(places, 25.0, 31, 3)
    top = 6.795 - 0.28 * np.clip(x - 0.06, 0, 1)
    moustache = ramp(0.03, -0.02, y - top + ragged) * ramp(6.56, 6.62, y) * ramp(0.41, 0.31, x)
    moustache *= front * (1 - 0.45 * ramp(0.035, 0.012, x))
    goatee = ramp(6.60, 6.53, y + ragged) * ramp(0.36, 0.26, x + ragged) * ramp(0.6, 1.0, z)
    goatee *= 1 - 0.8 * blob(places, (0.22, 6.50, 1.45), (0.10, 0.05, 0.3))
    edge = np.interp(x, [0.28, 0.42, 0.62, 0.74, 0.9], [6.50, 6.60, 6.78, 7.15, 7.3])
    cheeks = ramp(0.06, -0.03, y - edge + ragged) * ramp(0.42, 0.55, z) * ramp(0.2, 0.3, x)
    cheeks *= ramp(0.84, 0.78, x)  # not the ears
    under = ramp(5.92, 6.14, y + 0.12 * (z - 1.2))
    jaw = np.maximum(cheeks, ramp(6.36, 6.28, y + ragged) * ramp(0.3, 0.5, z))
    return moustache, goatee * under, jaw * under


def scalp_cover(places: Float, person: RandomPerson) -> Float:
    """Return where scalp hair grows, (N,) 0 to 1."""
    seed = person.face.seed
    rough = 0.03 * waves(places, 14.0, seed + 2, 3) + 0.02 * waves(places, 60.0, seed + 3, 3)
    fringe = person.wear.fringe * ramp(0.9, 1.3, places[:, 2])
    return np.asarray(ramp(-0.03, 0.05, hairline(places) + fringe + rough))


def stand_off(places: Float, person: RandomPerson) -> Float:
    """Return how far hair lifts the skin, (N,) dm."""
    lifted = np.zeros(len(places))
    if person.wear.style in ("short", "long"):
        waviness = 1 + 0.3 * waves(places, 6.0, person.face.seed + 4, 3)
        cover = ramp(
            -0.02, 0.22, hairline(places) + person.wear.fringe * ramp(0.9, 1.3, places[:, 2])
        )
        lifted += person.wear.thickness * cover * waviness
    if person.beard.length:
        moustache, chin, cheeks = beard_regions(places)
        beard = np.maximum.reduce(
            [
                0.4 * moustache * person.beard.moustache,
                chin * person.beard.chin,
                cheeks * person.beard.cheeks,
            ]
        )
        lifted += person.beard.length * beard * (1 + 0.4 * waves(places, 30.0, 41, 3))
    return lifted


def _eye(polar: Float, angle: Float, face: FaceColours) -> Float:
    rng = np.random.default_rng(face.seed + 1)
    fibre = 1 + 0.3 * rng.normal(size=28)[np.round(angle / (2 * np.pi) * 28).astype(int) % 28]
    inner = 1 + 0.5 * ramp(0.36, 0.2, polar)
    limbus = 1 - 0.75 * ramp(0.38, 0.46, polar)
    iris = np.array(face.iris) * (fibre * inner * limbus)[:, None]
    white = np.array([0.62, 0.58, 0.56]) * rng.uniform(0.75, 1.05)
    vein = np.array([0.56, 0.36, 0.33])
    outer = 0.6 * ramp(0.6, 1.3, polar)[:, None]
    edge = ramp(0.44, 0.52, polar)[:, None]
    colour = iris * (1 - edge) + (white * (1 - outer) + vein * outer) * edge
    pupil = ramp(0.14, 0.19, polar)[:, None]
    return np.column_stack([colour * pupil + 0.004 * (1 - pupil), np.ones(len(polar))])
