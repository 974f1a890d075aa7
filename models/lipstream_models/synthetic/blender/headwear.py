"""Cover the head with cloth: a headscarf wrapped round head and neck, or a turban.

Both are modelled on the base head and carried to the person by one affine map of the skull. Only
what the camera in front can see is made; the back of the head stays open.
"""

import numpy as np
from scipy.ndimage import map_coordinates

from lipstream_models.synthetic.blender.clothes import Garment
from lipstream_models.synthetic.blender.hair import Surface
from lipstream_models.synthetic.body.appearance import Headwear
from lipstream_models.synthetic.body.head_model import Float
from lipstream_models.synthetic.body.mesh import normals
from lipstream_models.synthetic.body.skin import ramp, waves
from lipstream_models.synthetic.body.teeth_and_eyes import grid_quads

_MIDDLE = np.array([0.0, 7.25, 0.35])
"""The middle of the head, about which a scarf is wrapped."""
_TOP = np.array([0.0, 7.55, 0.30])
"""The middle of the skull, about which a turban is wound."""

_ENOUGH = 6000
"""Points of the head are enough to lay cloth on."""


def headwear(skin: Surface, wear: Headwear) -> dict[str, Garment]:
    """Return the parts of what covers the head, by name."""
    skull = _skull(skin)
    matrix = np.column_stack([skin.points, np.ones(len(skin.points))])
    base = Surface(_back(matrix[:, :3], skull), skin.normals, skin.quads, skin.places)
    if wear.kind == "turban":
        parts = {"turban": _turban(base, wear.seed)}
    else:
        hood = _hood(base, wear.seed)
        parts = {"scarf": hood, "wrap": _wrap(base, hood.vertices, wear.seed)}
    return {
        name: Garment(part.vertices @ skull[:3] + skull[3], part.quads)
        for name, part in parts.items()
    }


def _skull(skin: Surface) -> Float:
    """Return the (4, 3) affine from places on the base head to this head."""
    head = skin.places[:, 1] > 6.2
    places = np.column_stack([skin.places[head], np.ones(int(head.sum()))])
    return np.asarray(np.linalg.lstsq(places, skin.points[head], rcond=None)[0])


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
    return np.asarray(np.interp(turn, fine, smooth))


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
