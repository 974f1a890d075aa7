"""Garments, scarves, turbans and glasses, as meshes fitted to a person.

Jumpers and shirts are made from the body itself. What covers the head is modelled on the base head
and carried to the person by one affine map of the skull; only what the camera in front can see is
made. Glasses are bent from wire: two rims, a bridge and temples, fitted to the eyes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from lipstream_models.synthetic.blender.hair import Surface
from lipstream_models.synthetic.body.appearance import Clothes, Glasses, Headwear
from lipstream_models.synthetic.body.head_model import Float, Index
from lipstream_models.synthetic.body.mesh import normals, select, smoothing, unit
from lipstream_models.synthetic.body.skin import ramp, waves
from lipstream_models.synthetic.body.teeth_and_eyes import grid_quads

_NECK_AXIS = (0.0, 0.35)  # x, z


@dataclass(frozen=True, slots=True)
class Garment:
    """A mesh of cloth."""

    vertices: Float
    quads: Index


def _turn(places: Float) -> Float:
    return np.arctan2(places[:, 0] - _NECK_AXIS[0], places[:, 2] - _NECK_AXIS[1])


def below_collar(places: Float, drop: float) -> Float:
    """Return the height above the collar line, (N,) dm on the base head."""
    front = (1 + np.cos(_turn(places))) / 2
    return places[:, 1] - (5.98 - drop * front**1.2)


def garments(skin: Surface, clothes: Clothes) -> dict[str, Garment]:
    """Return the parts of what a person wears, by name."""
    parts: dict[str, Garment] = {clothes.kind: body(skin, clothes.drop)}
    if clothes.kind == "jumper":
        return parts | {"collar": crew_neck(skin, clothes.drop)}
    parts["placket"] = placket(skin, clothes.drop)
    return parts | {"collar": shirt_collar(skin, clothes.drop)}


def body(skin: Surface, drop: float) -> Garment:
    """Return the body of a garment: the skin below the collar, let out and smoothed."""
    keep = below_collar(skin.places, drop)[skin.quads].max(1) < 0.05
    used, quads = select(skin.quads, keep)
    points = (skin.points + 0.05 * skin.normals)[used]
    smooth = smoothing(quads, len(points))
    border = np.bincount(quads.ravel(), minlength=len(points)) < 4
    for _ in range(40):
        eased = points + 0.6 * (np.asarray(smooth @ points) - points)
        points = np.where(border[:, None], points, eased)
    return Garment(points, quads)


def crew_neck(skin: Surface, drop: float, rows: int = 360, columns: int = 20) -> Garment:
    """Return a jumper's collar: a flat band along the collar line, which hides the cut edge."""
    ring, normal = _collar_line(skin, drop, rows)
    tangent = unit(np.roll(ring, -1, 0) - np.roll(ring, 1, 0))
    normal = unit(normal - tangent * (normal * tangent).sum(1, keepdims=True))
    upward = np.cross(tangent, normal)
    upward *= np.sign(upward[:, 1:2])
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    c, d = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    flat = np.sign(d) * np.abs(d) ** 0.7
    rib = 1 + 0.10 * np.sin(np.arange(rows) * 2 * np.pi * 90 / rows)[:, None, None]
    points = (
        ring[:, None]
        + normal[:, None] * (0.052 + 0.038 * c * rib)
        + upward[:, None] * (0.085 * flat)
    )
    quads = grid_quads(rows + 1, columns, wrap=True) % (rows * columns)
    return Garment(points.reshape(-1, 3), quads)


def shirt_collar(skin: Surface, drop: float, rows: int = 200) -> Garment:
    """Return a shirt's collar, open in front: a stand up the neck, and a leaf folded over it."""
    ring, normal = _collar_line(skin, drop, rows)
    outward = unit(normal * np.array([1.0, 0.0, 1.0]))
    turn = np.linspace(-np.pi, np.pi, rows, endpoint=False)
    front = np.abs(turn)  # 0 in front
    keep = front > 0.17
    point = np.exp(-(((front - 0.17) / 0.32) ** 2))  # how near the tip of the leaf
    # Profile from the foot of the stand over the fold to the edge of the leaf: out, up (dm).
    out = np.array([0.03, 0.035, 0.04, 0.05, 0.075, 0.10, 0.115, 0.125, 0.135])
    rise = np.array([-0.06, 0.06, 0.15, 0.20, 0.215, 0.19, 0.10, 0.0, -0.10])
    leaf = np.clip(np.arange(len(out)) - 4, 0, None) / 4
    height = rise[None] - 0.16 * point[:, None] * leaf[None]
    width = out[None] + 0.03 * point[:, None] * leaf[None]
    spread = np.sign(turn)[:, None] * 0.10 * point[:, None] * leaf[None]
    along = unit(np.roll(ring, -1, 0) - np.roll(ring, 1, 0))
    up = np.array([0.0, 1.0, 0.0])
    sheet = ring[:, None] + width[..., None] * outward[:, None] + height[..., None] * up
    sheet = (sheet + spread[..., None] * along[:, None])[keep]
    return _thick(sheet, 0.018)


def placket(skin: Surface, drop: float, columns: int = 7) -> Garment:
    """Return the strip of buttonholes down the front of a shirt."""
    cloth = body(skin, drop)
    middle = np.abs(cloth.vertices[:, 0]) < 0.16
    front = cloth.vertices[middle & (cloth.vertices[:, 2] > 0.5)]
    y = np.linspace(front[:, 1].max() - 0.01, front[:, 1].min(), 40)
    order = np.argsort(front[:, 1])
    z = np.interp(y, front[order, 1], front[order, 2])
    z = np.convolve(np.pad(z, 6, mode="edge"), np.ones(13) / 13, "valid") + 0.035
    x = np.linspace(-0.13, 0.13, columns)
    sheet = np.stack(
        [
            np.repeat(x[None], len(y), 0),
            np.repeat(y[:, None], columns, 1),
            z[:, None] - 0.4 * x[None] ** 2,
        ],
        -1,
    )
    return _thick(sheet, 0.012)


def _thick(sheet: Float, depth: float) -> Garment:
    """Return a sheet (rows, columns, 3) with a back, ``depth`` behind it, and an edge."""
    rows, columns, _ = sheet.shape
    across = np.gradient(sheet, axis=1)
    normal = unit(np.cross(np.gradient(sheet, axis=0), across))
    middle = sheet.reshape(-1, 3).mean(0) - np.array([0.0, 0.0, 0.6])
    inward = np.sign(((sheet - middle) * normal).sum(-1).mean())
    back = sheet - inward * depth * normal
    both = np.concatenate([sheet, back[:, ::-1]], 1)
    quads = grid_quads(rows, 2 * columns, wrap=True)
    return Garment(both.reshape(-1, 3), quads)


def _collar_line(skin: Surface, drop: float, count: int) -> tuple[Float, Float]:
    """Return the closed collar line on the skin and the normals there, (count, 3) each."""
    height = below_collar(skin.places, drop)
    edges = np.concatenate(
        [np.stack([skin.quads[:, k], skin.quads[:, k - 1]], 1) for k in range(4)]
    )
    a, b = edges.T
    near = np.hypot(skin.places[a, 0], skin.places[a, 2] - _NECK_AXIS[1]) < 1.4
    crossing = (height[a] <= 0) & (height[b] > 0) & near
    a, b = a[crossing], b[crossing]
    t = (height[a] / (height[a] - height[b]))[:, None]
    points = skin.points[a] * (1 - t) + skin.points[b] * t
    vectors = skin.normals[a] * (1 - t) + skin.normals[b] * t
    turn = _turn(skin.places[a] * (1 - t) + skin.places[b] * t)
    order = np.argsort(turn)
    at = np.linspace(-np.pi, np.pi, count, endpoint=False)
    line, normal = (
        np.stack([np.interp(at, turn[order], f[order, k], period=2 * np.pi) for k in range(3)], 1)
        for f in (points, vectors)
    )
    return _even(line), _even(normal)


def _even(ring: Float) -> Float:
    """Return a closed curve with its high frequencies removed."""
    spectrum = np.fft.rfft(ring, axis=0)
    spectrum[14:] = 0
    return np.fft.irfft(spectrum, len(ring), axis=0)


_MIDDLE = np.array([0.0, 7.25, 0.35])
"""The middle of the head, about which a scarf is wrapped."""
_TOP = np.array([0.0, 7.55, 0.30])
"""The middle of the skull, about which a turban is wound."""

_ENOUGH = 6000
"""Points of the head are enough to lay cloth on."""


def headwear(skin: Surface, worn: Headwear) -> dict[str, Garment]:
    """Return the parts of what covers the head, by name."""
    skull = _skull(skin)
    matrix = np.column_stack([skin.points, np.ones(len(skin.points))])
    base = Surface(_back(matrix[:, :3], skull), skin.normals, skin.quads, skin.places)
    if worn.kind == "turban":
        parts = {"turban": _turban(base, worn.seed)}
    else:
        hood = _hood(base, worn.seed)
        parts = {"scarf": hood, "wrap": _wrap(base, hood.vertices, worn.seed)}
    return {
        name: Garment(part.vertices @ skull[:3] + skull[3], part.quads)
        for name, part in parts.items()
    }


def _skull(skin: Surface) -> Float:
    """Return the (4, 3) affine from places on the base head to this head."""
    head = skin.places[:, 1] > 6.2
    places = np.column_stack([skin.places[head], np.ones(int(head.sum()))])
    return np.asarray(np.linalg.lstsq(places, skin.points[head], rcond=None)[0], np.float64)


def _back(points: Float, skull: Float) -> Float:
    """Return points (n, 3) of this head on the base head."""
    return np.asarray(np.linalg.solve(skull[:3].T, (points - skull[3]).T).T)


def _some(points: Float) -> Float:
    return points[:: max(1, len(points) // _ENOUGH)]


def _reach(directions: Float, points: Float, spread: float) -> Float:
    """Return how far (rows, columns) points reach along unit directions (rows, columns, 3).

    Seen from the origin, a direction takes the farthest point within ``spread`` radians, for cloth
    spans hollows. Worked out on a coarse grid, which is smoothed over.
    """
    rows, columns = directions.shape[:2]
    coarse = directions[:: max(1, rows // 30), :: max(1, columns // 70)].astype(np.float32)
    length = np.linalg.norm(points, axis=1).astype(np.float32)
    rays = (points / length[:, None]).astype(np.float32)
    near = np.float32(np.cos(spread))
    reach = np.stack([np.where(row @ rays.T > near, length, 0).max(1) for row in coarse])
    reach = _smoothed(np.where(reach > 0, reach, np.median(reach[reach > 0])), 1)
    at_row = np.arange(rows) / max(1, rows // 30)
    at_column = np.arange(columns) / max(1, columns // 70)
    where = np.stack(np.meshgrid(at_row, at_column, indexing="ij"))
    field = np.pad(reach, ((0, 1), (0, 0)), mode="edge")
    mode = "grid-wrap"
    fine = map_coordinates(np.pad(field, ((0, 1), (0, 0)), mode="edge"), where, order=1, mode=mode)
    return _smoothed(np.asarray(fine), 10)


def _smoothed(field: Float, times: int) -> Float:
    """Return a grid (rows, columns) averaged with its neighbours; columns go round."""
    for _ in range(times):
        rows = np.pad(field, ((1, 1), (0, 0)), mode="edge")
        field = (rows[:-2] + 2 * field + rows[2:]) / 4
        sides = np.pad(field, ((0, 0), (1, 1)), mode="wrap")
        field = (sides[:, :-2] + 2 * field + sides[:, 2:]) / 4
    return field


def _hood(skin: Surface, seed: int, rows: int = 110, columns: int = 220) -> Garment:
    """Return the cloth from the edge of the face over the head, to behind the ears."""
    around = np.linspace(-np.pi, np.pi, columns, endpoint=False)
    edge = _face_edge(around)
    t = np.linspace(0, 1, rows) ** 1.35
    away = edge[None] + t[:, None] * (2.35 - edge[None])  # from the line of sight, radians
    phi = np.repeat(around[None], rows, 0)
    directions = np.stack(
        [np.sin(away) * np.sin(phi), np.sin(away) * np.cos(phi), np.cos(away)], -1
    )
    head = _some(skin.points[skin.points[:, 1] > 6.15]) - _MIDDLE
    reach = _reach(directions, head, 0.09)
    reach = np.where(directions[..., 1] < -0.75, np.minimum(reach, 1.22), reach)
    over = ramp(-0.2, 0.5, directions[..., 1])  # hair lies under the cloth above
    bulk = (0.03 + 0.11 * over) * ramp(0.0, 0.5, t)[:, None]
    rim = 0.13 * ramp(0.0, 0.04, t) + 0.016 * np.exp(-(((t - 0.045) / 0.03) ** 2)) - 0.10
    folds = _hood_folds(phi, t[:, None] + 0 * phi, seed)
    place = _MIDDLE + directions * (reach + bulk + rim[:, None] + folds)[..., None]
    return Garment(place.reshape(-1, 3), grid_quads(rows, columns, wrap=True))


def _face_edge(around: Float) -> Float:
    """Return the angle off the line of sight at which cloth begins, by the turn about it."""
    turn = np.abs(around)
    at = [0.0, 0.35, 0.8, 1.25, 1.7, 2.1, 2.45, 2.8, np.pi]
    angle = [0.54, 0.57, 0.70, 0.80, 0.82, 0.84, 0.86, 0.86, 0.85]
    fine = np.linspace(0, np.pi, 200)
    smooth = np.interp(fine, at, angle)
    kernel = np.hanning(41)
    smooth = np.convolve(np.pad(smooth, 20, mode="reflect"), kernel / kernel.sum(), "valid")
    return np.asarray(np.interp(turn, fine, smooth), np.float64)


def _hood_folds(phi: Float, t: Float, seed: int) -> Float:
    """Return the height of folds that run along the edge and gather below the ears."""
    at = np.stack([0.5 * np.sin(phi), 0.5 * np.cos(phi), 7.0 * t], -1).reshape(-1, 3)
    fold = waves(at, 1.7, seed, 3).reshape(phi.shape)
    low = ramp(0.4, 2.2, np.abs(phi))
    return np.asarray((0.016 + 0.030 * low) * fold * ramp(0.05, 0.25, t))


def _wrap(skin: Surface, hood: Float, seed: int, rows: int = 120, columns: int = 260) -> Garment:
    """Return the cloth wound round neck and shoulders, which runs out of the picture below."""
    turn = np.linspace(-np.pi, np.pi, columns, endpoint=False)
    front = (1 + np.cos(turn)) / 2
    v = np.linspace(0, 1, rows)[:, None]
    high = 7.03 - 0.81 * front**3
    inner = _round(hood, high, turn) - 0.12  # it comes out from under the hood
    outer = 2.4 - 0.95 * front**2
    radius = inner[None] + (outer - inner)[None] * v**1.4
    fall = high[None] - (0.05 + 0.30 * (1 - front)) * ramp(0.0, 0.35, v) - 1.65 * v
    ground = _ground(skin, radius, turn[None] + 0 * radius)
    over = 0.5 * (fall - ground - 0.14)  # a soft maximum of both
    height = _smoothed(ground + 0.14 + over + np.sqrt(over**2 + 0.012), 12)
    s, c = np.sin(turn)[None], np.cos(turn)[None]
    sheet = np.stack([radius * s, height, 0.35 + radius * c], -1)
    quads = grid_quads(rows, columns, wrap=True)
    out = normals(sheet.reshape(-1, 3), quads).reshape(sheet.shape)
    upward = np.stack([s + 0 * v, 0.4 + 0 * radius, c + 0 * v], -1)
    out *= np.sign((out * upward).sum(-1))[..., None]
    folds = _wrap_folds(turn[None] + 0 * v, v + 0 * radius, seed)
    return Garment((sheet + out * folds[..., None]).reshape(-1, 3), quads)


def _round(points: Float, height: Float, turn: Float) -> Float:
    """Return how far points reach from the neck's axis, at a height for every turn about it."""
    angle = np.arctan2(points[:, 0], points[:, 2] - 0.35)
    radius = np.hypot(points[:, 0], points[:, 2] - 0.35)
    near = np.abs((angle[None] - turn[:, None] + np.pi) % (2 * np.pi) - np.pi) < 0.12
    near &= np.abs(points[None, :, 1] - height[:, None]) < 0.06
    reach = np.where(near, radius[None], 0.75).max(1)
    return np.asarray(_smoothed(reach[None], 12)[0])


def _ground(skin: Surface, radius: Float, turn: Float) -> Float:
    """Return the height of the body below each place about the neck."""
    body = skin.points[skin.places[:, 1] < 5.95]  # without chin and jowls
    grid = np.full((60, 90), 3.5)
    r = np.hypot(body[:, 0], body[:, 2] - 0.35)
    a = np.arctan2(body[:, 0], body[:, 2] - 0.35)
    row = np.clip((r / 2.6 * 60).astype(int), 0, 59)
    column = ((a / (2 * np.pi) + 0.5) * 90).astype(int) % 90
    np.maximum.at(grid, (row, column), body[:, 1])
    for k in range(1, 60):  # what no point of the body fills lies a little lower than inside of it
        grid[k] = np.where(grid[k] > 3.5, grid[k], grid[k - 1] - 0.03)
    grid = _smoothed(grid, 6)
    at = np.clip(radius / 2.6 * 60 - 0.5, 0, 58.999)
    along = (turn / (2 * np.pi) + 0.5) * 90 - 0.5
    low, left = at.astype(int), np.floor(along).astype(int)
    up, side = at - low, along - left
    left, right = left % 90, (left + 1) % 90
    near = grid[low, left] * (1 - side) + grid[low, right] * side
    far = grid[low + 1, left] * (1 - side) + grid[low + 1, right] * side
    return np.asarray(near * (1 - up) + far * up)


def _wrap_folds(turn: Float, v: Float, seed: int) -> Float:
    """Return the height of folds that run from one side of the neck to the other shoulder."""
    across = 3.1 * v + 0.62 * np.sin(turn + 0.25) + 0.30 * np.cos(turn)
    at = np.stack([0.9 * np.cos(turn), 0.9 * np.sin(turn), 1.2 * across], -1).reshape(-1, 3)
    sway = waves(at, 0.9, seed + 1, 3).reshape(turn.shape)
    ridge = (0.5 + 0.5 * np.sin(2 * np.pi * (across + 0.45 * sway))) ** 2.2
    fine = (0.5 + 0.5 * np.sin(2 * np.pi * (2.7 * across + 1.1 * sway))) ** 2
    return np.asarray((0.085 * ridge + 0.022 * fine + 0.03 * (sway + 1)) * ramp(0.0, 0.12, v))


def _turban(skin: Surface, seed: int, rows: int = 150, columns: int = 300) -> Garment:
    """Return a turban: layers that cross over the forehead and rise to the crown."""
    turn = np.linspace(-np.pi, np.pi, columns, endpoint=False)
    front = (1 + np.cos(turn)) / 2
    peak = 0.07 * np.exp(-((turn / 0.16) ** 2))
    low = np.interp(
        np.abs(turn), [0, 0.35, 0.8, 1.3, 1.8, np.pi], [0.24, 0.20, 0.04, -0.10, -0.14, -0.30]
    )
    t = np.linspace(0, 1, rows)[:, None]
    rise = (low + peak)[None] * (1 - t) + (np.pi / 2 - 0.01) * t  # elevation, radians
    rise = rise + 0 * turn[None]
    across = np.cos(rise)
    directions = np.stack([across * np.sin(turn), np.sin(rise), across * np.cos(turn)], -1)
    head = _some(skin.points[skin.points[:, 1] > 6.6]) - _TOP
    reach = _reach(directions, head, 0.12)
    bulge = 0.10 + 0.30 * ramp(0.0, 0.30, t) - 0.12 * ramp(0.45, 1.0, t)
    bulge = bulge * (0.75 + 0.25 * (1 - front[None] ** 2)) + 0.05 * ramp(0.0, 0.03, t) - 0.07
    layers = _layers(turn[None] + 0 * t, t + 0 * rise, seed)
    place = _TOP + directions * (reach + bulge + layers)[..., None]
    return Garment(place.reshape(-1, 3), grid_quads(rows, columns, wrap=True))


def _layers(turn: Float, t: Float, seed: int) -> Float:
    """Return the height of a turban's layers: those of one side lie over those of the other."""
    at = np.stack([np.cos(turn), np.sin(turn), 2.0 * t], -1).reshape(-1, 3)
    sway = 0.10 * waves(at, 1.5, seed, 3).reshape(turn.shape)
    one = _overlap(7.5 * t + 1.1 * np.sin(turn) + sway)
    other = _overlap(7.5 * t - 1.1 * np.sin(turn) + 0.5 + sway)
    left = ramp(-0.10, 0.06, turn) * ramp(np.pi, 2.6, turn)
    wrinkles = 0.012 * waves(at * np.array([1.0, 1.0, 12.0]), 1.3, seed + 3, 3).reshape(turn.shape)
    lie = one * left + other * (1 - left)
    return np.asarray((0.075 * lie + wrinkles) * ramp(0.0, 0.05, t) * ramp(1.0, 0.8, t))


def _overlap(s: Float) -> Float:
    """Return the profile of strips of cloth that lie over one another, 0 to 1."""
    part = s - np.floor(s)
    return np.asarray(ramp(0.0, 0.12, part) * (1 - 0.75 * part))


_CLEAR = 0.05
"""How far the rims stand off what lies behind them, dm."""
_NOSE = 0.085
"""Half the width of the nose between the rims, dm."""


def glasses(skin: Surface, eyes: Float, style: Glasses) -> Garment:
    """Return the frame of a pair of glasses; ``eyes`` (2, 3) are the middles of the eyeballs."""
    half = float(np.abs(eyes[:, 0] - eyes[:, 0].mean()).mean())
    middle = eyes.mean(0) + np.array([0.0, -0.035, 0.0])
    away = half + 0.015  # rims sit a little wider than the pupils
    width = min(style.width, away - _NOSE)
    turn = np.linspace(0, 2 * np.pi, 72)
    c, s = np.cos(turn), np.sin(turn)
    power = 2 / style.power
    rim_x = np.sign(c) * np.abs(c) ** power * width
    rim_y = np.sign(s) * np.abs(s) ** power * style.height
    front = _front(skin, middle, away + width, style.height)
    wires = []
    for side in (-1.0, 1.0):
        x = side * away + rim_x
        wires.append(np.column_stack([x, rim_y, front - 0.16 * x**2]))
        hinge = side * (away + width)
        wires.append(_temple(skin, middle, np.array([hinge, 0.07, front - 0.16 * hinge**2])))
    wires.append(_bridge(skin, middle, away - width, front))
    place = np.array([middle[0], middle[1], 0.0])
    tubes = [_tube(wire + place, style.radius) for wire in wires]
    counts = np.cumsum([0, *(len(vertices) for vertices, _ in tubes)])
    quads = [faces + start for (_, faces), start in zip(tubes, counts[:-1], strict=True)]
    return Garment(np.concatenate([vertices for vertices, _ in tubes]), np.concatenate(quads))


def _front(skin: Surface, middle: Float, width: float, height: float) -> float:
    """Return the depth at which flat rims touch neither brows, lids nor cheeks."""
    off = skin.points - middle
    behind = (np.abs(off[:, 0]) > _NOSE) & (np.abs(off[:, 0]) < width)
    behind &= np.abs(off[:, 1]) < height + 0.02
    return float(np.max(skin.points[behind, 2] + 0.16 * off[behind, 0] ** 2)) + _CLEAR


def _bridge(skin: Surface, middle: Float, half: float, front: float) -> Float:
    """Return the bow over the nose between the rims, ``half`` its width."""
    off = skin.points - middle
    nose = (np.abs(off[:, 0]) < 0.07) & (np.abs(off[:, 1] - 0.07) < 0.05)
    rise = max(0.02, float(skin.points[nose, 2].max()) + 0.03 - front)
    x = np.linspace(-half, half, 15)
    bow = np.sqrt(np.clip(1 - (x / half) ** 2, 0, 1))
    return np.column_stack([x, 0.05 + 0.03 * bow, front + rise * bow])


def _temple(skin: Surface, middle: Float, hinge: Float) -> Float:
    """Return the arm from a rim's hinge along the temple to above the ear."""
    t = np.linspace(0, 1, 24)
    z = hinge[2] - t * (hinge[2] - (middle[2] - 0.95))
    y = hinge[1] + 0.0 * t
    side = np.sign(hinge[0])
    points = skin.points - np.array([middle[0], middle[1], 0.0])
    level = (np.abs(points[:, 1] - hinge[1]) < 0.10) & (points[:, 0] * side > 0)
    level &= np.abs(skin.places[:, 0]) < 0.76  # arms pass between the head and its ears
    temple = points[level]
    near = np.abs(temple[None, :, 2] - z[:, None]) < 0.10
    skull = np.where(near, np.abs(temple[None, :, 0]), 0.0).max(1)
    wide = np.maximum.accumulate(np.maximum(skull + 0.03, np.abs(hinge[0])))
    wide[:3] = np.abs(hinge[0]) + np.array([0.0, 0.012, 0.018])
    wide = np.convolve(np.pad(wide, 3, mode="edge"), np.ones(7) / 7, "valid")
    return np.column_stack([side * wide, y, z])


def _tube(wire: Float, radius: float, sides: int = 10) -> tuple[Float, Index]:
    """Return a round tube along a wire (n, 3)."""
    along = unit(np.gradient(wire, axis=0))
    upright = np.abs(along[:, 1:2]) < 0.9
    across = unit(np.cross(along, np.where(upright, [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])))
    upward = np.cross(along, across)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[:, None] * across[:, None] + np.sin(turn)[:, None] * upward[:, None]
    tube = wire[:, None] + radius * ring
    return tube.reshape(-1, 3), grid_quads(len(wire), sides, wrap=True)
