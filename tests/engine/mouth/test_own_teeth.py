"""What a picture's own teeth are cut out of, and how they stand in other pictures."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from lipstream.mouth.compositor import ShapeTarget
from lipstream.mouth.inner_mouth import Opening, layers_between
from lipstream.mouth.own_teeth import _above_lip, without_lips, without_skin
from lipstream.mouth.prepare import best_teeth
from lipstream.mouth.rig import LipCurves
from lipstream.types import Image
from mouth_faces import Face, compositor, found, opened, portrait, resized, target


def test_a_piece_of_the_lower_lip_is_no_tooth() -> None:
    """White teeth over a lip that reaches up in the middle, as in a smile cut a little low."""
    rows, columns = 80, 160
    y = np.linspace(0.0, 0.4, rows)
    low, high = np.full(columns, 0.05), np.full(columns, 0.35)
    colour = np.full((rows, columns, 3), 220.0, np.float32)
    beside = np.abs(np.linspace(-1, 1, columns))
    lip_from = np.where(beside < 0.4, 0.28, 0.36)
    colour[y[:, None] > lip_from[None]] = (90.0, 80.0, 160.0)
    ends = _above_lip(colour, y, low, high)
    assert abs(float(ends[columns // 2]) - 0.28) < 0.01
    assert abs(float(ends[4]) - 0.35) < 0.01


def test_teeth_down_to_the_edge_stay_whole() -> None:
    rows, columns = 80, 160
    y = np.linspace(0.0, 0.4, rows)
    colour = np.full((rows, columns, 3), 220.0, np.float32)
    colour += np.linspace(0, -20, rows, dtype=np.float32)[:, None, None]
    high = np.full(columns, 0.35)
    np.testing.assert_array_equal(_above_lip(colour, y, np.full(columns, 0.05), high), high)


def _curves(gaps: np.ndarray) -> LipCurves:
    x = np.linspace(-0.4, 0.4, len(gaps))
    upper, lower = (np.stack([x, 0.8 + side * gaps / 2], -1) for side in (-1, 1))
    return LipCurves(upper, lower, open=True)


def test_light_skin_beside_the_corner_of_narrow_lips_is_no_second_opening() -> None:
    x = np.linspace(-1.0, 1.0, 33)
    mouth = 0.07 * np.exp(-((x / 0.3) ** 2))
    skin = 0.05 * np.exp(-(((x - 0.8) / 0.1) ** 2))
    for both, alone in ((mouth + skin, x < 0.5), ((mouth + skin)[::-1], x > -0.5)):
        curves = without_skin(_curves(both))
        gap = (curves.lower - curves.upper)[:, 1]
        assert gap[~alone].max() < 0.01
        np.testing.assert_allclose(gap[alone], both[alone], atol=1e-12)


def test_an_opening_that_is_uneven_in_the_middle_stays_as_it_is() -> None:
    x = np.linspace(-1.0, 1.0, 33)
    uneven = 0.1 * (1 - x**2) * (0.8 + 0.2 * np.cos(9 * x))
    curves = _curves(uneven)
    kept = without_skin(curves)
    np.testing.assert_array_equal(kept.upper, curves.upper)
    np.testing.assert_array_equal(kept.lower, curves.lower)


@cache
def laughing() -> Face:
    """A face whose open mouth shows bright teeth and dark below them."""
    face = resized(portrait(), 0.9)
    image = compositor().patch(target(face), opened(4.5)).image()
    return found(image)


def with_teeth_of(face: Face, shown: Face) -> ShapeTarget:
    prepared = compositor().target(shown.image, shown.crop, shown.points)
    assert prepared.look.teeth is not None, "the picture shows teeth"
    return target(face).with_teeth(prepared)


def mouth(image: Image, face: Face) -> Image:
    x, y = face.points[[13, 14]].mean(0)
    half = float(np.linalg.norm(face.points[291] - face.points[61])) / 2
    rows = slice(int(y - 0.2 * half), int(y + 0.9 * half))
    return image[rows, int(x - 0.5 * half) : int(x + 0.5 * half)]


@pytest.mark.slow
def test_a_closed_picture_opens_with_the_teeth_that_another_one_shows() -> None:
    closed = resized(portrait(), 0.9)
    shown = compositor().patch(with_teeth_of(closed, laughing()), opened(4.5)).image()
    generic = compositor().patch(target(closed), opened(4.5)).image()
    wanted = mouth(laughing().image, closed).astype(float)
    near, far = (
        np.abs(mouth(one, closed) - wanted).mean() for one in (shown, np.zeros_like(generic))
    )
    assert near < 12 < far
    assert not np.array_equal(shown, generic)


@pytest.mark.slow
def test_teeth_of_a_darker_picture_are_lit_as_the_face_is() -> None:
    closed, bright = resized(portrait(), 0.9), laughing()
    dark = Face(np.asarray(bright.image * 0.6, np.uint8), bright.points)
    images = [
        compositor().patch(with_teeth_of(closed, one), opened(4.5)).image()
        for one in (bright, dark)
    ]
    levels = [float(np.percentile(mouth(image, closed), 95)) for image in images]
    assert abs(levels[1] / levels[0] - 1) < 0.08


def test_pursed_lips_hide_the_teeth_of_another_picture_but_not_a_pictures_own() -> None:
    """In a picture its own lips hid them already."""
    line = np.zeros((5, 2))
    opening = Opening(line, line, 0.0, 0.3, 0.04, 0.05, 0.0, 0.06, 0.8, 0.0, 0.02, 0.0)
    laugh = laughing()
    own = compositor().target(laugh.image, laugh.crop, laugh.points)
    for face, moves in ((with_teeth_of(resized(portrait(), 0.9), laugh), 0.03), (own, 0.0)):
        look = face.look
        wide, pursed = (
            layers_between(look, replace(opening, hidden=hidden))[1][-1].tip[1]
            for hidden in (0.0, 0.03)
        )
        assert wide - pursed == pytest.approx(moves)


def test_teeth_of_a_larger_picture_are_as_fine_as_the_face() -> None:
    closed, small = resized(portrait(), 0.3), laughing()
    teeth = with_teeth_of(closed, small).look.teeth
    assert teeth is not None
    assert teeth.upper.pixels <= 1.3 * target(closed).frame.eye_px


@pytest.mark.slow
def test_the_frame_with_most_teeth_is_wide_and_open_and_never_rounded() -> None:
    """Of a closed, a half open, a wide open and a wide open but narrow mouth."""
    face = resized(portrait(), 0.9)
    measures = [opened(spreads).measures for spreads in (0.0, 1.6, 4.5, 4.5)]
    lips = np.repeat(np.stack(measures), 5, 0)
    lips[15:, 3] = -4.0  # outer_width
    images = [compositor().patch(target(face), opened(float(one[0]))).image() for one in lips]
    asked: list[int] = []

    class Mesh:
        def points(self, image: Image, crop: object) -> object:
            return found(image).points

    def picture_at(place: int):
        asked.append(place)
        return Face(images[place], face.points)

    best = best_teeth(lips, picture_at, Mesh(), compositor())
    assert best is not None
    assert 10 <= best[0] < 15
    assert asked
    assert max(asked) < 15
    assert best_teeth(lips[:5], picture_at, Mesh(), compositor()) is None


def test_the_inside_of_lips_is_cut_off_where_an_edge_lies_in_them() -> None:
    """Pale teeth between red lips; the edges are told a fifth too far out on both sides."""
    from lipstream.mouth.own_teeth import _between_lips  # noqa: PLC0415

    rows, columns = 100, 160
    y = np.linspace(0.0, 0.4, rows)
    seen = np.full((rows, columns, 3), (90.0, 80.0, 160.0), np.float32)
    seen[(y > 0.1) & (y < 0.3)] = 210.0
    seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), 1.0), np.float32)
    low, high = _between_lips(seen, y, (np.full(columns, 0.06), np.full(columns, 0.34)), 0.1)
    np.testing.assert_allclose(low, 0.1, atol=0.012)
    np.testing.assert_allclose(high, 0.3, atol=0.012)


def test_curves_that_take_a_lip_for_teeth_are_drawn_together() -> None:
    """An open mouth whose lower edge is told in the lower lip; one that is told right stays."""
    face = laughing()
    prepared = compositor().target(face.image, face.crop, face.points)
    curves = prepared.rig.curves
    assert without_lips(face.image, prepared.frame, curves) is curves
    low = curves.lower.copy()
    low[8:25, 1] += 0.12
    told = LipCurves(curves.upper, low, open=True)
    mended = without_lips(face.image, prepared.frame, told)
    assert mended.gap < told.gap - 0.06
