import numpy as np
import pytest

from lipstream_models.synthetic.raster.motion import fit, lip_shape, rest_shape


def shapes_of(units: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Return lip shapes (n, 16) that bend a little with three units."""
    rng = np.random.default_rng(0)
    mix, bend = rng.normal(size=(3, 16)), rng.normal(size=(3, 16)) * 0.2
    moved = 0.03 * (units @ mix + units**2 @ bend)
    return (moved + noise * rng.normal(size=moved.shape)).astype(np.float32)


def test_units_come_back_from_shapes():
    units = np.random.default_rng(1).uniform(0, 1, (2000, 3)).astype(np.float32)
    units[:200] = 0
    learned = fit(shapes_of(units, 0.001), units)
    track = np.stack([np.sin(np.linspace(0, 6, 75) + k) * 0.5 + 0.5 for k in range(3)], 1)
    found = learned.units(shapes_of(track))
    for column in range(3):
        assert np.corrcoef(found[:, column], track[:, column])[0, 1] > 0.95


def test_lips_at_rest_give_no_units():
    units = np.random.default_rng(1).uniform(0, 1, (500, 3)).astype(np.float32)
    learned = fit(shapes_of(units), units)
    assert learned.units(np.zeros((10, 16), np.float32)) == pytest.approx(0, abs=1e-6)


def test_the_resting_shape_is_that_of_the_closed_frames():
    shapes = np.ones((60, 16), np.float32)
    shapes[:, 0] = np.linspace(0, 0.06, 60)
    shapes[:10, 5] = 3.0
    assert rest_shape(shapes)[5] == 3.0


def test_a_lip_shape_begins_with_the_opening_and_ignores_where_the_face_is():
    points = np.random.default_rng(2).random((468, 2)).astype(np.float32)
    points[13], points[14] = (0.5, 0.70), (0.5, 0.75)
    moved = points + np.float32([0.1, -0.2])
    assert lip_shape(points)[0] == pytest.approx(0.05, abs=1e-6)
    assert lip_shape(moved) == pytest.approx(lip_shape(points), abs=1e-5)
