import itertools

import cv2
import numpy as np
import pytest

from lipstream import Avatar
from lipstream.avatar.idle_motion import IdleMotion, eye_patches, pose_at, with_eyes
from lipstream.face.crop import cut_crop
from lipstream.face.tracker import FaceTracker


@pytest.fixture(scope="module")
def ada():
    avatar = Avatar.open()
    return np.array(avatar.frames[0]), np.array(avatar.crops[0])


@pytest.fixture(scope="module")
def life(ada):
    return IdleMotion(*ada)


def test_the_loop_has_no_seam():
    for period in (2.0, 5.0, 12.0):
        poses = [pose_at(k / 300, period) for k in range(301)]
        assert poses[0].roll == pytest.approx(poses[300].roll)
        assert poses[0].closed == poses[300].closed == 0
        steps = [abs(a.right - b.right) for a, b in itertools.pairwise(poses)]
        assert max(steps) < 0.002


def test_there_are_blinks_and_breaths_but_no_more_than_people_have():
    closed = np.array([pose_at(k / 1200, 12.0).closed for k in range(1200)])
    blinks = int(((closed[1:] == 1) & (closed[:-1] < 1)).sum())
    assert blinks == 4
    assert (closed > 0).mean() < 0.12
    rise = np.array([pose_at(k / 1200, 12.0).rise for k in range(1200)])
    assert int(((rise[1:] > 0) & (rise[:-1] <= 0)).sum()) == 3


def test_the_crop_moves_with_the_face_so_the_network_sees_what_it_saw_at_rest(ada, life):
    image, crop = ada
    rest = cut_crop(image, crop, 96)[48:].astype(int)
    for phase in (0.13, 0.4, 0.77):
        moved = cut_crop(life.image_at(phase), life.crop_at(phase), 96)[48:]
        stayed = cut_crop(life.image_at(phase), crop, 96)[48:]
        assert np.abs(moved - rest).mean() < 1.5
        assert np.abs(moved - rest).mean() < 0.5 * np.abs(stayed - rest).mean()


def test_the_movement_is_slight_and_leaves_the_far_background_alone(ada, life):
    image, crop = ada
    width = np.linalg.norm(crop[:, 0])
    for phase in np.linspace(0, 1, 7):
        assert np.abs(life.crop_at(phase) - crop)[:, 2].max() < 0.06 * width
        moved = np.abs(life.image_at(phase).astype(int) - image)
        assert moved[:60, :60].max() <= 4
        assert moved[:60, -60:].max() <= 4


def test_closed_eyes_hide_the_iris_and_change_nothing_else(ada):
    image, _ = ada
    with FaceTracker.open() as tracker:
        points = tracker.step(image).points
    patches = eye_patches(image, points)
    assert len(patches) == 2
    shut = with_eyes(image, patches, 1.0)
    for upper, lower in ((159, 145), (386, 374)):
        x, y = ((points[upper] + points[lower]) / 2).astype(int)
        eye = (slice(y - 3, y + 4), slice(x - 5, x + 6))
        assert shut[eye][..., 2].mean() > image[eye][..., 2].mean() + 60
        assert shut[eye][..., 2].std() < 0.5 * image[eye][..., 2].std()
    changed = np.abs(shut.astype(int) - image).max(-1) > 0
    outside = np.ones(changed.shape, bool)
    for patch in patches:
        outside[patch.rows, patch.columns] = False
    assert not changed[outside].any()
    assert with_eyes(image, patches, 0.0) is image


def test_a_picture_whose_eyes_are_not_found_still_breathes():
    noise = np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8)
    image = np.asarray(cv2.resize(noise, (192, 192), interpolation=cv2.INTER_CUBIC), np.uint8)
    life = IdleMotion(image, np.array([[60, 0, 66], [0, 75, 50]], np.float32))
    assert np.abs(life.image_at(0.1).astype(int) - life.image_at(0.35)).max() > 5
