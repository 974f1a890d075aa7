"""Work beside the caller's: in order, bounded, ended."""

import threading
from itertools import count, islice

import pytest
from threadpoolctl import threadpool_info

from lipstream.film.concurrency import one_blas_thread, parallel_map, prefetch


def squares(numbers, made=None):
    for number in numbers:
        if made is not None:
            made.append(number)
        yield number * number


def test_results_come_in_order_from_another_thread():
    threads = [threading.current_thread] * 3
    here = threading.current_thread()
    made = list(parallel_map(threads, 2, "test"))
    assert len(set(made)) == 1
    assert made[0] is not here
    assert list(prefetch(squares(range(10)), 3, "test")) == [k * k for k in range(10)]
    assert list(prefetch(iter(()), 3, "test")) == []


def test_no_more_is_made_ahead_than_asked():
    made = []
    items = prefetch(squares(count(), made), 3, "test")
    assert next(items) == 0
    items.close()
    assert len(made) <= 4


def test_an_error_comes_out_where_its_result_would_have():
    def broken():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    items = prefetch(broken(), 4, "test")
    assert list(islice(items, 2)) == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_closing_ends_the_thread():
    items = prefetch(squares(count()), 2, "test-closing")
    assert next(items) == 0
    (thread,) = [t for t in threading.enumerate() if t.name.startswith("test-closing")]
    items.close()
    thread.join(10)
    assert not thread.is_alive()


def test_closing_does_not_wait_for_the_call_that_runs():
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        return go_on.wait(30)

    made = parallel_map(iter([int, slow, slow]), 1, "test-slow")
    assert next(made) == 0
    assert begun.wait(10)
    closing = threading.Thread(target=made.close)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
    go_on.set()


def test_linear_algebra_stays_on_its_thread_while_a_film_is_made_and_is_as_before_after():
    def told():
        pools = [one for one in threadpool_info() if one["user_api"] == "blas"]
        return {one["filepath"]: one["num_threads"] for one in pools if "numpy" in one["filepath"]}

    before = told()
    if not before:
        pytest.skip("numpy has no OpenBLAS of its own here")
    with one_blas_thread():
        assert set(told().values()) == {1}
    assert told() == before
