from dataclasses import replace

import cv2
import numpy as np
import pytest

from lipstream.avatar.pack import Avatar
from lipstream.face.crop import fit_crop
from lipstream_models.synthetic.blender.idle_loop import (
    EYES,
    LIDS,
    MOUTH,
    VIEW,
    BodyLayout,
    Idle,
    PixelRectangle,
    blend_patch,
    crop_to_view,
    displacement,
    feather,
    fit,
    idle_frames,
    lid_at,
    move_picture,
    move_points,
    open_face,
    pose_at,
)
from lipstream_models.synthetic.body.head_model import NEUTRAL, VISEMES, blend, blink, mouth_shapes

STILL = Idle(sway_px=0, nod_px=0, roll_degrees=0, turn_px=0, breath_px=0)


def smooth_picture(size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] / size
    channels = [120 + 90 * np.sin(9 * x + 4 * y), 120 + 90 * np.cos(11 * y), 255 * x]
    return np.stack(channels, -1).astype(np.uint8)


def dots(points: np.ndarray) -> np.ndarray:
    picture = np.zeros((512, 512, 3), np.uint8)
    y, x = np.mgrid[0:512, 0:512] + 0.5
    for px, py in points:
        spot = 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8)
        picture = np.maximum(picture, spot[..., None].astype(np.uint8))
    return picture


def test_the_frame_after_the_last_is_the_first() -> None:
    idle = Idle()
    first, after = pose_at(idle, 0), pose_at(idle, idle.frames)
    assert [after.shift_x, after.shift_y, after.roll, after.turn, after.breath] == pytest.approx(
        [first.shift_x, first.shift_y, first.roll, first.turn, first.breath], abs=1e-9
    )
    assert lid_at(idle, idle.frames) == lid_at(idle, 0)


def test_no_step_of_the_loop_jumps_the_seam_included() -> None:
    idle, figure = Idle(), BodyLayout()
    nose = np.array([figure.face], np.float32)
    path = np.stack([move_points(nose, figure, pose_at(idle, k))[0] for k in range(idle.frames)])
    step = np.linalg.norm(np.diff(path, axis=0, append=path[:1]), axis=1)
    assert step.max() < 0.5  # half a pixel at 25 frames a second
    assert np.ptp(path, axis=0).min() > 1.0  # but it does move


def test_a_blink_shuts_in_80_ms_and_opens_in_120() -> None:
    idle = Idle()
    lids = [lid_at(idle, k) for k in range(idle.frames)]
    start = round(idle.blink_at[0] * idle.fps)
    assert lids[start - 1] is None
    assert lids[start : start + 6] == [0, 1, 2, 3, 4, None]
    assert max(LIDS) == LIDS[1]
    assert sum(lid is not None for lid in lids) == 2 * len(LIDS)


def test_a_blink_may_run_over_the_seam() -> None:
    idle = Idle(frames=150, blink_at=(5.92,))
    assert [lid_at(idle, k) for k in (147, 148, 149, 0, 1, 2, 3)] == [None, 0, 1, 2, 3, 4, None]


def test_landmarks_go_where_the_picture_goes() -> None:
    figure, points = (
        BodyLayout(),
        np.array([[200.0, 210.0], [256.0, 250.0], [300.0, 330.0]], np.float32),
    )
    pose = pose_at(Idle(sway_px=6, nod_px=5, turn_px=4), 40)
    moved = move_points(points, figure, pose)
    assert np.abs(moved - points).max() > 2
    picture = move_picture(dots(points), figure, pose)[..., 0].astype(float)
    y, x = np.mgrid[0:512, 0:512] + 0.5
    for px, py in moved:
        near = picture * (np.hypot(x - px, y - py) < 9)
        seen = np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
        assert np.abs(seen - [px, py]).max() < 0.05


def test_the_head_moves_as_one_but_for_the_turn() -> None:
    pose = pose_at(Idle(turn_px=0, breath_px=0), 20)
    face = np.random.default_rng(0).uniform((150, 90), (360, 380), (468, 2)).astype(np.float32)
    before, after = fit_crop(face), fit_crop(move_points(face, BodyLayout(), pose))
    scale = np.linalg.norm(after[:, 0]) / np.linalg.norm(before[:, 0])
    assert scale == pytest.approx(1.0, abs=1e-4)


def test_the_background_at_the_edges_stands_still() -> None:
    pose = pose_at(Idle(), 33)
    edge = np.linspace(0, 512, 50)
    for x, y in ((0 * edge, edge), (0 * edge + 512, edge), (edge, 0 * edge)):
        keep = y < 420  # the shoulders leave the picture at its sides
        move_x, move_y = displacement(BodyLayout(), pose, x[keep], y[keep])
        assert max(np.abs(move_x).max(), np.abs(move_y).max()) < 1e-9


def test_a_still_loop_shows_the_plate() -> None:
    plate = smooth_picture(1024)
    area = EYES.scaled(2)
    patch = plate[area.top : area.bottom, area.left : area.right]
    idle = replace(STILL, frames=2, blink_at=(0.0,))
    for frame in idle_frames(plate, [patch] * len(LIDS), idle):
        assert np.abs(frame.astype(int) - fit(crop_to_view(plate))).max() <= 1


def test_a_patch_fades_into_the_plate() -> None:
    plate = np.full((40, 40, 3), 100, np.uint8)
    out = blend_patch(
        plate, np.full((20, 20, 3), 200, np.uint8), PixelRectangle(10, 10, 30, 30), border=5
    )
    assert (out[20, 20] == 200).all()
    assert (out[10, 10] == 100).all()
    assert (plate == 100).all()
    row = out[20, 10:20, 0].astype(int)
    assert (np.diff(row) >= 0).all()
    assert feather(20, 20, 5).shape == (20, 20, 1)


def test_the_open_mouth_is_laid_over_the_plate_and_its_face_is_found() -> None:
    avatar, area, mouth = Avatar.open("omar"), VIEW.scaled(2), MOUTH.scaled(2)
    plate = np.zeros((1024, 1024, 3), np.uint8)
    side = area.right - area.left
    view = plate[area.top : area.bottom, area.left : area.right]
    view[:] = cv2.resize(avatar.frames[0], (side, side))
    patch = plate[mouth.top : mouth.bottom, mouth.left : mouth.right].copy()
    patch[200:240, 180:240] = 30
    shown = open_face(plate, patch)
    assert shown.image.shape == (side, side, 3)
    top, left = mouth.top - area.top, mouth.left - area.left
    assert (shown.image[top + 200 : top + 240, left + 180 : left + 240] == 30).all()
    assert np.abs(shown.crop - avatar.crops[0] * side / 512).max() < 25  # pixels


def test_a_viseme_at_full_strength_is_itself_and_at_none_is_rest() -> None:
    for name, shape in VISEMES.items():
        mouth = {unit: weight for unit, weight in blend({name: 1.0}).items() if unit in shape}
        assert mouth == pytest.approx(shape)
    assert blend({"rest": 1.0}) == pytest.approx(NEUTRAL)


def test_the_library_is_spread_over_conversation_and_keeps_eyes_and_brows() -> None:
    shapes = mouth_shapes(220)
    assert len(shapes) == 220
    jaw = np.array([shape.get("jawOpen", 0.0) for shape in shapes])
    assert jaw.max() <= 0.75
    assert (jaw < 0.45).mean() > 0.85
    assert (jaw > 0.2).mean() > 0.2
    for shape in shapes:
        assert all(shape[u] == NEUTRAL[u] for u in NEUTRAL if not u.startswith("mouth"))
        for unit, weight in shape.items():
            if unit.endswith("Left"):
                assert shape[unit.removesuffix("Left") + "Right"] == weight
    assert mouth_shapes(220) == shapes


def test_a_blink_moves_lids_and_leaves_the_mouth() -> None:
    assert blink(1.0)["eyeBlinkLeft"] == 1.0
    assert blink(0.5)["mouthSmileLeft"] == NEUTRAL["mouthSmileLeft"]
