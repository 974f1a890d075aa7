import numpy as np
import pytest

from lipstream.avatar.pack import Avatar
from lipstream.face.crop import Region, cut_crop, cut_region, fit_crop
from lipstream.face.detector import FaceDetector
from lipstream.face.landmarks import POINTS, FaceMesh, region_of_box, region_of_points
from lipstream.face.tracker import FaceTracker
from lipstream.inference.manifest import embedded_folder


@pytest.fixture(scope="module")
def mesh():
    opened = FaceMesh.open()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def detector():
    opened = FaceDetector.open()
    yield opened
    opened.close()


@pytest.fixture
def tracker(detector, mesh):
    return FaceTracker(detector, mesh)


@pytest.fixture(scope="module")
def face():
    """A picture of the embedded avatar, a synthetic person."""
    packs = sorted((embedded_folder() / "avatars").glob("*.avatar"))
    if not packs:
        pytest.skip("no embedded avatar yet: there is no picture of a face to look at")
    return np.array(Avatar.open(packs[0]).frames[0])


def spread(points, other):
    """Mean distance of the points, in outer-eye distances."""
    eyes = np.linalg.norm(other[263] - other[33])
    return np.linalg.norm(points - other, axis=1).mean() / eyes


def test_the_embedded_mesh_gives_what_the_original_gives(mesh):
    image = np.random.default_rng(1).uniform(0, 1, (1, 192, 192, 3)).astype(np.float32)
    outputs = mesh._network.run({"image": image})
    # Of MediaPipe's own .tflite file, read by OpenVINO in float32; points reach 163.
    points = [97.901, 16.812, -2.266, -4.4771, -0.17869]
    found = outputs["points"].ravel()[[0, 350, 701, 1052, 1403]]
    np.testing.assert_allclose(found, points, atol=2e-3)
    np.testing.assert_allclose(outputs["score"], [-12.287], atol=2e-3)


def test_a_region_maps_its_corners_and_turns_clockwise():
    upright = Region(100, 50, 40).to_image(192)
    np.testing.assert_allclose(upright @ [0, 0, 1], [80, 30])
    np.testing.assert_allclose(upright @ [192, 192, 1], [120, 70])
    turned = Region(100, 50, 40, np.pi / 2).to_image(192)
    np.testing.assert_allclose(turned @ [192, 96, 1], [100, 70], atol=1e-9)


@pytest.mark.parametrize("size", [48.0, 192.0, 500.0, 1900.0])
def test_a_cut_region_shows_what_lies_there(size):
    rows, columns = np.mgrid[0:900, 0:1200]
    image = np.stack([columns * 0.2, rows * 0.25, rows * 0], -1).astype(np.uint8)
    region = Region(600, 450, size, 0.3)
    cut = cut_region(image, region, 192, border=1)
    places = region.to_image(192) @ np.array([[50.5, 96.5], [140.5, 96.5], [1, 1]])
    inside = (places[0] < 1199) & (places[1] < 899) & (places > 0).all(0)
    for (x, y), pixel in zip(places.T[inside], cut[[140, 96], [50, 96]][inside], strict=True):
        assert abs(x * 0.2 - pixel[0]) <= 2
        assert abs(y * 0.25 - pixel[1]) <= 2


def test_a_region_outside_the_picture_is_cut_all_the_same():
    image = np.full((40, 60, 3), 9, np.uint8)
    assert (cut_region(image, Region(-900, 5000, 80), 32, border=1) == 9).all()


def test_the_region_of_points_follows_shift_size_and_roll():
    rng = np.random.default_rng(0)
    points = rng.uniform(-50, 50, (POINTS, 2)).astype(np.float32)
    points[33], points[263] = (-30, 0), (30, 0)
    still = region_of_points(points)
    turn = np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
    moved = region_of_points((points @ turn * 2 + np.array([300, 200])).astype(np.float32))
    assert moved.roll == pytest.approx(still.roll + 0.4, abs=1e-4)
    assert moved.size == pytest.approx(2 * still.size, rel=1e-4)


def test_nobody_is_followed_in_an_empty_picture(tracker):
    empty = np.full((240, 320, 3), 120, np.uint8)
    assert [tracker.step(empty) for _ in range(3)] == [None, None, None]


def test_a_face_is_found_where_it_is_and_followed(tracker, face):
    found = tracker.step(face)
    assert found is not None
    assert found.score > 0.9
    again = tracker.step(np.roll(face, 6, axis=1))
    assert again is not None
    assert spread(again.points - np.array([6, 0]), found.points) < 0.02


def test_after_a_cut_the_face_is_found_anew(detector, mesh, face):
    tracker, shifted = FaceTracker(detector, mesh), np.roll(face, face.shape[1] // 8, axis=1)
    tracker.step(face)
    found, fresh = tracker.step(shifted), FaceTracker(detector, mesh).step(shifted)
    np.testing.assert_array_equal(found.points, fresh.points)


def test_the_mesh_settles_the_same_from_the_box_and_from_its_own_points(detector, mesh, face):
    found = FaceTracker(detector, mesh).step(face)
    box = detector.detect(face)[0]
    near = mesh.landmarks(face, region_of_box(box)).points
    assert spread(near, found.points) < 0.1
    again = mesh.landmarks(face, region_of_points(found.points)).points
    assert spread(again, found.points) < 0.01


@pytest.mark.parametrize("share", [0.12, 0.25, 0.5])
def test_a_small_face_in_a_large_picture_is_found(detector, mesh, face, share):
    large = np.random.default_rng(3).integers(0, 60, (720, 1280, 3), dtype=np.uint8)
    side = int(720 * share * face.shape[0] / _face_height(detector, mesh, face))
    side = min(side, 700)
    small = cut_crop(
        face, np.array([[face.shape[1], 0, 0], [0, face.shape[0], 0]], np.float32), side
    )
    large[20 : 20 + side, 560 : 560 + side] = small
    scale = side / np.array(face.shape[1::-1])
    expected = FaceTracker(detector, mesh).step(face).points * scale + np.array([560, 20])
    found = FaceTracker(detector, mesh).step(large)
    assert found is not None
    assert spread(found.points, expected) < 0.05


def test_a_face_that_fills_the_picture_is_found(detector, mesh, face):
    points = FaceTracker(detector, mesh).step(face).points
    (left, top), (right, bottom) = points.min(0).astype(int), points.max(0).astype(int)
    tight = face[top:bottom, left:right].copy()
    found = FaceTracker(detector, mesh).step(tight)
    assert found is not None
    assert spread(found.points + np.array([left, top]), points) < 0.05


@pytest.mark.parametrize("degrees", [-40, 25, 60])
def test_a_tilted_head_is_found_and_its_crop_turns_with_it(detector, mesh, face, degrees):
    height, width = face.shape[:2]
    region = Region(width / 2, height / 2, max(height, width), np.radians(-degrees))
    tilted = cut_region(face, region, max(height, width), border=1)
    found = FaceTracker(detector, mesh).step(tilted)
    upright = FaceTracker(detector, mesh).step(face)
    crop, straight = fit_crop(found.points), fit_crop(upright.points)
    turned = np.degrees(
        np.arctan2(crop[1, 0], crop[0, 0]) - np.arctan2(straight[1, 0], straight[0, 0])
    )
    assert turned == pytest.approx(degrees, abs=2.0)


def test_a_lost_face_is_searched_again_and_reset_equals_fresh(detector, mesh, face):
    empty, tracker = np.zeros_like(face), FaceTracker(detector, mesh)
    first = tracker.step(face)
    assert tracker.step(empty) is None
    assert tracker.step(face) is not None
    tracker.reset()
    np.testing.assert_array_equal(tracker.step(face).points, first.points)


def _face_height(detector, mesh, face):
    points = FaceTracker(detector, mesh).step(face).points
    return float(points[:, 1].max() - points[:, 1].min())
