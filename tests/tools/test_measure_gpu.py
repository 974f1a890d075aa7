"""The script that measures on a GPU, tried on the processor, and where next to nothing is there."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

import lipstream
from engine.inference.fake_gpu import FakeCuda, fake_tensorrt
from lipstream.inference import kernels
from lipstream.inference.backends import cuda
from lipstream_models.networks.loading import seed_weights
from measure_gpu import Case, Plan, Result, draw, main, measure_paste, psnr
from source_tree import ROOT
from toys import make_toy_avatar

SCRIPT = ROOT / "tools" / "measure_gpu.py"
BARE = """
import importlib.util, runpy, sys
ABSENT = {"cv2", "av", "onnxruntime", "onnx", "rich", "openvino", "scipy", "matplotlib"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named '{name}'")

sys.meta_path.insert(0, Absent())
look = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in ABSENT else look(name)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_without_a_gpu_it_says_where_to_run_it(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["--out", "nowhere"]) == 1
    assert "no CUDA device" in capsys.readouterr().err
    assert not Path("nowhere").exists()


def test_the_picture_is_xml_with_a_bar_for_each_batch():
    figures = {"a & b": {"ms a frame, batch 1": 2.0, "dB": 50.0, "ms a frame, batch 8": 1.0}}
    drawn = ElementTree.fromstring(draw(figures, "<card>"))
    bars = [float(one.get("width")) for one in drawn.iterfind("{*}rect[@height='13']")]
    assert bars[0] == 2 * bars[1]
    words = "".join(one.text for one in drawn.iterfind("{*}text"))
    assert "a & b, batch 8" in words


def test_psnr_is_against_the_peak():
    assert psnr(torch.ones(4), torch.zeros(4), 10.0) == pytest.approx(20.0)
    assert psnr(torch.ones(4), torch.ones(4), 1.0) == 99.0


def test_weights_are_the_same_each_time_and_let_something_through():
    networks = [seed_weights(torch.nn.Conv2d(3, 8, 3)) for _ in range(2)]
    torch.testing.assert_close(networks[0].weight, networks[1].weight)
    case = Case("one", networks[0], (torch.ones(1, 3, 5, 5),), torch.zeros(1), 1.0)
    assert case.network(*case.feeds).std() > 0.1


def test_pasting_is_measured_and_compared_with_the_processors(toy_folder, monkeypatch):
    gpu = FakeCuda()
    for module, part in ((cuda, "runtime"), (cuda, "driver"), (kernels, "open_nvrtc")):
        monkeypatch.setattr(module, part, lambda: gpu)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(gpu))
    avatar = make_toy_avatar(3, 64)
    monkeypatch.setattr(lipstream.Avatar, "open", lambda: avatar)
    result = Result()
    with lipstream.MouthModel.open(toy_folder, backend="tensorrt") as model:
        measure_paste(model, "toy", Plan("cpu", (1, 4), 2, 0.0, ()), result)
    measured = result.figures["toy"]
    assert measured["levels of luma from what the processor pastes, at most"] <= 1
    assert measured["ms a frame pasted, batch 4"] > 0


def run(folder, *words):
    command = [*words, "--device", "cpu", "--batches", "1,2", "--turns", "2", "--out", folder]
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ElementTree.fromstring((folder / "gpu.svg").read_text("utf-8"))
    return json.loads((folder / "gpu.json").read_text("utf-8"))


@pytest.mark.slow
def test_torch_alone_is_enough(tmp_path):
    (tmp_path / "bare.py").write_text(BARE)
    told = run(tmp_path, tmp_path / "bare.py", SCRIPT, "--minutes", "60")
    for network in ("Wav2Lip 96", "lip network"):
        measured = told["figures"][f"{network}: torch fp32"]
        assert measured["dB against fp32, batch 2"] > 60
        assert measured["ms a frame, batch 1"] > 0
    assert "cv2" in told["missing"]["lipstream's runtimes"]
    assert "nothing here was measured on a GPU" in told["about"]["note"]


@pytest.mark.slow
def test_what_is_installed_is_measured_beside_torch(tmp_path):
    told = run(tmp_path, SCRIPT, "--minutes", "60", "--sessions", "2")
    measured = told["figures"]["Wav2Lip 96: lipstream cpu fp32"]
    assert measured["dB against fp32, batch 2"] > 60
    assert measured["sessions pasted, 2 fed"] > 0
    assert told["figures"]["encoding, libvpx"]["sessions, one thread"] > 0


@pytest.mark.slow
def test_what_does_not_fit_into_the_time_is_named(tmp_path):
    told = run(tmp_path, SCRIPT, "--minutes", "0", "--sessions", "")
    assert told["missing"]["Wav2Lip 96: torch fp32, batch 1"] == "out of time"
    assert told["missing"]["lipstream's runtimes"] == "out of time"
