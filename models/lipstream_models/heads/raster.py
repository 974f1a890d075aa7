"""Draw triangles with a depth buffer and light every pixel: compiled loops over plain arrays.

Screen x goes right, y down, depth away from the camera; a triangle that winds clockwise on screen
faces away and is left out.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from lipstream.types import Float32

Index32 = NDArray[np.int32]

FAR = np.float32(1e9)


@dataclass(frozen=True, slots=True)
class Buffers:
    """What is seen at each pixel; reused from frame to frame."""

    depth: Float32
    """(S, S) distance from the camera; FAR where there is nothing."""
    triangle: Index32
    """(S, S) the triangle; -1 where there is nothing."""
    first: Float32
    second: Float32
    """(S, S) barycentric weights of the triangle's second and third corner."""

    @classmethod
    def of(cls, side: int) -> "Buffers":
        """Return fresh buffers."""
        shape = (side, side)
        return cls(
            np.empty(shape, np.float32),
            np.empty(shape, np.int32),
            np.empty(shape, np.float32),
            np.empty(shape, np.float32),
        )


@numba.njit(cache=True, fastmath=True)
def _fill(screen, triangles, two_sided, depth, triangle, first, second):  # type: ignore[no-untyped-def]
    side = depth.shape[0]
    depth[:] = FAR
    triangle[:] = -1
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = (
            screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1], screen[k, 0], screen[k, 1],
        )  # fmt: skip
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area > -1e-9 and not (two_sided[i] and area > 1e-9):
            continue
        left = max(int(np.ceil(min(x0, x1, x2) - 0.5)), 0)
        right = min(int(np.floor(max(x0, x1, x2) - 0.5)), side - 1)
        top = max(int(np.ceil(min(y0, y1, y2) - 0.5)), 0)
        bottom = min(int(np.floor(max(y0, y1, y2) - 0.5)), side - 1)
        scale = 1.0 / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                dx, dy = x + 0.5 - x0, y + 0.5 - y0
                a = (dx * (y2 - y0) - (x2 - x0) * dy) * scale
                b = ((x1 - x0) * dy - dx * (y1 - y0)) * scale
                if a < 0 or b < 0 or a + b > 1:
                    continue
                z = screen[i, 2] + a * (screen[j, 2] - screen[i, 2])
                z += b * (screen[k, 2] - screen[i, 2])
                if z < depth[y, x]:
                    depth[y, x], triangle[y, x], first[y, x], second[y, x] = z, t, a, b


def draw(
    screen: Float32, triangles: Index32, two_sided: NDArray[np.bool_], buffers: Buffers
) -> None:
    """Fill the buffers with what (N, 3) screen points and (T, 3) triangles show.

    Triangles whose first vertex is ``two_sided`` show both sides.
    """
    _fill(
        screen, triangles, two_sided, buffers.depth, buffers.triangle, buffers.first, buffers.second
    )


@numba.njit(cache=True, fastmath=True)
def vertex_normals(points, triangles):  # type: ignore[no-untyped-def]
    """Return (N, 3) float32 unit normals of (N, 3) float32 points, weighted by area."""
    total = np.zeros_like(points)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = (
            points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2],
        )  # fmt: skip
        bx, by, bz = (
            points[k, 0] - points[i, 0], points[k, 1] - points[i, 1], points[k, 2] - points[i, 2],
        )  # fmt: skip
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for corner in (i, j, k):
            total[corner, 0] += nx
            total[corner, 1] += ny
            total[corner, 2] += nz
    for n in range(len(total)):
        length = np.sqrt(total[n, 0] ** 2 + total[n, 1] ** 2 + total[n, 2] ** 2) + 1e-12
        total[n] /= length
    return total


@numba.njit(cache=True, fastmath=True)
def _lit(point, bias, dark, shadow_map, size):  # type: ignore[no-untyped-def]
    """Share of the key light that reaches a point: softened look-ups in its depth map."""
    x, y = int(np.floor(point[0] - 0.5)), int(np.floor(point[1] - 0.5))
    fx, fy = point[0] - 0.5 - x, point[1] - 0.5 - y
    seen = 0.0
    for dy in range(2):
        for dx in range(2):
            xx, yy = min(max(x + dx, 0), size - 1), min(max(y + dy, 0), size - 1)
            weight = (fx if dx else 1.0 - fx) * (fy if dy else 1.0 - fy)
            seen += weight * min(1.0, max(0.0, (shadow_map[yy, xx] - point[2] + bias) / bias))
    return 1.0 - dark * (1.0 - seen)


@numba.njit(cache=True, fastmath=True)
def shade(  # type: ignore[no-untyped-def]
    triangle, first, second, triangles, normals, paint, materials, optics, lights, in_light,
    shadow_map, picture,
):  # fmt: skip
    """Light the pixels in place.

    ``normals`` (N, 3) in camera space; ``paint`` (N, 5): linear RGB, gloss, share of the open sky
    seen; ``optics`` (M, 3) per material: light bled into the shade, gloss strength and power;
    ``lights`` (7, 3): direction and colour of the key and of the fill light, colour from above and
    from below, (darkness of shadows, depth bias, -); ``in_light`` (N, 3): the points in the key
    light's depth map; ``picture`` (S, S, 3) float32 linear RGB, holds the background.
    """
    size = shadow_map.shape[0]
    normal, colour = np.zeros(3, np.float32), np.zeros(5, np.float32)
    place = np.zeros(3, np.float32)
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            t = triangle[y, x]
            if t < 0:
                continue
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            b, c = first[y, x], second[y, x]
            a = 1.0 - b - c
            for n in range(3):
                normal[n] = a * normals[i, n] + b * normals[j, n] + c * normals[k, n]
                place[n] = a * in_light[i, n] + b * in_light[j, n] + c * in_light[k, n]
            for n in range(5):
                colour[n] = a * paint[i, n] + b * paint[j, n] + c * paint[k, n]
            length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-9
            if normal[2] < -0.2 * length:
                length = -length  # the far side of hair and cloth
            normal /= length
            bleed, gloss_share, power = (
                optics[materials[i], 0], optics[materials[i], 1], optics[materials[i], 2],
            )  # fmt: skip
            key = normal[0] * lights[0, 0] + normal[1] * lights[0, 1] + normal[2] * lights[0, 2]
            fill = normal[0] * lights[2, 0] + normal[1] * lights[2, 1] + normal[2] * lights[2, 2]
            fill = (0.5 + 0.5 * fill) * (0.5 + 0.5 * fill)
            up = 0.5 + 0.5 * normal[1]
            open_sky = colour[4]
            reach = _lit(place, lights[6, 1], lights[6, 0], shadow_map, size)
            hx, hy, hz = lights[0, 0], lights[0, 1], lights[0, 2] + 1.0
            half = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz)
            facing = max(0.0, (normal[0] * hx + normal[1] * hy + normal[2] * hz) * half)
            gloss = colour[3] * gloss_share
            shine = 0.0
            if facing > 0.6 and gloss > 0.01:
                shine = np.exp(power * np.log(facing)) * gloss * open_sky * reach
            turned = 1.0 - max(0.0, normal[2])
            turned2 = turned * turned
            rim = (0.03 + 0.97 * turned2 * turned2 * turned) * gloss * 0.5
            for n in range(3):
                wrap = bleed * (1.0, 0.45, 0.3)[n]
                diffuse = max(0.0, (key + wrap) / (1.0 + wrap))
                diffuse *= reach + wrap * (0.3 - 0.7 * reach)  # some light enters shaded skin
                around = lights[4, n] * up + lights[5, n] * (1.0 - up)
                light = diffuse * lights[1, n] * (0.25 + 0.75 * open_sky)
                light += (fill * lights[3, n] + around) * open_sky
                value = colour[n] * light + lights[1, n] * shine + around * rim * open_sky
                picture[y, x, n] = value
