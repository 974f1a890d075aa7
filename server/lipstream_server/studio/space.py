"""Room on the disk: what the studio may keep in all, and what must stay free, while files grow."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lipstream_server.config import StudioLimits
from lipstream_server.studio.errors import DiskFull

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
    async def claim(self, expected: int) -> AsyncIterator["Claim"]:
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

    def note(self, written: int, promised: int) -> None:
        """Note that so many bytes were written, some of which had been promised."""
        self._used += written
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
