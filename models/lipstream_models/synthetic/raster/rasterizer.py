"""Draw triangles with a depth buffer and light every pixel: compiled loops over plain arrays.

Screen x goes right, y down, depth away from the camera; a triangle that winds clockwise on screen
faces away and is left out. The compiled functions take named tuples, which the compiler knows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipstream.errors import InputError
from lipstream.types import Float32

try:
    import numba
except ImportError as error:
    raise InputError("synthetic heads need numba: pip install 'lipstream[train]'") from error

Index32 = NDArray[np.int32]

FAR = np.float32(1e9)


class Buffers(NamedTuple):
    """What is seen at each pixel; reused from frame to frame."""

    depth: Float32
    """(S, S) distance from the camera; FAR where there is nothing."""
    triangle: Index32
    """(S, S) the triangle; -1 where there is nothing."""
    first: Float32
    """(S, S) barycentric weight of the triangle's second corner."""
    second: Float32
    """(S, S) the same of the third corner."""


class Mesh(NamedTuple):
    """What is drawn."""

    triangles: Index32
    """(T, 3)."""
    two_sided: NDArray[np.bool_]
    """(N,) whether triangles that begin at a vertex show both sides."""
    materials: NDArray[np.uint8]
    """(N,) row of the optics."""
    optics: Float32
    """(M, 3) per material: light bled into the shade, strength and power of the gloss."""
    normals: Float32
    """(N, 3) in camera space."""
    paint: Float32
    """(N, 5): linear RGB, gloss, share of open sky seen."""


class Lighting(NamedTuple):
    """What lights it, in camera space."""

    key: Float32
    """(3,) unit vector towards the key light."""
    key_colour: Float32
    """(3,) linear RGB, as the others."""
    fill: Float32
    """(3,) unit vector towards the fill light."""
    fill_colour: Float32
    above: Float32
    """(3,) light from above."""
    below: Float32
    """(3,) light from below."""
    dark: float
    """Share of the key light that a shadow takes away."""


class Shadows(NamedTuple):
    """The depth map seen from the key light."""

    depth: Float32
    """(M, M)."""
    places: Float32
    """(N, 3) the vertices in it."""
    bias: float
    """Depth over which a shadow sets in, dm."""


def fresh_buffers(side: int) -> Buffers:
    """Return buffers of a square picture."""
    shape = (side, side)
    one, two, three = (np.empty(shape, np.float32) for _ in range(3))
    return Buffers(one, np.empty(shape, np.int32), two, three)


@numba.njit(cache=True, fastmath=True)
def draw(screen, mesh, buffers):  # type: ignore[no-untyped-def]
    """Fill ``Buffers`` with what (N, 3) float32 screen points of a ``Mesh`` show."""
    side = buffers.depth.shape[0]
    buffers.depth[:] = FAR
    buffers.triangle[:] = -1
    for t in range(mesh.triangles.shape[0]):
        i, j, k = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
        x0, y0, x1, y1 = screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1]
        x2, y2 = screen[k, 0], screen[k, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area > -1e-9 and not (mesh.two_sided[i] and area > 1e-9):
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
                if z < buffers.depth[y, x]:
                    buffers.depth[y, x], buffers.triangle[y, x] = z, t
                    buffers.first[y, x], buffers.second[y, x] = a, b


@numba.njit(cache=True, fastmath=True)
def vertex_normals(points, triangles):  # type: ignore[no-untyped-def]
    """Return (N, 3) float32 unit normals of (N, 3) float32 points, weighted by area."""
    total = np.zeros_like(points)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
        bx, by = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1]
        az, bz = points[j, 2] - points[i, 2], points[k, 2] - points[i, 2]
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
def _reach(place, shadows, dark):  # type: ignore[no-untyped-def]
    """Return the share of the key light that reaches a place: softened look-ups in its map."""
    size, bias = shadows.depth.shape[0], shadows.bias
    x, y = int(np.floor(place[0] - 0.5)), int(np.floor(place[1] - 0.5))
    fx, fy = place[0] - 0.5 - x, place[1] - 0.5 - y
    seen = 0.0
    for dy in range(2):
        for dx in range(2):
            xx, yy = min(max(x + dx, 0), size - 1), min(max(y + dy, 0), size - 1)
            weight = (fx if dx else 1.0 - fx) * (fy if dy else 1.0 - fy)
            before = (shadows.depth[yy, xx] - place[2] + bias) / bias
            seen += weight * min(1.0, max(0.0, before))
    return 1.0 - dark * (1.0 - seen)


@numba.njit(cache=True, fastmath=True)
def _light(normal, surface, optics, lighting, out):  # type: ignore[no-untyped-def]
    """Light one point into ``out`` (3,).

    ``surface`` is linear RGB, gloss, share of open sky, and share of the key light that gets there.
    """
    key, gloss, open_sky, reach = lighting.key, surface[3] * optics[1], surface[4], surface[5]
    facing_key = normal[0] * key[0] + normal[1] * key[1] + normal[2] * key[2]
    fill = lighting.fill
    filled = 0.5 + 0.5 * (normal[0] * fill[0] + normal[1] * fill[1] + normal[2] * fill[2])
    half = 1.0 / np.sqrt(key[0] ** 2 + key[1] ** 2 + (key[2] + 1.0) ** 2)
    facing = (facing_key + normal[2]) * half  # towards halfway between light and camera
    shine = 0.0
    if facing > 0.6 and gloss > 0.01:
        shine = np.exp(optics[2] * np.log(facing)) * gloss * open_sky * reach
    turned = 1.0 - max(0.0, normal[2])
    turned2 = turned * turned
    rim = (0.03 + 0.97 * turned2 * turned2 * turned) * gloss * 0.5 * open_sky  # Schlick 1994
    up = 0.5 + 0.5 * normal[1]
    for n in range(3):
        bleed = optics[0] * (1.0, 0.45, 0.3)[n]  # red light goes farthest in skin
        diffuse = max(0.0, (facing_key + bleed) / (1.0 + bleed))
        diffuse *= reach + bleed * (0.3 - 0.7 * reach)
        around = lighting.above[n] * up + lighting.below[n] * (1.0 - up)
        light = diffuse * lighting.key_colour[n] * (0.25 + 0.75 * open_sky)
        light += (filled * filled * lighting.fill_colour[n] + around) * open_sky
        out[n] = surface[n] * light + lighting.key_colour[n] * shine + around * rim


@numba.njit(cache=True, fastmath=True)
def shade(buffers, mesh, lighting, shadows, picture):  # type: ignore[no-untyped-def]
    """Light what the buffers show, into a (S, S, 3) float32 picture that holds the background."""
    normal, place = np.zeros(3, np.float32), np.zeros(3, np.float32)
    surface = np.zeros(6, np.float32)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            t = buffers.triangle[y, x]
            if t < 0:
                continue
            i, j, k = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
            b, c = buffers.first[y, x], buffers.second[y, x]
            a = np.float32(1.0) - b - c
            for n in range(3):
                normal[n] = a * mesh.normals[i, n] + b * mesh.normals[j, n] + c * mesh.normals[k, n]
                place[n] = (
                    a * shadows.places[i, n] + b * shadows.places[j, n] + c * shadows.places[k, n]
                )
            for n in range(5):
                surface[n] = a * mesh.paint[i, n] + b * mesh.paint[j, n] + c * mesh.paint[k, n]
            length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-9
            if normal[2] < -0.2 * length:
                length = -length  # the far side of hair and cloth
            normal /= length
            surface[5] = _reach(place, shadows, lighting.dark)
            _light(normal, surface, mesh.optics[mesh.materials[i]], lighting, picture[y, x])
