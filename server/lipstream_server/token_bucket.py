"""How often something may happen: a steady rate, and a burst now and then."""

import time
from collections.abc import Callable


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
