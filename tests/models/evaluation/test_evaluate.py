"""A whole evaluation: what it finds in clips that are easy to paint, and to spoil."""

import json

import numpy as np
import pytest

from lipstream.cli import main
from lipstream_models.evaluation.command import choose_rows
from lipstream_models.evaluation.evaluate import (
    MEASURED,
    compare_lips,
    compare_pictures,
    resting_frame,
)
from lipstream_models.evaluation.metrics import (
    ClipMetrics,
    RestMetrics,
    StillMetrics,
    SyncScore,
    summarise,
)
from prepared_clips import make_clip, make_folder


def frames_of(number):
    clip = make_clip(number)
    crops = clip.crops[list(MEASURED)].copy()
    crops[:, 48:, ::2] += np.uint8(5)  # texture, so that sharpness can be lost
    return crops, clip.points[list(MEASURED)]


def test_the_resting_frame_is_a_closed_one():
    clip = make_clip(0)
    gap = clip.points[:, 14, 1] - clip.points[:, 13, 1]
    assert gap[resting_frame(clip.points)] < 0.1 * gap.max() + 1e-6


def test_the_truth_itself_is_a_perfect_painting():
    crops, points = frames_of(0)
    picture = compare_pictures(crops, crops, crops[0])
    lips = compare_lips(points, points, points[:1])
    assert picture.psnr_db > 70
    assert picture.copy_psnr_db < 40
    assert picture.sharpness == picture.truth_sharpness
    assert (picture.ssim, picture.brightness_correlation) == pytest.approx((1.0, 1.0), abs=1e-4)
    assert (lips.gap_correlation, lips.gap_spread) == pytest.approx((1.0, 1.0), abs=1e-4)
    assert (lips.gap_offset, lips.lmd_percent) == pytest.approx((0.0, 0.0), abs=0.05)
    assert lips.copy_lmd_percent > 0.5


def test_late_and_small_movements_are_called_so():
    _, points = frames_of(0)
    late = points.copy()
    late[2:] = points[:-2]
    small = points.copy()
    small[:, [178, 14, 402], 1] -= 0.5 * (points[:, [178, 14, 402], 1] - 0.66)
    assert compare_lips(late, points, points[:1]).gap_offset == pytest.approx(2.0, abs=0.2)
    assert compare_lips(small, points, points[:1]).gap_spread == pytest.approx(0.5, abs=0.01)


def test_a_summary_holds_medians_and_the_range():
    crops, points = frames_of(0)
    picture = compare_pictures(crops, crops, crops[0])
    lips = compare_lips(points, points, points[:1])
    clips = [ClipMetrics("a", picture, lips, SyncScore(n, 2.0, 1.0)) for n in (0.0, 1.0, 5.0)]
    rest = RestMetrics(0.1, -0.2)
    figures = summarise("m", "c", clips, [StillMetrics("a", lips, rest, rest, rest, 0.3, 0.4)])
    offset = figures.summary["sync_offset"]
    assert (offset.median, offset.lowest, offset.highest) == (1.0, 0.0, 5.0)
    assert figures.summary["still_music_variance"].median == 0.1
    assert figures.summary["still_flicker_levels"].median == 0.3
    assert figures.summary["psnr_db"].median == picture.psnr_db
    assert "truth_sync_offset" not in figures.summary


def test_rows_are_spread_over_those_held_out(tmp_path):
    folder = make_folder(tmp_path / "clips", clips=22)
    assert choose_rows(folder, every=False, limit=0) == [0, 20]
    assert len(choose_rows(folder, every=True, limit=5)) == 5


@pytest.mark.slow
def test_the_command_writes_figures_and_a_picture(tmp_path, toy_folder, capsys):
    make_folder(tmp_path / "clips", clips=1)
    found, sheet = tmp_path / "found.json", tmp_path / "sheet.png"
    words = ["evaluate", str(toy_folder), "--clips", str(tmp_path / "clips"), "--no-scorer"]
    assert main([*words, "--json", str(found), "--sheet", str(sheet)]) == 0
    told = json.loads(found.read_text())
    assert told["clips"][0]["name"] == "clip00"
    # the toy paints its reference brighter in loud sound: in silence nothing moves
    assert told["still"][0]["silence"]["variance"] == 0.0
    assert told["summary"]["still_flicker_levels"]["median"] < 5
    assert sheet.stat().st_size > 1000
    assert "psnr_db" in capsys.readouterr().out


def test_a_sheet_that_cannot_be_written_is_told_in_one_line(tmp_path, toy_folder, capsys):
    make_folder(tmp_path / "clips", clips=1)
    words = ["evaluate", str(toy_folder), "--clips", str(tmp_path / "clips"), "--no-scorer"]
    assert main([*words, "--sheet", str(tmp_path / "nowhere" / "s.png")]) == 2
    assert "--sheet" in capsys.readouterr().err
