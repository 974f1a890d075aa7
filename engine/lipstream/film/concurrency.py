"""Work done beside the caller's, its results in order: two cores, one film.

Calls on threads, items made ahead, pictures handed to a thread that encodes them, and how many
pictures may wait between two threads.
"""

import contextlib
import ctypes
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import repeat
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from lipstream.media import FilmFormat, PictureWriter
from lipstream.media.codecs import LARGE_PIXELS
from lipstream.types import Image

Result = TypeVar("Result")
_END = object()


def parallel_map(
    calls: Iterable[Callable[[], Result]], waiting: int, name: str, threads: int = 1
) -> Generator[Result]:
    """Yield what each call returns; up to ``waiting`` of them are under way beside the caller.

    With one thread they are called one after another, with more at once. An error comes out where
    its result would have. Closing drops the calls not begun; one that runs ends by itself.
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, name)
    try:
        for call in calls:
            pending.append(pool.submit(call))
            if len(pending) > waiting:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Never wait here: a forgotten generator is closed by whichever thread collects garbage,
        # and if that one is just starting, it holds a lock that the end of a thread needs.
        pool.shutdown(wait=False, cancel_futures=True)


def prefetch(items: Iterator[Result], waiting: int, name: str) -> Generator[Result]:
    """Yield the items, up to ``waiting`` of them made ahead beside the caller."""

    def fetch() -> object:
        return next(items, _END)

    with closing(parallel_map(repeat(fetch), waiting, name)) as fetched:
        for item in fetched:
            if item is _END:
                return
            yield item  # type: ignore[misc]


_ROOM_BYTES = 30_000_000
"""Pictures that wait in one place take no more, but for a single one that is larger."""
_M_MMAP_THRESHOLD, _RETURNED_BYTES = -3, 4_000_000
"""What glibc's ``malloc.h`` calls the setting, and the arrays from which it is to hold."""


def pictures_in_budget(width: int, height: int, most: int) -> int:
    """Return how many BGR pictures of a size may wait in one place: 1 to ``most``."""
    return max(1, min(most, _ROOM_BYTES // (width * height * 3)))


def return_large_arrays(width: int, height: int) -> None:
    """Have large arrays handed back to the system when they are freed, if pictures are large.

    glibc keeps what was freed for the thread that had it: of pictures of 25 MB, several hundred MB.
    Held for the whole process; other C libraries do so by themselves, and nothing is changed.
    """
    if width * height < LARGE_PIXELS or sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _RETURNED_BYTES)


def one_blas_thread() -> AbstractContextManager[object]:
    """Have numpy's linear algebra work on its caller's thread alone while the block runs.

    Films are painted on as many threads as there are cores. OpenBLAS has threads of its own beside
    them, which wait for each other by spinning: finding the lips of a frame then took three times
    the processor time, and far longer on a machine with other work.
    """
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


_WAITING = 4
"""Pictures that may wait to be encoded, at most; when so many do, rendering waits."""


class PartEncoder:
    """Writes one part in a thread of its own."""

    def __init__(self, path: Path, shape: FilmFormat) -> None:
        capacity = pictures_in_budget(shape.width, shape.height, _WAITING)
        self._pictures: queue.Queue[Image | None] = queue.Queue(capacity)
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._encode, args=(path, shape), name="lipstream-encode", daemon=True
        )
        self._whole = False
        self._thread.start()

    def write(self, image: Image) -> None:
        """Hand over a picture, not to be written to any more. Raises what the encoder met."""
        self._pictures.put(image)
        if self._error is not None:
            raise self._error

    def end(self, *, whole: bool) -> None:
        """Wait until the part is written, or given up if it is not ``whole``."""
        self._whole = whole
        self._pictures.put(None)
        self._thread.join()
        if whole and self._error is not None:
            raise self._error

    def _encode(self, path: Path, shape: FilmFormat) -> None:
        ended = False
        try:
            writer = PictureWriter(path, shape)
            try:
                while (image := self._pictures.get()) is not None:
                    writer.write(image)
                ended = True
                if self._whole:
                    writer.close()
            finally:
                writer.abandon()
        except BaseException as error:  # noqa: BLE001 -- carried over to the thread that renders
            self._error = error
            while not ended:  # who renders may be waiting for room in the queue
                ended = self._pictures.get() is None


@contextmanager
def open_part(path: Path, shape: FilmFormat) -> Generator[PartEncoder]:
    """Write a part; it is there only when the block ends without an error."""
    encoder = PartEncoder(path, shape)
    try:
        yield encoder
    except BaseException:
        encoder.end(whole=False)
        raise
    encoder.end(whole=True)
