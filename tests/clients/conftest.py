"""Fixtures of the clients' tests."""

import cv2
import numpy as np
import pytest

from clients.making import write_picture, write_wav
from lipstream import Avatar
from lipstream.inference.manifest import embedded_folder


@pytest.fixture(scope="session")
def portrait(tmp_path_factory):
    """A real picture of a (synthetic) person."""
    if not (embedded_folder() / "avatars" / "ada.avatar").exists():
        pytest.skip("the embedded avatar is not there")
    folder = tmp_path_factory.mktemp("portrait")
    return write_picture(folder / "ada.png", np.array(Avatar.open().frames[0]))


@pytest.fixture(scope="session")
def face(portrait):
    """A face, 160 pixels in a square; read-only."""
    picture = np.asarray(cv2.resize(cv2.imread(str(portrait)), (160, 160)), np.uint8)
    picture.flags.writeable = False
    return picture


@pytest.fixture
def noise(tmp_path):
    """A file of forty frames of loud noise: the toy network paints a bright mouth throughout."""
    loud = np.random.default_rng(1).standard_normal(16_000 * 8 // 5) * 5000
    return write_wav(tmp_path / "noise.wav", loud.astype(np.int16), 16_000)
