"""A line of the log that comes again and again is written once a second, with how many came."""

import logging
import time
from collections.abc import Callable

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


def write_each_line_once_a_second() -> None:
    """Filter what every handler of this process writes."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(one, RepeatedLines) for one in handler.filters):
            handler.addFilter(RepeatedLines())
