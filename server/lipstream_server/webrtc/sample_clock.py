"""A line of samples pinned to a clock: sample index <-> moment, in seconds and in NTP time."""

from dataclasses import dataclass

RATE = 48_000
"""Samples a second of every session: what Opus carries."""
NTP_UNITS = 1 << 32
"""Units a second of a 64-bit NTP timestamp (RFC 3550, 4)."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Sample s falls on ``origin + s / rate``."""

    origin: float
    """Clock reading, in seconds, of sample 0."""
    origin_ntp: int
    """The same moment as a 64-bit NTP timestamp."""
    rate: int = RATE

    def at(self, sample: int) -> float:
        """Return the clock reading on which ``sample`` falls."""
        return self.origin + sample / self.rate

    def ntp(self, sample: int) -> int:
        """Return the NTP time on which ``sample`` falls."""
        return self.origin_ntp + sample * NTP_UNITS // self.rate

    def sample(self, now: float) -> int:
        """Return how many samples have passed by ``now``."""
        return int((now - self.origin) * self.rate)


def samples(duration_ms: float) -> int:
    """Convert milliseconds to samples of a session."""
    return int(duration_ms * RATE / 1000)


def milliseconds(count: int) -> float:
    """Convert samples of a session to milliseconds."""
    return count * 1000 / RATE
