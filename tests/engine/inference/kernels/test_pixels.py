"""The other steps: convolutions by indirect GEMM, and the ways in and out."""

import numpy as np
import pytest

from engine.inference.kernels.toy_plans import (
    TOP,
    PlanBuilder,
    Run,
    convolved,
    relu,
    seen,
    worst,
)
from lipstream.inference.kernels.plan import OutputSlice

WORST = 0.02
"""Of the largest number: see test_winograd."""
SQUARE = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))


def layer(rng, taps, depth, channels):
    weight = rng.normal(0, 1 / np.sqrt(taps * depth), (taps, depth, channels))
    return weight, rng.normal(0, 0.1, channels)


def as_convolution(weight, rows=3):
    """Return (taps, depth, channels) weights as a convolution has them."""
    columns = len(weight) // rows
    return weight.transpose(2, 1, 0).reshape(*weight.shape[:0:-1], rows, columns)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("strides", [(1, 1), (3, 1), (3, 3), (3, 2)])
@pytest.mark.parametrize(("depth", "channels"), [(16, 16), (80, 96), (32, 192)])
def test_a_convolution_by_indirect_gemm_is_the_convolution(strides, depth, channels, threads):
    rng, made = np.random.default_rng(depth), PlanBuilder()
    weight, bias = layer(rng, 9, depth, channels)
    x = rng.uniform(0, 1, (depth, 11, 8))
    read = made.convert("x", x.shape)
    made.quantize(read)
    wanted = relu(convolved(x, as_convolution(weight), bias, strides))
    size = wanted.shape[1:]
    written = made.tensor(*size, channels, wanted.max())
    made.igemm(read, OutputSlice(written), weight, bias, SQUARE, size=size, stride=strides)
    run = Run(made.plan(), threads, x=x)
    assert worst(run.numbers(written), wanted) < WORST
    assert run.border_is(written)


def test_one_by_one_with_what_is_added():
    rng, made = np.random.default_rng(1), PlanBuilder()
    weight, bias = layer(rng, 1, 64, 80)
    x, share = rng.uniform(0, 1, (64, 7, 8)), rng.uniform(-2, 2, (80, 9, 8))
    read, added = made.convert("x", x.shape), made.convert("share", share.shape, reach=2.0)
    made.quantize(read)
    wanted = relu(convolved(x, as_convolution(weight, 1), bias, pads=(0, 0, 0, 0)) + share[:, 2:])
    written = made.tensor(7, 8, 80, wanted.max())
    where = {"size": (7, 8), "add": added, "add_row": 2}
    made.igemm(read, OutputSlice(written), weight, bias, ((0, 0),), **where)
    assert worst(Run(made.plan(), x=x, share=share).numbers(written), wanted) < WORST


def doubled(x, weight, bias):
    """Transpose a convolution of 3 x 3 with stride 2, as torch does with padding 1, 1 out."""
    _, height, width = x.shape
    out = np.zeros((weight.shape[1], 2 * height + 2, 2 * width + 2))
    for y in range(3):
        for column in range(3):
            part = np.einsum("dyx,dc->cyx", x, weight[:, :, y, column])
            out[:, y : y + 2 * height : 2, column : column + 2 * width : 2] += part
    return out[:, 1:-1, 1:-1] + bias[:, None, None]


def reached(place, crop=0):
    """Return what a row (or column) of the doubled picture takes: row of the kernel, its tap."""
    whole = place + crop
    if whole % 2 == 0:
        return [(1, whole // 2)]
    return [(0, (whole + 1) // 2), (2, (whole - 1) // 2)]


@pytest.mark.parametrize("crop", [0, 1])
def test_four_steps_two_pixels_apart_are_a_transposed_convolution(crop):
    """``crop`` rows at the top are left out: the lower half of a face begins below them."""
    rng, made = np.random.default_rng(2), PlanBuilder()
    weight, bias = rng.normal(0, 0.1, (48, 32, 3, 3)), rng.normal(0, 0.1, 32)
    x = rng.uniform(0, 1, (48, 4, 6))
    read = made.convert("x", x.shape)
    made.quantize(read)
    wanted = relu(doubled(x, weight, bias)[:, crop:])
    height, width = wanted.shape[1:]
    written = made.tensor(height, width, 48, wanted.max())
    for row in (0, 1):
        for column in (0, 1):
            taken = [(a, b) for a in reached(row, crop) for b in reached(column)]
            made.igemm(
                read,
                OutputSlice(written, 16, row, column, 2),
                np.stack([weight[:, :, y[0], x[0]] for y, x in taken]),
                bias,
                [(y[1], x[1]) for y, x in taken],
                size=(-(-(height - row) // 2), -(-(width - column) // 2)),
            )
    run = Run(made.plan(), x=x)
    assert worst(run.numbers(written)[16:], wanted) < WORST
    assert not run.numbers(written)[:16].any()
    assert run.border_is(written)


def test_nine_steps_unfold_one_pixel_and_add_a_share_to_each():
    rng, made = np.random.default_rng(3), PlanBuilder()
    x, share = rng.uniform(0, 1, (64, 1, 1)), rng.uniform(-1, 1, (16, 3, 3))
    weight, bias = rng.normal(0, 0.1, (3, 3, 64, 16)), rng.normal(0, 0.1, 16)
    read, added = made.convert("x", x.shape), made.convert("share", share.shape)
    made.quantize(read)
    summed = np.einsum("d,yxdc->cyx", x[:, 0, 0], weight) + bias[:, None, None]
    wanted = relu(summed + share)
    written = made.tensor(3, 3, 16, wanted.max())
    for y in range(3):
        for column in range(3):
            target = OutputSlice(written, 0, y, column)
            one = weight[y, column][None]
            made.igemm(read, target, one, bias, ((0, 0),), size=(1, 1), add=added)
    assert worst(Run(made.plan(), x=x, share=share).numbers(written), wanted) < WORST


@pytest.mark.parametrize("strides", [(1, 1), (3, 1)])
def test_whole_numbers_that_are_heard_give_whole_numbers_exactly(strides):
    """Mel levels are not sized anew for each picture: nothing is lost where weights are whole."""
    rng, made = np.random.default_rng(4), PlanBuilder()
    weight = rng.integers(-127, 128, (9, 4, 32)).astype(np.float64)
    weight[:, 1:] = 0  # a picture of one channel has three that are empty
    weight[4, 0] = 127  # so that a weight of 1 is a level of 1
    bias = rng.integers(-99, 99, 32).astype(np.float64)
    heard = made.quantize_f32(20, 7, unit=1.0)
    # 9 * 127 * 6, and nothing is rounded: below the largest level
    mel = rng.integers(-6, 7, (1, 20, 7))
    wanted = relu(convolved(mel, as_convolution(weight)[:, :1], bias, strides))
    size = wanted.shape[1:]
    written = made.tensor(*size, 32, TOP / 2)
    made.igemm(
        heard, OutputSlice(written), weight, bias, SQUARE, size=size, stride=strides, zero=128
    )
    run = Run(made.plan(), mel=mel)
    np.testing.assert_array_equal(run.numbers(written), wanted)
    assert wanted.max() > 1000


def test_the_mel_becomes_levels_about_128_and_is_clipped():
    made = PlanBuilder()
    heard = made.quantize_f32(3, 5)
    mel = np.linspace(-6, 6, 15).reshape(1, 3, 5)
    mel[0, 0, 0], mel[0, 2, 4] = -1e9, 1e9
    run = Run(made.plan(), mel=mel)
    wanted = np.rint(np.clip(mel[0] * np.float32(127 / 4), -127, 127)) + 128
    np.testing.assert_array_equal(run.rounded(heard)[:, :, 0], wanted)
    assert (run.rounded(heard)[:, :, 1:] == 128).all()
    assert (run.whole_bytes(heard)[0] == 128).all()


@pytest.mark.parametrize("width", [1, 5, 16, 17, 33])
@pytest.mark.parametrize("channels", [16, 48])
def test_loading_turns_channels_last_and_clips(width, channels):
    rng, made = np.random.default_rng(width), PlanBuilder()
    x = rng.normal(0, 2, (channels, 3, width)).astype(np.float32)
    x[0, 0, 0], x[1, 0, 0], x[2, 0, 0] = 1e30, -1e30, np.inf
    read = made.convert("x", x.shape)
    run = Run(made.plan(), x=x)
    by = np.float32(1 / made.tensors[read].unit)
    wanted = np.rint(np.clip(x * by, -TOP, TOP)).transpose(1, 2, 0)
    assert (np.abs(wanted) == TOP).any()
    np.testing.assert_array_equal(run.whole(read)[1:-2, 1:-2], wanted)
    assert run.border_is(read)


@pytest.mark.parametrize("peak", [10, 255, 256, 700, TOP])
def test_rounding_spreads_a_picture_over_8_bits_and_leaves_a_faint_one(peak):
    rng, made = np.random.default_rng(peak), PlanBuilder()
    x = rng.uniform(-0.2, 1, (16, 5, 7)) * peak
    x[3, 2, 1] = peak
    read = made.convert("x", x.shape, reach=TOP / 2)
    made.quantize(read)
    run = Run(made.plan(), x=x)
    levels = run.whole(read)[1:-2, 1:-2].astype(np.float64)
    assert levels.max() == peak
    wanted = np.maximum(levels, 0) * 255 / max(peak, 256)
    # half a level, and the factor is a whole number of 32768ths
    assert np.abs(run.rounded(read) - wanted).max() <= 0.5 + peak / 32768
    assert run.rounded(read).max() == (255 if peak >= 256 else round(peak * 255 / 256))


@pytest.mark.parametrize("width", [16, 21])
def test_what_is_painted_is_within_a_level_of_the_sigmoid(width):
    rng, made = np.random.default_rng(width), PlanBuilder()
    x = rng.uniform(0, 1, (80, 5, width))
    weight, bias = rng.normal(0, 0.8, (3, 80)), np.array([0.5, -1.0, 0.0])
    read = made.convert("x", x.shape)
    made.sigmoid(read, weight, bias)
    painted = Run(made.plan(), x=x).output
    sums = np.einsum("dyx,od->yxo", seen(x, made.tensors[read].unit), weight) + bias
    wanted = 255 / (1 + np.exp(-sums))
    # half a level of rounding, and what float32 loses
    assert np.abs(painted - wanted).max() < 0.51
    assert painted.std() > 50


@pytest.mark.parametrize(
    ("sum_", "level"), [(-1e30, 0), (-1e4, 0), (-88.8, 0), (0, 128), (88.8, 255), (1e30, 255)]
)
def test_sums_far_beyond_the_sigmoid_are_black_and_white(sum_, level):
    made = PlanBuilder()
    read = made.convert("x", (16, 1, 3))
    made.sigmoid(read, np.zeros((3, 16)), [sum_, 0.0, -sum_])
    painted = Run(made.plan(), x=np.ones((16, 1, 3))).output
    opposite = 128 if level == 128 else 255 - level
    np.testing.assert_array_equal(painted, [[[level, 128, opposite]] * 3])
