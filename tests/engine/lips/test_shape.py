"""Lip measures: the same wherever the face is."""

import numpy as np
import pytest

from lipstream.lips.shape import NAMES, measure_lips


@pytest.fixture
def points():
    """A face of scattered points, (1, 468, 2), its eyes level and one unit apart."""
    rng = np.random.default_rng(3)
    face = rng.uniform(0.0, 1.0, (1, 468, 2)).astype(np.float32)
    face[0, 33], face[0, 263] = (0.0, 0.2), (1.0, 0.2)
    return face


def test_place_size_and_roll_do_not_count(points):
    turn = 3.0 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    moved = (points @ turn.T + (40.0, -7.0)).astype(np.float32)
    assert np.abs(measure_lips(moved) - measure_lips(points)).max() < 1e-4


def test_the_gap_is_the_distance_of_the_inner_lips(points):
    lower = points.copy()
    lower[0, 14, 1] += 0.25
    difference = (measure_lips(lower) - measure_lips(points))[0]
    assert difference[NAMES.index("gap")] == pytest.approx(0.25, abs=1e-6)
    assert difference[NAMES.index("outer_width")] == 0.0
