"""Drawing a picture whose parts have moved, by the compiled library and without it."""

import os
import platform
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lipstream.face.crop import HeadFrame
from lipstream.lips.shape import LipFrame
from lipstream.machine import processor_flags
from lipstream.mouth import compositor, drawing
from lipstream.mouth.compositor import ShapeTarget
from lipstream.mouth.rig import COLUMNS, LEFT, ROWS, STEP, TOP
from lipstream.types import PixelBox
from mouth_faces import PURSED, Face, found, opened, portrait, resized
from mouth_faces import compositor as shapes
from sanitizers import build, run_tests

if given := os.environ.get("LIPSTREAM_TEST_WARP"):  # a build with sanitizers
    drawing.LIBRARY = Path(given)

NEEDS_LIBRARY = pytest.mark.skipif(
    not processor_flags() >= {"avx2", "bmi2", "fma"}, reason="the library needs a processor's AVX2"
)


@pytest.fixture(params=["compiled", "opencv"])
def way(request, monkeypatch):
    """The library, and numpy and OpenCV in its place."""
    if request.param == "opencv":
        monkeypatch.setattr(drawing, "load_library", lambda: None)
    elif drawing.load_library() is None:
        pytest.skip("the library needs a processor's AVX2")
    return request.param


def smooth_motion(seed: int, most: float) -> np.ndarray:
    """A motion of up to ``most`` head units that ends before the edge of the grid."""
    rng = np.random.default_rng(seed)
    motion = cv2.GaussianBlur(rng.normal(size=(ROWS, COLUMNS, 2)), (0, 0), 5)
    x, y = (np.linspace(-1, 1, count) for count in (COLUMNS, ROWS))
    motion *= (np.clip(4 - 4 * np.abs(x), 0, 1) * np.clip(4 - 4 * np.abs(y), 0, 1)[:, None])[
        ..., None
    ]
    return np.asarray(motion / np.abs(motion).max() * most, np.float32)


def noise(height: int, width: int) -> np.ndarray:
    levels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(levels, (0, 0), 0.8), np.uint8)


def head(eye_px: float, roll: float, middle: tuple[float, float]) -> HeadFrame:
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) * eye_px
    return HeadFrame(np.column_stack([turn, middle]))


def at(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values between four neighbours, as at the edge beyond it; float64."""
    x, y = np.clip(x, 0, values.shape[1] - 1), np.clip(y, 0, values.shape[0] - 1)
    column = np.minimum(x.astype(int), values.shape[1] - 2)
    row = np.minimum(y.astype(int), values.shape[0] - 2)
    right, low = (x - column)[..., None], (y - row)[..., None]
    upper = values[row, column] * (1 - right) + values[row, column + 1] * right
    lower = values[row + 1, column] * (1 - right) + values[row + 1, column + 1] * right
    return upper * (1 - low) + lower * low


def sharp_at(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values between sixteen neighbours, by the kernel that sharpens; float64."""

    def weights(part: np.ndarray) -> np.ndarray:
        before = part * (1 - part) * (0.7 - 0.4 * part)
        after = part * (1 - part) * (0.3 + 0.4 * part)
        middle = (1 - part + 2 * before - after, part + 2 * after - before)
        return np.stack([-before, *middle, -after])

    x, y = np.clip(x, 0, image.shape[1] - 1), np.clip(y, 0, image.shape[0] - 1)
    column, row = x.astype(int), y.astype(int)
    across, down = weights(x - column), weights(y - row)
    found = np.zeros((*x.shape, 3))
    for i in range(4):
        for j in range(4):
            rows = np.clip(row + i - 1, 0, image.shape[0] - 1)
            columns = np.clip(column + j - 1, 0, image.shape[1] - 1)
            found += (down[i] * across[j])[..., None] * image[rows, columns]
    return np.clip(found, 0, 255)


def expected(image: np.ndarray, frame: HeadFrame, back: np.ndarray, box: PixelBox) -> np.ndarray:
    """What is to be drawn, in float64: places on the coarse grid, stretched, and sampled there."""
    step = max(2, round(frame.eye_px * STEP))
    rows, columns = -(-box.height // step) + 2, -(-box.width // step) + 2
    x = (np.arange(columns) - 0.5) * step - 0.5 + box.left
    y = (np.arange(rows) - 0.5) * step - 0.5 + box.top
    nodes = np.stack(np.meshgrid(x, y), -1)
    cells = (frame.places(nodes) - [LEFT, TOP]) / STEP
    motion = at(back.astype(np.float64), cells[..., 0], cells[..., 1])
    sources = nodes + motion @ frame.to_pixels[:, :2].T
    across, down = np.meshgrid(np.arange(box.width), np.arange(box.height))
    place = at(sources, (across + 0.5) / step + 0.5, (down + 0.5) / step + 0.5)
    return sharp_at(image.astype(np.float64), place[..., 0], place[..., 1])


@pytest.mark.parametrize(
    ("eye_px", "roll", "middle"),
    [
        (60, 0.0, (150, 90)),
        (120, 0.4, (160, 60)),
        (210, 0.1, (200, 40)),
        (90, 0.0, (20, 210)),  # at the left and bottom edge of the picture
        (180, 1.5, (400, 200)),
        (480, 0.05, (200, -120)),
        (830, -0.1, (200, -200)),
    ],
)
def test_each_pixel_comes_from_where_the_motion_leads(way, eye_px, roll, middle):
    image, frame = noise(330, 411), head(eye_px, roll, middle)
    back, box = smooth_motion(2, 0.08), PixelBox(10, 20, 403, 330)
    seen = drawing.draw_moved(image, frame, back, box).astype(np.float64)
    apart = np.abs(seen - expected(image, frame, back, box))
    assert np.abs(seen - image[20:330, 10:403]).max() > 60, "it moved"
    if way == "compiled":
        assert apart.max() <= 1.5  # half a level is rounding, the rest weights of 8 bits
        assert apart.mean() < 0.3
    else:
        assert apart.mean() < 1.5  # places are rounded to 1/32 pixel


@pytest.mark.parametrize("eye_px", [60, 200])
def test_where_nothing_moves_the_picture_stays_to_the_pixel(way, eye_px):
    image, still = noise(200, 301), np.zeros((ROWS, COLUMNS, 2), np.float32)
    box = PixelBox(0, 0, 301, 200)
    drawn = drawing.draw_moved(image, head(eye_px, 0.2, (150, 50)), still, box)
    np.testing.assert_array_equal(drawn, image)


def detail(image: np.ndarray) -> float:
    """How much fine detail a picture has: the variance of its Laplacian."""
    return float(cv2.Laplacian(image.astype(np.float32).mean(-1), cv2.CV_32F, ksize=1).var())


@pytest.mark.parametrize("eye_px", [60.0, 150.0, 480.0])
@pytest.mark.parametrize("shift", [(0.5, 0.0), (0.25, 0.25)])
def test_hair_and_grain_stay_where_a_face_moves_by_parts_of_a_pixel(way, eye_px, shift):
    """Linear sampling keeps 0.63 of them at half a pixel, 0.51 at a quarter both ways."""
    image, box = noise(120, 160), PixelBox(20, 20, 140, 100)
    back = np.broadcast_to(np.asarray(shift, np.float32) / eye_px, (ROWS, COLUMNS, 2)).copy()
    drawn = drawing.draw_moved(image, head(eye_px, 0.0, (80, 10)), back, box)
    kept = detail(drawn) / detail(image[20:100, 20:140])
    assert 0.93 < kept < 1.12


@pytest.mark.parametrize("seed", range(4))
def test_flat_parts_and_slopes_stay_as_they_are(way, seed):
    """What the outer neighbours take the inner are given: no rim, nothing wobbles."""
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    image = np.stack([np.full_like(x, 200), 40 + x, 250 - 2 * y], -1).astype(np.uint8)
    frame, box = head(150, 0.1, (80, 20)), PixelBox(10, 10, 150, 110)
    back = smooth_motion(seed, 0.01)
    drawn = drawing.draw_moved(image, frame, back, box)
    assert np.abs(drawn - expected(image, frame, back, box)).max() < 1.0


def test_a_part_of_a_larger_picture_is_drawn_as_if_it_stood_alone(way):
    whole, frame, back = noise(300, 300), head(100, 0.0, (120, 40)), smooth_motion(4, 0.1)
    part, box = whole[20:250, 30:280], PixelBox(0, 0, 250, 230)
    np.testing.assert_array_equal(
        drawing.draw_moved(part, frame, back, box),
        drawing.draw_moved(part.copy(), frame, back, box),
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 2), (5, 7)])
def test_the_smallest_pictures_are_drawn(way, shape):
    image, back = noise(*shape), smooth_motion(5, 0.2)
    box = PixelBox(0, 0, shape[1], shape[0])
    for eye_px in (3.0, 300.0):
        drawn = drawing.draw_moved(image, head(eye_px, 0.0, (1, -eye_px)), back, box)
        assert drawn.shape == image.shape
    assert drawing.draw_moved(image, head(9, 0.0, (0, 0)), back, PixelBox(1, 1, 1, 3)).shape[1] == 0


def test_what_leads_beyond_the_picture_shows_its_edge(way):
    image, far = noise(60, 60), np.full((ROWS, COLUMNS, 2), 50.0, np.float32)
    box = PixelBox(0, 0, 60, 60)
    drawn = drawing.draw_moved(image, head(130, 0.0, (30, -30)), far, box)
    assert drawn.shape == (60, 60, 3)
    np.testing.assert_array_equal(drawn[30, 30], image[-1, -1])


def test_an_inverse_leads_back(way):
    motion = smooth_motion(7, 0.06)
    back = drawing.inverse(motion).astype(np.float64)
    column, row = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    there = at(motion.astype(np.float64), column + back[..., 0] / STEP, row + back[..., 1] / STEP)
    assert np.abs(back).max() > 0.05
    assert np.abs(back + there).max() < 0.02 * np.abs(motion).max()


@NEEDS_LIBRARY
def test_both_inverses_are_the_same(monkeypatch):
    motion = smooth_motion(8, 0.1)
    compiled = drawing.inverse(motion)
    monkeypatch.setattr(drawing, "load_library", lambda: None)
    assert np.abs(drawing.inverse(motion) - compiled).max() < STEP / 50


LIPS = (
    opened(1.0),
    opened(4.0, tongue_up=0.7),
    opened(7.0, tongue_out=1.0),
    opened(3.0, tucked=1.0),
    opened(2.0, closed=1.0),
    PURSED,
)


def apart(ready: ShapeTarget, lips: LipFrame, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """By how many levels a mouth drawn at once differs from the one drawn step by step."""
    at_once = shapes().patch(ready, lips)
    with monkeypatch.context() as changed:
        changed.setattr(compositor, "draw_lips", drawing.draw_by_steps)
        by_steps = shapes().patch(ready, lips)
    assert at_once.box == by_steps.box
    return np.abs(at_once.part.astype(int) - by_steps.part)


def rolled(face: Face, degrees: float) -> Face:
    height, width = face.image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.8)
    image = np.asarray(cv2.warpAffine(face.image, turn, (width, height)), np.uint8)
    return Face(image, np.asarray(face.points @ turn[:, :2].T + turn[:, 2], np.float32))


@NEEDS_LIBRARY
@pytest.mark.parametrize("name", ["ada", "omar"])
@pytest.mark.parametrize(("factor", "degrees"), [(0.14, 0), (0.4, 30), (0.5, -90), (1.6, 8)])
def test_a_mouth_drawn_at_once_is_the_one_drawn_step_by_step(name, factor, degrees, monkeypatch):
    face = rolled(resized(portrait(name), factor), degrees)
    ready = shapes().target(face.image, face.crop, face.points)
    for lips in LIPS:
        levels = apart(ready, lips, monkeypatch)
        assert levels.max() <= 1, "what rounds differently"
        assert (levels > 0).mean() < 0.002


@pytest.mark.slow
@NEEDS_LIBRARY
def test_teeth_of_ones_own_are_drawn_at_once_as_step_by_step(monkeypatch):
    rest = portrait("mei")
    shown = found(
        shapes().patch(shapes().target(rest.image, rest.crop, rest.points), opened(6.0)).image()
    )
    smiling = shapes().target(shown.image, shown.crop, shown.points)
    borrowing = shapes().target(rest.image, rest.crop, rest.points).with_teeth(smiling)
    for ready in (smiling, borrowing):
        assert ready.look.teeth is not None
        for lips in LIPS:
            assert apart(ready, lips, monkeypatch).max() <= 1


@NEEDS_LIBRARY
def test_a_mouth_cut_by_the_edge_of_the_picture_is_drawn_at_once_as_step_by_step(monkeypatch):
    face = resized(portrait(), 0.5)
    left, low = (int(edge) for edge in face.points[13] + 3)
    for image in (face.image[:, :left], face.image[:low], face.image[:low, :left]):
        ready = shapes().target(image, face.crop, face.points)
        assert apart(ready, opened(6.0), monkeypatch).max() <= 1


@NEEDS_LIBRARY
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e30])
def test_numbers_that_are_none_reach_no_memory_of_others(wrong):
    motion = smooth_motion(9, 0.1)
    motion[20:30, 20:30] = wrong
    back = drawing.inverse(motion)
    drawn = drawing.draw_moved(noise(90, 90), head(60, 0, (45, 5)), back, PixelBox(0, 0, 90, 90))
    assert drawn.shape == (90, 90, 3)


@NEEDS_LIBRARY
def test_what_would_be_read_out_of_bounds_is_refused():
    with pytest.raises(ValueError, match="not on the grid"):
        drawing.inverse(smooth_motion(9, 0.1)[1:])
    face = resized(portrait(), 0.4)
    ready = shapes().target(face.image, face.crop, face.points)
    layer = ready.look.layers["tongue"]
    layers = ready.look.layers | {"tongue": replace(layer, picture=layer.picture[..., :3])}
    wrong = replace(ready, look=replace(ready.look, layers=layers))
    with pytest.raises(ValueError, match="a mouth cannot be drawn: a layer"):
        shapes().patch(wrong, opened(6.0))


@NEEDS_LIBRARY
def test_where_it_can_be_built_the_library_is_installed():
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the library is built on Linux x86-64 alone")
    assert drawing.load_library() is not None, "hatch_build.py did not build it: pip install -v"


def test_without_a_library_or_with_one_of_another_version_opencv_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "LIBRARY", tmp_path / "gone.so")
    drawing.load_library.cache_clear()
    assert drawing.load_library() is None
    monkeypatch.undo()
    monkeypatch.setattr(drawing, "ABI", -1)
    drawing.load_library.cache_clear()
    assert drawing.load_library() is None
    monkeypatch.undo()
    drawing.load_library.cache_clear()


@pytest.mark.slow
@NEEDS_LIBRARY
def test_under_sanitizers_nothing_is_read_or_written_beyond_a_picture(tmp_path):
    source = drawing.LIBRARY.with_suffix(".c")
    library = build(source, tmp_path / "warp_pixels.so", "-march=x86-64-v3")
    kept = "not sanitizers and not library_is_installed and not 1.6"
    run_tests("-k", kept, __file__, LIPSTREAM_TEST_WARP=str(library))
