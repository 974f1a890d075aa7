import numpy as np
import pytest

from lipstream.avatar import EMBEDDED, Avatar
from lipstream.model import embedded_folder
from lipstream_models.portrait.loop import Idle


@pytest.fixture(scope="module")
def ada() -> Avatar:
    return Avatar.open()


def test_the_embedded_avatar_is_small_and_as_long_as_its_loop(ada: Avatar) -> None:
    path = embedded_folder() / "avatars" / f"{EMBEDDED}.avatar"
    assert path.stat().st_size <= 5_000_000
    assert path.with_suffix(".md").is_file()
    assert ada.frames.shape == (Idle().frames, 512, 512, 3)
    assert (ada.fps, ada.licence) == (Idle().fps, "CC0-1.0")


def test_its_face_fills_the_crop_and_never_jumps(ada: Avatar) -> None:
    corners = np.stack([ada.crops[:, :, 2], ada.crops.sum(2)], axis=1)  # upper left and lower right
    assert corners.min() > 0
    assert corners.max() < 512
    step = np.linalg.norm(np.diff(corners, axis=0, append=corners[:1]), axis=2)
    assert step.max() < 0.5  # pixels a frame, the seam included
    assert np.ptp(corners, axis=0).max() > 1.0


def test_its_last_frame_leads_into_the_first(ada: Avatar) -> None:
    frames = ada.frames.astype(np.int16)
    change = np.array([np.abs(frames[k] - frames[k - 1]).mean() for k in range(len(frames))])
    assert change[0] < 2 * np.median(change)
