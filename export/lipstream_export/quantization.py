"""Write a graph in int8: convolutions on 8-bit inputs and weights, as QuantizeLinear pairs (QDQ).

Weights are symmetric, a scale for each channel that comes out; inputs have one scale each and are
unsigned after a ReLU, signed where they can be negative. Zero is at 0 in both, the one place where
TensorRT reads it. Whoever takes such an input takes the 8-bit form, also the sum of a residual:
then OpenVINO adds, applies the ReLU and rounds in one pass. (ONNX Runtime's own quantiser rounds
before the sum as well: 1.1 dB less, and slower.)
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lipstream.types import Array
from lipstream_export.onnx_graphs import constants_of, drop_unused

_KINDS = {"Conv": 0, "ConvTranspose": 1}
"""Operator -> axis of the channels that come out, in its weight."""
_VALUES_A_RUN = 20_000
_TRIED = np.array([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4])
"""Shares of the largest value at which the range may end: clipping a few may cost less than a
coarse step for all."""


@dataclass(frozen=True, slots=True)
class Range:
    """How one tensor becomes 8 bits: level = round(value / scale)."""

    scale: float
    signed: bool
    """Whether levels are -128 to 127, not 0 to 255."""


def candidates(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that can be quantised, in order."""
    weights = constants_of(model.graph)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _KINDS and node.input[1] in weights and _groups(node) == 1
    ]


def find_ranges(model: onnx.ModelProto, runs: Iterable[Mapping[str, Array]]) -> dict[str, Range]:
    """Run the graph on real inputs and choose the range of every input of a convolution."""
    chosen = set(candidates(model))
    names = list(dict.fromkeys(n.input[0] for n in model.graph.node if n.name in chosen))
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    have = {port.name for port in (*extended.graph.input, *extended.graph.output)}
    for name in names:
        if name not in have:
            extended.graph.output.append(onnx.ValueInfoProto(name=name))
    session = _open(extended)
    computed = [name for name in names if name not in {port.name for port in model.graph.input}]
    values_by_name: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for feeds in runs:
        outputs = session.run(computed, dict(feeds)) if computed else []
        values = dict(zip(computed, outputs, strict=True))
        for name in names:
            flat = np.asarray(values.get(name, feeds.get(name)), np.float32).ravel()
            # a stride that shares no factor with rows and channels sees them all
            thinned = flat[:: 2 * (len(flat) // _VALUES_A_RUN // 2) + 1]
            values_by_name[name].append(
                np.append(thinned, [flat.min(), flat.max()]).astype(np.float32)
            )
    return {name: _range(np.concatenate(parts)) for name, parts in values_by_name.items()}


def _range(values: NDArray[np.float32]) -> Range:
    """Return the range of least mean square error."""
    signed = bool(values.min() < -1e-6)
    low, high = (-128, 127) if signed else (0, 255)
    top = max(float(np.abs(values).max()), 1e-6)
    scales = top * _TRIED / high
    errors = [
        float(np.square(np.clip(np.round(values / s), low, high) * s - values).mean())
        for s in scales
    ]
    return Range(float(scales[int(np.argmin(errors))]), signed)


def quantise(
    model: onnx.ModelProto, ranges: Mapping[str, Range], fp32_nodes: Collection[str] = ()
) -> onnx.ModelProto:
    """Return the graph in int8; the nodes named in ``fp32_nodes`` stay in floating point."""
    written = onnx.ModelProto()
    written.CopyFrom(model)
    graph = written.graph
    weights = constants_of(graph)
    chosen = set(candidates(model)) - set(fp32_nodes)
    nodes = [node for node in graph.node if node.name in chosen]
    pairs = {name: _pair(graph, name, ranges[name]) for name in {n.input[0] for n in nodes}}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in pairs and not (place == 0 and node.name in fp32_nodes):
                node.input[place] = f"{name}_rounded"
    unpacked = [_pack_weight(graph, node, weights[node.input[1]]) for node in nodes]
    ordered = [*unpacked, *(n for port in graph.input for n in pairs.get(port.name, ()))]
    for node in graph.node:
        ordered.append(node)
        ordered += [one for name in node.output for one in pairs.get(name, ())]
    del graph.node[:]
    graph.node.extend(ordered)
    drop_unused(graph)
    onnx.checker.check_model(written)
    return written


def _pair(graph: onnx.GraphProto, name: str, chosen: Range) -> list[onnx.NodeProto]:
    """Return the two nodes that round a tensor to 8 bits and back, their constants added."""
    scale, zero = f"{name}_scale", f"{name}_zero"
    graph.initializer.append(numpy_helper.from_array(np.array(chosen.scale, np.float32), scale))
    nothing = np.array(0, np.int8 if chosen.signed else np.uint8)  # its type is the levels'
    graph.initializer.append(numpy_helper.from_array(nothing, zero))
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_levels"]),
        helper.make_node("DequantizeLinear", [f"{name}_levels", scale, zero], [f"{name}_rounded"]),
    ]


def _pack_weight(graph: onnx.GraphProto, node: onnx.NodeProto, weight: Array) -> onnx.NodeProto:
    """Store a weight in 8 bits and return the node that unpacks it."""
    axis = _KINDS[node.op_type]
    others = tuple(k for k in range(weight.ndim) if k != axis)
    scale = np.maximum(np.abs(weight).max(others) / 127, 1e-12).astype(np.float32)
    spread = scale.reshape([-1 if k == axis else 1 for k in range(weight.ndim)])
    levels = np.clip(np.round(weight / spread), -127, 127).astype(np.int8)
    names = [f"{node.name}_weight_{part}" for part in ("levels", "scale", "zero")]
    for name, array in zip(names, (levels, scale, np.zeros(len(scale), np.int8)), strict=True):
        graph.initializer.append(numpy_helper.from_array(array, name))
    node.input[1] = f"{node.name}_weight_rounded"
    return helper.make_node("DequantizeLinear", names, [node.input[1]], axis=axis)


def _groups(node: onnx.NodeProto) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "group"), 1)


def _open(model: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in float16 within, float32 at its rims.

    Where a picture is sampled, coordinates stay in float32: 11 bits place a pixel of 96 to a tenth.
    """
    from onnxruntime.transformers.float16 import (  # noqa: PLC0415  imports much
        DEFAULT_OP_BLOCK_LIST,
        convert_float_to_float16,
    )

    blocked = [*DEFAULT_OP_BLOCK_LIST, "GridSample"]
    half: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=blocked
    )
    assert all(port.type.tensor_type.elem_type != TensorProto.FLOAT16 for port in half.graph.input)
    return half
