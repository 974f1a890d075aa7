"""Figures that mean what they say."""

import numpy as np
import pytest
import torch

from lipstream_models.evaluation import (
    ClipFigures,
    Painter,
    SilenceFigures,
    brightness,
    correlation,
    psnr,
    resting_frame,
    summarise,
    windows_of,
)
from lipstream_models.networks.mouth_unet import MouthUNet
from prepared_clips import make_clip


def test_noise_of_one_level_is_48_decibels():
    picture = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(picture, picture + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_a_still_mouth_correlates_with_nothing():
    assert correlation(np.zeros(5, np.float32), np.arange(5, dtype=np.float32)) == 0.0


def test_an_open_mouth_is_darker():
    clip = make_clip(0)
    open_by = clip.points[:, 14, 1] - clip.points[:, 13, 1]
    assert correlation(brightness(clip.crops), open_by) < -0.9


def test_the_resting_frame_is_a_closed_one():
    clip = make_clip(0)
    gap = clip.points[:, 14, 1] - clip.points[:, 13, 1]
    assert gap[resting_frame(clip.points)] < 0.1 * gap.max() + 1e-6


def test_shifted_windows_are_those_of_other_frames():
    mel = np.random.default_rng(0).normal(size=(80, 241)).astype(np.float32)
    assert np.array_equal(windows_of(mel, [10, 11], 2), windows_of(mel, [12, 13]))


def test_the_painter_leaves_the_upper_half():
    torch.manual_seed(0)
    clip = make_clip(3)
    windows = windows_of(clip.mel, [5, 6])
    painted = Painter(MouthUNet()).paint(clip.crops[5:7], clip.crops[0], windows)
    assert painted.shape == (2, 96, 96, 3)
    assert np.array_equal(painted[:, :48], clip.crops[5:7, :48])


def test_a_summary_holds_medians_and_the_range():
    clips = [
        ClipFigures(str(n), 30.0 + n, 29.0, {0: 0.8 + 0.05 * n}, {0: 0.9}, 1.0) for n in range(3)
    ]
    figures = summarise(clips, [SilenceFigures(0.1, 0.0, 0.2)] * 2)
    assert figures.summary["psnr_db_median"] == 31.0
    assert figures.summary["psnr_db_lowest"] == 30.0
    assert figures.summary["gap_correlation_+0"] == pytest.approx(0.85)
    assert figures.silence == SilenceFigures(0.1, 0.0, 0.2)
