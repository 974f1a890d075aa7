"""Plans made by hand, what their pictures hold, and convolutions in float to compare with."""

import numpy as np
import pytest

from lipstream.inference.kernels import kernels_run_here
from lipstream.inference.kernels.frame import Frame, Weights
from lipstream.inference.kernels.plan import (
    AFTER,
    BEFORE,
    Picture,
    Plan,
    PlanStep,
    Target,
    check_plan,
)
from lipstream_export.kernel_plans import pack_gathered, pack_winograd

TOP = 8191
"""Largest level."""
needs_kernels = pytest.mark.skipif(
    not kernels_run_here(), reason="the int8 kernels need Linux, AVX-512 VNNI and to be built"
)


class Making:
    """A plan in the making: what is added first is computed first."""

    def __init__(self):
        self.inputs, self.pictures, self.steps, self.arrays = {}, [], [], []
        self.output = (1, 1, 3)

    def picture(self, height, width, channels, reach=1.0):
        """Add a picture sized as the exporter does it: for twice the largest number seen."""
        self.pictures.append(Picture(height, width, channels, 2 * reach / TOP))
        return len(self.pictures) - 1

    def load(self, name, shape, picture=None, channel=0, reach=1.0):
        """Add an input of (channels, height, width) in a picture of its own, or in one given."""
        channels, height, width = shape
        if picture is None:
            picture = self.picture(height, width, channels, reach)
        self.inputs[name] = shape
        target = Target(picture, channel)
        self.steps.append(PlanStep("load", target, height, width, channels, input=name))
        self.arrays.append({})
        return picture

    def hear(self, height, width, unit=4 / 127):
        self.pictures.append(Picture(height, width, 4, unit))
        self.inputs["mel"] = (1, height, width)
        target = Target(len(self.pictures) - 1)
        self.steps.append(PlanStep("hear", target, height, width, 1, input="mel"))
        self.arrays.append({})
        return target.picture

    def round(self, picture):
        held = self.pictures[picture]
        step = PlanStep("round", Target(picture), held.height, held.width, 1, source=picture)
        self.steps.append(step)
        self.arrays.append({})

    def gather(self, source, target, weight, bias, taps, *, size, zero=0, **more):
        """Add a step with (taps, depth, channels) weights that writes ``size`` pixels."""
        _, depth, channels = weight.shape
        unit = self.pictures[target.picture].unit
        packed = pack_gathered(weight, self.pictures[source].unit / unit, zero)
        where = {"taps": tuple(taps), "source": source, **more}
        self.steps.append(PlanStep("gather", target, *size, channels, depth, **where))
        self.arrays.append({**packed, "bias": (bias / unit).astype(np.float32)})

    def winograd(self, source, target, weight, bias, *, size, pads=(1, 1), **more):
        """Add a step with (channels, depth, 3, 3) weights; ``pads`` are above and on the left."""
        channels, depth = weight.shape[:2]
        unit = self.pictures[target.picture].unit
        packed = pack_winograd(weight, self.pictures[source].unit / unit)
        where = {"taps": ((-pads[0], -pads[1]),), "source": source, **more}
        self.steps.append(PlanStep("winograd", target, *size, channels, depth, **where))
        self.arrays.append({**packed, "bias": (bias / unit).astype(np.float32)})

    def paint(self, source, weight, bias):
        read = self.pictures[source]
        self.output = (read.height, read.width, 3)
        depth = weight.shape[1]
        where = Target(-1)
        step = PlanStep("paint", where, read.height, read.width, 3, depth, source=source)
        self.steps.append(step)
        scales = (weight * read.unit).astype(np.float32)
        self.arrays.append({"scales": scales, "bias": np.asarray(bias, np.float32)})

    def plan(self):
        parts = (tuple(one) for one in (self.pictures, self.steps, self.arrays))
        plan = Plan(self.inputs, self.output, *parts)
        check_plan(plan)
        return plan


class Run:
    """A plan that was run once, and its pictures."""

    def __init__(self, plan, threads=1, **feeds):
        self.plan = plan
        self.frame = Frame(plan, Weights(plan), threads)
        self.frame.run({k: np.ascontiguousarray(v, np.float32) for k, v in feeds.items()})

    def whole(self, picture):
        """Return (height + border, width + border, channels) int16 levels."""
        laid, named = self.frame._pictures[picture], self.plan.pictures[picture]
        return _rows(laid._memory[: 2 * laid.size].view(np.int16), named)

    def rounded(self, picture):
        """Return (height, width, channels) uint8: the 8-bit form."""
        laid = self.frame._pictures[picture]
        return _inside(_rows(laid.levels, self.plan.pictures[picture]))

    def numbers(self, picture):
        """Return (channels, height, width) float64: what the levels stand for."""
        unit = self.plan.pictures[picture].unit
        return _inside(self.whole(picture)).transpose(2, 0, 1) * unit

    def border_is(self, picture, level=0):
        """Return whether all around a picture is one level."""
        held = self.plan.pictures[picture]
        around = np.ones(self.whole(picture).shape[:2], bool)
        around[BEFORE : BEFORE + held.height, BEFORE : BEFORE + held.width] = False
        return bool((self.whole(picture)[around] == level).all())


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
    rng, made = np.random.default_rng(seed), Making()

    def some(*shape, fan_in):
        return rng.normal(0, 1.5 / np.sqrt(fan_in), shape), rng.normal(0, 0.2, shape[-1])

    heard = made.hear(21, 11)
    joined = made.picture(7, 11, 176, 2.0)
    square = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    made.load("f", (128, 7, 11), joined, channel=48)
    weight, bias = some(9, 4, 48, fan_in=36)
    where = {"size": (7, 11), "stride": (3, 1), "zero": 128}
    made.gather(heard, Target(joined), weight, bias, square, **where)
    wide = made.picture(7, 11, 192, 4.0)
    weight, bias = some(3, 3, 176, 192, fan_in=9 * 176)
    made.winograd(joined, Target(wide), weight.transpose(3, 2, 0, 1), bias, size=(7, 11))
    made.round(wide)
    share = made.load("share", (32, 14, 22))
    large = made.picture(14, 22, 32, 4.0)
    for row in (0, 1):
        for column in (0, 1):
            weight, bias = some(2, 192, 32, fan_in=2 * 192)
            taps, target = ((0, 0), (row, column)), Target(large, 0, row, column, 2)
            made.gather(wide, target, weight, bias, taps, size=(7, 11), add=share)
    last = made.picture(13, 22, 32, 4.0)
    weight, bias = some(3, 3, 32, 32, fan_in=9 * 32)
    weight = weight.transpose(3, 2, 0, 1)
    made.winograd(
        large, Target(last), weight, bias, size=(13, 22), pads=(0, 1), add=large, add_row=1
    )
    made.paint(last, rng.normal(0, 0.5, (3, 32)), rng.normal(0, 0.3, 3))
    return made.plan()


def small_feeds(rows, seed=1):
    """Return inputs of ``small_mouth``, some rows of them."""
    rng = np.random.default_rng(seed)
    return {
        "mel": rng.uniform(-4, 4, (rows, 1, 21, 11)).astype(np.float32),
        "f": rng.uniform(0, 2, (rows, 128, 7, 11)).astype(np.float32),
        "share": rng.uniform(-1, 1, (rows, 32, 14, 22)).astype(np.float32),
    }
