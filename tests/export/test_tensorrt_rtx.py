"""TensorRT-RTX reads and builds every graph this project writes; it needs no GPU for that."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from lipstream.errors import ModelError
from lipstream.inference.backends.cuda import Gpu
from lipstream.inference.backends.tensorrt_engines import BatchRange, EngineSpec, build_engine
from lipstream.inference.manifest import embedded_folder
from lipstream_export.model_folder import S3FD, ExportOptions, export_mouth, export_s3fd
from lipstream_export.quantization import find_ranges, quantise, to_half
from lipstream_models.networks.loading import LoadedMouth, load_network
from lipstream_models.networks.s3fd import S3fd
from lipstream_models.networks.wav2lip import Wav2Lip

rtx = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx-cu13")
ADA = Gpu("any", "8.9", 13000)
"""Built for this generation without one at hand."""


def build(path, batch=BatchRange(1, 4, 8)):  # noqa: B008
    return build_engine(rtx, EngineSpec(path, batch, ADA))


@pytest.fixture(scope="module")
def own(small_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rtx") / "own"
    export_mouth(load_network(small_checkpoint), folder, ExportOptions(whole=True))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["face", "mouth", "whole"])
def test_a_small_wav2lip_is_built(own, name):
    assert len(build(own / f"{name}.onnx")) > 10_000


@pytest.mark.slow
def test_its_fp16_graph_is_built(own, tmp_path):
    onnx.save_model(to_half(onnx.load(own / "mouth.onnx")), tmp_path / "half.onnx")
    assert len(build(tmp_path / "half.onnx")) > 10_000


def int8(path, folder):
    """Return a mouth graph in int8, calibrated on noise."""
    model = onnx.load(path)
    random = np.random.default_rng(0)
    feeds = {
        port.name: random.normal(
            size=[1, *(d.dim_value for d in port.type.tensor_type.shape.dim[1:])]
        )
        for port in model.graph.input
    }
    runs = [{name: array.astype(np.float32) for name, array in feeds.items()}]
    onnx.save_model(quantise(model, find_ranges(model, runs)), folder / "int8.onnx")
    return folder / "int8.onnx"


@pytest.mark.slow
def test_its_int8_graph_is_built(own, tmp_path):
    assert len(build(int8(own / "mouth.onnx", tmp_path))) > 10_000


@pytest.mark.parametrize("model", ["mouth", "mouth-low-delay"])
def test_the_embedded_lips_are_built(model):
    assert len(build(embedded_folder() / model / "lips.onnx")) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detector", "mesh"])
def test_the_embedded_face_networks_are_built(name):
    assert len(build(embedded_folder() / "faces" / f"{name}.onnx")) > 10_000


@pytest.mark.slow
def test_wav2lip_is_built(tmp_path):
    torch.manual_seed(0)
    loaded = LoadedMouth(Wav2Lip().eval(), "w", "1", "", "")
    export_mouth(loaded, tmp_path / "w", ExportOptions(whole=True))
    for name in ("face", "mouth", "whole"):
        assert len(build(tmp_path / "w" / f"{name}.onnx")) > 10_000
    assert len(build(int8(tmp_path / "w" / "mouth.onnx", tmp_path))) > 10_000
    onnx.save_model(to_half(onnx.load(tmp_path / "w" / "mouth.onnx")), tmp_path / "half.onnx")
    assert len(build(tmp_path / "half.onnx")) > 10_000


@pytest.mark.slow
def test_s3fd_is_built_for_pictures_of_one_size(tmp_path):
    export_s3fd(S3fd().eval(), tmp_path / "s")
    model = onnx.load(tmp_path / "s" / S3FD)
    for axis, size in ((1, 160), (2, 192)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save_model(model, tmp_path / "fixed.onnx")
    assert len(build(tmp_path / "fixed.onnx", BatchRange(1, 1, 1))) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_sampling_a_picture_is_built(tmp_path, mode, padding):
    ports = {"x": [1, 3, 96, 96], "places": [1, 48, 96, 2], "y": [1, 3, 48, 96]}
    described = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ports.items()]
    node = helper.make_node("GridSample", ["x", "places"], ["y"], mode=mode, padding_mode=padding)
    graph = helper.make_graph([node], "sampling", described[:2], described[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save_model(model, tmp_path / "sampling.onnx")
    assert len(build(tmp_path / "sampling.onnx")) > 1_000


def test_a_graph_it_cannot_read_is_named(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no graph" * 20)
    with pytest.raises(ModelError, match=r"broken\.onnx is not a graph tensorrt_rtx"):
        build(tmp_path / "broken.onnx")
