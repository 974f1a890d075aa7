"""Plans made by hand, what their tensors hold, and convolutions in float to compare with."""

import numpy as np
import pytest

from engine.inference.kernels.reference import TOP, Reference
from lipstream.inference.backends.native import PackedWeights, PlanRunner
from lipstream.inference.kernels import kernels_run_here
from lipstream.inference.kernels.plan import (
    AFTER,
    BEFORE,
    KernelPlan,
    KernelStep,
    OutputSlice,
    PlanTensor,
    check_plan,
)
from lipstream_export.kernel_plans import pack_igemm, pack_winograd

needs_kernels = pytest.mark.skipif(
    not kernels_run_here(), reason="the int8 kernels need Linux, AVX-512 VNNI and to be built"
)


class PlanBuilder:
    """A plan in the making: what is added first is computed first."""

    def __init__(self):
        self.inputs, self.tensors, self.steps, self.arrays = {}, [], [], []
        self.output = (1, 1, 3)

    def tensor(self, height, width, channels, reach=1.0):
        """Add a tensor sized as the exporter does it: for twice the largest number seen."""
        self.tensors.append(PlanTensor(height, width, channels, 2 * reach / TOP))
        return len(self.tensors) - 1

    def convert(self, name, shape, tensor=None, channel=0, reach=1.0):
        """Add an input of (channels, height, width) in a tensor of its own, or in one given."""
        channels, height, width = shape
        if tensor is None:
            tensor = self.tensor(height, width, channels, reach)
        self.inputs[name] = shape
        target = OutputSlice(tensor, channel)
        self.steps.append(KernelStep("convert", target, height, width, channels, input=name))
        self.arrays.append({})
        return tensor

    def quantize_f32(self, height, width, unit=4 / 127):
        self.tensors.append(PlanTensor(height, width, 4, unit))
        self.inputs["mel"] = (1, height, width)
        target = OutputSlice(len(self.tensors) - 1)
        self.steps.append(KernelStep("quantize_f32", target, height, width, 1, input="mel"))
        self.arrays.append({})
        return target.tensor

    def quantize(self, tensor):
        held = self.tensors[tensor]
        step = KernelStep(
            "quantize", OutputSlice(tensor), held.height, held.width, 1, source=tensor
        )
        self.steps.append(step)
        self.arrays.append({})

    def igemm(self, source, target, weight, bias, taps, *, size, zero=0, **more):
        """Add a step with (taps, depth, channels) weights that writes ``size`` pixels."""
        _, depth, channels = weight.shape
        unit = self.tensors[target.tensor].unit
        packed = pack_igemm(weight, self.tensors[source].unit / unit, zero)
        where = {"taps": tuple(taps), "source": source, **more}
        self.steps.append(KernelStep("igemm", target, *size, channels, depth, **where))
        self.arrays.append({**packed, "bias": (bias / unit).astype(np.float32)})

    def winograd(self, source, target, weight, bias, *, size, pads=(1, 1), **more):
        """Add a step with (channels, depth, 3, 3) weights; ``pads`` are above and on the left."""
        channels, depth = weight.shape[:2]
        unit = self.tensors[target.tensor].unit
        packed = pack_winograd(weight, self.tensors[source].unit / unit)
        where = {"taps": ((-pads[0], -pads[1]),), "source": source, **more}
        self.steps.append(KernelStep("winograd", target, *size, channels, depth, **where))
        self.arrays.append({**packed, "bias": (bias / unit).astype(np.float32)})

    def sigmoid(self, source, weight, bias):
        read = self.tensors[source]
        self.output = (read.height, read.width, 3)
        depth = weight.shape[1]
        where = OutputSlice(-1)
        step = KernelStep("sigmoid", where, read.height, read.width, 3, depth, source=source)
        self.steps.append(step)
        scales = (weight * read.unit).astype(np.float32)
        self.arrays.append({"scales": scales, "bias": np.asarray(bias, np.float32)})

    def plan(self):
        parts = (tuple(one) for one in (self.tensors, self.steps, self.arrays))
        plan = KernelPlan(self.inputs, self.output, *parts)
        check_plan(plan)
        return plan


class Run:
    """A plan that was run once, and its tensors.

    They are the reference's; where the kernels run, theirs, which must not differ by more than a
    level from it.
    """

    def __init__(self, plan, threads=1, **feeds):
        self.plan = plan
        feeds = {k: np.ascontiguousarray(v, np.float32) for k, v in feeds.items()}
        reference = Reference(plan)
        reference.run(feeds)
        self._levels, self._bytes, self.output = reference.levels, reference.bytes, reference.output
        if kernels_run_here():
            self._run_kernels(threads, feeds)

    def _run_kernels(self, threads, feeds):
        runner = PlanRunner(self.plan, PackedWeights(self.plan), threads)
        runner.run(feeds)
        memory = runner._tensors
        levels = [one._memory[: 2 * one.size].view(np.int16) for one in memory]
        named = self.plan.tensors
        levels = [_rows(*pair) for pair in zip(levels, named, strict=True)]
        self._bytes = [_rows(one.levels, name) for one, name in zip(memory, named, strict=True)]
        for own, wanted in zip([*levels, runner.output], [*self._levels, self.output], strict=True):
            np.testing.assert_allclose(own.astype(int), wanted, atol=1)
        self._levels, self.output = levels, runner.output.copy()
        self._runner = runner  # its memory is what they are views of

    def whole(self, tensor):
        """Return (height + border, width + border, channels) int16 levels."""
        return self._levels[tensor]

    def whole_bytes(self, tensor):
        """Return the same in 8 bits."""
        return self._bytes[tensor]

    def rounded(self, tensor):
        """Return (height, width, channels) uint8: the 8-bit form."""
        return _inside(self._bytes[tensor])

    def numbers(self, tensor):
        """Return (channels, height, width) float64: what the levels stand for."""
        return _inside(self.whole(tensor)).transpose(2, 0, 1) * self.plan.tensors[tensor].unit

    def border_is(self, tensor, level=0):
        """Return whether all around a tensor is one level."""
        held = self.plan.tensors[tensor]
        around = np.ones(self.whole(tensor).shape[:2], bool)
        around[BEFORE : BEFORE + held.height, BEFORE : BEFORE + held.width] = False
        return bool((self.whole(tensor)[around] == level).all())


def _rows(memory, named):
    shape = (named.height + BEFORE + AFTER, named.width + BEFORE + AFTER, named.channels)
    return memory[: int(np.prod(shape))].reshape(shape)


def _inside(rows):
    return rows[BEFORE:-AFTER, BEFORE:-AFTER]


def seen(picture, unit):
    """Return numbers as they are once written as levels."""
    return np.clip(np.rint(picture / unit), -TOP, TOP) * unit


def convolved(x, weight, bias, strides=(1, 1), pads=(1, 1, 1, 1)):
    """Convolve (depth, height, width) with (channels, depth, rows, columns), in float64.

    ``pads`` are above, on the left, below, on the right.
    """
    top, left, below, right = pads
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (top, below), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (1, 2))
    windows = windows[:, :: strides[0], :: strides[1]]
    return np.einsum("dyxij,cdij->cyx", windows, weight, optimize=True) + bias[:, None, None]


def relu(x):
    return np.maximum(x, 0)


def worst(found, wanted):
    """Return the largest error as a share of the largest number."""
    assert found.shape == wanted.shape
    assert wanted.max() > 0
    return np.abs(found - wanted).max() / wanted.max()


def small_mouth(seed=0):
    """Return a plan with all kinds of steps, each sort of block, and more than one thread shares.

    It hears (1, 12, 6) and takes ``f``, (128, 7, 11), and ``share``, (32, 14, 22).
    """
    rng, made = np.random.default_rng(seed), PlanBuilder()

    def some(*shape, fan_in):
        return rng.normal(0, 1.5 / np.sqrt(fan_in), shape), rng.normal(0, 0.2, shape[-1])

    heard = made.quantize_f32(21, 11)
    joined = made.tensor(7, 11, 176, 2.0)
    square = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    made.convert("f", (128, 7, 11), joined, channel=48)
    weight, bias = some(9, 4, 48, fan_in=36)
    where = {"size": (7, 11), "stride": (3, 1), "zero": 128}
    made.igemm(heard, OutputSlice(joined), weight, bias, square, **where)
    wide = made.tensor(7, 11, 192, 4.0)
    weight, bias = some(3, 3, 176, 192, fan_in=9 * 176)
    made.winograd(joined, OutputSlice(wide), weight.transpose(3, 2, 0, 1), bias, size=(7, 11))
    made.quantize(wide)
    share = made.convert("share", (32, 14, 22))
    large = made.tensor(14, 22, 32, 4.0)
    for row in (0, 1):
        for column in (0, 1):
            weight, bias = some(2, 192, 32, fan_in=2 * 192)
            taps, target = ((0, 0), (row, column)), OutputSlice(large, 0, row, column, 2)
            made.igemm(wide, target, weight, bias, taps, size=(7, 11), add=share)
    last = made.tensor(13, 22, 32, 4.0)
    weight, bias = some(3, 3, 32, 32, fan_in=9 * 32)
    weight = weight.transpose(3, 2, 0, 1)
    made.winograd(
        large, OutputSlice(last), weight, bias, size=(13, 22), pads=(0, 1), add=large, add_row=1
    )
    made.sigmoid(last, rng.normal(0, 0.5, (3, 32)), rng.normal(0, 0.3, 3))
    return made.plan()


def small_feeds(rows, seed=1):
    """Return inputs of ``small_mouth``, some rows of them."""
    rng = np.random.default_rng(seed)
    return {
        "mel": rng.uniform(-4, 4, (rows, 1, 21, 11)).astype(np.float32),
        "f": rng.uniform(0, 2, (rows, 128, 7, 11)).astype(np.float32),
        "share": rng.uniform(-1, 1, (rows, 32, 14, 22)).astype(np.float32),
    }
