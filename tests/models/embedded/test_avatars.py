import contextlib

import numpy as np
import pytest

from lipstream.avatar.pack import Avatar, embedded_avatars
from lipstream.face.crop import fit_crop
from lipstream.face.tracker import FaceTracker
from lipstream.mouth.compositor import ShapeCompositor
from lipstream.mouth.prepare import LipFinder, find_teeth
from lipstream_models.synthetic.blender.idle_loop import Idle
from lipstream_models.synthetic.body.appearance import PEOPLE


@pytest.fixture(scope="module", params=sorted(embedded_avatars()))
def avatar(request: pytest.FixtureRequest) -> Avatar:
    return Avatar.open(embedded_avatars()[request.param])


def test_there_is_one_of_each_person() -> None:
    assert set(embedded_avatars()) == set(PEOPLE)


def test_an_embedded_avatar_is_small_and_as_long_as_its_loop(avatar: Avatar) -> None:
    path = embedded_avatars()[avatar.name]
    assert path.stat().st_size <= 5_000_000
    assert path.with_suffix(".md").is_file()
    assert avatar.frames.shape == (Idle().frames, 512, 512, 3)
    assert (avatar.fps, avatar.licence) == (Idle().fps, "CC0-1.0")


def test_its_face_fills_the_crop_and_never_jumps(avatar: Avatar) -> None:
    corners = np.stack(
        [avatar.crops[:, :, 2], avatar.crops.sum(2)], axis=1
    )  # upper left and lower right
    assert corners.min() > 0
    assert corners.max() < 512
    step = np.linalg.norm(np.diff(corners, axis=0, append=corners[:1]), axis=2)
    assert step.max() < 0.5  # pixels a frame, the seam included
    assert np.ptp(corners, axis=0).max() > 1.0


def test_its_face_is_found_where_its_crop_says(avatar: Avatar) -> None:
    with FaceTracker.open() as tracker:
        for index in (0, 25, 86):  # open eyes, a blink, another
            tracker.reset()
            face = tracker.step(np.array(avatar.frames[index]))
            assert face is not None
            assert face.score > 0.9
            assert np.abs(fit_crop(face.points) - avatar.crops[index]).max() < 8  # pixels


@pytest.mark.slow
def test_the_open_mouth_of_omar_shows_his_teeth() -> None:
    """Those of the others look no better in speech than nobody's."""
    shown = {name: Avatar.open(path).open_mouth for name, path in embedded_avatars().items()}
    picture = shown.pop("omar")
    assert picture is not None
    assert set(shown.values()) == {None}
    with contextlib.closing(LipFinder()) as finder:
        assert find_teeth(picture, finder, ShapeCompositor.open()) is not None


@pytest.mark.slow
def test_its_last_frame_leads_into_the_first(avatar: Avatar) -> None:
    frames = avatar.frames.astype(np.int16)
    change = np.array([np.abs(frames[k] - frames[k - 1]).mean() for k in range(len(frames))])
    assert change[0] < 2 * np.median(change)
