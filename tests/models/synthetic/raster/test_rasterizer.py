import numpy as np
import pytest

pytest.importorskip("numba", reason="synthetic heads are drawn with numba")

from lipstream_models.synthetic.raster.rasterizer import (
    FAR,
    Lighting,
    Mesh,
    Shadows,
    draw,
    fresh_buffers,
    shade,
    vertex_normals,
)

SIDE = 16
NEAR = [[1, 1, 5], [1, 15, 5], [15, 1, 5]]
"""A triangle that winds counter-clockwise on screen (y down), 5 dm away."""


def mesh(*triangles: list[list[float]], two_sided: bool = False) -> tuple[np.ndarray, Mesh]:
    points = np.array([corner for triangle in triangles for corner in triangle], np.float32)
    count = len(points)
    normals = np.tile(np.array([0, 0, 1], np.float32), (count, 1))
    paint = np.tile(np.array([0.5, 0.25, 0.1, 0.0, 1.0], np.float32), (count, 1))
    optics = np.zeros((1, 3), np.float32)
    return points, Mesh(
        np.arange(count, dtype=np.int32).reshape(-1, 3), np.full(count, two_sided),
        np.zeros(count, np.uint8), optics, normals, paint,
    )  # fmt: skip


def test_a_triangle_covers_the_pixel_centres_inside_it():
    points, solid = mesh(NEAR)
    buffers = fresh_buffers(SIDE)
    draw.py_func(points, solid, buffers)
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    inside = (x >= 1) & (y >= 1) & (x + y <= 16)
    assert np.array_equal(buffers.triangle == 0, inside)
    assert np.all(buffers.depth[~inside] == FAR)


def test_the_nearer_triangle_is_seen_whatever_the_order():
    farther = [[x, y, 9] for x, y, _ in NEAR]
    for order, seen in (((NEAR, farther), 0), ((farther, NEAR), 1)):
        points, solid = mesh(*order)
        buffers = fresh_buffers(SIDE)
        draw.py_func(points, solid, buffers)
        assert buffers.triangle[4, 4] == seen
        assert buffers.depth[4, 4] == pytest.approx(5)


def test_a_back_is_left_out_unless_it_is_two_sided():
    for two_sided, seen in ((False, -1), (True, 0)):
        points, solid = mesh(NEAR[::-1], two_sided=two_sided)
        buffers = fresh_buffers(SIDE)
        draw.py_func(points, solid, buffers)
        assert buffers.triangle[4, 4] == seen


def test_normals_stand_on_the_surface():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    found = vertex_normals.py_func(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    assert found == pytest.approx(np.tile([0, 0, 1], (4, 1)), abs=1e-6)


@pytest.mark.slow
def test_a_shadow_takes_the_key_light_away_and_the_background_stays():
    points, solid = mesh(NEAR)
    buffers = fresh_buffers(SIDE)
    draw(points, solid, buffers)
    grey, none = np.full(3, 0.2, np.float32), np.zeros(3, np.float32)
    ahead, white = np.array([0, 0, 1], np.float32), np.ones(3, np.float32)
    lighting = Lighting(ahead, white, ahead, none, grey, grey, 1.0)
    pictures = []
    for blocker in (FAR, np.float32(1.0)):  # in the light's map: nothing, or something before it
        shadows = Shadows(np.full((SIDE, SIDE), blocker, np.float32), points, 0.05)
        picture = np.full((SIDE, SIDE, 3), 0.9, np.float32)
        shade(buffers, solid, lighting, shadows, picture)
        pictures.append(picture)
    lit, dark = pictures
    assert dark[4, 4] == pytest.approx([0.1, 0.05, 0.02], abs=1e-5)
    assert lit[4, 4] == pytest.approx([0.6, 0.3, 0.12], abs=1e-5)
    assert np.all(lit[15, 15] == np.float32(0.9))
