"""Weights of convolutions in 8 bits, in the order our kernels read them (``lipstream.kernels``)."""

import numpy as np
from numpy.typing import NDArray

from lipstream.types import Array, Float32

_BLOCK = 64
"""Channels that come out together."""
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
"""Of F(2 x 2, 3 x 3): Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 4.1."""
_MIDDLE = 128
"""Level that stands for nothing where numbers may be negative."""


def pack_gathered(weight: Float32, unit: float, zero: int) -> dict[str, Array]:
    """Return the arrays of a gathered convolution from (taps, depth, channels) weights.

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
