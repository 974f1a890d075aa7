"""What the studio refuses besides wrong input (InputError), and the disk space it asks for."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from lipstream.errors import InputError, LipstreamError
from lipstream_server.config import StudioLimits

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class TooLarge(InputError):
    """A file is larger than the limit."""


class NotFound(InputError):
    """There is no film or file of this name."""


class WrongState(InputError):
    """A film is in a state in which this cannot be done."""


class QueueFull(LipstreamError):
    """As many films wait as may."""


class DiskFull(LipstreamError):
    """There is no room on the server's disk."""


class StudioBusy(LipstreamError):
    """The folder belongs to another server that runs."""


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, says that a disk or quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def disk_full_error() -> DiskFull:
    """Return the error for a disk that filled up under way."""
    return DiskFull("the server's disk is full: delete films that are no longer needed, try again")


_MEGABYTE = 1_000_000


class DiskSpace:
    """The room of one studio's folder, shared by all that write to it. The event loop's."""

    def __init__(self, folder: Path, limits: StudioLimits) -> None:
        self._folder, self._limits = folder, limits
        self._promised = 0
        """Bytes that files under way were said to need and have not written yet."""
        self._used = 0
        """Bytes kept when last measured, and those written since."""

    @asynccontextmanager
    async def claim(self, expected: int) -> AsyncGenerator["Claim"]:
        """Promise room for a file of so many bytes, 0 when nobody knows. Raises DiskFull."""
        await self.measure()
        self.check(expected)
        claim = Claim(self, expected)
        self._promised += expected
        try:
            yield claim
        finally:
            self._promised -= claim.left

    async def measure(self) -> None:
        """Count what is kept, on a thread: others may have deleted some."""
        self._used = await asyncio.to_thread(bytes_in, self._folder)

    def check(self, wanted: int = 0) -> None:
        """Raise DiskFull unless so many bytes fit besides what others were promised."""
        wanted += self._promised
        free, reserve = shutil.disk_usage(self._folder).free, self._limits.reserve_bytes
        if free - wanted < reserve:
            raise DiskFull(
                f"the server's disk is nearly full ({free // _MEGABYTE} MB free, of which"
                f" {reserve // _MEGABYTE} stay free): delete films that are no longer needed"
            )
        if self._used + wanted > self._limits.total_bytes:
            raise DiskFull(
                f"the studio keeps {self._used // _MEGABYTE} MB, and at most"
                f" {self._limits.total_mb} MB: delete films that are no longer needed"
            )

    async def left(self) -> int:
        """Return how many bytes one more file may have; 0 when there is no room."""
        await self.measure()
        free = shutil.disk_usage(self._folder).free - self._limits.reserve_bytes
        return max(0, min(free, self._limits.total_bytes - self._used) - self._promised)

    def note(self, new_bytes: int, promised: int) -> None:
        """Note that so many bytes were written, some of which had been promised."""
        self._used += new_bytes
        self._promised -= promised


class Claim:
    """The room of one file that is being written."""

    def __init__(self, space: DiskSpace, expected: int) -> None:
        self._space = space
        self.left = expected
        """Bytes promised and not written yet."""

    def wrote(self, count: int) -> None:
        """Note bytes written. Raises DiskFull when there is no room for more of them."""
        promised = min(count, self.left)
        self.left -= promised
        self._space.note(count, promised)
        self._space.check()


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files under a folder, those of several names once."""
    sizes: dict[tuple[int, int], int] = {}
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(path, name).lstat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())
