"""Work beside the caller's: in order, bounded, ended."""

import gc
import threading
from itertools import count, islice

import pytest

from lipstream_clients.dubbing.beside import ahead, beside


def squares(numbers, made=None):
    for number in numbers:
        if made is not None:
            made.append(number)
        yield number * number


def test_results_come_in_order_from_another_thread():
    threads = [threading.current_thread] * 3
    here = threading.current_thread()
    made = list(beside(threads, 2, "test"))
    assert len(set(made)) == 1
    assert made[0] is not here
    assert list(ahead(squares(range(10)), 3, "test")) == [k * k for k in range(10)]
    assert list(ahead(iter(()), 3, "test")) == []


def test_no_more_is_made_ahead_than_asked():
    made = []
    items = ahead(squares(count(), made), 3, "test")
    assert next(items) == 0
    items.close()
    assert len(made) <= 4


def test_an_error_comes_out_where_its_result_would_have():
    def broken():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    items = ahead(broken(), 4, "test")
    assert list(islice(items, 2)) == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_closing_ends_the_thread():
    items = ahead(squares(count()), 2, "test-closing")
    assert next(items) == 0
    (thread,) = [t for t in threading.enumerate() if t.name.startswith("test-closing")]
    items.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_forgotten_one_is_closed_by_a_starting_thread_without_a_deadlock():
    for _ in range(200):
        items = ahead(squares(count()), 2, "test-forgotten")
        assert next(items) == 0
        ring = [items]
        ring.append(ring)  # only the collector frees it, wherever it runs
        del items, ring
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
