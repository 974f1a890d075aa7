import numpy as np
import pytest

from lipstream.face.crop import CropSmoother, cut_crop, fit_crop
from lipstream.live import compositor as module
from lipstream.live.compositor import Compositor, MouthArea, convert, planes_of
from lipstream.types import AvFrame

AREA = MouthArea(96, 48, 96)


@pytest.fixture
def picture():
    rows, columns = np.mgrid[0:240, 0:320]
    waves = 120 + 60 * np.sin(rows / 9) * np.cos(columns / 11)
    return np.repeat(waves[..., None], 3, 2).astype(np.uint8)


CROP = np.array([[150, -10, 80], [12, 160, 40]], np.float32)


def test_a_mouth_that_does_not_move_leaves_the_picture_as_it_was(picture):
    compositor = Compositor(AREA)
    target = compositor.target(picture, CROP)
    np.testing.assert_array_equal(compositor.paste(target, target.rest), picture)


def test_closed_gate_leaves_the_picture_as_it_was(picture):
    compositor = Compositor(AREA)
    target = compositor.target(picture, CROP)
    np.testing.assert_array_equal(compositor.paste(target, 255 - target.rest, 0.0), picture)


def test_pasting_changes_the_lower_crop_alone_and_never_the_target(picture):
    compositor = Compositor(AREA)
    before = picture.copy()
    target = compositor.target(picture, CROP)
    mouth = target.rest.copy()
    mouth[16:32, 30:66] = 250
    out = compositor.paste(target, mouth)
    np.testing.assert_array_equal(picture, before)
    changed = np.argwhere((out != picture).any(2))
    u, v = np.linalg.solve(CROP[:, :2], (changed[:, ::-1] - CROP[:, 2]).T)
    assert len(changed) > 500
    assert v.min() > 0.5
    assert u.min() > 0.2
    assert u.max() < 0.8


def test_what_was_painted_is_what_is_seen(picture):
    compositor = Compositor(AREA)
    target = compositor.target(picture, CROP)
    mouth = target.rest.copy()
    mouth[16:32, 30:66] = 250
    out = compositor.paste(target, mouth)
    seen = cut_crop(out, CROP, 96)[48:]
    assert np.abs(seen[20:28, 36:60].astype(int) - 250).max() <= 8


def test_a_constant_shift_of_colour_is_matched_away(picture):
    compositor = Compositor(AREA)
    target = compositor.target(picture, CROP)
    brighter = np.minimum(target.rest.astype(int) + 9, 255).astype(np.uint8)
    difference = compositor.paste(target, brighter).astype(int) - picture
    assert np.abs(difference).max() <= 2


def test_a_face_that_hangs_over_the_edge_is_pasted_where_it_shows(picture):
    compositor = Compositor(AREA)
    over = np.array([[150, 0, 250], [0, 160, 150]], np.float32)
    target = compositor.target(picture, over)
    assert compositor.paste(target, 255 - target.rest).shape == picture.shape


def speaking(target, seed, where=(slice(14, 34), slice(30, 66))):
    """A mouth that differs from the resting one in a part of it."""
    change = np.random.default_rng(seed).normal(0, 40, target.rest.shape)
    mouth = target.rest.astype(float)
    mouth[where] += change[where]
    return np.clip(mouth, 0, 255).astype(np.uint8)


def test_only_the_part_that_changes_is_made_and_nothing_is_lost_by_it(picture, monkeypatch):
    compositor = Compositor(AREA)
    target = compositor.target(picture, CROP)
    for seed in range(5):
        mouth = speaking(target, seed)
        patch = compositor.patch(target, mouth, 0.7)
        image = patch.image()
        with monkeypatch.context() as everything_is_seen:
            everything_is_seen.setattr(module, "_UNSEEN", np.full(4, -1.0))
            whole = compositor.paste(target, mouth, 0.7)
        # coordinates are rounded to 1/1024 pixel from another corner
        assert np.abs(image.astype(int) - whole).max() <= 1
        outside = np.ones(picture.shape[:2], bool)
        outside[patch.box] = False
        np.testing.assert_array_equal(image[outside], picture[outside])
        assert (~outside).sum() < 0.7 * target.detail[..., 0].size


def test_where_nothing_changes_the_box_is_empty(picture):
    compositor = Compositor(AREA)
    target = compositor.target(picture, CROP)
    for mouth, openness in ((target.rest, 1.0), (speaking(target, 1), 0.0)):
        rows, columns = compositor.patch(target, mouth, openness).box
        assert (rows.stop - rows.start) * (columns.stop - columns.start) == 0


def test_a_picture_converted_in_parts_is_the_picture_converted_whole(picture):
    compositor = Compositor(AREA)
    colours = picture.copy()
    colours[..., 0] //= 2
    colours[40:90, 30:200, 2] = 200
    target = compositor.target(colours, CROP)
    patch = compositor.patch(target, speaking(target, 3), 1.0)
    kept = planes_of(target.still)
    parts = module.Planes(kept.y.copy(), kept.u.copy(), kept.v.copy())
    convert(patch.part, patch.box, parts)
    whole = planes_of(module.Still(patch.image()))
    for part, wanted in zip((parts.y, parts.u, parts.v), (whole.y, whole.u, whole.v), strict=True):
        np.testing.assert_array_equal(part, wanted)
    assert planes_of(target.still) is kept


def test_black_white_and_grey_become_16_235_and_no_colour():
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 4, 0)
    planes = planes_of(module.Still(np.repeat(ramp, 3, 2)))
    assert (planes.y[0, 0], planes.y[0, -1]) == (16, 235)
    assert np.abs(planes.u.astype(int) - 128).max() == 0
    assert np.abs(planes.v.astype(int) - 128).max() == 0


def test_fit_crop_follows_shift_size_and_roll_and_ignores_the_jaw():
    rng = np.random.default_rng(0)
    face = rng.uniform(0, 1, (468, 2)).astype(np.float32)
    base = fit_crop(face)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]], np.float32) * 130
    moved = fit_crop((face @ turn.T + [40, 7]).astype(np.float32))
    np.testing.assert_allclose(moved[:, :2], turn @ base[:, :2], rtol=1e-4, atol=1e-2)
    jaw = face.copy()
    jaw[[152, 17, 14, 13, 0, 61, 291, 175]] += 0.3
    np.testing.assert_array_equal(fit_crop(jaw), base)


def test_cut_crop_of_an_identity_crop_is_the_picture():
    square = np.random.default_rng(1).integers(0, 255, (96, 96, 3)).astype(np.uint8)
    crop = np.array([[96, 0, 0], [0, 96, 0]], np.float32)
    np.testing.assert_array_equal(cut_crop(square, crop, 96), square)


def test_smoothing_is_causal_steady_and_catches_up():
    rng = np.random.default_rng(2)
    smoother = CropSmoother(25)
    shaky = [CROP + rng.normal(0, 1.0, (2, 3)).astype(np.float32) for _ in range(50)]
    smooth = [smoother.step(crop) for crop in shaky]
    assert np.std([c[0, 2] for c in smooth[10:]]) < 0.6 * np.std([c[0, 2] for c in shaky[10:]])
    for _ in range(50):
        last = smoother.step(CROP + 100)
    np.testing.assert_allclose(last, CROP + 100, atol=1.0)
    smoother.reset()
    np.testing.assert_array_equal(smoother.step(CROP), CROP)


@pytest.mark.parametrize("openness", [0.0, 0.6, 1.0])
def test_a_patch_is_the_picture_that_paste_makes_and_is_drawn_as_such(picture, openness):
    compositor = Compositor(AREA)
    target = compositor.target(picture, CROP)
    mouth = speaking(target, 6)
    patch = compositor.patch(target, mouth, openness)
    pasted = compositor.paste(target, mouth, openness)
    frame = AvFrame(0, patch, np.zeros(0, np.int16), 0, openness)
    whole = AvFrame(0, pasted, np.zeros(0, np.int16), 0, openness)
    assert_drawn_alike(frame, whole)
    assert frame.shape == picture.shape
    assert patch.whole is None  # drawing needs the part alone
    np.testing.assert_array_equal(frame.image, pasted)
    assert frame.image is frame.image
    assert all(edge % 2 == 0 for side in patch.box for edge in (side.start, side.stop))
    assert not np.shares_memory(frame.image, target.image)
    frame.image[patch.box] = 90  # what the receiver draws over the part is seen
    pasted[patch.box] = 90
    assert_drawn_alike(frame, AvFrame(0, pasted, frame.pcm, 0, 1.0))


def assert_drawn_alike(frame, other):
    height, width = other.image.shape[:2]
    drawn, wanted = (module.empty_planes(height, width) for _ in range(2))
    module.draw(frame, drawn)
    module.draw(other, wanted)
    for name in ("y", "u", "v"):
        np.testing.assert_array_equal(getattr(drawn, name), getattr(wanted, name))


def test_a_patch_ends_where_a_picture_of_odd_sides_does():
    odd = np.random.default_rng(8).integers(0, 255, (101, 133, 3)).astype(np.uint8)
    compositor = Compositor(AREA)
    target = compositor.target(odd, np.array([[90, 0, 45], [0, 90, 15]], np.float32))
    mouth = 255 - target.rest
    patch = compositor.patch(target, mouth, 1.0)
    np.testing.assert_array_equal(patch.image(), compositor.paste(target, mouth, 1.0))
