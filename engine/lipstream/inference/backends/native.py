"""Our own int8 kernels as a backend: a plan in place of an ONNX graph, a frame at a time."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.backends import (
    BankRow,
    Device,
    FeatureBank,
    GraphForm,
    HostFeatures,
    TensorInfo,
    run_one_by_one,
)
from lipstream.inference.kernels import load_library, step_header
from lipstream.inference.kernels.plan import (
    AFTER,
    BEFORE,
    KernelPlan,
    KernelStep,
    PlanTensor,
    load_plan,
)
from lipstream.types import Array

_ALIGN = 64
_SILENT_LEVEL = 128
"""What ``quantize_f32`` writes for nothing, and what lies around it."""


class PackedWeights:
    """The arrays of a plan in aligned memory of their own, shared by all frames; read-only."""

    def __init__(self, plan: KernelPlan) -> None:
        arrays = [array for held in plan.arrays for array in held.values()]
        memory = _aligned(sum(_rounded(array.nbytes) for array in arrays))
        at = 0
        self.of_step: list[dict[str, int]] = []
        """Name -> address of each array, step by step."""
        for held in plan.arrays:
            self.of_step.append({})
            for name, array in held.items():
                memory[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
                self.of_step[-1][name] = memory.ctypes.data + at
                at += _rounded(array.nbytes)
        self._memory = memory


class PlanRunner:
    """What one runner of a plan writes, and its steps bound to it. Used by one thread at a time."""

    def __init__(self, plan: KernelPlan, weights: PackedWeights, threads: int) -> None:
        """Lay the plan out; ``threads`` share each frame. BackendUnavailable without kernels."""
        self._opened: int | None = None
        self._library = load_library()
        self._weights = weights  # its memory is what the steps point to
        self._peaks = np.zeros(len(plan.tensors), np.uint32)
        self._tensors = [_TensorMemory(one) for one in plan.tensors]
        self._taps: list[Array] = []
        self.output = np.zeros(plan.output, np.uint8)
        """(rows, columns, 3) uint8 BGR: what the last run painted."""
        self._steps = (step_header().step * len(plan.steps))()
        self._fed: list[tuple[str, Any]] = []
        for k, step in enumerate(plan.steps):
            self._bind(self._steps[k], step, weights.of_step[k])
        depth = max((step.depth for step in plan.steps), default=0)
        self._opened = self._library.lipstream_open(
            *(self._steps, len(self._steps), self._peaks.ctypes.data),
            *(len(self._peaks), depth, threads),
        )
        if self._opened is None:
            raise BackendUnavailable("backend 'native' got no memory or no threads: ask for fewer")

    def run(self, feeds: dict[str, Array]) -> None:
        """Compute ``output`` from contiguous float32 inputs, shaped as the plan says."""
        if self._opened is None:
            raise BackendUnavailable("backend 'native' was closed: open it again")
        for name, step in self._fed:
            step.from_ = feeds[name].ctypes.data
        self._library.lipstream_run(self._opened)

    def close(self) -> None:
        """Free it; closing twice is fine."""
        if self._opened is not None:
            self._library.lipstream_close(self._opened)
            self._opened = None

    def __del__(self) -> None:
        self.close()

    def _bind(self, bound: Any, step: KernelStep, arrays: dict[str, int]) -> None:
        bound.kind = step_header().kinds.index(step.kind)
        for name in ("depth", "channels", "height", "width"):
            setattr(bound, name, getattr(step, name))
        for name, address in arrays.items():
            setattr(bound, name, address)
        if step.kind in ("convert", "quantize_f32"):
            self._fed.append((step.input, bound))
        elif step.kind != "quantize":
            self._bind_source(bound, step)
        if step.kind == "sigmoid":
            bound.to = self.output.ctypes.data
        elif step.kind == "quantize":
            self._bind_rounding(bound, step)
        else:
            self._bind_target(bound, step)

    def _bind_source(self, bound: Any, step: KernelStep) -> None:
        read = self._tensors[step.source]
        levels = step.kind == "igemm"
        row, column = step.taps[0] if step.kind == "winograd" else (0, 0)
        bound.from_ = read.bytes_at(0, 0) if levels else read.at(row, column)
        bound.from_stride = step.stride[1] * read.channels
        bound.from_pitch = step.stride[0] * read.pitch
        if levels:
            taps = [y * read.pitch + x * read.channels for y, x in step.taps]
            self._taps.append(np.array(taps, np.int32))
            bound.taps, bound.tap_count = self._taps[-1].ctypes.data, len(taps)
            bound.peak_in = 0 if read.fixed_scale else self._peak(step.source)

    def _bind_target(self, bound: Any, step: KernelStep) -> None:
        target, tensor = step.target, self._tensors[step.target.tensor]
        bound.to_stride = target.stride * tensor.channels
        bound.to_pitch = target.stride * tensor.pitch
        bound.unit = 1 / tensor.unit
        if step.kind == "quantize_f32":
            tensor.fixed_scale = True
            tensor.levels[...] = _SILENT_LEVEL
            bound.to = tensor.bytes_at(target.row, target.column)
            return
        bound.to = tensor.at(target.row, target.column, target.channel)
        bound.peak_out = self._peak(target.tensor)
        if step.add >= 0:
            added = self._tensors[step.add]
            bound.add = added.at(target.row + step.add_row, target.column)
            bound.add_stride = target.stride * added.channels
            bound.add_pitch = target.stride * added.pitch
            bound.add_unit = added.unit / tensor.unit

    def _bind_rounding(self, bound: Any, step: KernelStep) -> None:
        rounded = self._tensors[step.source]
        bound.from_, bound.to = rounded.begin, rounded.bytes_begin
        bound.height = rounded.size // _ALIGN
        bound.peak_in = self._peak(step.source)

    def _peak(self, tensor: int) -> int:
        return self._peaks.ctypes.data + tensor * self._peaks.itemsize


class _TensorMemory:
    """A tensor in memory: its levels, and their 8-bit form."""

    def __init__(self, tensor: PlanTensor) -> None:
        self.channels, self.unit = tensor.channels, tensor.unit
        self.pitch: int = (tensor.width + BEFORE + AFTER) * tensor.channels
        """Numbers from one row to the next."""
        self.size = _rounded((tensor.height + BEFORE + AFTER) * self.pitch)
        """Numbers in all, the border included, up to a whole register."""
        self.fixed_scale = False
        """Whether its 8-bit form comes from sound: then a level has a size of its own."""
        self._memory = _aligned(self.size * 3)
        self.levels = self._memory[self.size * 2 :]
        self.begin: int = self._memory.ctypes.data
        self.bytes_begin: int = self.begin + self.size * 2

    def at(self, row: int, column: int, channel: int = 0) -> int:
        """Return the address of a pixel."""
        return self.begin + 2 * self._place(row, column, channel)

    def bytes_at(self, row: int, column: int) -> int:
        """Return the address of a pixel of the 8-bit form."""
        return self.bytes_begin + self._place(row, column, 0)

    def _place(self, row: int, column: int, channel: int) -> int:
        return (row + BEFORE) * self.pitch + (column + BEFORE) * self.channels + channel


def _aligned(size: int) -> Any:
    """Return ``size`` zero bytes that begin at a multiple of _ALIGN, and some behind them."""
    memory = np.zeros(size + 2 * _ALIGN, np.uint8)
    start = -memory.ctypes.data % _ALIGN
    return memory[start : start + size + _ALIGN]


def _rounded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


_MOST_THREADS = 8
"""More share the small tensors in the middle of the network to no gain."""


class NativeBackend:
    """A mouth's plan, run picture by picture; a row's numbers do not depend on the others."""

    name = "native"
    library = "lipstream kernels 2"
    device: Device = "cpu"
    form: GraphForm = "plan"
    best_batch = 1

    def __init__(
        self, plan: KernelPlan, weights: PackedWeights, threads: int, frame_threads: int
    ) -> None:
        self._plan, self._weights, self._threads = plan, weights, threads
        self.frame_threads = frame_threads
        self.inputs = {n: TensorInfo((None, *s), "float32") for n, s in plan.inputs.items()}
        self.outputs = {"mouth": TensorInfo((None, *plan.output), "uint8")}
        self._frame = PlanRunner(plan, weights, threads)
        self._mouths = np.empty((1, *plan.output), np.uint8)

    @classmethod
    def open(
        cls, graph: Path, threads: int, precision: str = "fp32", frame_threads: int = 1
    ) -> Self:
        """Load the plan in the file ``graph``.

        Raises BackendUnavailable for another precision than int8 or on another processor,
        ModelError when the plan cannot be read.
        """
        if precision != "int8":
            raise BackendUnavailable(
                f"backend 'native' computes int8 alone, not {precision}: choose int8 or openvino"
            )
        load_library()
        plan = load_plan(graph)
        threads = 1 if frame_threads > 1 else _threads_of(threads)
        return cls(plan, PackedWeights(plan), threads, frame_threads)

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the output is overwritten by the next run."""
        fed = {name: np.ascontiguousarray(feeds[name], np.float32) for name in self.inputs}
        rows = len(feeds["mel"])
        for name, shape in self._plan.inputs.items():
            if fed[name].shape != (rows, *shape):  # checked, for C reads it
                raise InputError(f"input {name} must be {(rows, *shape)}, not {fed[name].shape}")
        if len(self._mouths) != rows:
            self._mouths = np.empty((rows, *self._plan.output), np.uint8)
        for row in range(rows):
            self._frame.run({name: array[row] for name, array in fed.items()})
            self._mouths[row] = self._frame.output
        return {"mouth": self._mouths}

    def open_bank(self, features: dict[str, Array], frames: int) -> FeatureBank:
        """Keep views of the features of each frame."""
        return HostFeatures(features, frames)

    def run_rows(self, mels: Sequence[Array], rows: Sequence[BankRow]) -> dict[str, Array]:
        """Run row by row; the outputs of one row are those of ``run``."""
        return run_one_by_one(self.run, mels, rows)

    def clone(self) -> Self:
        """Return another runner of the same weights, for one other thread."""
        return type(self)(self._plan, self._weights, self._threads, self.frame_threads)

    def close(self) -> None:
        """Free what it writes; the weights go with the last clone."""
        self._frame.close()


def _threads_of(wanted: int) -> int:
    return min(wanted or len(os.sched_getaffinity(0)), _MOST_THREADS)
