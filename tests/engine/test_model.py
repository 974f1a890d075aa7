import shutil

import numpy as np
import pytest

from lipstream import MouthModel
from lipstream.backends import available_backends, open_backend
from lipstream.errors import BackendUnavailable, ModelError


@pytest.fixture
def copy(toy_folder, tmp_path):
    return shutil.copytree(toy_folder, tmp_path / "model")


def test_every_installed_backend_gives_the_same_picture(toy_folder):
    crops = np.random.default_rng(0).integers(0, 255, (2, 96, 96, 3)).astype(np.uint8)
    mel = np.random.default_rng(1).uniform(-4, 0, (2, 1, 80, 16)).astype(np.float32)
    mouths = []
    for name in available_backends():
        with MouthModel.open(toy_folder, backend=name, threads=1) as model:
            assert model.backend == name
            mouths.append(model.mouth(mel, model.face_features(crops)).astype(int))
    assert len(mouths) >= 2, "the tests run with the 'cpu' extra: ONNX Runtime and OpenVINO"
    # One level: a value on the edge of two may fall either way.
    assert np.abs(mouths[0] - mouths[1]).max() <= 1


def test_a_backend_asked_for_by_name_never_falls_back(toy_folder):
    with pytest.raises(BackendUnavailable, match="choose auto"):
        open_backend(toy_folder / "mouth.onnx", "cuda9")


def test_cuda_asked_for_by_name_never_becomes_the_cpu(toy_folder):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has CUDA")
    with pytest.raises(BackendUnavailable, match=r"lipstream\[gpu\]"):
        open_backend(toy_folder / "mouth.onnx", "cuda")


def test_a_missing_runtime_names_the_extra(toy_folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"lipstream\[cpu\]"):
        open_backend(toy_folder / "mouth.onnx", "openvino")
    with pytest.raises(BackendUnavailable, match=r"lipstream\[cpu\]"):
        open_backend(toy_folder / "mouth.onnx", "auto")


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path):
    with pytest.raises(ModelError, match="lipstream export"):
        MouthModel.open(tmp_path)


def test_a_damaged_graph_is_refused_by_its_checksum(copy):
    with (copy / "mouth.onnx").open("ab") as graph:
        graph.write(b"x")
    with pytest.raises(ModelError, match="damaged"):
        MouthModel.open(copy)


@pytest.mark.parametrize("backend", available_backends())
def test_a_file_that_is_no_graph_is_refused(copy, backend):
    (copy / "broken.onnx").write_bytes(b"this is no graph" * 40)
    with pytest.raises(ModelError, match=r"broken\.onnx is not a graph"):
        open_backend(copy / "broken.onnx", backend)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 9", "format 9"),
        ("mel_columns = 16", "", "mel_columns"),
        ("mel_columns = 16", "mel_columns = 20", "input mel"),
        ("mouth_rows = [48, 96]", "mouth_rows = [40, 96]", "output mouth"),
        ('features = ["lower"]', 'features = ["upper"]', "features"),
        ('path = "mouth.onnx"', 'path = "../mouth.onnx"', "outside"),
        ('path = "mouth.onnx"', 'path = "gone.onnx"', "missing"),
        ("format = 1", "format = = 1", "cannot be read"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy, old, new, said):
    manifest = copy / "model.toml"
    manifest.write_text(manifest.read_text().replace(old, new))
    with pytest.raises(ModelError, match=said):
        MouthModel.open(copy)
