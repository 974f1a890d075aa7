"""Fixtures that several folders use."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from lipstream import Avatar, MouthModel
from lipstream.inference.manifest import embedded_folder
from media_files import write_picture, write_wav
from toys import make_toy_avatar, make_toy_model

LONG_SECONDS = 600


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Every test ends: after pyproject's ``timeout``, the long ones after this one."""
    for item in items:
        long = any(item.get_closest_marker(name) for name in ("slow", "browser", "gpu"))
        if long and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))


@pytest.fixture(scope="session", autouse=True)
def state_elsewhere(tmp_path_factory):
    """What tests keep, films of a studio and prepared faces, lies where nobody's own is."""
    names = ("XDG_STATE_HOME", "XDG_CACHE_HOME")
    before = {name: os.environ.get(name) for name in names}
    os.environ |= {name: str(tmp_path_factory.mktemp(name)) for name in names}
    yield
    for name, value in before.items():
        del os.environ[name]
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory):
    return make_toy_model(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def toy_model(toy_folder):
    with MouthModel.open(toy_folder, threads=1) as model:
        yield model


@pytest.fixture(scope="session")
def toy_avatar():
    return make_toy_avatar()


@pytest.fixture(scope="session")
def toy_pack(tmp_path_factory, toy_avatar):
    path = tmp_path_factory.mktemp("toy") / "toy.avatar"
    toy_avatar.save(path)
    return path


@pytest.fixture(scope="session")
def shared():
    """A folder with films of real people in data/grid; tests that need it skip where it is not."""
    given = os.environ.get("LIPSTREAM_SHARED")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "grid").is_dir():
        pytest.skip("no films of people: set LIPSTREAM_SHARED to the folder that holds data/grid")
    return folder


@pytest.fixture
def bursts():
    """Half a second of noise, half a second of silence, and so on: 3 s at 48 kHz, int16."""
    noise = np.random.default_rng(7).standard_normal(144_000) * 4000
    speaking = (np.arange(144_000) // 24_000) % 2 == 0
    return (noise * speaking).astype(np.int16)


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Where LIPSTREAM_REQUIRE_BROWSER is set, a browser test that skips has failed.

    One that needs npm may skip: a registry that cannot be reached is no fault of the browser's.
    """
    report = yield
    required = item.get_closest_marker("browser") and os.environ.get("LIPSTREAM_REQUIRE_BROWSER")
    if report.skipped and required and not item.get_closest_marker("npm"):
        report.outcome = "failed"
        report.longrepr = f"skipped where browsers are required: {report.longrepr}"
    return report
