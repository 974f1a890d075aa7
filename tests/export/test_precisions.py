"""Lower precisions: what becomes of a graph, of its picture, and of what must stay."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lipstream import MouthModel
from lipstream.cli import main
from lipstream.inference.backends import open_backend
from lipstream_export.model_folder import ExportOptions, export_mouth
from lipstream_export.onnx_graphs import Signature, save_graph
from lipstream_export.parity import judge_pictures, shortfalls
from lipstream_export.precisions import (
    LEAST_PSNR_DB,
    Samples,
    candidates,
    collect_samples,
    find_ranges,
    lower,
    quantise,
)
from lipstream_models.networks.loading import load_network


class Tiny(torch.nn.Module):
    """A stem that pads below alone, a residual, and a transposed convolution with its norm."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=(0, 1))
        self.inner = torch.nn.Conv2d(8, 8, 3, padding=1)
        self.up = torch.nn.ConvTranspose2d(8, 4, 3, 2, 1, 1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.norm.running_var.uniform_(0.5, 2.0)
        self.norm.running_mean.uniform_(-0.5, 0.5)

    def forward(self, x):
        x = torch.relu(self.stem(torch.nn.functional.pad(x, (0, 0, 0, 1))))
        x = torch.relu(self.inner(x) + x)
        return torch.relu(self.norm(self.up(x)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.manual_seed(1)
    network, path = Tiny().eval(), tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    save_graph(network, Signature({"x": torch.rand(2, 3, 12, 10)}, ("y",)), path)
    return network, path


def pictures(seed, count=4):
    rng = np.random.default_rng(seed)
    return [{"x": rng.uniform(-1, 1, (2, 3, 12, 10)).astype(np.float32)} for _ in range(count)]


def test_pads_and_norms_go_into_the_convolutions_and_change_nothing(tiny):
    network, path = tiny
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert sorted(kinds) == ["Add", "Conv", "Conv", "ConvTranspose", "Relu", "Relu", "Relu"]
    (feeds,) = pictures(0, 1)
    with torch.no_grad():
        wanted = network(torch.from_numpy(feeds["x"])).numpy()
    np.testing.assert_allclose(open_backend(path, "cpu", 1).run(feeds)["y"], wanted, atol=1e-5)


def quantised(path, kept=()):
    model = onnx.load(path)
    return quantise(model, find_ranges(model, pictures(1)), kept)


def test_every_convolution_takes_8_bits_and_stays_near(tiny, tmp_path):
    network, path = tiny
    onnx.save_model(quantised(path), tmp_path / "int8.onnx")
    (feeds,) = pictures(2, 1)
    with torch.no_grad():
        wanted = network(torch.from_numpy(feeds["x"])).numpy()
    for name in ("cpu", "openvino"):
        found = open_backend(tmp_path / "int8.onnx", name, 1, "int8").run(feeds)["y"]
        error = np.sqrt(np.square(found - wanted).mean())
        assert 1e-5 < error < 0.02 * wanted.std() + 0.01


def test_what_is_kept_has_weights_in_float(tiny):
    _, path = tiny
    names = candidates(onnx.load(path))
    assert len(names) == 3
    model = quantised(path, names[1:2])
    stored = {one.name: one.data_type for one in model.graph.initializer}
    kept = next(node for node in model.graph.node if node.name == names[1])
    assert stored[kept.input[1]] == TensorProto.FLOAT
    packed = [n for n in stored if n.endswith("weight_levels")]
    assert len(packed) == 2


def test_an_input_that_can_be_negative_has_signed_levels(tiny):
    _, path = tiny
    ranges = find_ranges(onnx.load(path), pictures(1))
    assert [one.signed for one in ranges.values()] == [True, False, False]
    stored = {one.name: one for one in quantised(path).graph.initializer}
    zeros = [numpy_helper.to_array(stored[f"{name}_zero"]) for name in ranges]
    assert [zero.dtype for zero in zeros] == [np.int8, np.uint8, np.uint8]
    assert not any(zeros)  # TensorRT reads no other


def test_a_convolution_on_the_graphs_own_input_is_measured_too():
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 40, 40]) for n in "xy"]
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="one")
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    values = np.random.default_rng(0).uniform(0, 2, (1, 1, 40, 40)).astype(np.float32)
    found = find_ranges(model, [{"x": values}])["x"]
    assert found.scale == pytest.approx(2 / 255, rel=0.01)


@pytest.fixture(scope="module")
def own(small_checkpoint):
    """A small Wav2Lip, and noise in place of faces and speech."""
    network = load_network(small_checkpoint)
    size, columns = network.network.face_size, network.network.mel_columns
    rng = np.random.default_rng(3)
    crops = rng.integers(0, 256, (9, size, size, 3), dtype=np.uint8)
    mels = rng.uniform(-4, 4, (9, 1, 80, columns)).astype(np.float32)
    return network, Samples(crops, mels, "noise")


@pytest.mark.slow
def test_a_folder_holds_its_precisions_and_the_engine_picks_them(own, tmp_path):
    loaded, samples = own
    options = ExportOptions(precisions=("fp16", "int8"), samples=samples)
    export_mouth(loaded, tmp_path / "m", options)
    written = (tmp_path / "m" / "model.toml").read_text()
    assert 'measured_on = "noise"' in written
    assert "kept_fp32 = [" in written
    mouths = {}
    for precision in ("fp32", "bf16", "fp16", "int8"):
        with MouthModel.open(
            tmp_path / "m", backend="openvino", threads=1, precision=precision
        ) as model:
            features = model.face_features(samples.crops[:2])
            mouths[precision] = model.mouth(samples.mels[:2], features).astype(int)
    assert np.abs(mouths["bf16"] - mouths["fp32"]).max() < 40  # 0 where the processor has no bf16
    assert np.abs(mouths["int8"] - mouths["fp32"]).max() > 0
    rows = judge_pictures(loaded.network, tmp_path / "m", options)
    assert {row.graph for row in rows} == {"fp32", "fp16", "int8"}
    assert all(row.psnr_db > 30 for row in rows)


@pytest.mark.parametrize(
    ("precision", "psnr_db", "said"),
    [
        ("int8", 31.2, "mouth_int8.onnx is 31.2 dB from torch float32 on 9 moments, 36 dB are"),
        ("int8", 36.0, ""),
        ("fp16", 36.0, "mouth_fp16.onnx is 36.0 dB"),
    ],
)
def test_a_graph_that_loses_too_much_is_named(tmp_path, precision, psnr_db, said):
    (tmp_path / "model.toml").write_text(
        f'[files.mouth]\npath = "mouth.onnx"\n\n[files.mouth_{precision}]\n'
        f'path = "mouth_{precision}.onnx"\npsnr_db = {psnr_db}\nmeasured_on = "9 moments"\n'
    )
    assert said in " ".join(shortfalls(tmp_path))
    assert bool(shortfalls(tmp_path)) == bool(said)


@pytest.mark.slow
def test_the_command_warns_of_a_graph_that_loses_too_much(
    small_checkpoint, tmp_path, monkeypatch, capsys
):
    words = ["export", str(small_checkpoint), "-o", str(tmp_path / "m"), "--precision", "fp16"]
    assert main(words) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(LEAST_PSNR_DB, "fp16", 100.0)
    assert main(words) == 0
    assert "warning: mouth_fp16.onnx is " in capsys.readouterr().err


@pytest.mark.slow
def test_convolutions_are_given_back_until_the_picture_is_near_enough(own, tmp_path):
    loaded, samples = own
    export_mouth(loaded, tmp_path / "m")
    few = Samples(samples.crops[:3], samples.mels[:3], "noise")
    names = candidates(onnx.load(tmp_path / "m" / "mouth.onnx"))
    lowered = lower(tmp_path / "m" / "mouth.onnx", loaded.network, few, "int8", wanted_db=1000.0)
    assert sorted(lowered.fp32_nodes) == sorted(names)
    assert lowered.psnr_db > 60


@pytest.mark.slow
def test_films_of_the_users_own_give_faces_and_speech(shared, own):
    folder = shared / "data" / "grid" / "s1_original"
    if not folder.is_dir():
        pytest.skip(f"the films are not in {folder} (LIPSTREAM_SHARED)")
    films = sorted(folder.iterdir())[:1]
    samples = collect_samples(own[0].network, films[0].parent)
    assert samples.crops.shape[1:] == (96, 96, 3)
    assert samples.mels.shape[1:] == (1, 80, own[0].network.mel_columns)
    assert samples.mels.std() > 0.5
