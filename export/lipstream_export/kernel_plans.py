"""Write a mouth graph as a plan of our int8 kernels (``lipstream.inference.kernels``).

The graph is followed from convolution to convolution, each with what is added to it and its ReLU.
Transposed convolutions become one step for each of the pixels that a source pixel spreads to; what
a graph joins stands side by side in one tensor. Weights are rounded to 8 bits, a scale for each
channel that comes out; of a Winograd convolution they are transformed first, a scale for each of
the 16 points besides. Levels of tensors are sized by the largest numbers seen on real samples,
with room for as much again; the 8-bit ones are sized while a picture is painted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lipstream.inference.kernels.plan import (
    LANES,
    POINTS,
    KernelPlan,
    KernelStep,
    OutputSlice,
    PlanTensor,
    check_plan,
)
from lipstream.types import Array, Float32
from lipstream_export.onnx_graphs import Chain, NotPlannable, Reach, TracedGraph

_BLOCK = 64
"""Channels that come out together."""
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
"""Of F(2 x 2, 3 x 3): Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 4.1."""
_MIDDLE = 128
"""Level that stands for nothing where numbers may be negative."""


def pack_igemm(weight: Float32, unit: float, zero: int) -> dict[str, Array]:
    """Return the arrays of a convolution by indirect GEMM from (taps, depth, channels) weights.

    ``unit`` is what a level of the input is worth in levels of the output, ``zero`` the 8-bit level
    that stands for nothing.
    """
    levels, scale = _round(weight.astype(np.float64) * unit, (0, 1))
    return {
        "weights": _in_blocks(levels),
        "sums": (-zero * levels.sum((0, 1), np.int64)).astype(np.int32),
        "scales": scale.reshape(-1).astype(np.float32),
    }


def pack_winograd(weight: Float32, unit: float) -> dict[str, Array]:
    """Return the arrays of a Winograd convolution from (channels, depth, 3, 3) weights.

    They are G g G^T, point by point; each point of each channel has a scale.
    """
    moved = np.einsum("ij,cdjk,lk->ildc", _G, weight.astype(np.float64) * unit, _G, optimize=True)
    points = moved.reshape(-1, *moved.shape[2:])
    levels, scale = _round(points, (1,))
    return {
        "weights": _in_blocks(levels),
        "sums": (-_MIDDLE * levels.sum(1, np.int64)).astype(np.int32),
        "scales": scale[:, 0].astype(np.float32),
    }


def _round(
    weight: NDArray[np.float64], axes: tuple[int, ...]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    scale = np.maximum(np.abs(weight).max(axes, keepdims=True), 1e-30) / 127
    return np.round(weight / scale).astype(np.int8), scale


def _in_blocks(levels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return (taps, depth, channels) as blocks of [tap or point][depth / 4][channel][4]."""
    taps, depth, channels = levels.shape
    blocks = [
        levels[:, :, at : at + _BLOCK]
        .reshape(taps, depth // 4, 4, -1)
        .transpose(0, 1, 3, 2)
        .reshape(-1)
        for at in range(0, channels, _BLOCK)
    ]
    return np.concatenate(blocks)


_TOP = 8191
"""Largest level: the sum of four still fits int16."""
_ROOM = 2.0
"""What may come, against the largest number seen."""
_MEL_TOP = 4.0
"""Largest magnitude in a mel window."""
_MEL_CHANNELS = 4
"""Numbers multiplied at once: the mel is the first, the weights of the others are 0."""
_LEAST_WINOGRAD_DEPTH = 32
"""Channels read below which the transforms cost more than they save."""
_GAIN = 0.7
"""Winograd's products against those of the plain convolution, at most: small tensors do not fill
its tiles."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies."""

    tensor: int
    channel: int


def make_plan(model: onnx.ModelProto, reaches: Mapping[str, Reach]) -> KernelPlan:
    """Return the plan of a mouth graph; raises NotPlannable for another kind of graph."""
    plan = _Planner(model, reaches).plan()
    try:
        check_plan(plan)
    except ValueError as error:
        raise NotPlannable(f"the kernels do not reach all of it: {error}") from error
    return plan


class _Planner:
    """Follows one graph."""

    def __init__(self, model: onnx.ModelProto, reaches: Mapping[str, Reach]) -> None:
        self._traced = TracedGraph(model)
        self._reaches = reaches
        self._places: dict[str, _Place] = {}
        self._rounded: set[int] = set()
        self._signed: set[int] = set()
        self._tensors: list[PlanTensor] = []
        self._steps: list[KernelStep] = []
        self._arrays: list[dict[str, Array]] = []

    def plan(self) -> KernelPlan:
        """Return the plan of the whole graph."""
        self._place_joined()
        for name in self._traced.inputs:
            self._take_in(name)
        for node in self._traced.nodes:
            if node.op_type in ("Conv", "ConvTranspose"):
                if node.op_type == "Conv" and self._traced.weight(node).shape[0] == 3:
                    return self._finish(node)
                self._convolve(self._traced.chain(node))
        raise NotPlannable("it does not end in a picture")

    def _place_joined(self) -> None:
        for node in self._traced.nodes:
            if node.op_type != "Concat":
                continue
            if self._traced.joins_other_than_channels(node):
                raise NotPlannable("it joins something along another axis than channels")
            _, channels, height, width = self._traced.shape(node.output[0])
            joined = self._add_tensor(height, width, channels, list(node.input))
            self._places[node.output[0]] = _Place(joined, 0)
            at = 0
            for name in node.input:
                if name in self._places:
                    raise NotPlannable(f"{name} is joined twice")
                self._places[name] = _Place(joined, at)
                at += self._traced.shape(name)[1]

    def _take_in(self, name: str) -> None:
        _, channels, height, width = self._traced.shape(name)
        kind = "quantize_f32" if name == "mel" else "convert"
        if kind == "quantize_f32":
            tensor = PlanTensor(height, width, _MEL_CHANNELS, _MEL_TOP / 127)
            self._tensors.append(tensor)
            self._places[name] = _Place(len(self._tensors) - 1, 0)
        elif channels % LANES:
            raise NotPlannable(f"its input {name} has {channels} channels")
        else:
            self._place(name)
        place = self._places[name]
        target = OutputSlice(place.tensor, place.channel)
        self._emit(KernelStep(kind, target, height, width, channels, input=name))

    def _convolve(self, chain: Chain) -> None:
        read, _ = self._source_of(chain)
        plain = chain.weight.shape[2:] == (3, 3) and chain.strides == (1, 1)
        _, _, height, width = self._traced.shape(chain.out)
        tiles = -(-height // 2) * -(-width // 2)
        pays = tiles * POINTS <= _GAIN * height * width * 9
        if chain.transposed:
            self._emit_transposed(chain)
        elif chain.unfolds:
            self._emit_unfolding(chain)
        elif plain and pays and read.channels >= _LEAST_WINOGRAD_DEPTH:
            self._emit_winograd(chain)
        else:
            self._emit_plain(chain)

    def _emit_winograd(self, chain: Chain) -> None:
        read, place = self._source_of(chain)
        tensor = self._tensors[self._place(chain.out).tensor]
        top, left = chain.pads
        step = self._step(chain, "winograd", ((-top, -left),), source=place.tensor)
        packed = pack_winograd(chain.weight, read.unit / tensor.unit)
        self._emit(step, {**packed, "bias": _level(chain.bias, tensor)})

    def _emit_plain(self, chain: Chain) -> None:
        rows, columns = chain.weight.shape[2:]
        top, left = chain.pads
        taps = tuple((y - top, x - left) for y in range(rows) for x in range(columns))
        weight = chain.weight.transpose(2, 3, 1, 0).reshape(len(taps), *chain.weight.shape[1::-1])
        self._emit_igemm(chain, (weight, chain.bias), taps, stride=chain.strides)

    def _emit_transposed(self, chain: Chain) -> None:
        """Emit a step for each of the pixels that one spreads to: each has taps of its own."""
        _, _, height, width = self._traced.shape(chain.out)
        rows, columns = chain.weight.shape[2:]
        (down, across), (top, left) = chain.strides, chain.pads
        if down != across:
            raise NotPlannable("a transposed convolution spreads unevenly")
        for row in range(min(down, height)):
            for column in range(min(down, width)):
                reached = [
                    (y, x)
                    for y in range((row + top) % down, rows, down)
                    for x in range((column + left) % down, columns, down)
                ]
                if not reached:
                    raise NotPlannable("a transposed convolution leaves pixels out")
                taps = tuple(
                    ((row + top - y) // down, (column + left - x) // down) for y, x in reached
                )
                weight = np.stack([chain.weight[:, :, y, x] for y, x in reached])
                place = self._place(chain.out)
                self._emit_igemm(
                    chain,
                    (weight, chain.bias),
                    taps,
                    target=OutputSlice(place.tensor, place.channel, row, column, down),
                    height=-(-(height - row) // down),
                    width=-(-(width - column) // down),
                )

    def _emit_unfolding(self, chain: Chain) -> None:
        """Emit a step for each pixel that the channels of one become."""
        _, channels, height, width = self._traced.shape(chain.out)
        place = self._place(chain.out)
        weight = chain.weight.reshape(channels, height, width, -1)
        bias = chain.bias.reshape(channels, height, width)
        for row in range(height):
            for column in range(width):
                self._emit_igemm(
                    chain,
                    (weight[:, row, column].T[None], bias[:, row, column]),
                    ((0, 0),),
                    target=OutputSlice(place.tensor, place.channel, row, column),
                    height=1,
                    width=1,
                )

    def _emit_igemm(
        self,
        chain: Chain,
        weights: tuple[Float32, Float32],
        taps: tuple[tuple[int, int], ...],
        **where: Any,
    ) -> None:
        """Emit a step with (taps, depth, channels) weights and a bias."""
        read, place = self._source_of(chain)
        weight, bias = weights
        if place.tensor in self._signed:
            raise NotPlannable("a convolution reads an input that can be negative")
        tensor = self._tensors[self._place(chain.out).tensor]
        heard = chain.source == "mel"
        if not heard and place.tensor not in self._rounded:
            self._rounded.add(place.tensor)
            target = OutputSlice(place.tensor)
            self._emit(
                KernelStep("quantize", target, read.height, read.width, 1, source=place.tensor)
            )
        if heard:
            weight = np.pad(weight, ((0, 0), (0, _MEL_CHANNELS - weight.shape[1]), (0, 0)))
        packed = pack_igemm(weight, read.unit / tensor.unit, zero=128 if heard else 0)
        step = self._step(chain, "igemm", taps, source=place.tensor, **where)
        self._emit(step, {**packed, "bias": _level(bias, tensor)})

    def _step(
        self, chain: Chain, kind: str, taps: tuple[tuple[int, int], ...], **where: Any
    ) -> KernelStep:
        _, channels, height, width = self._traced.shape(chain.out)
        place = self._place(chain.out)
        wanted: dict[str, Any] = {"height": height, "width": width, **where}
        wanted.setdefault("target", OutputSlice(place.tensor, place.channel))
        if chain.added is not None:
            added = self._places.get(chain.added)
            if added is None or added.channel:
                raise NotPlannable(f"it adds {chain.added}, which lies nowhere by itself")
            wanted |= {"add": added.tensor, "add_row": chain.added_row}
        depth = self._tensors[wanted["source"]].channels
        return KernelStep(kind, channels=channels, depth=depth, taps=taps, **wanted)

    def _finish(self, node: onnx.NodeProto) -> KernelPlan:
        place = self._places[node.input[0]]
        read, weight = self._tensors[place.tensor], self._traced.weight(node)
        output = (read.height, read.width, 3)
        sizes = tuple(self._traced.shape(self._traced.output)[1:])
        if weight.shape[2:] != (1, 1) or sizes != output or not self._traced.painted_from(node):
            raise NotPlannable("its last convolution does not give a sigmoid's picture")
        step = KernelStep(
            "sigmoid", OutputSlice(-1), read.height, read.width, 3, read.channels, place.tensor
        )
        bias = self._traced.bias(node, 3)
        scales = (weight.reshape(3, -1) * read.unit).astype(np.float32)
        self._emit(step, {"scales": scales, "bias": bias})
        inputs = {name: tuple(self._traced.shape(name)[1:]) for name in self._traced.inputs}
        return KernelPlan(
            inputs, output, tuple(self._tensors), tuple(self._steps), tuple(self._arrays)
        )

    def _source_of(self, chain: Chain) -> tuple[PlanTensor, _Place]:
        if chain.source not in self._places:
            raise NotPlannable(f"a convolution reads {chain.source}, which no convolution gives")
        place = self._places[chain.source]
        read = self._tensors[place.tensor]
        if chain.source != "mel" and read.channels != self._traced.shape(chain.source)[1]:
            raise NotPlannable("a convolution reads one part of what was joined")
        return read, place

    def _place(self, name: str) -> _Place:
        """Return where a tensor lies, in a tensor of its own if it has no place yet."""
        if name not in self._places:
            _, channels, height, width = self._traced.shape(name)
            if channels % LANES:
                raise NotPlannable(f"a convolution gives {channels} channels")
            self._places[name] = _Place(self._add_tensor(height, width, channels, [name]), 0)
        return self._places[name]

    def _add_tensor(self, height: int, width: int, channels: int, names: list[str]) -> int:
        unknown = [name for name in names if name not in self._reaches]
        if unknown:
            raise NotPlannable(f"{unknown[0]} is neither an input nor what a ReLU gives")
        peak = max(self._reaches[name].peak for name in names)
        if any(self._reaches[name].least < 0 for name in names):
            self._signed.add(len(self._tensors))
        self._tensors.append(PlanTensor(height, width, channels, peak * _ROOM / _TOP))
        return len(self._tensors) - 1

    def _emit(self, step: KernelStep, arrays: dict[str, Array] | None = None) -> None:
        self._steps.append(step)
        self._arrays.append(arrays or {})


def _level(values: Float32, tensor: PlanTensor) -> Float32:
    return np.asarray(values / tensor.unit, np.float32)
