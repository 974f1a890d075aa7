"""What is folded away leaves the numbers as they are."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lipstream_export.onnx_graphs import fold_crops


def raising(slice_inputs, outputs=("cut",)):
    """x -> ConvTranspose -> ReLU -> Slice, with weights that are told apart."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(3, 4, 3, 3)).astype(np.float32),
        "b": random.normal(size=4).astype(np.float32),
        **{f"s{k}": np.array([one], np.int64) for k, one in enumerate(slice_inputs)},
    }
    names = [f"s{k}" for k in range(len(slice_inputs))]
    doubling = {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["raised"], **doubling),
        helper.make_node("Relu", ["raised"], ["kept"]),
        helper.make_node("Slice", ["kept", *names], ["cut"]),
    ]
    rows = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4, None, None]) for n in outputs
    ]
    graph = helper.make_graph(
        nodes,
        "raising",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 5, 6])],
        rows,
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def run(model):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 6)).astype(np.float32)
    return session.run(None, {"x": x})


def kinds(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("step", [(), (1,)])
def test_rows_cut_off_are_never_made(rows, step):
    model = raising((rows, 2**63 - 1, 2, *step))
    whole = run(model)
    fold_crops(model.graph)
    assert kinds(model) == ["ConvTranspose", "Relu"]
    np.testing.assert_array_equal(run(model)[0], whole[0])
    assert whole[0].shape == (2, 4, 10 - rows, 12)


@pytest.mark.parametrize(
    "cut",
    [
        (1, 9, 2),  # the last row too
        (1, 2**63 - 1, 3),  # columns
        (-2, 2**63 - 1, 2),  # counted from the end
        (1, 2**63 - 1, 2, 2),  # every second one
    ],
)
def test_any_other_cut_stays(cut):
    model = raising(cut)
    whole = run(copy.deepcopy(model))
    fold_crops(model.graph)
    assert kinds(model) == ["ConvTranspose", "Relu", "Slice"]
    np.testing.assert_array_equal(run(model)[0], whole[0])


def test_rows_that_others_take_stay():
    model = raising((1, 2**63 - 1, 2), outputs=("cut", "kept"))
    whole = run(copy.deepcopy(model))
    fold_crops(model.graph)
    for found, wanted in zip(run(model), whole, strict=True):
        np.testing.assert_array_equal(found, wanted)
