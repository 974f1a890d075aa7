"""Where the lips meet in a picture: two curves, one where they are closed.

The mesh is wrong by up to a third of a lip: it sees gaps in closed dark lips and halves those of a
smile. So pixels are told apart: a lip is redder than teeth under the same light and brighter than
the dark of a mouth. Of all pairs of curves from corner to corner the pair is taken that holds most
of what is no lip between them. Where lips are closed, the seam is a smooth curve along the darkest
way from corner to corner.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import HeadFrame, nearest_pixels, smooth_step
from lipstream.lips.shape import NAMES
from lipstream.mouth.rig import LOWER_RING, NODES, UPPER_RING, LipCurves, corners, ring_curve
from lipstream.types import Float32, Float64, Image

STEP = 0.006
"""Of the search, head units."""
_ABOVE, _BELOW = 0.09, 0.13
"""How far beyond the mesh's guess an edge may be, head units."""
_UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_LIP_SHARES = (0.2, 0.35, 0.5, 0.65)
"""Of the way from a lip's outer edge to the mesh's inner one where the lip's colour is taken."""
_NEUTRAL, _REDDEST_TOOTH, _LEAST_EXCESS = 0.030, 0.085, 0.034
"""Redness of white in neutral light, of the yellowest tooth, and what a lip has over white if its
redness is to tell anything."""
_CHEEKS = (50, 205, 117, 280, 425, 346)
_LIP_OF_CHEEK = 0.88
"""A lip's level over the cheeks', at most, unless the skin is dark: then lips may be brighter."""
_PALE_CHEEK = 100.0
_DARK_SHARE = 0.50
"""Of a lip's level, below which it is the dark of the mouth."""
_STRAY = 0.05
"""How far the opening may well be from where the mesh sees it, head units."""
_OUTER_RIM = 0.025
"""Along the outer edge of the lips nothing is looked for: skin may look like teeth, head units."""
_PALE, _GREY = (1.32, 0.14), (1.06, 0.06)
"""A tooth's level over that of a lip that is hardly red, and how far off is sure; and the least of
it in a picture without colour."""
_BRIGHT, _BRIGHT_GAP = 1.08, 0.026
"""Level between the mesh's lips over a lip's, and their gap, that tell teeth without colour."""
_APART = 0.8
"""Of a place's area, what is above or below the opening, if it is to be a shine on a lip."""
_BEND, _TURN = 1.3, 0.4
"""Cost of an edge, and of the seam, that goes one step up or down from one column to the next."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A band round the lips, unrolled: columns from corner to corner, rows across the lips."""

    places: Float64
    """(rows, columns, 2) in the head frame."""
    colours: Float32
    """(rows, columns, 3) float32 BGR levels."""


@dataclass(frozen=True, slots=True)
class Aperture:
    """An opening between lips, as found."""

    upper: Float64
    """(n, 2) its upper edge, from corner to corner."""
    lower: Float64
    """(n, 2) its lower edge."""
    evidence: float
    """For teeth or dark between them, summed across the middle: head units."""
    teeth: float
    """What of it is for teeth."""
    red: float
    """How much redder than white the redder lip is."""
    bright: bool
    """Whether the picture has no colour, and teeth show by their level between the mesh's lips."""


@dataclass(frozen=True, slots=True)
class _Lip:
    """What one lip looks like, in neutral light."""

    red: float
    level: float


def unroll(
    image: Image, frame: HeadFrame, base: Float64, reach: tuple[float, float], step: float
) -> Strip:
    """Return the band from ``reach[0]`` above to ``reach[1]`` below a curve ``base`` (n, 2)."""
    offsets = np.arange(-reach[0], reach[1] + step / 2, step)
    places = base[None] + np.stack([np.zeros_like(offsets), offsets], -1)[:, None]
    pixels = frame.pixels(places)
    left, top = np.floor(pixels.min((0, 1))).astype(int) - 2
    right, bottom = np.ceil(pixels.max((0, 1))).astype(int) + 3
    height, width = image.shape[:2]
    left, top = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    part = image[top : max(int(bottom), top + 1), left : max(int(right), left + 1)]
    shrink = frame.eye_px * step
    if shrink > 1.5:
        part = np.asarray(cv2.GaussianBlur(part, (0, 0), shrink * 0.4), np.uint8)
    at = (pixels - [left, top]).astype(np.float32)
    seen = cv2.remap(
        part, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return Strip(places, seen.astype(np.float32))


def find_aperture(
    image: Image, frame: HeadFrame, mesh: Float64, rings: tuple[Float64, Float64], tint: Float64
) -> Aperture:
    """Return the opening that the picture shows.

    ``rings`` are the mesh's (n, 2), of one spacing; ``tint`` (3,) is the colour of the light.
    """
    upper = rings[0]
    x = np.arange(upper[0, 0], upper[-1, 0], STEP)
    ring_up, ring_low = (np.interp(x, one[:, 0], one[:, 1]) for one in rings)
    base = np.stack([x, (ring_up + ring_low) / 2], -1)
    half_gap = (ring_low - ring_up).max() / 2
    strip = unroll(image, frame, base, (_ABOVE + half_gap, _BELOW + half_gap), STEP)
    lips, shown = _lips_and_between(image, frame, mesh, tint)
    evidence, dark, red = _evidence(strip, _beyond_lips(strip.places, mesh), lips, shown, tint)
    teeth = np.where(dark, 0.0, evidence)
    down = strip.places[..., 1]
    big = float(np.clip((2 * half_gap - 0.10) / 0.12, 0.0, 1.0))
    inside = (down > ring_up) & (down < ring_low)
    evidence += np.where(inside, 0.05 + 0.22 * big, -0.05 - 0.15 * big)
    first, last = _best_pair(evidence, (_ABOVE + half_gap) / STEP)
    columns = np.arange(len(x))
    edges = [np.stack([x, down[rows, columns]], -1) for rows in (first, last)]
    middle = range(len(x) // 4, len(x) - len(x) // 4)
    all_of_it, of_teeth = (
        float(np.mean([part[first[k] : last[k], k].sum() for k in middle]) * STEP)
        for part in (evidence, teeth)
    )
    bright = shown > 0.0 and 2 * half_gap > _BRIGHT_GAP
    return Aperture(edges[0], edges[1], all_of_it, of_teeth, red, bright)


def _redness(colours: Float64) -> Float64:
    """Return how red (..., 3) BGR colours are, without their level."""
    return np.asarray((colours[..., 2] - colours[..., 1]) / (colours.sum(-1) + 20.0))


def _lips_and_between(
    image: Image, frame: HeadFrame, mesh: Float64, tint: Float64
) -> tuple[list[_Lip], float]:
    """Return both lips, and how bright it is between them where that tells teeth; else 0."""
    outers = (_UPPER_OUTER, _LOWER_OUTER)
    rows = [_lip_rows(image, frame, mesh, tint, outer) for outer in outers]
    lips = [max(one, key=lambda row: row.red) for one in rows]  # some of the mesh's lip is skin
    if max(lip.red for lip in lips) - _NEUTRAL > _LEAST_EXCESS:
        return lips, 0.0
    lips = [sorted(one, key=lambda row: row.level)[1] for one in rows]
    upper, lower = (mesh[list(ring)][3:-3] for ring in (UPPER_RING, LOWER_RING))
    places = np.concatenate(
        [upper + (lower - upper) * share for share in (0.3, 0.4, 0.5, 0.6, 0.7)]
    )
    levels = (nearest_pixels(image, frame.pixels(places)) / tint).mean(-1)
    shown = float(np.percentile(levels, 80))
    return lips, shown if shown > _BRIGHT * max(lip.level for lip in lips) else 0.0


def _evidence(
    strip: Strip, beyond: NDArray[np.bool_], lips: list[_Lip], shown: float, tint: Float64
) -> tuple[Float64, NDArray[np.bool_], float]:
    """Return (rows, columns) float64, above 0 where it looks like teeth or dark, and the lips' red.

    Between the two, where it is the dark. Teeth are unlike either lip: less red, or where a lip is
    hardly red, much brighter, or nearly as bright as what is ``shown`` in a picture without colour.
    """
    colours = (strip.colours / tint.astype(np.float32)).astype(np.float64)
    red, level = _redness(colours), colours.mean(-1)
    evidence = np.clip((_REDDEST_TOOTH - red) / 0.02, -1, 1)
    most = max(lip.red for lip in lips) - _NEUTRAL
    for lip in lips:
        over, soft = _PALE
        if shown:
            over, soft = max(_GREY[0], min(over, (1 + shown / lip.level) / 2)), _GREY[1]
        brighter = np.clip((level / lip.level - over) / soft, -1, 1)
        excess = max(lip.red - _NEUTRAL, 0.5 * most)  # less is skin: the mesh was off
        border, width = _NEUTRAL + 0.48 * excess, max(0.22 * excess, 0.008)
        paler = np.clip((border - red) / width, -1, 1) if excess > _LEAST_EXCESS else -1.0
        paler = np.where(level > 0.55 * lip.level, paler, np.minimum(paler, -0.1))
        evidence = np.minimum(evidence, np.maximum(brighter, paler))
    dark = min(lip.level for lip in lips) * _DARK_SHARE
    hollow = np.clip((dark - level) / (0.25 * dark + 2), -1, 1)
    seen = np.where(beyond, -1.0, np.maximum(evidence, hollow))
    return _without_shine(seen), hollow > evidence, most


def _without_shine(evidence: Float64) -> Float64:
    """Return evidence without places that a band of lip parts from the opening: lips that shine.

    A lower row of teeth below the tongue is joined to the opening by the dark beside the tongue.
    """
    count, places, boxes, _ = cv2.connectedComponentsWithStats((evidence > 0).astype(np.uint8))
    if count < 3:
        return evidence
    area = boxes[1:, cv2.CC_STAT_AREA]
    main = 1 + int(area.argmax())
    columns = (places == main).any(0)
    first = np.where(columns, (places == main).argmax(0), 0)
    last = np.where(columns, len(places) - (places == main)[::-1].argmax(0), 0)
    kept = evidence.copy()
    for other in range(1, count):
        rows, across = np.nonzero(places == other)
        above, below = rows < first[across], rows >= last[across]
        if other != main and (columns[across] & (above | below)).mean() > _APART:
            kept[rows, across] = -1.0
    return kept


def _lip_rows(
    image: Image, frame: HeadFrame, mesh: Float64, tint: Float64, outer: tuple[int, ...]
) -> list[_Lip]:
    """Return how a lip looks along _LIP_SHARES."""
    edge, inner = mesh[list(outer[3:8])], 13 if outer is _UPPER_OUTER else 14
    way = mesh[inner] - mesh[outer[5]]
    cheek = float(np.median(nearest_pixels(image, frame.pixels(mesh[list(_CHEEKS)])).mean(-1)))
    most = _LIP_OF_CHEEK * cheek if cheek > _PALE_CHEEK else np.inf
    rows = []
    for share in _LIP_SHARES:
        colours = nearest_pixels(image, frame.pixels(edge + way * share)) / tint
        level = min(float(np.median(colours.mean(-1))), most)
        rows.append(_Lip(float(np.median(_redness(colours))), level))
    return rows


def _beyond_lips(places: Float64, mesh: Float64) -> NDArray[np.bool_]:
    """Return where a place is so near to the outer edge of a lip that it is lip or skin."""
    x, y = places[..., 0], places[..., 1]
    upper, lower = mesh[list(_UPPER_OUTER)], mesh[list(_LOWER_OUTER)]
    top = np.interp(x, upper[:, 0], upper[:, 1]) + _OUTER_RIM
    bottom = np.interp(x, lower[:, 0], lower[:, 1]) - 1.6 * _OUTER_RIM
    return np.asarray((y < top) | (y > bottom))


def _best_pair(evidence: Float64, guess: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and one past the last row by column with most evidence between them.

    Dynamic programming over pairs of rows; each edge moves one row a column at most. ``guess`` is
    the row midway between the mesh's edges.
    """
    rows, columns = evidence.shape
    sums = np.concatenate([np.zeros((1, columns)), np.cumsum(evidence, 0)])
    count = rows + 1
    first, last = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
    off = ((first + last) / 2 - guess) * STEP / _STRAY
    allowed = np.where(last >= first, -2.5 * off**2, -np.inf)
    best = _gain(sums, 0) + allowed
    choices = np.zeros((columns, 2, count, count), np.int8)
    for column in range(1, columns):
        best = _best_step(best, choices[column, 0], _BEND)
        best = _best_step(best.T, choices[column, 1].T, _BEND).T
        best = best + _gain(sums, column) + allowed
    return _walk_back(best, choices)


def _best_step(best: Float64, choice: NDArray[np.int8], bend: float) -> Float64:
    """Return the best of each row and its two neighbours, and write which it was: -1, 0 or 1.

    A neighbour is worth ``bend`` less.
    """
    top = best.copy()
    for step, here, there in ((-1, slice(1, None), slice(-1)), (1, slice(-1), slice(1, None))):
        before = best[there] - bend
        better = before > top[here]
        np.copyto(top[here], before, where=better)
        choice[here][better] = step
    return top


def _gain(sums: Float64, column: int) -> Float64:
    return np.asarray(sums[None, :, column] - sums[:, column, None])


def _walk_back(
    best: Float64, choices: NDArray[np.int8]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    columns, count = len(choices), len(best)
    at, to = np.unravel_index(int(np.argmax(best)), best.shape)
    first, last = np.zeros(columns, np.intp), np.zeros(columns, np.intp)
    for column in range(columns - 1, -1, -1):
        first[column], last[column] = at, to
        to = to + choices[column, 1, at, to]
        at = at + choices[column, 0, at, to]
    return np.minimum(first, count - 2), np.minimum(last, count - 2)


OPEN_GAP = 0.017
"""Widest gap in the picture, head units, from which its lips are taken to be open."""
_MESH_GAP = 0.13
"""Gap of the mesh that needs no evidence: it never saw one as wide in closed lips."""
_SURE = 0.004
"""Evidence for teeth or dark, summed across the gap, that it takes besides."""
_RED, _CERTAIN_RED, _CERTAIN = 0.06, 0.04, 0.08
"""Evidence that needs no dark line beside it, where lips are redder than teeth and where not."""
_MESH_PARTED = 0.045
"""Gap of the mesh from which lips may be open though no teeth show."""
_TEETH_OF_GAP, _THIN, _LEAST_TEETH = 0.25, 0.045, 0.03
"""Evidence for teeth over the gap, at least, where the mesh sees less; and the least of it between
lips further apart than thin, head units."""
_BESIDE = 0.016
"""How far the darkest way may be from an opening that it belongs to, head units."""
_RIM = 0.018
"""How far the edges of open lips are drawn into the lips, head units."""
_RIM_PX = 0.8
"""The same in pixels: where a picture is small, an edge is as wide as its pixels are."""
_RIM_GAP = 0.02
"""Gap from which the rim is whole, head units: where lips touch there is none."""
_PARTED, _PURSED = 1.2, -2.0
"""Spreads of gap from which lips of a film are parted, and of width below which they are pursed."""
_WIDTH = NAMES.index("outer_width")
_PINCHED_TO, _PINCHED_OVER = 0.2, 0.18
"""Shares of the width from a corner up to which pursed lips touch, and until they are open."""
_STIFFNESS = 12.0
"""Of the curves of open lips."""
_STEP = 0.004
"""Of the search, head units."""
_REACH = 0.10
"""How far above and below the mesh's guess the seam is looked for."""
_WALK_WIDTH = 0.014
"""How far the darkest way strays from the smooth curve, head units."""


def find_lips(
    image: Image, frame: HeadFrame, mesh: Float64, tint: Float64, own: Float32 | None = None
) -> LipCurves:
    """Return the curves of a picture's lips.

    ``mesh`` is (468, 2) float64 in the head frame, ``tint`` (3,) the colour of the light, ``own``
    (17,) how the lips stand against the same face at rest, where that is known. Lips known to be
    parted need no evidence for it beside the mesh's.
    """
    rings = ring_curve(mesh, UPPER_RING), ring_curve(mesh, LOWER_RING)
    aperture = find_aperture(image, frame, mesh, rings, tint)
    seam = cache(partial(find_seam, image, frame, mesh))  # a third of the work: only if needed
    parted = own is not None and float(own[0]) > _PARTED
    pursed = own is not None and float(own[_WIDTH]) < _PURSED
    rim = _RIM + _RIM_PX / frame.eye_px
    gap = float((rings[1] - rings[0])[:, 1].max())
    if pursed:
        aperture = _pinched(aperture)
    middle = len(aperture.upper) // 2
    shut = pursed and float((aperture.lower - aperture.upper)[middle, 1]) < OPEN_GAP
    likely = parted or gap >= _MESH_PARTED or aperture.bright or _shows_teeth(aperture)
    if likely and _is_open(aperture, seam) and not shut:
        return LipCurves(*_joined(aperture.upper, aperture.lower, mesh, rim), open=True)
    if gap >= (OPEN_GAP if parted and not pursed else _MESH_GAP):  # a tongue fills it
        return LipCurves(*_joined(*rings, mesh, rim), open=True)
    return LipCurves(seam(), seam(), open=False)


def _shows_teeth(aperture: Aperture) -> bool:
    """Return whether teeth are between the edges, and not a lip in shadow, or a line as a seam."""
    gap = float((aperture.lower - aperture.upper)[:, 1].max())
    least = _LEAST_TEETH if gap > _THIN else 0.0
    return aperture.teeth > max(_TEETH_OF_GAP * gap, least)


def _is_open(aperture: Aperture, find_seam: Callable[[], Float64]) -> bool:
    """Return whether what was found is an opening and no shine on closed lips.

    Weak evidence has to lie along the darkest way from corner to corner.
    """
    gap = float((aperture.lower - aperture.upper)[:, 1].max())
    if gap < OPEN_GAP or aperture.evidence < _SURE:
        return False
    if aperture.bright and aperture.teeth > _TEETH_OF_GAP * gap:
        return True
    least = _CERTAIN if aperture.red < _RED else _CERTAIN_RED
    if aperture.evidence >= least:
        return True
    x = aperture.upper[len(aperture.upper) // 4 : -len(aperture.upper) // 4, 0]
    edges = (aperture.upper, aperture.lower, find_seam())
    top, bottom, dark = (np.interp(x, one[:, 0], one[:, 1]) for one in edges)
    along = (dark > top - _BESIDE) & (dark < bottom + _BESIDE)
    return bool(along.mean() > 0.5)


def _pinched(aperture: Aperture) -> Aperture:
    """Return an opening whose edges are brought together towards the corners.

    Lips that are pursed are open in the middle alone; beside it, skin may look like teeth.
    """
    upper, lower = aperture.upper.copy(), aperture.lower.copy()
    across = (upper[:, 0] - upper[0, 0]) / (upper[-1, 0] - upper[0, 0])
    inside = smooth_step((np.minimum(across, 1.0 - across) - _PINCHED_TO) / _PINCHED_OVER)
    middle = (upper[:, 1] + lower[:, 1]) / 2
    straight = np.interp(upper[:, 0], upper[[0, -1], 0], middle[[0, -1]])
    line = straight + (middle - straight) * inside
    half = (lower[:, 1] - upper[:, 1]) / 2 * inside
    upper[:, 1], lower[:, 1] = line - half, line + half
    return replace(aperture, upper=upper, lower=lower)


def _joined(upper: Float64, lower: Float64, mesh: Float64, rim: float) -> tuple[Float64, Float64]:
    """Return two found edges as smooth curves of NODES that meet at the corners.

    They are drawn into the lips a little: a rim of teeth that stays on a lip is seen when it shuts.
    """
    left, right = corners(mesh)
    x = np.linspace(left[0], right[0], NODES)
    top, bottom = (_smooth(np.interp(x, one[:, 0], one[:, 1])) for one in (upper, lower))
    for end, corner in ((0, left), (-1, right)):
        top[end] = bottom[end] = (top[end] + bottom[end]) / 4 + corner[1] / 2
    inside = smooth_step(np.minimum(np.arange(NODES), np.arange(NODES)[::-1]) / 5.0)
    rims = rim * inside * smooth_step((bottom - top) / _RIM_GAP)
    top, bottom = top - rims, bottom + rims
    return np.stack([x, top], -1), np.stack([x, np.maximum(bottom, top)], -1)


def _smooth(heights: Float64) -> Float64:
    """Return (n,) heights of a curve smoothed (Whittaker, 1923), outliers counting less."""
    count = len(heights)
    second = np.diff(np.eye(count), 2, axis=0)
    stiff = _STIFFNESS * second.T @ second
    weights, smooth = np.ones(count), heights.astype(np.float64)
    for _ in range(3):
        smooth = np.asarray(
            np.linalg.solve(np.diag(weights) + stiff, weights * heights), np.float64
        )
        off = np.abs(heights - smooth)
        weights = 1.0 / (1.0 + (off / max(float(np.median(off)) * 3, 0.004)) ** 2)
    return smooth


def find_seam(image: Image, frame: HeadFrame, mesh: Float64) -> Float64:
    """Return (NODES, 2): the seam of closed lips."""
    left, right = corners(mesh)
    columns = np.arange(left[0], right[0], _STEP)
    across = (columns - left[0]) / (right[0] - left[0])
    rings = (mesh[list(UPPER_RING)] + mesh[list(LOWER_RING)]) / 2
    shapes = np.stack([np.ones_like(across), across - 0.5, (across - 0.5) ** 2], 1)
    guess = np.interp(columns, rings[:, 0], rings[:, 1])
    base = shapes @ np.linalg.lstsq(shapes, guess, rcond=None)[0]
    offsets = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    places = np.stack(np.broadcast_arrays(columns[None], base[None] + offsets[:, None]), -1)
    dark = _darkness(image, frame.pixels(places).astype(np.float32))
    smooth = _best_shape(dark, offsets, shapes)
    cost = dark + ((offsets[:, None] - smooth[None]) / _WALK_WIDTH) ** 2
    walk = np.convolve(np.pad(offsets[_cheapest_way(cost)], 4, mode="edge"), np.ones(9) / 9)[8:-8]
    x = np.linspace(columns[0], columns[-1], NODES)
    return np.stack([x, np.interp(x, columns, base + walk)], -1)


def _darkness(image: Image, places: Float32) -> Float64:
    """Return how bright the picture is against its surroundings at (rows, columns, 2) pixels."""
    left, top = np.floor(places.min((0, 1))).astype(int) - 2
    right, bottom = np.ceil(places.max((0, 1))).astype(int) + 3
    height, width = image.shape[:2]
    left, top = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    part = image[top : max(int(bottom), top + 1), left : max(int(right), left + 1)]
    grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY).astype(np.float32)
    at = places - np.array([left, top], np.float32)
    seen = cv2.remap(
        grey, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    seen = cv2.GaussianBlur(seen, (0, 0), 1.2)
    local = seen - cv2.GaussianBlur(seen, (0, 0), 9)
    return np.asarray(local / (local.std() + 1e-6), np.float64)


def _best_shape(dark: Float64, offsets: Float64, shapes: Float64) -> Float64:
    """Return the parabola, as offsets by column, along which it is darkest; small ones first."""
    rise, tilt, bow = np.meshgrid(
        np.arange(-0.05, 0.0501, 0.004),
        np.arange(-0.04, 0.0401, 0.01),
        np.arange(-0.16, 0.1601, 0.02),
        indexing="ij",
    )
    tried = np.stack([(rise - bow * 0.08).ravel(), tilt.ravel(), bow.ravel()], -1)
    curves = tried @ shapes.T
    rows = (curves - offsets[0]) / _STEP
    rows = np.clip(np.rint(rows, out=rows), 0, len(offsets) - 1, out=rows).astype(np.intp)
    rows *= dark.shape[1]
    rows += np.arange(dark.shape[1])
    mean = np.take(dark, rows).mean(1)
    odd = (rise / 0.05) ** 2 * 0.25 + (tilt / 0.05) ** 2 * 0.2 + (bow / 0.16) ** 2 * 0.2
    return np.asarray(curves[int(np.argmin(mean + odd.ravel()))])


def _cheapest_way(cost: Float64) -> NDArray[np.intp]:
    """Return the row by column of the cheapest way through, one step up or down at most."""
    columns = cost.shape[1]
    best, steps = -cost[:, 0], np.zeros(cost.shape, np.int8)
    for column in range(1, columns):
        best = _best_step(best, steps[:, column], _TURN) - cost[:, column]
    way = np.zeros(columns, np.intp)
    way[-1] = best.argmax()
    for column in range(columns - 1, 0, -1):
        way[column - 1] = way[column] + steps[way[column], column]
    return np.clip(way, 0, len(cost) - 1)
