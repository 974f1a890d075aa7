"""What a run leaves behind, and that nothing reports to anybody."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from media_files import tone, write_wav
from source_tree import MODULES

LOOK = """
import importlib, os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("switch", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
importlib.import_module(sys.argv[1])
import onnxruntime
"""


def bare(home: Path) -> dict[str, str]:
    """Return the environment of somebody who has just installed the packages."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(home)}


def importers() -> list[str]:
    """Return the modules that import ONNX Runtime as they are imported themselves."""
    statement = re.compile(r"^(import|from) onnxruntime\b", re.MULTILINE)
    return sorted(
        name for name, module in MODULES.items() if statement.search(module.read_text("utf-8"))
    )


@pytest.mark.slow
@pytest.mark.parametrize("module", importers())
def test_onnx_runtime_is_imported_with_its_telemetry_off(module, tmp_path):
    pytest.importorskip("onnxruntime")
    ran = subprocess.run(
        [sys.executable, "-c", LOOK, module],
        env=bare(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "switch 1" in ran.stdout
    assert "switch None" not in ran.stdout


@pytest.mark.slow
def test_a_render_leaves_nothing_but_its_film_and_the_packages_own_cache(tmp_path, toy_folder):
    home, films = tmp_path / "home", tmp_path / "films"
    home.mkdir()
    films.mkdir()
    sound = write_wav(tmp_path / "a.wav", tone(16_000, 8_000), 16_000)
    command = [sys.executable, "-m", "lipstream", "render", "mei", str(sound)]
    asked = ["-o", str(films / "out.mp4"), "--model", str(toy_folder), "--backend", "cpu"]
    ran = subprocess.run(
        [*command, *asked], env=bare(home), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert [one.name for one in films.iterdir()] == ["out.mp4"]
    left = {one.relative_to(home) for one in home.rglob("*") if one.is_file()}
    assert all(one.parts[:2] == (".cache", "lipstream") for one in left), left


@pytest.mark.slow
def test_openvino_is_imported_without_its_telemetry(tmp_path):
    pytest.importorskip("openvino")
    ran = subprocess.run(
        [sys.executable, "-c", "import lipstream, openvino; openvino.Core().available_devices"],
        env=bare(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
def test_speech_leaves_nothing_in_the_home(tmp_path):
    script = """
from lipstream.speech import SpeechSettings, open_voice
try:
    voice = open_voice(SpeechSettings())
    list(voice.say("Good day."))
    voice.close()
except Exception as error:
    print("skip", error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=bare(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    if "skip" in ran.stdout:
        pytest.skip(ran.stdout)
    assert list(tmp_path.rglob("*")) == []
