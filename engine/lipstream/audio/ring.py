"""Sound that waits: the last part of an endless signal, and a queue of blocks to be played."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from lipstream.timing import Span
from lipstream.types import Array, Pcm


class RingBuffer:
    """Keep the newest ``capacity`` samples of a signal whose samples are numbered from 0.

    Not thread-safe: one thread writes and reads.
    """

    def __init__(self, capacity: int, dtype: type[np.generic] = np.int16) -> None:
        self._samples: NDArray[np.generic] = np.zeros(capacity, dtype)
        self._stop = 0

    @property
    def start(self) -> int:
        """Absolute index of the oldest sample still held."""
        return max(0, self._stop - len(self._samples))

    @property
    def stop(self) -> int:
        """Absolute index one past the newest sample."""
        return self._stop

    def append(self, samples: Array) -> None:
        """Add (n,) samples at the end; the oldest fall out when the ring is full."""
        capacity = len(self._samples)
        tail = samples[-capacity:]
        at = (self._stop + len(samples) - len(tail)) % capacity
        head = min(len(tail), capacity - at)
        self._samples[at : at + head] = tail[:head]
        self._samples[: len(tail) - head] = tail[head:]
        self._stop += len(samples)

    def read(self, span: Span) -> Array:
        """Copy out (len(span),) samples. Before index 0 there is silence.

        Raises IndexError when the span has fallen out of the ring or has not come in yet.
        """
        if span.stop > self._stop or (span.start < self.start and self.start > 0):
            held = f"[{self.start}, {self._stop})"
            raise IndexError(f"samples [{span.start}, {span.stop}) asked for, {held} held")
        capacity, first = len(self._samples), max(span.start, 0)
        at, wanted = first % capacity, span.stop - first
        if first == span.start and at + wanted <= capacity:
            return self._samples[at : at + wanted].copy()
        out = np.zeros(len(span), self._samples.dtype)
        if first >= span.stop:
            return out
        head = min(wanted, capacity - at)
        into = out[first - span.start :]
        into[:head] = self._samples[at : at + head]
        into[head:wanted] = self._samples[: wanted - head]
        return out

    def silence_from(self, start: int) -> None:
        """Overwrite with silence what is held from absolute index ``start`` on."""
        capacity, first = len(self._samples), max(start, self.start)
        if first >= self._stop:
            return
        at, count = first % capacity, self._stop - first
        self._samples[at : at + count] = 0
        self._samples[: max(0, at + count - capacity)] = 0

    def clear(self) -> None:
        """Forget everything: the next sample is number 0."""
        self._stop = 0


class SoundQueue:
    """Blocks of sound in order, taken out in other lengths than they were put in.

    Not thread-safe. Unbounded: who puts faster than sound is played must pace himself.
    """

    def __init__(self) -> None:
        self._blocks: deque[Pcm] = deque()
        self._waiting = 0

    def __len__(self) -> int:
        """Return the number of samples that wait."""
        return self._waiting

    def put(self, pcm: Pcm) -> None:
        """Add (n,) int16 at the end; it is not copied."""
        self._blocks.append(pcm)
        self._waiting += len(pcm)

    def put_front(self, pcm: Pcm) -> None:
        """Add (n,) int16 before all that waits; it is not copied."""
        self._blocks.appendleft(pcm)
        self._waiting += len(pcm)

    def clear(self) -> None:
        """Forget what waits."""
        self._blocks.clear()
        self._waiting = 0

    def take(self, out: Pcm) -> int:
        """Copy the next samples into ``out``, then silence; return how many there were."""
        at = 0
        while at < len(out) and self._blocks:
            block = self._blocks.popleft()
            used = min(len(block), len(out) - at)
            out[at : at + used] = block[:used]
            if used < len(block):
                self._blocks.appendleft(block[used:])
            at += used
        out[at:] = 0
        self._waiting -= at
        return at


def windows(samples: Array, length: int, step: int) -> Array:
    """Return (n, length): the pieces of contiguous (m,) samples that begin ``step`` apart, a view.

    (NumPy's ``sliding_window_view`` gives the same and takes 40 us for it.)
    """
    count = max(0, (len(samples) - length) // step + 1)
    strides = (step * samples.itemsize, samples.itemsize)
    return np.ndarray((count, length), samples.dtype, samples, 0, strides)
