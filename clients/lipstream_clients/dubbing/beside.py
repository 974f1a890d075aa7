"""Work done beside the caller's, its results in order: two cores, one film."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import repeat
from typing import TypeVar

Made = TypeVar("Made")
_END = object()


def beside(
    calls: Iterable[Callable[[], Made]], waiting: int, name: str, threads: int = 1
) -> Generator[Made]:
    """Yield what each call returns; up to ``waiting`` of them are under way beside the caller.

    With one thread they are called one after another, with more at once. An error comes out where
    its result would have. Closing waits for the calls that run and drops the others.
    """
    pending: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, name) as pool:
        try:
            for call in calls:
                pending.append(pool.submit(call))
                if len(pending) > waiting:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def ahead(items: Iterator[Made], waiting: int, name: str) -> Generator[Made]:
    """Yield the items, up to ``waiting`` of them made ahead beside the caller."""

    def fetch() -> object:
        return next(items, _END)

    with closing(beside(repeat(fetch), waiting, name)) as fetched:
        for item in fetched:
            if item is _END:
                return
            yield item  # type: ignore[misc]
