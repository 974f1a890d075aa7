"""Paint what ICT-FaceKit has no picture of: skin, hair, eyes, lashes, and a shirt.

All is noise and functions of where a texel lies on the head.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ict_head import Floats, Head

TEXELS = 1024
"""Side of the skin's two charts, face and back of the head, which lie side by side."""
SKIN = (0.80, 0.585, 0.485)
LIPS = (0.655, 0.365, 0.335)
HAIR = (0.150, 0.105, 0.080)
SHIRT = (0.150, 0.185, 0.235)
"""Colours, sRGB from 0 to 1."""


def place(uv: Floats) -> Floats:
    """Return texels (..., 2) of texture places: x to the right, y down."""
    return np.stack([uv[..., 0] * TEXELS, (1.0 - uv[..., 1]) * TEXELS], -1)


@dataclass(frozen=True, slots=True)
class Chart:
    """What lies under each texel."""

    points: Floats
    """(T, 2T, 3) metres."""
    normals: Floats
    """(T, 2T, 3)."""


def chart_of(head: Head, normals: Floats) -> Chart:
    """Draw points and normals into the texture, and spread them a little over its edges."""
    drawn = np.full((TEXELS, 2 * TEXELS, 6), np.nan, np.float32)
    values = np.concatenate([head.points, normals], 1)
    skin = head.part("skin")
    texels = place(head.uv)
    for quad, quad_uv in zip(head.faces[skin], head.faces_uv[skin], strict=True):
        for corners in ((0, 1, 2), (0, 2, 3)):
            _draw_triangle(drawn, texels[quad_uv[[*corners]]], values[quad[[*corners]]])
    missing = np.isnan(drawn[..., 0])
    filled = np.nan_to_num(drawn)
    _, labels = cv2.distanceTransformWithLabels(
        missing.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(labels, np.int64)
    sources = np.zeros((nearest.max() + 1, 6), np.float32)
    sources[nearest[~missing]] = filled[~missing]
    filled[missing] = sources[nearest[missing]]
    return Chart(filled[..., :3], filled[..., 3:])


def _draw_triangle(target: Floats, corners: Floats, values: Floats) -> None:
    low = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, [2 * TEXELS, TEXELS])
    x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
    (ax, ay), (bx, by), (cx, cy) = corners
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if abs(area) < 1e-9:
        return
    second = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
    third = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
    inside = (second >= -0.01) & (third >= -0.01) & (second + third <= 1.01)
    share = np.stack([1 - second - third, second, third], -1)[inside]
    target[low[1] : high[1], low[0] : high[0]][inside] = share @ values


def openness_to_light(chart: Chart, directions: int = 96) -> Floats:
    """Return (T, 2T), 0 to 1: how much of the sky each texel sees (depth maps from all sides)."""
    points = chart.points[::2, ::2].reshape(-1, 3)
    normals = chart.normals[::2, ::2].reshape(-1, 3)
    golden = np.pi * (3 - 5**0.5)
    seen, most = np.zeros(len(points)), np.zeros(len(points))
    for k in range(directions):
        z = 1 - 2 * (k + 0.5) / directions
        towards = np.array([(1 - z * z) ** 0.5 * np.cos(k * golden), z, 0.0])
        towards[2] = (1 - z * z) ** 0.5 * np.sin(k * golden)
        side = np.cross(towards, [0.3, 0.2, 0.9])
        side /= np.linalg.norm(side)
        cell = 0.0022
        across = np.stack([points @ side, points @ np.cross(towards, side)], 1) / cell
        bins = (across - across.min(0)).astype(int)
        width = bins[:, 0].max() + 1
        bins = bins[:, 1] * width + bins[:, 0]
        far = points @ towards
        nearest = np.full(bins.max() + 1, -np.inf)
        np.maximum.at(nearest, bins, far)
        facing = np.maximum(normals @ towards, 0.0)
        most += facing
        slope = cell * 1.5 / np.maximum(facing, 0.15)
        seen += facing * (far > nearest[bins] - slope)
    light = (seen / np.maximum(most, 1e-6)).reshape(TEXELS // 2, TEXELS)
    smooth = cv2.GaussianBlur(light.astype(np.float32), (0, 0), 1.2)
    large = cv2.resize(smooth, (2 * TEXELS, TEXELS), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32)


def curve(points: Floats, each: int = 24, *, closed: bool = False) -> Floats:
    """Return a smooth curve through points (Catmull and Rom)."""
    ends = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    p = np.concatenate([ends[0], points, ends[1]])
    t = np.linspace(0, 1, each, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        pieces.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2)
            + 0.5 * (3 * b - a - 3 * c + d) * t**3
        )
    return np.concatenate(pieces).astype(np.float32)


def noise(shape: tuple[int, int], size: float, seed: int) -> Floats:
    """Return smooth noise of deviation 1 whose spots are ``size`` pixels wide."""
    random = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(random, (0, 0), size) if size else random
    return np.asarray(smooth / smooth.std(), np.float32)


def bump(chart: Chart, centre: tuple[float, float, float], size: float) -> Floats:
    """Return (T, 2T): a soft spot on both sides of the head, centimetres."""
    x, y, z = (chart.points[..., k] * 100 for k in range(3))
    far = (np.abs(x) - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return np.asarray(np.exp(-far / (2 * size**2)), np.float32)


def mask_of(polygon: Floats, soft: float) -> Floats:
    """Return (T, 2T), 0 to 1: the inside of a polygon of texels."""
    mask = np.zeros((TEXELS, 2 * TEXELS), np.float32)
    cv2.fillPoly(mask, [(polygon * 16).astype(np.int32)], (1.0,), cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), soft), np.float32)


def mark(head: Head, landmarks: list[int]) -> Floats:
    """Return the texels of some landmarks."""
    places = np.zeros((len(head.points), 2), np.float32)
    skin = head.part("skin")
    places[head.faces[skin].ravel()] = head.uv[head.faces_uv[skin].ravel()]
    return place(places[head.landmarks[landmarks]])


def paint_skin(head: Head, chart: Chart, light: Floats) -> NDArray[np.uint8]:
    """Return (T, 2T, 3) uint8 BGR; ``light`` is how much of the sky each texel sees."""
    shape = (TEXELS, 2 * TEXELS)
    colour = np.ones((*shape, 3), np.float32) * np.array(SKIN, np.float32)
    mottled = 0.5 * noise(shape, 9, 1) + 0.5 * noise(shape, 2.5, 2)
    colour *= 1 + 0.012 * mottled[..., None] * np.array([0.6, 1.2, 1.2], np.float32)
    blood = (
        0.75 * bump(chart, (4.6, 0.2, 9.0), 1.9)
        + 0.75 * bump(chart, (0, 0.4, 12.8), 1.1)
        + 0.3 * bump(chart, (1.2, -0.2, 11.5), 0.8)
        + 0.35 * bump(chart, (0, -6.8, 10.5), 1.3)
        + 0.6 * bump(chart, (8.6, 1.5, -0.5), 2.2)
    )
    colour += blood[..., None] * np.array([0.012, -0.062, -0.060], np.float32)
    tired = bump(chart, (3.0, 2.3, 9.3), 0.75)
    colour += tired[..., None] * np.array([-0.05, -0.05, -0.025], np.float32)
    beard = 0.6 * bump(chart, (1.5, -6.0, 10.5), 2.4) + 0.35 * bump(chart, (5.0, -5.0, 6.5), 2.2)
    beard += 0.4 * bump(chart, (1.0, -1.9, 11.6), 0.7)
    colour += beard[..., None] * np.array([-0.052, -0.034, -0.020], np.float32)
    _paint_lips(head, colour)
    lid = mask_of(curve(mark(head, [36, 37, 38, 39, 40, 41]), closed=True), 3.0)
    lid += mask_of(curve(mark(head, [42, 43, 44, 45, 46, 47]), closed=True), 3.0)
    colour += np.clip(lid, 0, 1)[..., None] * np.array([-0.10, -0.15, -0.13], np.float32)
    _paint_hair(hair_of(chart), colour)
    _paint_brows(head, colour)
    _paint_shirt(chart, shirt_of(chart.points), colour)
    shade = np.clip(1 - (1 - light[..., None]) * np.array([0.85, 1.05, 1.1], np.float32), 0.04, 1.0)
    return np.asarray(np.clip(colour * shade, 0, 1)[..., ::-1] * 255 + 0.5, np.uint8)


def roughness(chart: Chart, light: Floats) -> NDArray[np.uint8]:
    """Return (T / 2, T, 3) uint8 BGR: red how much sky is seen, green how rough it is."""
    matte = np.maximum(hair_of(chart), shirt_of(chart.points))
    matte = np.maximum(matte, np.clip((0.5 - light) / 0.3, 0, 1))
    oily = bump(chart, (0, 1.5, 12.2), 1.6) + 0.7 * bump(chart, (0, 7.5, 10.5), 2.6)
    rough = 0.55 - 0.07 * np.clip(oily, 0, 1)
    rough = rough + matte * (0.97 - rough)
    packed = np.stack([np.zeros_like(light), rough, np.clip(light, 0, 1)], -1)
    smaller = cv2.resize(packed, (TEXELS, TEXELS // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller * 255 + 0.5, np.uint8)


def _paint_lips(head: Head, colour: Floats) -> None:
    outer = curve(mark(head, list(range(48, 60))), closed=True)
    inner = curve(mark(head, list(range(60, 68))), closed=True)
    lips, wet = mask_of(outer, 3.2), mask_of(inner, 4.0)
    lines = cv2.GaussianBlur(noise(lips.shape, 0, 5), (0, 0), sigmaX=1.3, sigmaY=4.0)
    tone = np.array(LIPS, np.float32) * (1 + 0.028 * (lines / lines.std())[..., None])
    colour += 0.85 * lips[..., None] * (tone - colour)
    colour += 0.55 * wet[..., None] * (np.array([0.50, 0.20, 0.20], np.float32) - colour)


def above_hairline(points: Floats) -> Floats:
    """Return (...), cm: how far (..., 3) points are above the line where hair begins."""
    x, y, z = (points[..., k] * 100 for k in range(3))
    side = np.abs(x)
    line = 9.7 - 0.045 * side**2 + 0.55 * np.exp(-((side - 4.3) ** 2) / 2.0)
    line -= 6.2 * rise((side - 5.5) / 1.5)
    line -= 3.6 * rise((2.0 - z) / 2.5) + 5.6 * rise((-1.2 - z) / 2.2)
    far = (side - 8.6) ** 2 + (y - 1.7) ** 2 + (z + 0.8) ** 2
    ear = rise(3.0 * np.exp(-far / 8.0) - 0.5) * rise((side - 7.25) / 0.35)
    return np.asarray(y - line - 9 * ear, np.float32)


def hair_of(chart: Chart) -> Floats:
    """Return (T, 2T), 0 to 1: where hair grows."""
    above = above_hairline(chart.points)
    return rise((above + 0.30 * noise(above.shape, 3, 11) + 0.5) / 1.9)


def rise(share: Floats) -> Floats:
    """Return 0 below 0, 1 above 1, and a smooth step between."""
    share = np.clip(share, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _paint_hair(grown: Floats, colour: Floats) -> None:
    """Paint the skin dark under the hair, which has a mesh of its own."""
    strands = noise(grown.shape, 0.8, 13)[..., None]
    colour += (
        0.92 * grown[..., None] * (np.array(HAIR, np.float32) * (0.85 + 0.15 * strands) - colour)
    )


def shirt_of(points: Floats) -> Floats:
    """Return (...), 0 to 1: where a shirt is worn, of (..., 3) points."""
    x, y, z = (points[..., k] * 100 for k in range(3))
    worn = np.clip((-11.7 - 0.27 * z + 0.012 * x**2 - y) / 0.16, 0, 1)
    return np.asarray(worn, np.float32)


def _paint_shirt(chart: Chart, worn: Floats, colour: Floats) -> None:
    y, z = chart.points[..., 1] * 100, chart.points[..., 2] * 100
    x = chart.points[..., 0] * 100
    below = -11.7 - 0.27 * z + 0.012 * x**2 - y
    ribbed = np.where(below < 1.1, 0.86 + 0.10 * (np.abs(below - 1.1) > 0.10), 1.0)
    tone = (
        np.array(SHIRT, np.float32) * (ribbed * (1 + 0.05 * noise(worn.shape, 0.7, 31)))[..., None]
    )
    colour += worn[..., None] * (tone - colour)


def _paint_brows(head: Head, colour: Floats) -> None:
    random = np.random.default_rng(7)
    for side, landmarks in ((-1, [17, 18, 19, 20, 21]), (1, [26, 25, 24, 23, 22])):
        middle = curve(mark(head, landmarks))
        cover = np.zeros(colour.shape[:2], np.float32)
        for _ in range(620):
            along = random.beta(1.4, 1.35)
            root = middle[int(along * (len(middle) - 1))]
            half = 11.0 * (0.30 + 0.70 * min(1.0, along * 1.9)) * (1.06 - 0.22 * along)
            root = root + np.array([random.normal(0, 1.5), 9.0 + random.uniform(-half, half)])
            angle = np.deg2rad(8 + 62 * along**1.6 + random.normal(0, 9))
            length = random.uniform(13, 23) * (1 - 0.25 * along)
            tip = root + length * np.array([-side * np.cos(angle), -np.sin(angle)])
            ends = [tuple(int(v * 16) for v in end) for end in (root, tip)]
            cv2.line(
                cover, ends[0], ends[1], (float(random.uniform(0.55, 0.95)),), 1, cv2.LINE_AA, 4
            )
        cover = np.clip(cv2.GaussianBlur(cover, (0, 0), 0.7) * 0.9, 0, 0.92)
        cover = np.maximum(cover, 0.35 * cv2.GaussianBlur(cover, (0, 0), 5))
        colour += cover[..., None] * (np.array(HAIR, np.float32) * 1.5 - colour)


def pores(side: int = 256) -> NDArray[np.uint8]:
    """Return (side, side, 3) uint8 BGR: a normal map that tiles, of pores and fine lines."""
    wide = np.tile(np.random.default_rng(3).standard_normal((side, side)), (3, 3)).astype(
        np.float32
    )
    fine, coarse = (cv2.GaussianBlur(wide, (0, 0), s) for s in (1.3, 3.2))
    height = (fine / fine.std() * 0.55 + coarse / coarse.std())[side : 2 * side, side : 2 * side]
    around = np.pad(height, 1, mode="wrap")
    dx = (around[1:-1, 2:] - around[1:-1, :-2]) * 0.16
    dy = (around[2:, 1:-1] - around[:-2, 1:-1]) * 0.16
    normal = np.stack([-dx, dy, np.ones_like(dx)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.asarray((normal[..., ::-1] * 0.5 + 0.5) * 255 + 0.5, np.uint8)


def paint_eye(side: int = 256) -> NDArray[np.uint8]:
    """Return (side, side, 3) uint8 BGR: an eye seen from the front, its axis in the middle."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    far, angle = np.hypot(x, y), np.arctan2(y, x)
    around = (angle / (2 * np.pi) % 1 * 719).astype(int)
    rays = cv2.GaussianBlur(noise((1, 720), 0, 21), (0, 0), 1.6)[0]
    rays = (rays / rays.std())[around]
    colour = np.ones((side, side, 3), np.float32) * np.array([0.86, 0.83, 0.80], np.float32)
    redder = np.clip((far - 0.62) / 0.5, 0, 1)[..., None]
    colour += redder * np.array([-0.10, -0.26, -0.25], np.float32)
    iris, pupil, ring = 0.475, 0.19, 0.055
    within = np.clip((iris - far) / 0.02 + 0.5, 0, 1)[..., None]
    depth = np.clip((far - pupil) / (iris - pupil), 0, 1)[..., None]
    tone = (
        np.array([0.34, 0.20, 0.10], np.float32) * (1 - depth)
        + np.array([0.20, 0.155, 0.11], np.float32) * depth
    )
    tone = tone * (1.05 + 0.22 * rays[..., None])
    tone *= 1 - 0.75 * np.clip((far - (iris - ring)) / ring, 0, 1)[..., None]
    colour += within * (tone - colour)
    colour += np.clip((pupil - far) / 0.02 + 0.5, 0, 1)[..., None] * (0.012 - colour)
    colour *= 1 - 0.30 * np.clip((-y - 0.15) / 0.5, 0, 1)[..., None]
    return np.asarray(np.clip(colour, 0, 1)[..., ::-1] * 255 + 0.5, np.uint8)


def paint_strands(side: int = 256) -> NDArray[np.uint8]:
    """Return (side, side, 4) uint8 BGRA, which tiles: spots, whose alpha is a hair's length."""
    random = np.random.default_rng(23)
    wide = np.tile(random.standard_normal((side, side)).astype(np.float32), (3, 3))
    spots, locks = (cv2.GaussianBlur(wide, (0, 0), s) for s in (0.9, 7.0))
    spots, locks = (one[side : 2 * side, side : 2 * side] / one.std() for one in (spots, locks))
    alpha = np.clip(0.62 + 0.26 * spots + 0.12 * locks, 0, 1)
    tone = np.clip(165 + 62 * spots + 18 * locks, 50, 255)
    picture = np.repeat(tone[..., None], 4, 2)
    picture[..., 3] = alpha * 255
    return np.asarray(picture, np.uint8)


def paint_lashes(side: int = 256) -> NDArray[np.uint8]:
    """Return (side, side, 4) uint8 BGRA: hairs that rise from the lower edge, v = 0."""
    random = np.random.default_rng(17)
    cover = np.zeros((side, side), np.float32)
    for x in np.linspace(2, side - 3, 46):
        length = side * random.uniform(0.4, 0.7)
        lean = random.normal(0, 5)
        points = [(x + lean * s * s, side - 1 - length * s) for s in np.linspace(0, 1, 6)]
        for k, (a, b) in enumerate(pairwise(points)):
            ends = [tuple(int(v * 16) for v in end) for end in (a, b)]
            cv2.line(cover, ends[0], ends[1], (1.0 - 0.14 * k,), 3 if k < 2 else 1, cv2.LINE_AA, 4)
    picture = np.zeros((side, side, 4), np.uint8)
    picture[..., :3] = 14
    picture[..., 3] = np.clip(cover, 0, 1) * 235
    return picture
