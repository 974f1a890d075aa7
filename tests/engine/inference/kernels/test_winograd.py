"""Winograd's convolutions against the plain ones, in float."""

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
"""Of the largest number. Both factors are rounded to 8 bits, which is 0.4 % of the largest of each;
over hundreds of products most of it averages out (1.0 % at most is usual, 1.7 % where all numbers
are the largest there are). A pixel that is wrong is off by tens of percent."""


def layer(rng, channels, depth):
    weight = rng.normal(0, 1 / np.sqrt(9 * depth), (channels, depth, 3, 3))
    return weight, rng.normal(0, 0.1, channels)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("height", "width", "depth", "channels"),
    [
        (6, 6, 32, 16),
        (7, 6, 64, 32),
        (6, 9, 80, 64),
        (5, 5, 32, 80),
        (16, 14, 64, 96),  # 56 tiles: more than are multiplied together
        (13, 15, 80, 96),
        (1, 1, 32, 16),
        (2, 31, 48, 128),
    ],
)
def test_it_is_the_convolution(height, width, depth, channels, threads):
    rng, made = np.random.default_rng(height * width), PlanBuilder()
    weight, bias = layer(rng, channels, depth)
    x = rng.uniform(0, 1, (depth, height, width))
    read = made.convert("x", x.shape)
    wanted = relu(convolved(seen(x, made.tensors[read].unit), weight, bias))
    written = made.tensor(height, width, channels, wanted.max())
    made.winograd(read, OutputSlice(written), weight, bias, size=(height, width))
    run = Run(made.plan(), threads, x=x)
    assert worst(run.numbers(written), wanted) < WORST
    assert run.border_is(written)
    assert run.border_is(read)


@pytest.mark.parametrize("height", [5, 6])
def test_the_rows_above_may_be_dropped_and_those_of_what_is_added(height):
    """As in the lower half of a face: the input goes on above, so nothing is padded there."""
    rng, made = np.random.default_rng(height), PlanBuilder()
    weight, bias = layer(rng, 48, 48)
    x = rng.uniform(0, 1, (48, height + 1, 9))
    read = made.convert("x", x.shape)
    wanted = relu(convolved(x, weight, bias, pads=(0, 1, 1, 1)) + x[:, 1:])
    assert np.abs(wanted - relu(convolved(x, weight, bias)[:, 1:] + x[:, :-1])).max() > 0.5
    written = made.tensor(height, 9, 48, wanted.max())
    where = {"size": (height, 9), "pads": (0, 1), "add": read, "add_row": 1}
    made.winograd(read, OutputSlice(written), weight, bias, **where)
    run = Run(made.plan(), x=x)
    assert worst(run.numbers(written), wanted) < WORST
    assert run.border_is(written)


def test_what_is_added_may_be_larger_wider_and_of_another_unit():
    rng, made = np.random.default_rng(5), PlanBuilder()
    weight, bias = layer(rng, 32, 64)
    x, share = rng.uniform(0, 1, (64, 5, 7)), rng.uniform(-9, 9, (48, 8, 11))
    read, added = made.convert("x", x.shape), made.convert("share", share.shape, reach=9.0)
    wanted = relu(convolved(x, weight, bias) + share[:32, 3:, :7])
    written = made.tensor(5, 7, 32, wanted.max())
    where = {"size": (5, 7), "add": added, "add_row": 3}
    made.winograd(read, OutputSlice(written), weight, bias, **where)
    run = Run(made.plan(), x=x, share=share)
    # what is added is not rounded to 8 bits
    assert worst(run.numbers(written), wanted) < WORST / 4


def test_beside_other_channels_of_a_joined_picture_it_changes_none_of_them():
    rng, made = np.random.default_rng(6), PlanBuilder()
    weight, bias = layer(rng, 48, 32)
    x, beside = rng.uniform(0, 1, (32, 7, 9)), rng.uniform(0, 1, (16, 7, 9))
    joined = made.tensor(7, 9, 96)
    made.convert("first", (16, 7, 9), joined)
    made.convert("last", (16, 7, 9), joined, channel=80)
    made.convert("empty", (16, 7, 9), joined, channel=64)
    read = made.convert("x", x.shape)
    made.winograd(read, OutputSlice(joined, 16), weight, bias, size=(7, 9))
    run = Run(made.plan(), x=x, first=beside, last=beside[::-1], empty=np.zeros_like(beside))
    found, unit = run.numbers(joined), made.tensors[joined].unit
    assert worst(found[16:64], relu(convolved(x, weight, bias))) < WORST
    np.testing.assert_allclose(found[:16], seen(beside, unit))
    np.testing.assert_allclose(found[80:], seen(beside[::-1], unit))
    assert not found[64:80].any()
    assert run.border_is(joined)


def test_a_tile_of_faint_numbers_does_not_pay_for_a_bright_one():
    rng, made = np.random.default_rng(7), PlanBuilder()
    weight, bias = layer(rng, 16, 32)[0], np.zeros(16)
    x = rng.uniform(0, 0.05, (32, 8, 24))
    x[:, :, :4] += 0.9
    read = made.convert("x", x.shape)
    wanted = relu(convolved(seen(x, made.tensors[read].unit), weight, bias))
    written = made.tensor(8, 24, 16, wanted.max())
    made.winograd(read, OutputSlice(written), weight, bias, size=(8, 24))
    found = Run(made.plan(), x=x).numbers(written)
    assert wanted.max() > 10 * wanted[:, :, 8:].max()
    # beyond the tiles that hold both the level of the picture itself is what is left
    level = made.tensors[written].unit / wanted[:, :, 8:].max()
    assert worst(found[:, :, 8:], wanted[:, :, 8:]) < WORST + level


def test_sums_of_the_largest_levels_do_not_wrap():
    """Four of them, of either sign, are the most that a tile adds up."""
    rng, made = np.random.default_rng(8), PlanBuilder()
    weight, bias = layer(rng, 32, 32)
    x = rng.choice([-1.0, 1.0], (32, 12, 12))
    read = made.convert("x", x.shape, reach=0.5)
    assert made.tensors[read].unit * TOP == pytest.approx(1.0)
    wanted = relu(convolved(x, weight, bias))
    written = made.tensor(12, 12, 32, wanted.max())
    made.winograd(read, OutputSlice(written), weight, bias, size=(12, 12))
    assert worst(Run(made.plan(), x=x).numbers(written), wanted) < WORST


def test_what_comes_out_beyond_its_reach_is_the_largest_level():
    rng, made = np.random.default_rng(9), PlanBuilder()
    weight, bias = layer(rng, 16, 32)
    x = rng.uniform(0, 1, (32, 6, 6))
    read = made.convert("x", x.shape)
    wanted = relu(convolved(x, 100 * weight, bias))
    written = made.tensor(6, 6, 16, wanted.max() / 200)
    made.winograd(read, OutputSlice(written), 100 * weight, bias, size=(6, 6))
    levels = Run(made.plan(), x=x).whole(written)[1:-2, 1:-2].transpose(2, 0, 1)
    far = wanted > 0.1 * wanted.max()
    assert far.sum() > 50
    assert (levels[far] == TOP).all()
    assert levels.min() == 0
