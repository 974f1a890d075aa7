"""TensorRT-RTX reads and builds every graph this project writes; it needs no GPU for that."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from lipstream.errors import ModelError
from lipstream.inference.backends import BatchRange
from lipstream.inference.backends.cuda import Gpu
from lipstream.inference.backends.tensorrt import EngineSpec, build_engine
from lipstream.inference.manifest import embedded_folder
from lipstream_export.model_folder import S3FD, ExportOptions, export_mouth, export_s3fd
from lipstream_export.precisions import find_ranges, quantise, to_half
from lipstream_models.networks.loading import LoadedMouth
from lipstream_models.networks.s3fd import S3fd
from lipstream_models.networks.wav2lip import Wav2Lip

rtx = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx-cu13")
CAPABILITIES = ("7.5", "8.6", "8.9", "12.0")
"""Turing, Ampere, Ada and Blackwell: built for without one at hand."""


def build(path, batch=BatchRange(1, 4, 8), capability="8.9"):  # noqa: B008
    return build_engine(rtx, EngineSpec(path, batch, Gpu("any", capability, 13000)))


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
@pytest.mark.parametrize("model", ["mouth", "mouth-low-delay"])
def test_the_embedded_lips_are_built(model):
    assert len(build(embedded_folder() / model / "lips.onnx")) > 10_000


@pytest.fixture(scope="module")
def wav2lip(tmp_path_factory):
    """Wav2Lip with random weights: its graphs in fp32, and the mouth in fp16 and int8."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("rtx") / "w"
    loaded = LoadedMouth(Wav2Lip().eval(), "w", "1", "", "")
    export_mouth(loaded, folder, ExportOptions(whole=True))
    int8(folder / "mouth.onnx", folder)
    onnx.save_model(to_half(onnx.load(folder / "mouth.onnx")), folder / "fp16.onnx")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", ["face", "mouth", "whole", "fp16", "int8"])
def test_wav2lip_is_built_for_every_generation_and_for_32_at_once(wav2lip, name, capability):
    assert len(build(wav2lip / f"{name}.onnx", BatchRange(), capability)) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_embedded_graphs_are_built_for_every_generation(capability):
    folder = embedded_folder()
    graphs = [*folder.glob("mouth*/lips.onnx"), *folder.glob("faces/*.onnx")]
    assert len(graphs) >= 4
    for graph in graphs:
        assert len(build(graph, capability=capability)) > 10_000, graph


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
