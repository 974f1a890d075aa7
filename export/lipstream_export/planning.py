"""Write a mouth graph as a plan of our int8 kernels (``lipstream.kernels``).

The graph is followed from convolution to convolution, each with what is added to it and its ReLU.
Transposed convolutions become one step for each of the pixels that a source pixel spreads to; what
a graph joins stands side by side in one picture. Weights are rounded to 8 bits, a scale for each
channel that comes out; of a Winograd convolution they are transformed first, a scale for each of
the 16 points besides. Levels of pictures are sized by the largest numbers seen on real samples,
with room for as much again; the 8-bit ones are sized while a picture is painted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

from lipstream.kernels.plan import LANES, POINTS, Picture, Plan, PlanStep, Target, check_plan
from lipstream.types import Array, Float32
from lipstream_export.packing import pack_gathered, pack_winograd

_TOP = 8191
"""Largest level: the sum of four still fits int16."""
_ROOM = 2.0
"""What may come, against the largest number seen."""
_MEL_TOP = 4.0
_MEL_CHANNELS = 4
_LEAST_WINOGRAD_DEPTH = 32
_GAIN = 0.85
"""Winograd's products against those of the plain convolution, at most: small pictures do not fill
its tiles."""


class NotPlannable(Exception):
    """Why a graph cannot be written as a plan: the end of a sentence."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """A convolution and what follows it, up to its ReLU."""

    node: onnx.NodeProto
    source: str
    out: str
    """Name of what the ReLU gives."""
    added: str | None
    added_row: int
    weight: Float32
    bias: Float32
    settings: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies."""

    picture: int
    channel: int


def find_peaks(model: onnx.ModelProto, runs: Iterable[Mapping[str, Array]]) -> dict[str, float]:
    """Return the largest magnitude of every input and of what every ReLU gives."""
    names = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    peaks: dict[str, float] = {}
    for feeds in runs:
        values = {**feeds, **dict(zip(names, session.run(names, dict(feeds)), strict=True))}
        for name, value in values.items():
            peaks[name] = max(peaks.get(name, 0.0), float(np.abs(value).max()))
    return peaks


def make_plan(model: onnx.ModelProto, peaks: Mapping[str, float]) -> Plan:
    """Return the plan of a mouth graph; raises NotPlannable for another kind of graph."""
    planner = _Planner(shape_inference.infer_shapes(model), peaks)
    plan = planner.plan()
    check_plan(plan)
    return plan


class _Planner:
    """Follows one graph."""

    def __init__(self, model: onnx.ModelProto, peaks: Mapping[str, float]) -> None:
        graph = model.graph
        self._peaks = peaks
        self._graph = graph
        ports = (*graph.value_info, *graph.input, *graph.output)
        self._shapes = {
            port.name: [axis.dim_value for axis in port.type.tensor_type.shape.dim]
            for port in ports
        }
        self._constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._made: dict[str, onnx.NodeProto] = {}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            self._made.update(dict.fromkeys(node.output, node))
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._places: dict[str, _Place] = {}
        self._rounded: set[int] = set()
        self._pictures: list[Picture] = []
        self._steps: list[PlanStep] = []
        self._arrays: list[dict[str, Array]] = []

    def plan(self) -> Plan:
        """Return the plan of the whole graph."""
        self._place_joined()
        for port in self._graph.input:
            self._take_in(port.name)
        for node in self._graph.node:
            if node.op_type in ("Conv", "ConvTranspose"):
                if node.op_type == "Conv" and self._weight(node).shape[0] == 3:
                    return self._finish(node)
                self._convolve(self._chain(node))
        raise NotPlannable("it does not end in a picture")

    def _place_joined(self) -> None:
        for node in self._graph.node:
            if node.op_type != "Concat":
                continue
            _, channels, height, width = self._shape(node.output[0])
            joined = self._add_picture(height, width, channels, list(node.input))
            self._places[node.output[0]] = _Place(joined, 0)
            at = 0
            for name in node.input:
                self._places[name] = _Place(joined, at)
                at += self._shape(name)[1]

    def _take_in(self, name: str) -> None:
        _, channels, height, width = self._shape(name)
        kind = "hear" if name == "mel" else "load"
        if kind == "hear":
            picture = Picture(height, width, _MEL_CHANNELS, _MEL_TOP / 127)
            self._pictures.append(picture)
            self._places[name] = _Place(len(self._pictures) - 1, 0)
        elif channels % LANES:
            raise NotPlannable(f"its input {name} has {channels} channels")
        else:
            self._place(name)
        place = self._places[name]
        target = Target(place.picture, place.channel)
        self._emit(PlanStep(kind, target, height, width, channels, input=name))

    def _convolve(self, chain: _Chain) -> None:
        read, _ = self._source_of(chain)
        kernel, strides = chain.weight.shape[2:], chain.settings["strides"]
        plain = chain.node.op_type == "Conv" and tuple(kernel) == (3, 3) and strides == [1, 1]
        _, depth, height, width = self._shape(chain.out)
        tiles = -(-height // 2) * -(-width // 2)
        pays = tiles * POINTS <= _GAIN * height * width * 9
        if plain and pays and read.channels >= _LEAST_WINOGRAD_DEPTH and chain.source != "mel":
            self._emit_winograd(chain)
        elif depth != self._shape(chain.node.output[0])[1]:
            self._emit_unfolding(chain)
        elif chain.node.op_type == "Conv":
            self._emit_plain(chain)
        else:
            self._emit_transposed(chain)

    def _emit_winograd(self, chain: _Chain) -> None:
        read, place = self._source_of(chain)
        written = self._pictures[self._place(chain.out).picture]
        top, left = (-pad for pad in chain.settings["pads"][:2])
        step = self._step(chain, "winograd", ((top, left),), source=place.picture)
        packed = pack_winograd(chain.weight, read.unit / written.unit)
        self._emit(step, {**packed, "bias": _level(chain.bias, written)})

    def _emit_plain(self, chain: _Chain) -> None:
        rows, columns = chain.weight.shape[2:]
        top, left = chain.settings["pads"][:2]
        taps = tuple((y - top, x - left) for y in range(rows) for x in range(columns))
        weight = chain.weight.transpose(2, 3, 1, 0).reshape(len(taps), *chain.weight.shape[1::-1])
        down, across = chain.settings["strides"]
        self._emit_gathered(chain, weight, taps, stride=(down, across))

    def _emit_transposed(self, chain: _Chain) -> None:
        """Emit a step for each parity of row and column: each has taps of its own."""
        _, _, height, width = self._shape(chain.out)
        rows, columns = chain.weight.shape[2:]
        (down, across), (top, left) = chain.settings["strides"], chain.settings["pads"][:2]
        if down != across:
            raise NotPlannable("a transposed convolution spreads unevenly")
        for row in range(min(down, height)):
            for column in range(min(down, width)):
                reached = [
                    (y, x)
                    for y in range((row + top) % down, rows, down)
                    for x in range((column + left) % down, columns, down)
                ]
                taps = tuple(
                    ((row + top - y) // down, (column + left - x) // down) for y, x in reached
                )
                weight = np.stack([chain.weight[:, :, y, x] for y, x in reached])
                place = self._place(chain.out)
                self._emit_gathered(
                    chain,
                    weight,
                    taps,
                    target=Target(place.picture, place.channel, row, column, down),
                    height=-(-(height - row) // down),
                    width=-(-(width - column) // down),
                )

    def _emit_unfolding(self, chain: _Chain) -> None:
        """Emit a step for each pixel that one pixel's channels, (channels, rows, columns), become."""
        _, channels, height, width = self._shape(chain.out)
        depth = chain.weight.shape[1]
        place = self._place(chain.out)
        unfolded = chain.weight.reshape(channels, height, width, depth)
        for row in range(height):
            for column in range(width):
                self._emit_gathered(
                    chain,
                    unfolded[:, row, column].T[None],
                    ((0, 0),),
                    target=Target(place.picture, place.channel, row, column),
                    height=1,
                    width=1,
                )

    def _emit_gathered(
        self, chain: _Chain, weight: Float32, taps: tuple[tuple[int, int], ...], **where: Any
    ) -> None:
        read, place = self._source_of(chain)
        if place.channel:
            raise NotPlannable("a convolution reads one part of what was joined")
        written = self._pictures[self._place(chain.out).picture]
        heard = chain.source == "mel"
        if not heard and place.picture not in self._rounded:
            self._rounded.add(place.picture)
            target = Target(place.picture)
            self._emit(
                PlanStep("round", target, read.height, read.width, 1, source=place.picture)
            )
        if heard:
            weight = np.pad(weight, ((0, 0), (0, _MEL_CHANNELS - weight.shape[1]), (0, 0)))
        packed = pack_gathered(weight, read.unit / written.unit, zero=128 if heard else 0)
        step = self._step(chain, "gather", taps, source=place.picture, **where)
        bias = chain.bias if len(chain.bias) == step.channels else np.zeros(step.channels)
        self._emit(step, {**packed, "bias": _level(bias, written)})

    def _step(
        self, chain: _Chain, kind: str, taps: tuple[tuple[int, int], ...], **where: Any
    ) -> PlanStep:
        _, channels, height, width = self._shape(chain.out)
        place = self._place(chain.out)
        wanted: dict[str, Any] = {"height": height, "width": width, **where}
        wanted.setdefault("target", Target(place.picture, place.channel))
        if chain.added is not None:
            added = self._places[chain.added]
            if added.channel:
                raise NotPlannable("it adds one part of what was joined")
            wanted |= {"add": added.picture, "add_row": chain.added_row}
        depth = self._pictures[wanted["source"]].channels
        return PlanStep(kind, channels=channels, depth=depth, taps=taps, **wanted)

    def _finish(self, node: onnx.NodeProto) -> Plan:
        place = self._places[node.input[0]]
        read = self._pictures[place.picture]
        weight = self._weight(node)
        output = tuple(self._shape(self._graph.output[0].name)[1:])
        if weight.shape[2:] != (1, 1) or output != (read.height, read.width, 3):
            raise NotPlannable("its last convolution is not one of single pixels")
        step = PlanStep(
            "paint", Target(-1), read.height, read.width, 3, read.channels, place.picture
        )
        bias = self._constants[node.input[2]].astype(np.float32)
        scales = (weight.reshape(3, -1) * read.unit).astype(np.float32)
        self._emit(step, {"scales": scales, "bias": bias})
        inputs = {port.name: tuple(self._shape(port.name)[1:]) for port in self._graph.input}
        return Plan(
            inputs, output, tuple(self._pictures), tuple(self._steps), tuple(self._arrays)
        )

    def _chain(self, node: onnx.NodeProto) -> _Chain:
        """Follow a convolution to its ReLU."""
        name, added, row = node.output[0], None, 0
        follower = self._only_user(name)
        if follower.op_type == "Reshape":
            name = follower.output[0]
            follower = self._only_user(name)
        if follower.op_type == "Add":
            other = follower.input[0] if follower.input[1] == name else follower.input[1]
            added, row = self._cut(other)
            name = follower.output[0]
            follower = self._only_user(name)
        if follower.op_type != "Relu":
            raise NotPlannable(f"{follower.op_type} follows a convolution")
        weight = self._weight(node)
        channels = weight.shape[0 if node.op_type == "Conv" else 1]
        none = np.zeros(channels, np.float32)
        bias = self._constants[node.input[2]] if len(node.input) > 2 else none
        settings = {one.name: list(one.ints) for one in node.attribute if one.ints}
        return _Chain(
            node, node.input[0], follower.output[0], added, row, weight, bias, settings
        )

    def _cut(self, name: str) -> tuple[str, int]:
        """Return what is added and its first row: the graph may drop rows above it."""
        node = self._made.get(name)
        if node is None or node.op_type != "Slice":
            return name, 0
        return node.input[0], int(self._constants[node.input[1]][0])

    def _only_user(self, name: str) -> onnx.NodeProto:
        users = self._users.get(name, [])
        if len(users) != 1:
            raise NotPlannable(f"{len(users)} nodes read what a convolution gives before its ReLU")
        return users[0]

    def _source_of(self, chain: _Chain) -> tuple[Picture, _Place]:
        if chain.source not in self._places:
            raise NotPlannable(f"{self._made[chain.source].op_type} comes before a convolution")
        place = self._places[chain.source]
        return self._pictures[place.picture], place

    def _place(self, name: str) -> _Place:
        """Return where a tensor lies, in a picture of its own if it has no place yet."""
        if name not in self._places:
            _, channels, height, width = self._shape(name)
            if channels % LANES:
                raise NotPlannable(f"a convolution gives {channels} channels")
            self._places[name] = _Place(self._add_picture(height, width, channels, [name]), 0)
        return self._places[name]

    def _add_picture(self, height: int, width: int, channels: int, names: list[str]) -> int:
        peak = max(self._peaks[name] for name in names)
        self._pictures.append(Picture(height, width, channels, max(peak, 1e-6) * _ROOM / _TOP))
        return len(self._pictures) - 1

    def _weight(self, node: onnx.NodeProto) -> Float32:
        if node.input[1] not in self._constants:
            raise NotPlannable("a convolution's weights are computed")
        return self._constants[node.input[1]].astype(np.float32)

    def _shape(self, name: str) -> list[int]:
        shape = self._shapes.get(name, [])
        if len(shape) != 4 or 0 in shape[1:]:
            raise NotPlannable(f"the shape of {name} is {shape}")
        return shape

    def _emit(self, step: PlanStep, arrays: dict[str, Array] | None = None) -> None:
        self._steps.append(step)
        self._arrays.append(arrays or {})


def _level(values: NDArray[Any], picture: Picture) -> Float32:
    return (values / picture.unit).astype(np.float32)
