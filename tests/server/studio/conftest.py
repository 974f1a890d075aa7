"""A studio with the toy model, and small real files."""

import cv2
import numpy as np
import pytest

from lipstream import Avatar
from lipstream_server.config import StudioConfig, StudioLimits
from media_files import add_sound, numbered, tone, write_film, write_wav
from server.studio.serving import serving


@pytest.fixture(scope="module")
def limits():
    """Small, so that they are soon met; a test's module may have its own."""
    return StudioLimits(upload_mb=2, film_seconds=20, waiting=3, reserve_mb=0)


@pytest.fixture(scope="module")
def config(toy_folder, tmp_path_factory, limits):
    folder = tmp_path_factory.mktemp("studio") / "kept"
    return StudioConfig(folder, model=toy_folder, limits=limits)


@pytest.fixture(scope="module")
def visitor(worker, toy_avatar, config):
    with serving(worker, toy_avatar, config) as opened:
        yield opened


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="session")
def portrait(files):
    """A small picture of a person."""
    frame = cv2.resize(np.array(Avatar.open().frames[0]), (192, 192))
    assert cv2.imwrite(str(files / "ada at home.png"), frame)
    return files / "ada at home.png"


@pytest.fixture(scope="session")
def speech(files):
    """0.4 s of sound."""
    return write_wav(files / "hello.wav", tone(16_000, 6_400), 16_000)


@pytest.fixture(scope="session")
def film(files):
    """A film of 2 s without a face, with sound of its own."""
    silent = write_film(files / "walk.mp4", numbered(50))
    return add_sound(silent, np.repeat(tone(16_000, 32_000)[:, None], 1, 1), 16_000)
