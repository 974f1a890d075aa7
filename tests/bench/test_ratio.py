"""The ratio to the whole graph in ONNX Runtime, on a graph small enough to know."""

import shutil

import onnx
import pytest
from onnx import TensorProto, helper

from lipstream.errors import BackendUnavailable, InputError
from lipstream_bench.report import Settings, open_model
from lipstream_bench.stages import BASELINE, has_whole_graph, measure_ratios, median_ratio


def add_whole_graph(folder):
    ports = {"mel": ["N", 1, 80, 16], "face": ["N", 6, 96, 96], "frame": ["N", 6, 96, 96]}
    described = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ports.items()]
    nodes = [helper.make_node("Sigmoid", ["face"], ["frame"])]
    graph = helper.make_graph(nodes, "whole", described[:2], described[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, folder / "whole.onnx")
    with (folder / "model.toml").open("a") as manifest:
        manifest.write('\n[files.whole]\npath = "whole.onnx"\nsha256 = "unused"\n')


@pytest.mark.slow
def test_every_backend_is_compared_with_the_same_rounds_of_the_whole_graph(toy_folder, tmp_path):
    folder = shutil.copytree(toy_folder, tmp_path / "toy")
    add_whole_graph(folder)
    assert has_whole_graph(folder)
    backends = ("cpu", "openvino", "openvino:bf16")
    rows, ratios = measure_ratios(Settings(folder, None, backends, seconds=0.01, threads=1))
    assert [row.backend for row in rows] == [BASELINE, *backends]
    assert len({row.count for row in rows}) == 1
    for name in backends:
        for kind in ("times faster than", "times less processor time than"):
            assert ratios[f"{name}: {kind} {BASELINE}"] > 0


def test_the_ratio_is_that_within_a_turn_so_that_a_slow_moment_counts_for_both():
    assert median_ratio([10.0, 10.0, 90.0], [2.0, 2.5, 20.0]) == pytest.approx(4.5)


def test_without_a_whole_graph_the_command_to_make_it_is_named(toy_folder):
    assert not has_whole_graph(toy_folder)
    assert not has_whole_graph(None)
    with pytest.raises(InputError, match="--whole"):
        measure_ratios(Settings(toy_folder))


def test_a_precision_is_written_behind_the_backend(toy_folder):
    with open_model(Settings(toy_folder, threads=1), "openvino:bf16") as model:
        assert model.backend == "openvino"
    with pytest.raises(BackendUnavailable, match="int4"):
        open_model(Settings(toy_folder, threads=1), "openvino:int4")
