"""What strangers may do, and take: rights, bytes of a body, messages a second, lines of the log."""

import contextlib
import logging
import time
from collections.abc import Callable, Generator

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

RIGHTS = ("watch", "speak", "control")
"""What may be granted. Watching is seeing, hearing and being told; speaking is being a source and
interrupting; controlling is that, and ending the stage."""


def check_kind(request: Request, wanted: str) -> None:
    """Raise 415 for another type; pages of other sites cannot send any without asking (CORS)."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != wanted:
        raise HTTPException(415, f"sent as {kind or 'nothing'}: send {wanted}")


async def read_body(request: Request, wanted: str, most: int) -> bytes:
    """Return a body of a type of at most ``most`` bytes; raises 415, 413, or 400 when cut off."""
    check_kind(request, wanted)
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise HTTPException(413, f"what was sent is too large: send at most {most} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the connection ended before all was sent") from None
    return body


class TokenBucket:
    """Holds up to ``burst`` tokens and gains ``rate`` a second. Used by one thread."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._filled_at = burst, clock()

    def take(self, cost: float = 1.0) -> bool:
        """Take ``cost`` tokens; return False, and take none, where fewer are left."""
        now = self._clock()
        gained = (now - self._filled_at) * self._rate
        self._tokens, self._filled_at = min(self._burst, self._tokens + gained), now
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True


QUIET_SECONDS = 1.0
MOST_KINDS = 1000
"""Kinds of lines that are remembered."""


class RepeatedLines(logging.Filter):
    """Lets a kind of line through once a second. Lines are of a kind when their first words are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written; one that is says how many like it were not."""
        kind = (record.name, str(record.msg).partition("\n")[0][:60])
        now = self._clock()
        at, missed = self._seen.get(kind, (-QUIET_SECONDS, 0))
        if now - at < QUIET_SECONDS:
            self._seen[kind] = at, missed + 1
            return False
        if len(self._seen) >= MOST_KINDS:
            self._seen.clear()
        self._seen[kind] = now, 0
        if missed:
            record.msg = f"({missed} lines like this were left out) {record.msg}"
        return True


@contextlib.contextmanager
def each_line_once_a_second() -> Generator[None]:
    """Filter what every handler of this process writes, as long as the context lasts."""
    filters = {handler: RepeatedLines() for handler in logging.getLogger().handlers}
    for handler, repeated in filters.items():
        handler.addFilter(repeated)
    try:
        yield
    finally:
        for handler, repeated in filters.items():
            handler.removeFilter(repeated)


class CpuLoad:
    """How much of the machine's time this process takes. Used by one thread."""

    SPAN_SECONDS = 1.0
    """Least time over which it is measured."""

    def __init__(
        self,
        cores: int,
        clock: Callable[[], float] = time.monotonic,
        processor_time: Callable[[], float] = time.process_time,
    ) -> None:
        """``processor_time`` gives the seconds of all threads together."""
        self._cores, self._clock, self._processor_time = cores, clock, processor_time
        self._at, self._used, self._share = clock(), processor_time(), 0.0

    def measure(self) -> float:
        """Return the part of all cores' time that was taken of late; ask once a second or more."""
        now, used = self._clock(), self._processor_time()
        if now - self._at >= self.SPAN_SECONDS:
            share = (used - self._used) / ((now - self._at) * self._cores)
            self._at, self._used, self._share = now, used, share
        return self._share
