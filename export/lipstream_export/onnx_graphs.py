"""Trace a torch module and write it as one self-contained ONNX file."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from lipstream.types import Array, Float32

_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}


def tidy(model: onnx.ModelProto) -> None:
    """Compute what does not depend on the inputs, and let convolutions pad by themselves."""
    fold_constants(model)
    fold_pads(model.graph)
    fold_norms(model.graph)
    fold_crops(model.graph)


def fold_constants(model: onnx.ModelProto) -> None:
    """Replace nodes that depend on nothing but constants by what they give."""
    graph = model.graph
    known: dict[str, NDArray[Any]] = {"": np.empty(0)} | constants_of(graph)
    nodes = []
    for node in graph.node:
        if node.op_type in _RANDOM or not all(name in known for name in node.input):
            nodes.append(node)
            continue
        given = {name: known[name] for name in node.input if name}
        for name, array in zip(node.output, _evaluate(model, node, given), strict=True):
            known[name] = np.asarray(array)
            graph.initializer.append(numpy_helper.from_array(known[name], name))
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(graph)


def _evaluate(
    model: onnx.ModelProto, node: onnx.NodeProto, given: dict[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in given.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    alone = helper.make_model(
        helper.make_graph([node], "constant", inputs, outputs), opset_imports=model.opset_import
    )
    results: Any = ReferenceEvaluator(alone).run(None, given)
    return list(results)


def constants_of(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Return the arrays that are written into a graph, by name."""
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def fold_pads(graph: onnx.GraphProto) -> None:
    """Move zero padding into the convolutions that follow it, which pad by themselves.

    torch writes a Pad where a convolution's padding is not the same on both sides; quantised, it
    would stand between the convolution and its scale.
    """
    constants = constants_of(graph)
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        pad = makers.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad" or not _is_plain(pad, constants):
            continue
        before_after = [int(one) for one in constants[pad.input[1]].ravel()]
        own = next(one for one in node.attribute if one.name == "pads")
        extra = [before_after[k] for k in (2, 3, 6, 7)]
        own.ints[:] = [a + b for a, b in zip(own.ints, extra, strict=True)]
        node.input[0] = pad.input[0]
    drop_unused(graph)


def fold_norms(graph: onnx.GraphProto) -> None:
    """Move batch norms into the transposed convolutions before them; torch does it for others."""
    constants = constants_of(graph)
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if maker is None or maker.op_type != "ConvTranspose" or maker.input[1] not in constants:
            continue
        if sum(maker.output[0] in other.input for other in graph.node) > 1:
            continue
        scale, shift, mean, variance = (constants[name] for name in node.input[1:5])
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        own = constants[maker.input[2]] if len(maker.input) > 2 else np.zeros_like(mean)
        weight = constants[maker.input[1]] * factor.reshape(1, -1, 1, 1)
        folded = {"weight": weight, "bias": shift + (own - mean) * factor}
        names = [f"{node.output[0]}_{part}" for part in folded]
        for name, array in zip(names, folded.values(), strict=True):
            graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
        maker.input[1:] = names
        maker.output[0] = node.output[0]
        node.output[0] = f"{node.output[0]}_folded"
    drop_unused(graph)


def fold_crops(graph: onnx.GraphProto) -> None:
    """Have transposed convolutions leave out the rows that are cut off behind them.

    Quantised, the cut would stand between the convolution and its rounding: OpenVINO then writes
    the rows in float, copies them and rounds in a third pass, 1.3 % of Wav2Lip.
    """
    constants = constants_of(graph)
    makers = {name: node for node in graph.node for name in node.output}
    taken = [name for node in graph.node for name in node.input]
    taken += [output.name for output in graph.output]
    for node in graph.node:
        relu = makers.get(node.input[0]) if node.op_type == "Slice" else None
        maker = makers.get(relu.input[0]) if relu is not None and relu.op_type == "Relu" else None
        rows = _first_rows_cut(node, constants)
        if relu is None or maker is None or maker.op_type != "ConvTranspose" or rows is None:
            continue
        if any(taken.count(name) > 1 for name in (*relu.input, *relu.output)):
            continue
        own = next(one for one in maker.attribute if one.name == "pads")
        own.ints[0] += rows  # padding of a transposed convolution is what it leaves out
        relu.output[0], node.output[0] = node.output[0], f"{node.output[0]}_whole"
    drop_unused(graph)


def _first_rows_cut(node: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> int | None:
    """Return how many first rows a Slice leaves out; None when it does anything else."""
    if node.op_type != "Slice" or not all(name in constants for name in node.input[1:]):
        return None
    wanted = [constants[name].ravel().tolist() for name in node.input[1:]]
    if [len(one) for one in wanted] not in ([1] * 3, [1] * 4) or wanted[2] != [2]:
        return None
    starts, ends, steps = wanted[0][0], wanted[1][0], wanted[3][0] if len(wanted) > 3 else 1
    return int(starts) if starts > 0 and ends >= 2**31 - 1 and steps == 1 else None


def _is_plain(pad: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> bool:
    """Return whether a Pad adds a known number of zeros, to height and width alone."""
    modes = [one.s for one in pad.attribute if one.name == "mode"]
    if modes not in ([], [b"constant"]) or pad.input[1] not in constants:
        return False
    sizes = constants[pad.input[1]].ravel()
    value = constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else None
    return len(sizes) == 8 and not sizes[[0, 1, 4, 5]].any() and (value is None or not value.any())


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and weights whose result nobody takes."""
    while True:
        taken = {name for node in graph.node for name in node.input}
        taken |= {output.name for output in graph.output}
        nodes = [node for node in graph.node if any(name in taken for name in node.output)]
        if len(nodes) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(nodes)
    for weight in [one for one in graph.initializer if one.name not in taken]:
        graph.initializer.remove(weight)


OPSET = 17


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph takes and gives."""

    inputs: Mapping[str, Tensor]
    """Name -> example, in the order of the module's arguments; a batch of two or more."""
    outputs: Sequence[str]
    free_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Name of an input or output -> axis -> its name; axis 0 of each is always free, ``N``."""


def save_graph(module: nn.Module, signature: Signature, path: Path) -> None:
    """Export the module, in evaluation mode and float32, and check the file written.

    The tracing exporter is used: it gives opset 17, which every runtime reads, with batch norms
    folded, and keeps the small constants that guard divisions (the newer one drops S3FD's 1e-10).
    """
    names = [*signature.inputs, *signature.outputs]
    axes = {name: {0: "N", **signature.free_axes.get(name, {})} for name in names}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that the tracing exporter is the older of the two
        torch.onnx.export(
            module.eval(),
            tuple(signature.inputs.values()),
            str(path),
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
            external_data=False,
        )
    model = onnx.load(path)
    tidy(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)


class NotPlannable(Exception):
    """Why a graph cannot be written as a plan: the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The smallest and the largest number seen of a tensor."""

    least: float
    most: float

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(-self.least, self.most, 1e-6)


def find_reaches(model: onnx.ModelProto, runs: Iterable[Mapping[str, Array]]) -> dict[str, Reach]:
    """Return how far every input and what every ReLU gives reach, over all runs."""
    names = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(
        extended.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    reaches: dict[str, Reach] = {}
    for feeds in runs:
        values = {**feeds, **dict(zip(names, session.run(names, dict(feeds)), strict=True))}
        for name, value in values.items():
            before = reaches.get(name, Reach(0.0, 0.0))
            least, most = float(value.min()), float(value.max())
            reaches[name] = Reach(min(before.least, least), max(before.most, most))
    return reaches


@dataclass(frozen=True, slots=True)
class Chain:
    """A convolution and what follows it, up to its ReLU."""

    source: str
    """Name of what is read."""
    out: str
    """Name of what the ReLU gives."""
    transposed: bool
    unfolds: bool
    """Whether the channels of one pixel become those of several."""
    added: str | None
    """Name of what is added before the ReLU."""
    added_row: int
    """First row of it."""
    weight: Float32
    bias: Float32
    strides: tuple[int, int]
    pads: tuple[int, int]
    """Above and on the left."""


class TracedGraph:
    """A graph's nodes, with the shapes of their tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = shape_inference.infer_shapes(model).graph
        self.inputs = [port.name for port in graph.input]
        self.output = graph.output[0].name
        self.nodes = list(graph.node)
        ports = (*graph.value_info, *graph.input, *graph.output)
        self._shapes = {
            port.name: [axis.dim_value for axis in port.type.tensor_type.shape.dim]
            for port in ports
        }
        self._constants = constants_of(graph)
        self._made: dict[str, onnx.NodeProto] = {}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            self._made.update(dict.fromkeys(node.output, node))
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def chain(self, node: onnx.NodeProto) -> Chain:
        """Follow a convolution to its ReLU; raises NotPlannable when something else follows."""
        name, added, row = node.output[0], None, 0
        follower = self._only_user(name)
        unfolds = follower.op_type == "Reshape"
        if unfolds:
            name = follower.output[0]
            follower = self._only_user(name)
        if follower.op_type == "Add":
            other = follower.input[0] if follower.input[1] == name else follower.input[1]
            added, row = self._cut(other)
            name = follower.output[0]
            follower = self._only_user(name)
        if follower.op_type != "Relu":
            raise NotPlannable(f"{follower.op_type} follows a convolution")
        weight, transposed = self.weight(node), node.op_type == "ConvTranspose"
        settings = {one.name: list(one.ints) or [one.i] for one in node.attribute}
        if settings.get("group", [1]) != [1] or set(settings.get("dilations", [1])) != {1}:
            raise NotPlannable("a convolution has groups or dilations")
        down, across = settings["strides"]
        top, left = settings["pads"][:2]
        return Chain(
            source=node.input[0],
            out=follower.output[0],
            transposed=transposed,
            unfolds=unfolds,
            added=added,
            added_row=row,
            weight=weight,
            bias=self.bias(node, weight.shape[1 if transposed else 0]),
            strides=(down, across),
            pads=(top, left),
        )

    def painted_from(self, node: onnx.NodeProto) -> bool:
        """Return whether a convolution's output becomes the picture by a sigmoid, times 255."""
        operators: list[tuple[str, list[float]]] = []
        name = node.output[0]
        while name != self.output:
            follower = self._only_user(name)
            numbers = [float(self._constants[n]) for n in follower.input if n in self._constants]
            operators.append((follower.op_type, numbers))
            name = follower.output[0]
        expected = [("Sigmoid", []), ("Mul", [255.0]), ("Round", []), ("Clip", [0.0, 255.0])]
        return [one for one in operators if one[0] != "Transpose"] == [*expected, ("Cast", [])]

    def joins_other_than_channels(self, node: onnx.NodeProto) -> bool:
        """Return whether a Concat works on another axis than that of channels."""
        return [one.i for one in node.attribute if one.name == "axis"] != [1]

    def _cut(self, name: str) -> tuple[str, int]:
        """Return what is added and its first row: the graph may drop rows above it."""
        node = self._made.get(name)
        if node is None or node.op_type != "Slice":
            return name, 0
        begin, end, axes = (self._constants[one] for one in node.input[1:4])
        if list(axes) != [2] or end[0] < self.shape(node.input[0])[2]:
            raise NotPlannable("it adds other than the lower rows of something")
        return node.input[0], int(begin[0])

    def _only_user(self, name: str) -> onnx.NodeProto:
        users = self._users.get(name, [])
        if len(users) != 1:
            raise NotPlannable(f"{len(users)} nodes read what a convolution gives before its ReLU")
        return users[0]

    def weight(self, node: onnx.NodeProto) -> Float32:
        """Return the weights of a convolution, as ONNX has them."""
        if node.input[1] not in self._constants:
            raise NotPlannable("a convolution's weights are computed")
        return np.asarray(self._constants[node.input[1]], np.float32)

    def bias(self, node: onnx.NodeProto, channels: int) -> Float32:
        """Return the bias of a convolution; zeros where it has none."""
        if len(node.input) < 3:
            return np.zeros(channels, np.float32)
        return np.asarray(self._constants[node.input[2]], np.float32)

    def shape(self, name: str) -> list[int]:
        """Return (batch, channels, height, width), the batch 0 where any goes."""
        shape = self._shapes.get(name, [])
        if len(shape) != 4 or 0 in shape[1:]:
            raise NotPlannable(f"the shape of {name} is {shape}")
        return shape
