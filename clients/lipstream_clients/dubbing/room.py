"""Memory for pictures: how many may wait, and that what is free is free for all."""

import contextlib
import ctypes
import sys

from lipstream_clients.media.codecs import LARGE_PIXELS

_ROOM_BYTES = 30_000_000
"""Pictures that wait in one place take no more, but for a single one that is larger."""
_M_MMAP_THRESHOLD, _RETURNED_BYTES = -3, 4_000_000
"""What glibc's ``malloc.h`` calls the setting, and the arrays from which it is to hold."""


def waiting(width: int, height: int, most: int) -> int:
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
