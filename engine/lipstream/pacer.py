"""One schedule for sound and picture.

Frames are pushed as the engine makes them and taken out by two tracks that know nothing of each
other. Both count *output samples* from the moment playing began, so they cannot drift. Sound is
never dropped to catch up, and a late picture repeats the one before it. When no sound is there in
time, silence goes out and the rest of the session, sound and picture alike, moves back by as much.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lipstream.types import AvFrame, Image, Pcm


@dataclass(frozen=True, slots=True)
class PacerStats:
    """What went other than planned, since the session began."""

    repeated_pictures: int
    """Pictures shown again because the next one was late."""
    silent_samples: int
    """Samples of silence put in because the sound was late."""
    skipped_frames: int
    """Silent frames left out, sound and picture, to bring the delay down."""
    buffered_ms: float
    """Sound waiting to be played."""


class Pacer:
    """Hold frames until they are due. One thread (or one event loop) uses it."""

    def __init__(
        self,
        *,
        rate: int,
        delay_ms: float = 60.0,
        most_ms: float = 500.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a pacer for sound at ``rate`` Hz.

        Playing begins ``delay_ms`` after the first frame came. When more than ``most_ms`` of sound
        waits, frames in which nobody speaks are left out, sound and picture together.
        """
        self._rate, self._clock = rate, clock
        self._delay, self._most = delay_ms / 1000, int(most_ms * rate / 1000)
        self._repeated = self._silent = self._skipped = 0
        self.reset()

    def reset(self) -> None:
        """Throw away what waits; the next frame begins a new schedule."""
        self._frames: deque[tuple[int, AvFrame]] = deque()
        self._sound: deque[Pcm] = deque()
        self._begin: float | None = None
        self._pushed = self._played = self._shift = 0
        self._shown: AvFrame | None = None

    def push(self, frame: AvFrame) -> None:
        """Add the next frame."""
        if self._begin is None:
            self._begin = self._clock() + self._delay
        if self._pushed - self._played > self._most and frame.openness == 0.0:
            self._skipped += 1
            return
        self._frames.append((self._pushed, frame))
        self._sound.append(frame.pcm)
        self._pushed += len(frame.pcm)

    @property
    def started(self) -> bool:
        """Whether a first frame has come, so that ``due`` has a meaning."""
        return self._begin is not None

    def due(self, output_sample: int) -> float:
        """Return the clock's time in seconds at which an output sample is to be heard."""
        assert self._begin is not None, "no frame yet"
        return self._begin + output_sample / self._rate

    def sound(self, count: int) -> Pcm:
        """Take the next ``count`` samples: new int16, silence where the sound is late."""
        out = np.zeros(count, np.int16)
        at = 0
        while at < count and self._sound:
            block = self._sound.popleft()
            used = min(len(block), count - at)
            out[at : at + used] = block[:used]
            if used < len(block):
                self._sound.appendleft(block[used:])
            at += used
        self._played += at
        if self._begin is not None:
            self._shift += count - at
            self._silent += count - at
        return out

    def picture(self, output_sample: int) -> AvFrame | None:
        """Return the frame to show at an output sample; None before the first one is due."""
        content = output_sample - self._shift
        fresh = False
        while self._frames and self._frames[0][0] <= content:
            self._shown = self._frames.popleft()[1]
            fresh = True
        if not fresh and self._shown is not None:
            self._repeated += 1
        return self._shown

    def first_image(self) -> Image | None:
        """Return the picture that will be shown first, if one has come."""
        return self._frames[0][1].image if self._frames else None

    def stats(self) -> PacerStats:
        """Return the counters."""
        waiting_ms = (self._pushed - self._played) * 1000 / self._rate
        return PacerStats(self._repeated, self._silent, self._skipped, waiting_ms)
