import numpy as np
import pytest

from lipstream.audio.ring import RingBuffer, SoundQueue, windows
from lipstream.timing import Span


def test_any_cutting_reads_back_the_same_samples():
    rng = np.random.default_rng(0)
    sound = rng.integers(-9, 9, 5000).astype(np.int16)
    ring = RingBuffer(700)
    at = 0
    while at < len(sound):
        step = int(rng.integers(0, 300))
        ring.append(sound[at : at + step])
        at = min(at + step, len(sound))
        start = max(ring.start, at - 500)
        np.testing.assert_array_equal(ring.read(Span(start, at)), sound[start:at])


def test_before_the_first_sample_there_is_silence():
    ring = RingBuffer(10)
    ring.append(np.array([1, 2, 3], np.int16))
    assert ring.read(Span(-2, 2)).tolist() == [0, 0, 1, 2]
    assert ring.read(Span(-5, -2)).tolist() == [0, 0, 0]


def test_what_fell_out_or_has_not_come_cannot_be_read():
    ring = RingBuffer(4)
    ring.append(np.arange(6, dtype=np.int16))
    assert ring.read(Span(2, 6)).tolist() == [2, 3, 4, 5]
    with pytest.raises(IndexError, match="held"):
        ring.read(Span(1, 3))
    with pytest.raises(IndexError, match="held"):
        ring.read(Span(5, 7))


def test_a_block_longer_than_the_ring_leaves_its_end():
    ring = RingBuffer(4)
    ring.append(np.arange(3, dtype=np.int16))
    ring.append(np.arange(3, 14, dtype=np.int16))
    assert ring.read(Span(10, 14)).tolist() == [10, 11, 12, 13]


def test_cleared_equals_fresh():
    ring = RingBuffer(4)
    ring.append(np.arange(6, dtype=np.int16))
    ring.clear()
    ring.append(np.array([5], np.int16))
    assert (ring.start, ring.stop) == (0, 1)
    assert ring.read(Span(-1, 1)).tolist() == [0, 5]


def test_a_queue_gives_back_what_was_put_in_whatever_the_lengths():
    rng = np.random.default_rng(1)
    sound = rng.integers(-9, 9, 3000).astype(np.int16)
    queue, parts, put = SoundQueue(), [], 0
    while put < len(sound) or len(queue):
        step = int(rng.integers(0, 90))
        queue.put(sound[put : put + step])
        put += step
        out = np.full(int(rng.integers(0, 90)), 7, np.int16)
        taken = queue.take(out)
        assert not out[taken:].any()
        parts.append(out[:taken])
    np.testing.assert_array_equal(np.concatenate(parts), sound)


def test_an_empty_queue_gives_silence():
    out = np.ones(4, np.int16)
    assert SoundQueue().take(out) == 0
    assert out.tolist() == [0] * 4


def test_windows_are_views_of_the_pieces_that_begin_a_step_apart():
    samples = np.arange(11, dtype=np.float32)
    made = windows(samples, 4, 3)
    np.testing.assert_array_equal(made, [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]])
    assert np.shares_memory(made, samples)
    np.testing.assert_array_equal(windows(samples[2:], 9, 5), [samples[2:]])
    for short in (3, 0):
        assert windows(samples[:short], 4, 1).shape == (0, 4)
