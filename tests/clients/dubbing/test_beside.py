"""Work beside the caller's: in order, bounded, ended."""

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
    assert any(t.name.startswith("test-closing") for t in threading.enumerate())
    items.close()
    assert not any(t.name.startswith("test-closing") for t in threading.enumerate())
