"""A real server process, a real Chromium, and speech for its microphone."""

import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from browser.driving import find_chromium, launch, leave, serving
from toys import make_toy_avatar

SENTENCES = (
    "The quick brown fox jumps over the lazy dog. We were away a year ago. Open the map, Mama."
)
MEASURED = pytest.StashKey[list[str]]()


def pytest_configure(config):
    config.stash[MEASURED] = []


def pytest_terminal_summary(terminalreporter, config):
    """Show what was measured, also when all is well."""
    for line in config.stash[MEASURED]:
        terminalreporter.write_line(f"measured in a browser: {line}")


@pytest.fixture(scope="session")
def measured(pytestconfig):
    """Lines to be shown at the end of the run."""
    return pytestconfig.stash[MEASURED]


def pytest_collection_modifyitems(items):
    """Mark every test of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def playwright():
    """What drives the browser; skips where there is none to drive."""
    driver = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: pip install '.[dev]'"
    )
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with driver.sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright, speech):
    """A browser whose microphone speaks."""
    opened = launch(playwright, speech)
    yield opened
    opened.close()


@pytest.fixture
def visitor(browser):
    """Somebody with a microphone, allowed."""
    context = browser.new_context(permissions=["microphone"], bypass_csp=True)
    yield context
    leave(context)


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """A WAV of 48 kHz: half a second of silence, speech, two seconds of silence; it loops."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("no espeak-ng on this machine: apt-get install espeak-ng")
    folder = tmp_path_factory.mktemp("speech")
    spoken = folder / "spoken.wav"
    subprocess.run(["espeak-ng", "-s", "150", "-w", str(spoken), SENTENCES], check=True)
    with wave.open(str(spoken)) as opened:
        rate = opened.getframerate()
        pcm = np.frombuffer(opened.readframes(opened.getnframes()), "<i2")
    at = np.arange(int(len(pcm) * 48_000 / rate)) * rate / 48_000
    louder = np.interp(at, np.arange(len(pcm)), pcm.astype(np.float64))
    silence = np.zeros(48_000)
    out = np.concatenate([silence[:24_000], louder, silence, silence])
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as writing:
        writing.setparams((1, 2, 48_000, 0, "NONE", ""))
        writing.writeframes(out.astype("<i2").tobytes())
    return path


@dataclass(frozen=True, slots=True)
class Served:
    """A running server and what it was given."""

    url: str
    model: Path
    avatar: Path


@pytest.fixture(scope="session")
def toy_server(toy_folder, tmp_path_factory):
    """A server whose mouth shows the loudness of the sound; 512 x 512 like the real one."""
    pack = tmp_path_factory.mktemp("toy") / "toy512.avatar"
    make_toy_avatar(frames=1, size=512).save(pack)
    with serving("--model", toy_folder, "--avatar", pack, "--sessions", "2") as url:
        yield Served(url, toy_folder, pack)
