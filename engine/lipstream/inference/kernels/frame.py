"""A plan laid out in memory, and run: one frame of a mouth at a time."""

from typing import Any

import numpy as np

from lipstream.errors import BackendUnavailable
from lipstream.inference.kernels import load_library, step_header
from lipstream.inference.kernels.plan import AFTER, BEFORE, KernelPlan, KernelStep, PlanTensor
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
        target, written = step.target, self._tensors[step.target.tensor]
        bound.to_stride = target.stride * written.channels
        bound.to_pitch = target.stride * written.pitch
        bound.unit = 1 / written.unit
        if step.kind == "quantize_f32":
            written.fixed_scale = True
            written.levels[...] = _SILENT_LEVEL
            bound.to = written.bytes_at(target.row, target.column)
            return
        bound.to = written.at(target.row, target.column, target.channel)
        bound.peak_out = self._peak(target.tensor)
        if step.add >= 0:
            added = self._tensors[step.add]
            bound.add = added.at(target.row + step.add_row, target.column)
            bound.add_stride = target.stride * added.channels
            bound.add_pitch = target.stride * added.pitch
            bound.add_unit = added.unit / written.unit

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
