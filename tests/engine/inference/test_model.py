import hashlib
import shutil

import numpy as np
import pytest

import lipstream.inference.kernels
from lipstream import MouthModel
from lipstream.errors import BackendUnavailable, ModelError
from lipstream.inference.backends import available_backends, open_backend
from lipstream.inference.kernels import kernels_run_here, load_library
from lipstream.inference.kernels.plan import (
    KernelPlan,
    KernelStep,
    OutputSlice,
    PlanTensor,
    save_plan,
)
from toys import SIZE, TOP


@pytest.fixture
def copy(toy_folder, tmp_path):
    return shutil.copytree(toy_folder, tmp_path / "model")


@pytest.mark.slow
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
    with pytest.raises(BackendUnavailable, match="pip install onnxruntime"):
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


PLAN = "mouth_int8.plan"
GREY = 50
needs_kernels = pytest.mark.skipif(
    not kernels_run_here(), reason="the int8 kernels need Linux, AVX-512 VNNI and to be built"
)


def add_files(folder, **files):
    """Name files in model.toml, with their checksums."""
    with (folder / "model.toml").open("a") as manifest:
        for part, file in files.items():
            digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
            manifest.write(f'\n[files.{part}]\npath = "{file}"\nsha256 = "{digest}"\n')


@pytest.fixture
def lowered(copy):
    """The toy with an int8 graph, which is the toy's own, and no plan."""
    shutil.copy(copy / "mouth.onnx", copy / "mouth_int8.onnx")
    add_files(copy, mouth_int8="mouth_int8.onnx")
    return copy


@pytest.fixture
def planned(lowered):
    """The same with a plan, which paints all grey: who paints can be seen."""
    level = np.log(GREY / (255 - GREY))
    arrays = {"scales": np.zeros((3, 16), np.float32), "bias": np.full(3, level, np.float32)}
    step = KernelStep("sigmoid", OutputSlice(-1), SIZE - TOP, SIZE, 3, depth=16, source=0)
    inputs = {"mel": (1, 80, 16), "lower": (SIZE - TOP, SIZE, 3)}
    picture = PlanTensor(SIZE - TOP, SIZE, 16, 1.0)
    plan = KernelPlan(inputs, (SIZE - TOP, SIZE, 3), (picture,), (step,), (arrays,))
    save_plan(lowered / PLAN, plan)
    add_files(lowered, mouth_int8_plan=PLAN)
    return lowered


def paint(model):
    crops = np.random.default_rng(0).integers(0, 255, (2, SIZE, SIZE, 3)).astype(np.uint8)
    mel = np.zeros((2, 1, 80, 16), np.float32)
    return model.mouth(mel, model.face_features(crops))


@needs_kernels
@pytest.mark.parametrize("name", ["auto", "native"])
def test_int8_is_painted_by_our_own_kernels_where_there_is_a_plan(planned, name):
    with MouthModel.open(planned, backend=name, threads=1, precision="int8") as model:
        assert model.backend == "native"
        assert (paint(model) == GREY).all()
        with model.clone() as other:
            assert (paint(other) == GREY).all()
        digest = hashlib.sha256((planned / PLAN).read_bytes()).hexdigest()
        assert digest in model.identity


@pytest.mark.parametrize(("name", "precision"), [("openvino", "int8"), ("auto", "fp32")])
def test_a_plan_is_for_int8_and_for_no_other_backend_asked_for(planned, name, precision):
    with MouthModel.open(planned, backend=name, threads=1, precision=precision) as model:
        assert model.backend != "native"
        assert paint(model).std() > 20


def test_int8_without_a_plan_is_openvinos(lowered):
    with MouthModel.open(lowered, threads=1, precision="int8") as model:
        assert model.backend == "openvino"
    with pytest.raises(ModelError, match="does not name its mouth_int8_plan graph: export again"):
        MouthModel.open(lowered, backend="native", precision="int8")


def test_native_is_refused_without_int8(planned):
    with pytest.raises(BackendUnavailable, match="int8 alone, not fp32: choose int8 or openvino"):
        MouthModel.open(planned, backend="native")


def test_int8_is_openvinos_on_a_processor_that_lacks_something(planned, monkeypatch, caplog):
    monkeypatch.setattr(lipstream.inference.kernels, "_NEEDED", ("avx512_dream",))
    load_library.cache_clear()
    try:
        with (
            caplog.at_level("INFO", "lipstream.inference.model"),
            MouthModel.open(planned, threads=1, precision="int8") as model,
        ):
            assert model.backend == "openvino"
        assert "not native" in caplog.text
        assert "avx512_dream" in caplog.text
        with pytest.raises(BackendUnavailable, match="lacks avx512_dream"):
            MouthModel.open(planned, backend="native", precision="int8")
    finally:
        load_library.cache_clear()


@pytest.mark.parametrize("name", ["auto", "native"])
def test_a_damaged_plan_is_named_and_nothing_falls_back(planned, name):
    with (planned / PLAN).open("ab") as plan:
        plan.write(b"x")
    with pytest.raises(ModelError, match=r"mouth_int8\.plan is damaged: its sha256"):
        MouthModel.open(planned, backend=name, precision="int8")
    (planned / PLAN).unlink()
    with pytest.raises(ModelError, match=r"mouth_int8\.plan is missing"):
        MouthModel.open(planned, backend=name, precision="int8")


@needs_kernels
def test_a_plan_of_other_sizes_than_the_manifest_is_refused(planned):
    manifest = planned / "model.toml"
    manifest.write_text(manifest.read_text().replace("mel_columns = 16", "mel_columns = 20"))
    with pytest.raises(ModelError, match="mouth graph, input mel"):
        MouthModel.open(planned, precision="int8")
