"""Fixtures that several folders use."""

import os
from pathlib import Path

import numpy as np
import pytest

from lipstream import MouthModel
from toys import make_toy_avatar, make_toy_model


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
    """The folder with golden files; tests that need it skip where it is not."""
    given = os.environ.get("LIPSTREAM_SHARED")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("no golden files: set LIPSTREAM_SHARED to the folder that holds golden/")
    return folder


@pytest.fixture
def bursts():
    """Half a second of noise, half a second of silence, and so on: 3 s at 48 kHz, int16."""
    noise = np.random.default_rng(7).standard_normal(144_000) * 4000
    speaking = (np.arange(144_000) // 24_000) % 2 == 0
    return (noise * speaking).astype(np.int16)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Where LIPSTREAM_REQUIRE_BROWSER is set, a browser test that skips has failed."""
    report = yield
    required = item.get_closest_marker("browser") and os.environ.get("LIPSTREAM_REQUIRE_BROWSER")
    if report.skipped and required:
        report.outcome = "failed"
        report.longrepr = f"skipped where browsers are required: {report.longrepr}"
    return report
