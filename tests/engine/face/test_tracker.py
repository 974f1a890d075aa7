"""Several faces followed by one tracker: their numbers, and what happens when one is lost."""

from collections.abc import Iterator

import numpy as np
import pytest

from lipstream import Avatar
from lipstream.face.detector import FaceDetector
from lipstream.face.landmarks import FaceMesh
from lipstream.face.tracker import CutDetector, FaceTracker, LandmarkCropTracker


@pytest.fixture(scope="module")
def networks() -> Iterator[tuple[FaceDetector, FaceMesh]]:
    detector, mesh = FaceDetector.open(), FaceMesh.open()
    yield detector, mesh
    detector.close()
    mesh.close()


@pytest.fixture(scope="module")
def face():
    return np.array(Avatar.open().frames[0])


@pytest.fixture(scope="module")
def pair(face):
    """Two people: the same face as it is, and mirrored."""
    return np.concatenate([face, face[:, ::-1]], axis=1)


def middles(faces):
    return {track: float(one.points[:, 0].mean()) for track, one in faces.items()}


def test_two_faces_are_followed_each_under_its_own_number(networks, pair):
    tracker = FaceTracker(*networks, most_faces=8)
    first = middles(tracker.step_all(pair))
    again = middles(tracker.step_all(np.roll(pair, 4, axis=1)))
    assert first.keys() == again.keys() == {0, 1}
    assert min(first.values()) < pair.shape[1] / 2 < max(first.values())
    for track, place in first.items():
        assert again[track] == pytest.approx(place + 4, abs=3.0)


def test_of_two_faces_one_is_followed_where_one_is_wanted(networks, pair):
    tracker = FaceTracker(*networks)
    for _ in range(3):
        assert len(tracker.step_all(pair)) == 1


def test_a_face_that_was_hidden_comes_back_under_its_number(networks, pair):
    tracker, half = FaceTracker(*networks, most_faces=8), pair.shape[1] // 2
    numbers = middles(tracker.step_all(pair))
    right = max(numbers, key=lambda track: numbers[track])
    hidden = pair.copy()
    hidden[:, half:] = 0
    assert tracker.step_all(hidden).keys() == numbers.keys() - {right}
    for _ in range(13):  # the detector looks for further faces once in twelve frames
        found = tracker.step_all(pair)
    assert middles(found)[right] == pytest.approx(numbers[right], abs=1.0)


def test_after_a_reset_the_same_faces_have_new_numbers(networks, pair):
    tracker = FaceTracker(*networks, most_faces=8)
    before = tracker.step_all(pair).keys()
    tracker.reset()
    assert not before & tracker.step_all(pair).keys()


def test_a_face_that_jumps_keeps_its_number(networks, face):
    tracker = FaceTracker(*networks, most_faces=8)
    (number,) = tracker.step_all(face)
    (after,) = tracker.step_all(np.roll(face, face.shape[1] // 16, axis=1))
    assert after == number


def test_of_a_frontal_face_the_crop_is_high_and_the_turn_small(networks, face):
    (found,) = LandmarkCropTracker(FaceTracker(*networks)).step(face)
    assert 0.3 * face.shape[0] < found.size < face.shape[0]
    assert abs(found.turn) < 0.15


def test_a_shot_begins_with_the_first_picture_and_at_a_cut(face):
    cuts = CutDetector()
    found = [cuts.step(image) for image in (face, face, 255 - face, 255 - face)]
    assert found == [True, False, True, False]
