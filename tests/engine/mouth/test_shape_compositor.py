"""Moving the lips of a picture with its own pixels."""

import contextlib
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from lipstream.lips.shape import OPENINGS, REST, SPREAD, LipFrame, measure_lips
from lipstream.mouth.compositor import GAP_GAIN, ShapeTarget
from lipstream.mouth.inner_mouth import light_tint
from lipstream.mouth.lip_edges import find_lips
from lipstream.mouth.prepare import LipFinder, with_own_gains
from lipstream.mouth.rig import STEP
from lipstream.types import Image
from mouth_faces import PURSED, Face, compositor, found, opened, portrait, resized, target

SLOW = pytest.mark.slow
SIZES = [1.0, *(pytest.param(factor, marks=SLOW) for factor in (0.14, 0.5, 3.0))]
"""Of the embedded avatar, whose face is 420 pixels high: 60 to 1,300."""
NAMES = ["ada", *(pytest.param(name, marks=SLOW) for name in ("mei", "omar"))]


def least_determinant(motion):
    """Return the least determinant of a motion's Jacobian on the grid: above 0 nothing folds."""
    along, down = np.gradient(motion, STEP, axis=1), np.gradient(motion, STEP, axis=0)
    determinant = (1 + along[..., 0]) * (1 + down[..., 1]) - along[..., 1] * down[..., 0]
    return float(determinant.min())


def lips_of(image: Image, face: Face) -> tuple[float, bool]:
    seen = compositor().target(image, face.crop, face.points).rig.curves
    return seen.gap, seen.open


def width_of_red(image: Image, face: Face) -> int:
    """Return across how many columns the lips are redder than the skin beside them."""
    left, right = face.points[61], face.points[291]
    half = float(np.linalg.norm(right - left)) * 0.8
    x, y = (left + right) / 2
    rows = slice(int(y - half * 0.25), int(y + half * 0.35))
    part = image[rows, int(x - half) : int(x + half)].astype(np.float64)
    red = (part[..., 2] - part[..., 1]) / (part.sum(-1) + 1)
    beside = np.percentile(red[:, :3], 80)
    return int((red.max(0) > beside + 0.03).sum())


@pytest.mark.parametrize("factor", SIZES)
def test_lips_at_rest_give_the_picture_back_to_the_pixel(factor: float) -> None:
    face = resized(portrait(), factor)
    patch = compositor().patch(target(face), REST)
    np.testing.assert_array_equal(patch.image(), face.image)


def test_an_openness_of_nothing_gives_the_picture_back_to_the_pixel() -> None:
    face = portrait()
    np.testing.assert_array_equal(
        compositor().patch(target(face), opened(5.0), 0.0).image(), face.image
    )


@pytest.mark.parametrize("factor", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_a_mouth_opens_at_any_size_and_shows_what_is_no_lip(name: str, factor: float) -> None:
    face = resized(portrait(name), factor)
    image = compositor().patch(target(face), opened(5.0)).image()
    assert image.shape == face.image.shape
    changed = np.abs(image.astype(int) - face.image).max(-1)
    x, y = ((face.points[13] + face.points[17]) / 2).astype(int)
    assert changed[y - 2 : y + 3, x].max() > 20
    assert changed[: int(face.points[5][1])].max() <= 1  # nothing above the tip of the nose


def test_the_patch_lies_inside_the_picture_on_even_edges() -> None:
    face = portrait()
    rows, columns = compositor().patch(target(face), opened(5.0)).box
    assert not any(edge % 2 for edge in (rows.start, rows.stop, columns.start, columns.stop))
    assert rows.stop <= face.image.shape[0]
    assert columns.stop <= face.image.shape[1]


def test_the_patch_and_what_it_paints_are_the_same_twice() -> None:
    ready = target(portrait())
    one, other = (compositor().patch(ready, opened(4.0, tongue_up=0.5)) for _ in range(2))
    np.testing.assert_array_equal(one.part, other.part)


@SLOW
def test_an_open_picture_closes() -> None:
    closed = portrait()
    face = found(compositor().patch(target(closed), opened(4.0)).image())
    assert lips_of(face.image, face)[1], "the reference is open"
    ready = target(face)
    shut = compositor().patch(ready, LipFrame(REST.measures, closed=1.0)).image()
    assert not lips_of(shut, face)[1]


def test_a_closed_frame_of_an_opening_mouth_has_no_dark_slot() -> None:
    face = portrait()
    ready = target(face)
    pressed = compositor().patch(ready, opened(2.0, closed=1.0)).image()
    free = compositor().patch(ready, opened(2.0)).image()
    curve = ready.frame.pixels(ready.rig.curves.upper)[8:-8]
    rows = slice(int(curve[:, 1].min()) - 8, int(curve[:, 1].max()) + 20)
    columns = slice(int(curve[0, 0]), int(curve[-1, 0]))
    rough = [
        float(np.abs(cv2.Sobel(one[rows, columns], cv2.CV_32F, 0, 1)).mean())
        for one in (pressed, free, face.image)
    ]
    assert rough[0] < 1.1 * rough[2], "as few edges as closed lips have"
    assert rough[1] > 1.15 * rough[2], "teeth have edges"


def test_pursed_lips_are_narrower_by_a_tenth_at_least() -> None:
    face = portrait()
    pursed = compositor().patch(target(face), PURSED).image()
    assert width_of_red(pursed, face) < 0.9 * width_of_red(face.image, face)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lips", [opened(9.0), opened(30.0), PURSED, opened(-4.0)])
def test_nothing_folds(name: str, lips: LipFrame) -> None:
    ready = target(portrait(name))
    above, below = compositor().motions(ready, lips)
    assert least_determinant(above) > 0.0
    assert least_determinant(below) > 0.0


def test_more_is_asked_than_a_mesh_bears_and_the_mouth_stays_a_mouth() -> None:
    ready = target(portrait())
    most, beyond = (compositor().patch(ready, opened(one)).image() for one in (40.0, 400.0))
    assert np.abs(most.astype(int) - beyond).max() < 12


@SLOW
def test_half_the_openness_opens_half_as_far() -> None:
    ready = target(portrait())
    gaps = []
    for openness in (0.0, 0.5, 1.0):
        points = found(compositor().patch(ready, opened(6.0), openness).image()).points
        gaps.append(float(points[14, 1] - points[13, 1]))
    assert 0.3 < (gaps[1] - gaps[0]) / (gaps[2] - gaps[0]) < 0.75


@SLOW
def test_a_head_turned_away_keeps_its_own_mouth() -> None:
    face = portrait()
    points = face.points.copy()
    points[4, 0] += 0.5 * float(np.linalg.norm(points[263] - points[33]))
    turned = compositor().target(face.image, face.crop, points)
    assert turned.strength == 0.0
    np.testing.assert_array_equal(compositor().patch(turned, opened(6.0)).image(), face.image)


def test_a_face_at_the_edge_of_the_picture_is_driven_as_far_as_it_is_seen() -> None:
    face = portrait()
    cut = int(face.points[291, 0] - 10)
    image = np.ascontiguousarray(face.image[:, :cut])
    ready = compositor().target(image, face.crop, face.points)
    assert compositor().patch(ready, opened(5.0)).image().shape == image.shape


def test_a_picture_of_closed_lips_is_seen_as_closed() -> None:
    for name in ("ada", "mei", "omar"):
        ready = target(portrait(name))
        mesh = ready.frame.places(portrait(name).points.astype(np.float64) - 0.5)
        tint = light_tint(ready.image, ready.frame, mesh)
        assert not find_lips(ready.image, ready.frame, mesh, tint).open


def painted(face: Face, middle: tuple[int, ...], size: tuple[float, float], colour: Image) -> Image:
    """Return a face with a soft ellipse at the mean of mesh points; ``size`` of the eyes' width."""
    eyes = float(np.linalg.norm(face.points[263] - face.points[33]))
    x, y = face.points[list(middle)].mean(0)
    across, down = np.meshgrid(*(np.arange(side) for side in face.image.shape[1::-1]))
    far = ((across - x) / (size[0] * eyes)) ** 2 + ((down - y) / (size[1] * eyes)) ** 2
    share = np.clip(2.0 - 2.0 * far, 0.0, 1.0)[..., None]
    return np.asarray(face.image + share * (colour - face.image.astype(float)), np.uint8)


@SLOW
def test_a_lip_that_shines_is_not_taken_for_teeth() -> None:
    """A white shine on the lower lip of an open mouth moves no edge of the lips."""
    smile = found(compositor().patch(target(portrait()), opened(1.5)).image())
    before = compositor().target(smile.image, smile.crop, smile.points).rig.curves
    shines = painted(smile, (14, 17), (0.16, 0.03), np.full_like(smile.image, 235))
    after = compositor().target(shines, smile.crop, smile.points).rig.curves
    assert before.open
    assert after.open
    np.testing.assert_allclose(after.lower, before.lower, atol=0.014)
    np.testing.assert_allclose(after.upper, before.upper, atol=0.014)


@pytest.mark.parametrize("name", NAMES)
def test_a_lip_in_shadow_is_not_taken_for_the_dark_of_a_mouth(name: str) -> None:
    face = portrait(name)
    shade = np.asarray(face.image * 0.15, np.uint8)
    dark = painted(face, (13, 14), (0.2, 0.05), shade)
    assert not compositor().target(dark, face.crop, face.points).rig.curves.open


def test_a_face_in_the_dark_is_lit_by_white_light() -> None:
    face = portrait()
    frame = target(face).frame
    mesh = frame.places(face.points.astype(np.float64) - 0.5)
    tint = light_tint(np.zeros_like(face.image), frame, mesh)
    np.testing.assert_allclose(tint, 1.0, atol=0.15)


def in_greys(image: Image) -> Image:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


@pytest.mark.parametrize("name", NAMES)
def test_a_mouth_in_a_black_and_white_picture_has_no_colour(name: str) -> None:
    face = portrait(name)
    grey = Face(in_greys(face.image), face.points)
    drawn, coloured = (
        compositor().patch(target(one), opened(4.0)).image().astype(int) for one in (grey, face)
    )
    assert np.ptp(drawn, axis=2).max() <= 2
    assert np.abs(drawn - grey.image).max() > 60, "the mouth is open"
    assert np.ptp(coloured, axis=2).max() > 60


@SLOW
def test_a_black_and_white_smile_is_open() -> None:
    smile = found(compositor().patch(target(portrait()), opened(1.5)).image())
    assert lips_of(smile.image, smile)[1]
    assert lips_of(in_greys(smile.image), smile)[1]
    for name in ("ada", "mei", "omar"):
        assert not lips_of(in_greys(portrait(name).image), portrait(name))[1]


@cache
def with_gains(name: str) -> ShapeTarget:
    face = portrait(name)
    with contextlib.closing(LipFinder()) as finder:
        return with_own_gains(target(face), face.points, finder, compositor())


@SLOW
@pytest.mark.parametrize("name", ["ada", "mei", "omar"])
def test_the_mesh_sees_openings_as_wide_as_they_are_asked_for(name: str) -> None:
    face = portrait(name)
    with contextlib.closing(LipFinder()) as finder:
        seen = [
            float(measure_lips(finder.points_near(picture, face.points))[0])
            for lips in (REST, LipFrame(OPENINGS.mean(0) * np.float32(4.0)))
            for picture in [compositor().patch(with_gains(name), lips).image()]
        ]
    assert (seen[1] - seen[0]) / SPREAD[0] == pytest.approx(4.0, rel=0.2)


@SLOW
def test_gains_leave_the_picture_at_rest_and_open_wider_for_more() -> None:
    face, ready = portrait("omar"), with_gains("omar")
    np.testing.assert_array_equal(compositor().patch(ready, REST).image(), face.image)
    asked = [compositor().motions(ready, opened(gap))[1][..., 1].max() for gap in (1, 2, 4, 6, 9)]
    assert (np.diff(asked) > 0).all()


@SLOW
def test_a_face_in_which_the_mesh_sees_no_lips_move_keeps_the_common_gain() -> None:
    """Turned away, it keeps its own mouth in every picture."""
    face = portrait()
    away = replace(target(face), strength=0.0)
    with contextlib.closing(LipFinder()) as finder:
        kept = with_own_gains(away, face.points, finder, compositor())
    assert kept.gains == (GAP_GAIN, GAP_GAIN)
