import cv2
import numpy as np
import pytest

from lipstream import Avatar
from lipstream.errors import ModelError
from lipstream.face.tracker import open_crop_tracker


def test_the_embedded_tracker_agrees_with_the_embedded_avatars_own_crops():
    avatar = Avatar.open()
    tracker = open_crop_tracker(most_faces=1)
    (found,) = tracker.step(avatar.frames[0])
    tracker.reset()
    tracker.close()
    width = np.linalg.norm(avatar.crops[0][:, 0])
    assert np.abs(found.crop - avatar.crops[0]).max() < 0.05 * width


def test_nobody_is_in_an_empty_picture():
    tracker = open_crop_tracker()
    grey = cv2.merge([np.full((200, 300), 127, np.uint8)] * 3)
    assert tracker.step(np.asarray(grey, np.uint8)) == []
    tracker.close()


def test_a_file_that_is_not_s3fd_is_refused(tmp_path):
    (tmp_path / "s3fd.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError):
        open_crop_tracker(tmp_path / "s3fd.onnx")
    with pytest.raises(ModelError):
        open_crop_tracker(tmp_path / "missing.onnx")
