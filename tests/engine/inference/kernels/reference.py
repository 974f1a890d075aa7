"""A plan computed in plain numpy, step by step: what the kernels are compared with.

Whole numbers are the kernels' own, to the bit. Floats are rounded in another order in places, so a
level may differ by one.
"""

import numpy as np

from lipstream.inference.kernels.plan import AFTER, BEFORE, POINTS

TOP = 8191
"""Largest level."""
_BLOCK = 64
"""Channels whose weights lie together."""
_B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
"""B^T and A^T of F(2 x 2, 3 x 3): Lavin and Gray, 2016, section 4.1."""


class Reference:
    """The tensors of a plan, borders included, after each ``run``."""

    def __init__(self, plan):
        self.plan = plan
        shapes = [
            (t.height + BEFORE + AFTER, t.width + BEFORE + AFTER, t.channels) for t in plan.tensors
        ]
        self.levels = [np.zeros(shape, np.int16) for shape in shapes]
        self.bytes = [np.zeros(shape, np.uint8) for shape in shapes]
        self.peaks = np.zeros(len(shapes), np.float32)
        self.fixed = {s.target.tensor for s in plan.steps if s.kind == "quantize_f32"}
        """Tensors whose 8-bit levels have a size of their own."""
        self.output = np.zeros(plan.output, np.uint8)

    def run(self, feeds):
        """Compute ``output`` from float32 inputs, shaped as the plan says."""
        self.peaks[:] = 0
        for step, arrays in zip(self.plan.steps, self.plan.arrays, strict=True):
            fed = feeds.get(step.input)
            if step.kind == "convert":
                self._store_levels(step, self._scaled(step, fed).transpose(1, 2, 0))
            elif step.kind == "quantize_f32":
                self._quantize_f32(step, fed)
            elif step.kind == "quantize":
                self._quantize(step)
            elif step.kind == "igemm":
                self._store(step, self._igemm(step, arrays))
            elif step.kind == "winograd":
                self._store(step, self._winograd(step, arrays))
            else:
                self._sigmoid(step, arrays)

    def _scaled(self, step, fed):
        by = np.float32(1 / self.plan.tensors[step.target.tensor].unit)
        return np.clip(fed * by, -TOP, TOP)

    def _quantize_f32(self, step, fed):
        by = np.float32(1 / self.plan.tensors[step.target.tensor].unit)
        written = self.bytes[step.target.tensor]
        written[...] = 128
        written[self._pixels(step)][..., 0] = np.rint(np.clip(fed[0] * by, -127, 127)) + 128

    def _factor(self, tensor):
        return int(np.float32(255 * 32768) / max(self.peaks[tensor], np.float32(256)))

    def _quantize(self, step):
        levels = rounded_product(self.levels[step.source], self._factor(step.source))
        self.bytes[step.source][...] = np.clip(levels, 0, 255)

    def _igemm(self, step, arrays):
        read = self.bytes[step.source].astype(np.int64)
        weights = unpacked(arrays["weights"], len(step.taps), step.depth, step.channels)
        sums = np.zeros((step.height, step.width, step.channels), np.int64) + arrays["sums"]
        for (y, x), weight in zip(step.taps, weights, strict=True):
            rows = BEFORE + y + np.arange(step.height) * step.stride[0]
            columns = BEFORE + x + np.arange(step.width) * step.stride[1]
            sums += read[np.ix_(rows, columns)][..., : step.depth] @ weight
        fixed = step.source in self.fixed
        size = np.float32(1 if fixed else np.float32(32768) / np.float32(self._factor(step.source)))
        return sums.astype(np.float32) * (arrays["scales"].reshape(-1) * size) + arrays["bias"]

    def _winograd(self, step, arrays):
        down, across = -(-step.height // 2), -(-step.width // 2)
        top, left = BEFORE + step.taps[0][0], BEFORE + step.taps[0][1]
        read = self.levels[step.source].astype(np.int64)
        rows = top + 2 * np.arange(down)[:, None] + np.arange(4)
        columns = left + 2 * np.arange(across)[:, None] + np.arange(4)
        tiles = read[rows[:, None, :, None], columns[None, :, None, :], : step.depth]
        points = np.einsum("ij,yxjkd,lk->yxild", _B, tiles, _B).reshape(down, across, POINTS, -1)
        largest = np.maximum(np.abs(points).max(-1), 128).astype(np.float32)
        factor = np.floor(np.float32(127 * 32768) / largest)
        levels = rounded_product(points, factor[..., None].astype(np.int64))
        levels = np.clip(levels, -128, 127) + 128
        weights = unpacked(arrays["weights"], POINTS, step.depth, step.channels)
        sums = np.einsum("yxpd,pdc->yxpc", levels, weights, optimize=True)
        sums += arrays["sums"].reshape(POINTS, -1)
        steps = (np.float32(32768) / factor)[..., None]
        scaled = sums.astype(np.float32) * (arrays["scales"].reshape(POINTS, -1) * steps)
        grid = scaled.reshape(down, across, 4, 4, -1)
        pixels = np.einsum("ij,yxjkc,lk->yixlc", _A, grid, _A)
        whole = pixels.reshape(2 * down, 2 * across, -1)[: step.height, : step.width]
        return whole + arrays["bias"]

    def _sigmoid(self, step, arrays):
        read = self.levels[step.source][BEFORE:, BEFORE:][: step.height, : step.width]
        scales = arrays["scales"].reshape(3, -1)
        sums = read[..., : step.depth].astype(np.float32) @ scales.T + arrays["bias"]
        with np.errstate(over="ignore"):
            self.output[...] = np.rint(255 / (1 + np.exp(-sums.astype(np.float64))))

    def _store(self, step, values):
        """Add what is to be added, apply the ReLU and write levels."""
        if step.add >= 0:
            added, target = self.plan.tensors[step.add], step.target
            unit = np.float32(added.unit / self.plan.tensors[target.tensor].unit)
            share = self.levels[step.add][self._pixels(step, step.add_row)][..., : step.channels]
            values = share.astype(np.float32) * unit + values
        self._store_levels(step, np.clip(values, 0, TOP))

    def _store_levels(self, step, values):
        target = step.target
        written = self.levels[target.tensor][self._pixels(step)]
        written[..., target.channel : target.channel + step.channels] = np.rint(values)
        self.peaks[target.tensor] = max(self.peaks[target.tensor], values.max())

    def _pixels(self, step, below=0):
        """Return the rows and columns that a step writes."""
        target = step.target
        row, column = BEFORE + target.row + below, BEFORE + target.column
        return (
            slice(row, row + (step.height - 1) * target.stride + 1, target.stride),
            slice(column, column + (step.width - 1) * target.stride + 1, target.stride),
        )


def rounded_product(levels, factor):
    """Return round(levels * factor / 32768), halves up: VPMULHRSW."""
    return (levels.astype(np.int64) * factor + 0x4000) >> 15


def unpacked(weights, taps, depth, channels):
    """Return packed weights as (taps, depth, channels) int64."""
    blocks, at = [], 0
    for first in range(0, channels, _BLOCK):
        wide = min(_BLOCK, channels - first)
        block = weights.reshape(-1)[at : at + taps * depth * wide].reshape(
            taps, depth // 4, wide, 4
        )
        blocks.append(block.transpose(0, 1, 3, 2).reshape(taps, depth, wide))
        at += taps * depth * wide
    return np.concatenate(blocks, axis=2).astype(np.int64)
