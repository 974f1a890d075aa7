import cv2
import numpy as np
import pytest

from lipstream import Avatar
from lipstream.errors import ModelError
from lipstream.face.crop_finder import open_crop_finder


def test_the_embedded_finder_agrees_with_the_embedded_avatars_own_crops():
    avatar = Avatar.open()
    finder = open_crop_finder()
    found = finder.step(avatar.frames[0])
    finder.reset()
    finder.close()
    assert found is not None
    width = np.linalg.norm(avatar.crops[0][:, 0])
    assert np.abs(found - avatar.crops[0]).max() < 0.05 * width


def test_nobody_in_the_picture_is_none():
    finder = open_crop_finder()
    grey = cv2.merge([np.full((200, 300), 127, np.uint8)] * 3)
    assert finder.step(np.asarray(grey, np.uint8)) is None
    finder.close()


def test_a_file_that_is_not_s3fd_is_refused(tmp_path):
    (tmp_path / "s3fd.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError):
        open_crop_finder(tmp_path / "s3fd.onnx")
    with pytest.raises(ModelError):
        open_crop_finder(tmp_path / "missing.onnx")
