"""How long it still takes: from the steps of the last seconds, since phases differ in speed."""

from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
"""Steps older than this say nothing of the speed now."""
LEAST_SECONDS = 1.0
"""Below this much evidence nothing is said."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a film is."""

    done: int
    of: int
    """Steps in all; 0 while nobody knows."""
    left_s: float | None
    """Seconds it still takes, about; None while nobody knows."""


class Pace:
    """Steps done at moments. Pure: the caller says what time it is."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._of = 0

    def step(self, now: float, done: int, of: int) -> None:
        """Note that ``done`` of ``of`` steps were done at ``now`` seconds."""
        self._of = of
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    def progress(self, now: float) -> Progress:
        """Return how far it is; what is left counts down between steps."""
        if not self._seen:
            return Progress(0, 0, None)
        (first, begun), (last, done) = self._seen[0], self._seen[-1]
        if last - first < LEAST_SECONDS or done <= begun:
            return Progress(done, self._of, None)
        left = (self._of - done) * (last - first) / (done - begun) - (now - last)
        return Progress(done, self._of, max(0.0, left))
