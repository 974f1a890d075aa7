"""A plan that is run: by threads together, by runners side by side, again and again."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.inference.kernels.toy_plans import TOP, needs_kernels, small_feeds, small_mouth
from lipstream.inference.backends.native import NativeBackend, PackedWeights

pytestmark = needs_kernels


@pytest.fixture(scope="module")
def plan():
    return small_mouth()


def opened(plan, threads=1):
    return NativeBackend(plan, PackedWeights(plan), threads, 1)


def painted(plan, feeds, threads=1):
    backend = opened(plan, threads)
    mouths = backend.run(feeds)["mouth"].copy()
    backend.close()
    return mouths


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_share_a_picture_and_change_none_of_it(plan, threads):
    feeds = small_feeds(4)
    alone = painted(plan, feeds)
    assert alone.shape == (4, 13, 22, 3)
    assert alone.std() > 20
    backend = opened(plan, threads)
    for _ in range(4):
        np.testing.assert_array_equal(backend.run(feeds)["mouth"], alone)
    backend.close()


def test_a_row_of_a_batch_is_what_it_is_alone(plan):
    backend, feeds = opened(plan), small_feeds(3)
    together = backend.run(feeds)["mouth"].copy()
    for row in range(3):
        one = {name: array[row : row + 1] for name, array in feeds.items()}
        np.testing.assert_array_equal(backend.run(one)["mouth"][0], together[row])
    assert not np.array_equal(together[0], together[1])
    assert backend.run({k: v[:0] for k, v in feeds.items()})["mouth"].shape == (0, 13, 22, 3)


def test_nothing_is_left_of_the_picture_before(plan):
    backend, feeds, others = opened(plan), small_feeds(1), small_feeds(1, seed=9)
    first = backend.run(feeds)["mouth"].copy()
    loud = {name: array * 50 for name, array in others.items()}
    assert np.abs(backend.run(loud)["mouth"].astype(int) - first).mean() > 5
    np.testing.assert_array_equal(backend.run(feeds)["mouth"], first)


@pytest.mark.parametrize("threads", [1, 2])
def test_runners_beside_each_other_paint_at_once_what_they_paint_alone(plan, threads):
    runners = [opened(plan, threads)]
    runners += [runners[0].clone() for _ in range(2)]
    every = [small_feeds(2, seed) for seed in range(3)]
    alone = [painted(plan, feeds) for feeds in every]
    ready = threading.Barrier(len(runners))

    def paint(k):
        ready.wait()
        return [runners[k].run(every[k])["mouth"].copy() for _ in range(20)]

    with ThreadPoolExecutor(len(runners)) as pool:
        for wanted, mouths in zip(alone, pool.map(paint, range(len(runners))), strict=True):
            for mouth in mouths:
                np.testing.assert_array_equal(mouth, wanted)
    for runner in runners:
        runner.close()


def test_one_beside_paints_on_when_the_first_is_closed_and_gone(plan):
    first, feeds = opened(plan), small_feeds(1)
    wanted = first.run(feeds)["mouth"].copy()
    second = first.clone()
    first.close()
    del first
    np.testing.assert_array_equal(second.run(feeds)["mouth"], wanted)
    second.close()
    second.close()


@pytest.mark.parametrize("name", ["f", "share", "mel"])
@pytest.mark.parametrize("factor", [10, 1e6, -1e6])
def test_inputs_beyond_their_reach_are_clipped_and_never_wrap(plan, name, factor):
    feeds = small_feeds(2)
    step = next(one for one in plan.steps if one.input == name)
    unit = plan.tensors[step.target.tensor].unit
    top = (127 if name == "mel" else TOP) * unit
    far = np.sign(feeds[name]) * factor * np.abs(feeds[name]).max()
    clipped = painted(plan, feeds | {name: np.clip(far, -top, top).astype(np.float32)})
    np.testing.assert_array_equal(painted(plan, feeds | {name: far.astype(np.float32)}), clipped)
    assert not np.array_equal(clipped, painted(plan, feeds))


def test_arrays_of_another_layout_are_taken_as_they_are_meant(plan):
    backend, feeds = opened(plan), small_feeds(2)
    wanted = backend.run(feeds)["mouth"].copy()
    last = {name: np.asfortranarray(array.astype(np.float64)) for name, array in feeds.items()}
    np.testing.assert_array_equal(backend.run(last)["mouth"], wanted)
