"""PackedWeights in 8 bits, in the order of the kernels."""

import numpy as np
import pytest

from lipstream_export.kernel_plans import pack_igemm, pack_winograd

BLOCK = 64


def unpacked(weights, products, depth, channels):
    """Return (products, depth, channels): blocks of [product][depth / 4][channel][4], undone."""
    levels, at = np.zeros((products, depth, channels), np.int8), 0
    flat = weights.reshape(-1)
    for first in range(0, channels, BLOCK):
        for product in range(products):
            for four in range(0, depth, 4):
                for channel in range(first, min(first + BLOCK, channels)):
                    levels[product, four : four + 4, channel] = flat[at : at + 4]
                    at += 4
    assert at == flat.size
    return levels


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


@pytest.mark.parametrize("zero", [0, 128])
@pytest.mark.parametrize(("taps", "depth", "channels"), [(9, 4, 32), (1, 16, 144), (4, 8, 64)])
def test_igemm_weights_come_back_out_of_their_blocks(taps, depth, channels, zero):
    weight = noise(taps, taps, depth, channels)
    packed = pack_igemm(weight, 0.25, zero)
    levels = unpacked(packed["weights"], taps, depth, channels)
    assert levels.dtype == np.int8
    scales = packed["scales"]
    assert (packed["scales"].dtype, packed["sums"].dtype) == (np.float32, np.int32)
    # half a level of each channel's own scale
    assert (np.abs(levels * scales - weight * 0.25) <= 0.5001 * scales).all()
    assert (np.abs(levels.astype(int)).max((0, 1)) == 127).all()
    np.testing.assert_array_equal(packed["sums"], -zero * levels.sum((0, 1), np.int64))


def test_sums_give_back_what_the_zero_in_the_middle_adds():
    """A picture of nothing but the zero must give nothing, also with all weights at an end."""
    weight = np.abs(noise(1, 9, 4, 16)) + 1
    weight[:] = weight.max()
    packed = pack_igemm(weight, 1.0, 128)
    levels = unpacked(packed["weights"], 9, 4, 16)
    assert (levels == 127).all()
    np.testing.assert_array_equal(packed["sums"], np.full(16, -128 * 127 * 36))


@pytest.mark.parametrize(("depth", "channels"), [(16, 16), (32, 80)])
def test_winograds_weights_come_back_and_convolve_as_the_plain_ones(depth, channels):
    weight, unit = noise(depth, channels, depth, 3, 3), 0.5
    packed = pack_winograd(weight, unit)
    levels = unpacked(packed["weights"], 16, depth, channels)
    scales = packed["scales"].reshape(16, channels)
    points = (levels * scales[:, None]).reshape(4, 4, depth, channels)
    # Lavin and Gray, 4.1: the transforms of a tile, and of what is summed
    before = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], float)
    after = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], float)
    tile = np.random.default_rng(2).normal(0, 1, (depth, 4, 4))
    moved = np.einsum("ij,djk,lk->ild", before, tile, before)
    found = np.einsum("ai,ildc,ild,bl->cab", after, points, moved, after)
    windows = np.lib.stride_tricks.sliding_window_view(tile, (3, 3), (1, 2))
    wanted = np.einsum("dabij,cdij->cab", windows, weight * unit)
    # the weights' rounding alone: 0.4 % of the largest of each point, averaged over the depth
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    sums = packed["sums"].reshape(16, channels)
    np.testing.assert_array_equal(sums, -128 * levels.sum(1, np.int64))
    assert (np.abs(levels.astype(int)).max(1) == 127).all()


@pytest.mark.parametrize("large", [0.0, 1e-35, 1e30])
def test_a_channel_of_zeros_or_of_extremes_gives_numbers(large):
    weight = noise(3, 16, 16, 3, 3)
    weight[5] = 0
    weight[6] *= large
    for packed, products in (
        (pack_winograd(weight, 1.0), 16),
        (pack_igemm(weight.transpose(2, 3, 1, 0).reshape(9, 16, 16), 1.0, 128), 9),
    ):
        assert np.isfinite(packed["scales"]).all()
        levels = unpacked(packed["weights"], products, 16, 16)
        assert not levels[:, :, 5].any()
        assert levels.min() >= -127
        sums, scales = (packed[name].reshape(-1, 16) for name in ("sums", "scales"))
        assert not sums[:, 5].any()
        assert (scales > 0).all()
