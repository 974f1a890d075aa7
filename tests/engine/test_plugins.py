"""What other packages add by entry points: backends and voices."""

import sys

import numpy as np
import pytest

from lipstream.cli import main
from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.backends import backend_names, backends_for, open_backend
from lipstream.speech import SpeechSettings, list_voices, open_voice, provider_names

BACKEND = """
from lipstream.inference.backends import BackendEntry
from lipstream.inference.backends.onnxruntime import OnnxRuntimeCpu

class Other(OnnxRuntimeCpu):
    name = "other"

ENTRY = BackendEntry("added_backend:Other", "onnxruntime", "", "cpu")
ABSENT = BackendEntry("added_backend:Other", "no_such_runtime", "", "cpu")
WRONG = 7
"""
VOICE = """
import numpy as np
from lipstream.speech import SpeechChunk, VoiceCard

class Hum:
    name, language, rate = "hum", "en", 16_000
    def say(self, sentence):
        yield SpeechChunk(np.full(len(sentence) * 100, 500, np.int16))
    def stop(self): ...
    def close(self): ...

def open_voice(settings):
    return Hum()

def list_voices(settings):
    return [VoiceCard("hum", "en", "Humming")]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install packages that are nothing but a module and entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(package, module, source, group, **points):
        (tmp_path / f"{module}.py").write_text(source)
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {target}" for name, target in points.items())
        (folder / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return add


def test_a_backend_of_another_package_runs_a_graph_by_its_name(install, toy_folder):
    points = {"other": "added_backend:ENTRY"}
    install("more-backends", "added_backend", BACKEND, "lipstream.backends", **points)
    assert backend_names()[-1] == "other"
    opened = open_backend(toy_folder / "mouth.onnx", "other")
    assert opened.name == "other"
    feeds = {
        name: np.zeros([size or 1 for size in one.shape], one.dtype)
        for name, one in opened.inputs.items()
    }
    assert opened.run(feeds).keys() == opened.outputs.keys()


def test_what_auto_takes_does_not_change_with_what_is_installed_besides(install):
    before = backends_for("fp32", "onnx")
    points = {"other": "added_backend:ENTRY", "cpu": "added_backend:ABSENT"}
    install("more-backends", "added_backend", BACKEND, "lipstream.backends", **points)
    assert backends_for("fp32", "onnx") == before
    assert backend_names().count("cpu") == 1


def test_a_backend_that_cannot_be_loaded_is_told_with_the_package_that_adds_it(install, toy_folder):
    graph = toy_folder / "mouth.onnx"
    points = {"absent": "added_backend:ABSENT", "wrong": "added_backend:WRONG"}
    install("more-backends", "added_backend", BACKEND, "lipstream.backends", **points)
    install("broken-backend", "broken_backend", "1 / 0", "lipstream.backends", bad="broken_backend")
    with pytest.raises(BackendUnavailable, match="broken-backend cannot be loaded: ZeroDivision"):
        open_backend(graph, "bad")
    with pytest.raises(BackendUnavailable, match="pip install no_such_runtime"):
        open_backend(graph, "absent")
    with pytest.raises(BackendUnavailable, match="gives no BackendEntry"):
        open_backend(graph, "wrong")
    with pytest.raises(BackendUnavailable, match=r"choose auto, .*absent"):
        open_backend(graph, "none")


def test_two_packages_that_add_one_name_are_both_named(install, toy_folder):
    for package in ("one-package", "two-package"):
        points = {"same": "added_backend:ENTRY"}
        install(package, "added_backend", BACKEND, "lipstream.backends", **points)
    with pytest.raises(BackendUnavailable, match=r"one-package and two-package|two-.* and one-"):
        open_backend(toy_folder / "mouth.onnx", "same")


def test_a_voice_of_another_package_speaks_and_is_offered(install, capsys):
    install("more-voices", "added_voice", VOICE, "lipstream.voices", hum="added_voice")
    assert "hum" in provider_names()
    settings = SpeechSettings(provider="hum")
    assert [card.name for card in list_voices(settings)] == ["hum"]
    (chunk,) = open_voice(settings).say("four")
    assert len(chunk.pcm) == 400
    with pytest.raises(SystemExit):
        main(["render", "--help"])
    assert "hum" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no provider of speech 'none': give .* or hum"):
        open_voice(SpeechSettings(provider="none"))
