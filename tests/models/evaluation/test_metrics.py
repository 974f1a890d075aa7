"""Figures that mean what they say."""

import cv2
import numpy as np
import pytest

from lipstream_models.evaluation import metrics
from prepared_clips import make_clip


def picture(seed=0, shape=(48, 96, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_noise_of_one_level_is_48_decibels():
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert metrics.psnr(grey, grey + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_similarity_is_1_for_equal_pictures_and_falls_with_blur():
    sharp = picture()
    blurred = [cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (0.6, 2.0)]
    found = [metrics.ssim(other, sharp) for other in (sharp, *blurred)]
    assert found[0] == pytest.approx(1.0, abs=1e-5)
    assert found[0] > found[1] + 0.05 > found[2] + 0.1


def test_similarity_of_flat_pictures_is_that_of_their_levels():
    a, b = np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 120, np.uint8)
    known = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert metrics.ssim(a, b) == pytest.approx(known, abs=1e-4)


def test_blur_in_the_mouth_costs_sharpness_and_elsewhere_does_not():
    crops = picture(shape=(2, 96, 96, 3))
    blurred = np.stack([cv2.GaussianBlur(crop, (0, 0), 1.0) for crop in crops])
    above, mouth = crops.copy(), crops.copy()
    above[:, :50] = blurred[:, :50]
    mouth[:, 50:] = blurred[:, 50:]
    assert metrics.sharpness(above) == pytest.approx(metrics.sharpness(crops))
    assert metrics.sharpness(mouth) < 0.3 * metrics.sharpness(crops)


def test_a_blurred_edge_costs_more_detail_than_sharpness():
    crops = np.full((1, 96, 96, 3), 120, np.uint8) + picture(shape=(1, 96, 96, 3)) // np.uint8(32)
    crops[:, 72:74, 30:66] = 20
    blurred = crops.copy()
    blurred[:, 68:78] = [cv2.GaussianBlur(crop, (0, 0), 1.0)[68:78] for crop in crops]
    lost = [of(blurred) / of(crops) for of in (metrics.sharpness, metrics.detail)]
    assert lost[1] < 0.5 * lost[0]


def test_a_still_mouth_correlates_with_nothing():
    assert metrics.correlation(np.zeros(5, np.float32), np.arange(5, dtype=np.float32)) == 0.0


def test_an_open_mouth_is_darker():
    clip = make_clip(0)
    open_by = clip.points[:, 14, 1] - clip.points[:, 13, 1]
    assert metrics.correlation(metrics.brightness(clip.crops), open_by) < -0.9


@pytest.mark.parametrize("late", [-2.0, 0.0, 0.4, 3.0])
def test_late_lips_are_found_late_to_a_tenth_of_a_frame(late):
    def speech(at):
        return np.sin(2 * np.pi * at / 17) + 0.6 * np.sin(2 * np.pi * at / 9.3)

    at = np.arange(70, dtype=np.float32)
    lags = metrics.lag_correlations(speech(at - late), speech(at))
    assert metrics.peak(lags) == pytest.approx(late, abs=0.1)


def test_a_peak_at_the_end_is_the_end():
    assert metrics.peak({-1: 0.1, 0: 0.2, 1: 0.9}) == 1.0


def test_landmark_distance_counts_lips_in_eye_distances():
    points = np.random.default_rng(0).random((3, 468, 2)).astype(np.float32)
    points[:, 33], points[:, 263] = (0.2, 0.4), (0.6, 0.4)
    moved = points.copy()
    moved[:, list(metrics.LIPS), 1] += 0.02
    moved[:, 10] += 1.0  # the forehead is no lip
    assert metrics.landmark_distance(moved, points) == pytest.approx(5.0, abs=1e-3)


def test_lip_vertex_error_counts_the_point_furthest_astray():
    points = np.random.default_rng(0).random((2, 468, 2)).astype(np.float32)
    points[:, 33], points[:, 263] = (0.2, 0.4), (0.6, 0.4)
    moved = points.copy()
    moved[:, list(metrics.LIPS), 1] += 0.02
    moved[0, 13, 1] += 0.04  # 15 % in the first frame, 5 % in the second
    assert metrics.lip_vertex_error(moved, points) == pytest.approx(10.0, abs=1e-3)


def test_lip_points_are_forty_different_ones():
    assert len(set(metrics.LIPS)) == 40


def test_changes_are_seen_in_the_mouth_alone():
    crops = np.zeros((3, 96, 96, 3), np.uint8)
    crops[1, :48] = 200
    assert metrics.changes(crops).tolist() == [0.0, 0.0]
    crops[2, 56:94, 20:76] = 3
    assert metrics.changes(crops).tolist() == [0.0, 3.0]
