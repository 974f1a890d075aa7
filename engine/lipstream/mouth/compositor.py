"""Move the lips of a picture with its own pixels, and paint what shows between them.

The lips of a frame become coefficients of two smooth fields; their inverse tells each pixel where
it comes from. Above the seam one field counts, below it the other, and between the two moved edges
stands the inner mouth. Where nothing moves the picture stays as it was, to the pixel.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from lipstream.errors import ModelError
from lipstream.face.crop import HeadFrame, smooth_share, smooth_step
from lipstream.face.landmarks import POINTS
from lipstream.inference.manifest import embedded_folder
from lipstream.lips.shape import SPREAD, LipFrame
from lipstream.mouth.drawing import MovedLips, draw_lips
from lipstream.mouth.inner_mouth import (
    InnerMouth,
    MouthLook,
    Opening,
    light_tint,
    measure_light,
)
from lipstream.mouth.lip_edges import find_lips
from lipstream.mouth.own_teeth import OtherPicture, cut_teeth, without_lips, without_skin
from lipstream.mouth.rig import (
    COEFFICIENTS,
    LEFT,
    MEASURED,
    NODES,
    ROUND,
    ROWS,
    SHUT,
    STEP,
    TOP,
    FaceRig,
    build_rig,
    corner_ramp,
)
from lipstream.types import NOWHERE, Float32, Float64, Image, Patch, PixelBox, Still

_MOST_SPREADS, _SOFT_FROM = 14.0, 8.0
"""Motion a mesh bears, spreads of any measure, and from where it is held back softly."""
_UNSEEN_PX = 1.0 / 20.0
"""Motion too small to be seen."""
_DEAD_GAP = 0.010
"""Gap below which lips are drawn closed, head units: a mesh trembles by half of it."""
GAP_GAIN = 1.6
"""Opening drawn for a gap of the mesh, which sees less of it than there is: at 1.6 what it sees of
drawn openings has the slope 0.96 on the film of GRID s1, at 1.0 0.59. Where the mesh looks at what
is drawn of a face, a face has its own (``lipstream.mouth.prepare``)."""
GAIN_GAPS = (2.0, 6.0)
"""SPREADs of gap between which a face's own gain goes from one value to another."""
_RIM = 0.007
"""Dark rim of closed lips that goes with the opening, head units."""
_SMILE_PART = 0.30
"""Share of a smiling picture's own gap that stays while its mouth is open in speech."""
_UPPER_EDGE, _LOWER_EDGE, _TONGUE = 0.040, 0.034, 0.062
"""Biting edges and tip of the tongue below the seam of a face at rest, head units."""
_UPPER_FOLLOWS = 0.5
"""How much of the upper lip's motion the upper teeth follow."""
_LEAST_UPPER, _MOST_UPPER, _MOST_LOWER = 0.012, 0.085, 0.050
"""How much of the teeth shows, head units: at least of the upper, at most of the upper and lower.
The rows do not move against lips further than people's do."""
_ROUND_HIDES = 0.034
"""How far pursed lips, which stand off the teeth, hide them, head units."""
_TUCK_GAP = 0.022
"""Gap in which the upper teeth show over a tucked lower lip, head units."""
_LEAST_TEETH = 0.015
"""Teeth that a picture shows if they are worth keeping, square head units."""
_RELIT = (0.4, 2.5)
"""How much darker or brighter teeth of another picture may become. Of the change of colour half is
taken: skin reddens where light does not."""
_FADE_TURN = (0.24, 0.40)
"""Shift of the nose, head units, from which a turned head keeps its own mouth, and wholly."""


@dataclass(frozen=True, slots=True)
class ShapeTarget:
    """One picture of a face and how it can move; shared by sessions, never written."""

    still: Still
    frame: HeadFrame
    rig: FaceRig
    look: MouthLook
    own: Float32
    """(17,) float32: the lips as they stand in the picture, spreads from this face at rest."""
    strength: float
    """1, and less for a head that is turned further than the mesh bears."""
    gains: tuple[float, float] = (GAP_GAIN, GAP_GAIN)
    """Opening drawn for a gap of the mesh, at either of GAIN_GAPS; between them in between."""

    def carried(self, image: Image, crop: Float32) -> "ShapeTarget":
        """Return the target of another picture in which the same face moves as a whole."""
        return replace(self, still=Still(image), frame=HeadFrame.of_crop(crop))

    def with_teeth(self, shown: "ShapeTarget") -> "ShapeTarget":
        """Return the target with the teeth that another picture of the same person shows.

        Its own, where that picture shows none. The teeth are placed by the base of the nose and
        the chin, and lit by the skin.
        """
        teeth, eye_px = shown.look.teeth, self.frame.eye_px
        if teeth is None:
            return self
        here, there = self.look.light, shown.look.light
        drop = self.rig.nose_base - shown.rig.nose_base
        blur = (here.blur_px / eye_px) ** 2 - (there.blur_px / shown.frame.eye_px) ** 2
        light = np.clip((here.skin + 1) / (there.skin + 1), *_RELIT)
        scene = OtherPicture(
            drop=drop,
            jaw=shown.rig.chin + drop - self.rig.chin,
            light=np.sqrt(light * light.mean()).astype(np.float32),
            pixels=eye_px,
            blur=math.sqrt(max(blur, 0.0)),
        )
        return replace(self, look=replace(self.look, teeth=teeth.shown_in(scene)))

    @property
    def image(self) -> Image:
        """The picture itself: (H, W, 3) uint8 BGR, never written to."""
        return self.still.image


class ShapeCompositor:
    """Move lips in pictures. Holds no picture; any thread, several at once."""

    def __init__(self, motions: Float32, inner_mouth: InnerMouth) -> None:
        """Take the (17, 468, 2) table of motions and the pictures of the inner mouth."""
        self._motions, self._inner_mouth = motions, inner_mouth

    @classmethod
    def open(cls, folder: Path | None = None) -> Self:
        """Read ``motion.npy`` and the pictures of PICTURES, by default the embedded ones.

        Raises ModelError.
        """
        folder = folder or embedded_folder() / "inner_mouth"
        table = folder / "motion.npy"
        try:
            motions = np.load(table, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise ModelError(f"{table} cannot be read: {error}; install lipstream again") from error
        if motions.shape != (MEASURED, POINTS, 2) or not np.isfinite(motions).all():
            raise ModelError(f"{table}: {(MEASURED, POINTS, 2)} expected, found {motions.shape}")
        return cls(motions, InnerMouth.open(folder))

    def target(
        self,
        image: Image,
        crop: Float32,
        points: Float32,
        *,
        own: Float32 | None = None,
    ) -> ShapeTarget:
        """Prepare a picture: its (2, 3) unit crop and its (468, 2) points in pixels.

        ``own`` is (17,) how the lips stand in it against the same face at rest, in spreads; None
        takes the picture for what is shown at rest.
        """
        frame = HeadFrame.of_crop(crop)
        mesh = frame.places(points.astype(np.float64) - 0.5)
        lip_curves = find_lips(image, frame, mesh, light_tint(image, frame, mesh), own)
        curves = without_lips(image, frame, lip_curves)
        if own is not None:  # a film goes through narrow lips; stills rest or smile
            curves = without_skin(curves)
        width = float(np.linalg.norm(mesh[263] - mesh[33]))
        rig = build_rig(mesh, curves, self._motions * np.float32(width), once=own is not None)
        light = measure_light(image, frame, mesh, curves)
        layers = self._inner_mouth.layers(frame.eye_px, light)
        teeth = cut_teeth(image, frame, mesh, curves)
        if teeth is not None and teeth.tooth_area(light.skin) < _LEAST_TEETH:
            teeth = None
        start, full = _FADE_TURN
        turned = smooth_step(np.asarray((abs(rig.nose_shift) - start) / (full - start)))
        lips = np.zeros(MEASURED, np.float32) if own is None else own.astype(np.float32)
        return ShapeTarget(
            Still(image),
            frame,
            rig,
            MouthLook(layers, light, teeth),
            lips,
            1.0 - float(turned),
        )

    def motions(
        self, target: ShapeTarget, lips: LipFrame, openness: float = 1.0
    ) -> tuple[Float32, Float32]:
        """Return how the face moves above and below the seam, on the grid of ``fields``."""
        coefficients, _ = _coefficients(target, lips)
        both = target.rig.fields.motion(coefficients * np.float32(openness * target.strength))
        return both[0], both[1]

    def patch(self, target: ShapeTarget, lips: LipFrame, openness: float = 1.0) -> Patch:
        """Return the picture with its lips moved, as the part that differs.

        ``openness`` from 0 to 1 is how far lips go from those of the picture to those asked for.
        """
        amount = openness * target.strength
        if amount <= 0.0:
            return _unchanged(target)
        coefficients, asked = _coefficients(target, lips)
        coefficients *= np.float32(amount)
        gap = asked * amount + target.rig.curves.gap * (1.0 - amount)
        if not np.any(np.abs(coefficients) > 1e-6):
            return _unchanged(target)
        motions = target.rig.fields.motion(coefficients)
        box = _moved_box(target, motions)
        if box is None:
            return _unchanged(target)
        opening = _stand(target, coefficients, lips, amount, _edges(target, coefficients, gap))
        moved = MovedLips(box, motions[0], motions[1], opening)
        part = draw_lips(target.image, target.frame, target.look, moved)
        area = (slice(box.top, box.bottom), slice(box.left, box.right))
        return Patch(target.still, area, part)


def _unchanged(target: ShapeTarget) -> Patch:
    return Patch(target.still, NOWHERE, target.image[NOWHERE])


def _held(change: Float32) -> Float32:
    """Return (17,) spreads with what is beyond the mesh's reach held back softly, as a whole."""
    most = float(np.abs(change).max())
    if most <= _SOFT_FROM:
        return change
    room = _MOST_SPREADS - _SOFT_FROM
    held = _SOFT_FROM + room * math.tanh((most - _SOFT_FROM) / room)
    return np.asarray(change * np.float32(held / most), np.float32)


def _coefficients(target: ShapeTarget, lips: LipFrame) -> tuple[Float32, float]:
    """Return what leads from the picture's lips to those asked for, and the gap that is asked for.

    (COEFFICIENTS,) float32, and head units at the middle of the mouth.
    """
    rig, curves = target.rig, target.rig.curves
    values = np.zeros(COEFFICIENTS, np.float32)
    values[:MEASURED] = _held(lips.measures - target.own)
    values[ROUND] = lips.rounded
    gap_motion = rig.gap_motion
    drawn = curves.gap + float(gap_motion @ values)
    gap = float(_held(lips.measures)[0])
    gain = float(np.interp(gap, GAIN_GAPS, target.gains))
    asked = gap * float(SPREAD[0]) * rig.eye_width * gain
    if curves.open and not target.own.any():
        asked += curves.gap * _SMILE_PART * smooth_share((asked - 0.004) / 0.03)
    asked = max(asked, 0.0)
    asked *= smooth_share(asked / (2 * _DEAD_GAP))
    asked = max(asked, _TUCK_GAP * lips.tucked) * (1.0 - lips.closed)
    values[SHUT] = (drawn - asked) / -float(gap_motion[SHUT])
    return values, asked


def _moved_box(target: ShapeTarget, motions: Float32) -> PixelBox | None:
    """Return the part of the picture that moves visibly, of even edges; None where nothing does."""
    seen = _UNSEEN_PX / target.frame.eye_px
    moves = np.logical_or(*(np.abs(motions) > seen)).reshape(ROWS, -1)
    rows, columns = np.flatnonzero(moves.any(1)).tolist(), np.flatnonzero(moves.any(0)).tolist()
    if not rows:
        return None
    (a, b, x), (c, d, y) = target.frame.to_pixels.tolist()
    corners = [
        (a * u + b * v + x, c * u + d * v + y)
        for u in (LEFT + STEP * (columns[0] // 2 - 1), LEFT + STEP * (columns[-1] // 2 + 1))
        for v in (TOP + STEP * (rows[0] - 1), TOP + STEP * (rows[-1] + 1))
    ]
    across, down = zip(*corners, strict=True)
    height, width = target.image.shape[:2]
    box = PixelBox(
        max(math.floor(min(across)), 0) // 2 * 2,
        max(math.floor(min(down)), 0) // 2 * 2,
        min(-(-(math.ceil(max(across)) + 1) // 2) * 2, width),
        min(-(-(math.ceil(max(down)) + 1) // 2) * 2, height),
    )
    return box if box.width > 1 and box.height > 1 else None


def _edges(target: ShapeTarget, coefficients: Float32, asked: float) -> tuple[Float64, Float64]:
    """Return the moved edges of the lips, sealed where no gap is asked for."""
    upper, lower = target.rig.moved_curves(coefficients)
    gap = lower[:, 1] - upper[:, 1]
    if not target.rig.curves.open:
        rim = _RIM * smooth_step((gap - 0.004) / 0.03) * corner_ramp()
        upper[:, 1] -= rim
        lower[:, 1] += rim
    sealed = np.where(gap <= 0, 1.0, 1.0 - smooth_share(asked / _DEAD_GAP))[:, None]
    middle = (upper + lower) / 2
    upper, lower = upper + (middle - upper) * sealed, lower + (middle - lower) * sealed
    return upper, lower


def _stand(
    target: ShapeTarget,
    coefficients: Float32,
    lips: LipFrame,
    amount: float,
    edges: tuple[Float64, Float64],
) -> Opening:
    """Return where teeth and tongue stand between two moved edges."""
    rig, curves = target.rig, target.rig.curves
    half = NODES // 2
    seam = float((curves.upper + curves.lower)[half, 1] / 2)
    top, bottom = float(edges[0][half, 1]), float(edges[1][half, 1])
    jaw = coefficients @ rig.jaw_motion
    lifted = float((coefficients[:MEASURED] @ rig.upper_motion[:MEASURED, half])[1])
    gap, rounded, tucked = bottom - top, lips.rounded * amount, lips.tucked * amount
    upper_edge = seam + _UPPER_EDGE + _UPPER_FOLLOWS * lifted
    upper_edge = min(max(upper_edge, top + _LEAST_UPPER), top + _MOST_UPPER)
    hidden = _ROUND_HIDES * rounded
    upper_edge -= hidden
    upper_edge += (bottom + 0.004 - upper_edge) * tucked
    lower_edge = max(seam + _LOWER_EDGE + 0.98 * float(jaw[1]), bottom - _MOST_LOWER)
    lower_edge = min(lower_edge, bottom - 0.22 * max(gap - 0.05, 0.0)) + hidden
    tongue = min(seam + _TONGUE + 0.85 * float(jaw[1]), bottom - 0.016 - 0.36 * gap)
    raised = max(lips.tongue_up, lips.tongue_out) * amount
    tongue += (upper_edge - 0.018 - tongue) * raised
    return Opening(
        edges[0],
        edges[1],
        float(curves.middle[0]),
        float(np.abs(edges[0][[0, -1], 0] - curves.middle[0]).mean()),
        upper_edge,
        max(lower_edge, upper_edge - 0.006),
        float(jaw[0]),
        tongue,
        0.78 + 0.22 * raised,
        _UPPER_FOLLOWS * lifted,
        float(jaw[1]),
        tucked,
        hidden,
    )
