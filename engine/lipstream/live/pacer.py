"""One schedule for sound and picture.

Sound is heard ``delay_ms`` after it came in, come what may; a picture is shown with the sample its
frame starts at. Two tracks that know nothing of each other ask for what is due at an output sample,
so they cannot drift. A late picture repeats the one before it; sound is never dropped to catch up.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lipstream.audio.ring import SoundQueue
from lipstream.types import AvFrame, Pcm


@dataclass(frozen=True, slots=True)
class PacerStats:
    """What went other than planned, since the session began."""

    repeated_pictures: int
    """Pictures shown again because the next one was late."""
    skipped_pictures: int
    """Pictures that came so late that the next one was due as well."""
    silent_samples: int
    """Samples of silence put in because no sound was there."""
    waiting_ms: float
    """Sound that came in and is yet to be heard."""


class Pacer:
    """Hold sound and pictures until they are due. One thread (or one event loop) uses it.

    Bounds: ``hear`` keeps what is not yet played, which is ``delay_ms`` of sound when sound comes
    in as fast as it is played; whoever feeds faster than real time must pace himself.
    """

    def __init__(
        self, *, rate: int, delay_ms: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make a pacer for sound at ``rate`` Hz.

        ``delay_ms`` must cover the model's look-ahead and the making of a frame.
        """
        self._rate, self._clock, self._delay = rate, clock, delay_ms / 1000
        self._repeated = self._skipped = self._silent = 0
        self.reset()

    def reset(self) -> None:
        """Throw away what waits; the next sound is sample 0 and begins a new schedule."""
        self._frames: deque[AvFrame] = deque()
        self._sound = SoundQueue()
        self._begin: float | None = None
        self._shown: AvFrame | None = None

    def hear(self, pcm: Pcm) -> None:
        """Add (n,) int16, the same that the engine is fed, as it comes in. It is not copied."""
        if self._begin is None:
            self._begin = self._clock() + self._delay
        self._sound.put(pcm)

    def push(self, frame: AvFrame) -> None:
        """Add the next frame that the engine made."""
        self._frames.append(frame)

    @property
    def started(self) -> bool:
        """Whether sound has come, so that ``due`` has a meaning."""
        return self._begin is not None

    def due(self, sample: int) -> float:
        """Return the clock's time in seconds at which a session sample is to be heard."""
        assert self._begin is not None, "no sound yet"
        return self._begin + sample / self._rate

    def sound(self, count: int) -> Pcm:
        """Take the next ``count`` samples: new int16, silence where none is there."""
        out = np.empty(count, np.int16)
        self._silent += count - self._sound.take(out)
        return out

    def picture(self, sample: int) -> AvFrame | None:
        """Return the frame to show at a session sample; None before the first one has come."""
        due = 0
        while self._frames and self._frames[0].start_sample <= sample:
            self._shown = self._frames.popleft()
            due += 1
        self._skipped += max(0, due - 1)
        self._repeated += due == 0 and self._shown is not None
        return self._shown

    def stats(self) -> PacerStats:
        """Return the counters."""
        waiting_ms = len(self._sound) * 1000 / self._rate
        return PacerStats(self._repeated, self._skipped, self._silent, waiting_ms)
