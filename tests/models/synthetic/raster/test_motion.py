from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("numba", reason="synthetic heads are drawn with numba")

from lipstream_models.synthetic.raster.motion import rotation, upper_face, views, wander
from lipstream_models.synthetic.raster.scene import CameraLook, develop, exposure

PLAIN = CameraLook(0.3, 1.0, 0.0, np.ones(3, np.float32), 1.0, 0.0, 0.0, 0.0, 0)


def test_a_rotation_turns_and_does_not_stretch():
    turn = rotation(0.3, -0.2, 0.1)
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-6)
    assert (rotation(0.3, 0, 0) @ [0, 0, 1])[0] == pytest.approx(np.sin(0.3))


def test_wandering_is_smooth_and_of_about_unit_size():
    tracks = np.stack([wander(np.random.default_rng(k), 75, 8) for k in range(200)])
    assert 0.8 < tracks.std() < 1.2
    assert np.abs(np.diff(tracks, axis=1)).std() < 0.15


def test_the_camera_stands_still_while_the_head_moves():
    seen = views(np.random.default_rng(3), 75)
    assert len({view.distance for view in seen}) == 1
    assert not np.array_equal(seen[0].turn, seen[-1].turn)
    steps = [np.abs(b.turn - a.turn).max() for a, b in pairwise(seen)]
    assert max(steps) < 0.05


def test_people_blink_now_and_then_and_shut_both_eyes():
    found = [upper_face(np.random.default_rng(k), 75).tracks for k in range(40)]
    shut = np.stack([tracks["eyeBlinkLeft"] for tracks in found])
    assert 0.02 < (shut > 0.5).mean() < 0.2
    assert all(np.array_equal(t["eyeBlinkLeft"], t["eyeBlinkRight"]) for t in found)
    assert all(track.min() >= 0 and track.max() <= 1 for t in found for track in t.values())


def test_the_camera_exposes_bright_and_dark_faces_alike_but_not_equally():
    rng = np.random.default_rng(0)
    means = []
    for light in (0.05, 0.8):
        picture = np.full((24, 24, 3), light, np.float32)
        means.append(develop(picture, PLAIN, exposure(picture, PLAIN), rng).mean())
    assert 40 < means[0] < means[1] < 220


def test_the_camera_stores_blue_first():
    picture = np.zeros((8, 8, 3), np.float32)
    picture[..., 0] = 0.5
    stored = develop(picture, PLAIN, 1.0, np.random.default_rng(0))
    assert stored[0, 0, 2] > 150
    assert stored[0, 0, 0] == 0
