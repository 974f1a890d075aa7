"""What every runtime promises: rows on their own, precisions, plain refusals."""

import importlib.util

import numpy as np
import pytest

from lipstream import MouthModel
from lipstream.errors import BackendUnavailable, ModelError
from lipstream.inference.backends import (
    BACKENDS,
    PRECISIONS,
    BatchRange,
    available_backends,
    backends_for,
    open_backend,
)
from lipstream.inference.backends.cuda import find_gpu
from lipstream.inference.backends.tensorrt import EngineKey
from lipstream.storage import load_blob, save_blob


def feeds_of(rows):
    rng = np.random.default_rng(2)
    return {
        "mel": rng.uniform(-4, 0, (rows, 1, 80, 16)).astype(np.float32),
        "lower": rng.uniform(0, 255, (rows, 48, 96, 3)).astype(np.float32),
    }


@pytest.mark.parametrize("name", available_backends())
def test_a_row_of_a_batch_is_what_it_is_alone(toy_folder, name):
    graph = open_backend(toy_folder / "mouth.onnx", name, 1)
    feeds = feeds_of(3)
    together = graph.run(feeds)["mouth"].copy()
    for row in range(3):
        alone = graph.run({key: array[row : row + 1] for key, array in feeds.items()})["mouth"]
        np.testing.assert_array_equal(together[row], alone[0])
    graph.close()
    graph.close()


def test_a_precision_without_a_graph_says_how_to_make_it(toy_folder):
    with pytest.raises(ModelError, match="--precision int8"):
        MouthModel.open(toy_folder, precision="int8")
    with pytest.raises(BackendUnavailable, match="fp32, fp16, bf16, int8"):
        MouthModel.open(toy_folder, precision="int4")


def test_bf16_is_openvinos_alone_and_never_becomes_fp32(toy_folder):
    with pytest.raises(BackendUnavailable, match="choose openvino"):
        MouthModel.open(toy_folder, backend="cpu", precision="bf16")
    with MouthModel.open(toy_folder, threads=1, precision="bf16") as model:
        assert model.backend == "openvino"


def test_auto_says_why_it_took_what_it_took(toy_folder, caplog):
    with caplog.at_level("INFO", "lipstream.inference.backends"):
        graph = open_backend(toy_folder / "mouth.onnx", "auto", 1)
    assert f"took {graph.name} for mouth.onnx" in caplog.text
    assert graph.name.startswith("tensorrt") or "not tensorrt: " in caplog.text


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_tensorrt_asked_for_by_name_never_becomes_another(toy_folder, name):
    if importlib.util.find_spec("cuda") is not None:
        try:
            find_gpu()
        except BackendUnavailable:
            pass
        else:
            pytest.skip("this machine has a GPU: tests/gpu runs it")
    with pytest.raises(BackendUnavailable):
        open_backend(toy_folder / "mouth.onnx", name)


def test_without_a_driver_the_reason_is_said():
    bindings = pytest.importorskip("cuda.bindings.runtime", reason="pip install cuda-python")
    if int(bindings.cudaGetDeviceCount()[0]) == 0:
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendUnavailable, match=r"driver|nvidia-smi"):
        find_gpu()


def test_an_engine_kept_comes_back_and_a_damaged_one_does_not(tmp_path, caplog):
    path = tmp_path / "deep" / "x.engine"
    assert load_blob(path) is None
    save_blob(path, b"engine" * 100)
    assert load_blob(path) == b"engine" * 100
    assert [file.name for file in path.parent.iterdir()] == ["x.engine"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert load_blob(path) is None
    assert "damaged" in caplog.text


def test_a_folder_that_cannot_hold_engines_costs_only_time(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where a folder should be")
    save_blob(tmp_path / "cache" / "x.engine", b"engine")
    assert "cannot keep" in caplog.text
    assert load_blob(tmp_path / "cache" / "x.engine") is None


@pytest.mark.parametrize(
    ("part", "other"),
    [("library", "tensorrt 11"), ("gpu", "A 8.6"), ("precision", "fp16"), ("onnx_sha256", "b")],
)
def test_an_engine_of_another_version_gpu_or_graph_has_another_name(part, other):
    words = {"onnx_sha256": "a", "library": "tensorrt 10", "gpu": "B 9.0", "precision": "fp32"}
    one = EngineKey(**words, batch=BatchRange())
    assert one.file_name != EngineKey(**(words | {part: other}), batch=BatchRange()).file_name
    assert one.file_name != EngineKey(**words, batch=BatchRange(most=8)).file_name


@pytest.mark.parametrize("name", [name for name, entry in BACKENDS.items() if entry.installed])
def test_an_installed_backend_states_of_itself_what_the_table_says(name):
    if name.startswith("tensorrt"):
        pytest.importorskip("cuda.bindings.runtime", reason="pip install cuda-python")
    backend, entry = BACKENDS[name].load(), BACKENDS[name]
    assert (backend.name, backend.device, backend.form) == (name, entry.device, entry.form)


def test_a_backend_accelerates_no_precision_that_it_refuses():
    for entry in BACKENDS.values():
        assert not entry.accelerates & entry.refuses
        assert entry.accelerates | entry.refuses <= set(PRECISIONS)


def test_auto_tries_a_gpu_first_and_for_int8_what_gains_from_it():
    assert backends_for("fp32", "onnx") == ("tensorrt", "tensorrt_rtx", "cuda", "cpu", "openvino")
    assert backends_for("fp16", "onnx") == backends_for("fp32", "onnx")
    assert backends_for("int8", "onnx") == ("openvino", "tensorrt", "tensorrt_rtx", "cpu")
    assert backends_for("bf16", "onnx") == ("openvino",)
    assert backends_for("int8", "plan") == ("native",)
    assert backends_for("fp32", "plan") == ()
