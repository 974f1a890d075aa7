"""Follow a mouth graph from convolution to convolution, each up to its ReLU."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import shape_inference

from lipstream.types import Array, Float32
from lipstream_export.onnx_graphs import constants_of


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
