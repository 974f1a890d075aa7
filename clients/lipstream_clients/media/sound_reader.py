"""A sound file read from front to back in pieces of any length, silent before and after."""

from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lipstream_clients.media.sound import SoundFile

Sound = NDArray[np.int16]
"""(n, channels) int16."""


class SoundReader:
    """Walk through a sound once. Memory stays bounded; used by one thread."""

    def __init__(self, sound: SoundFile | None, rate: int, channels: int) -> None:
        """Begin at the first sample; a ``sound`` of None is silent throughout."""
        self._pieces: Iterator[Sound] = iter(())
        self._left = 0
        if sound is not None:
            self._pieces = sound.resampled(rate, channels)
            self._left = -(-sound.samples * rate // sound.rate)
        self._rate, self._channels = rate, channels
        self._held: Sound = np.zeros((0, channels), np.int16)
        self._silence = 0

    def wait(self, samples: int) -> Self:
        """Be silent for so many samples before the sound goes on."""
        self._silence += samples
        return self

    def skip(self, samples: int) -> Self:
        """Leave out so many samples."""
        for _ in self.blocks(samples, self._rate):
            pass
        return self

    def blocks(self, samples: int, largest: int) -> Iterator[Sound]:
        """Yield the next ``samples`` in new arrays of at most ``largest`` each."""
        while samples > 0:
            block = self._take(min(samples, largest))
            samples -= len(block)
            yield block

    def _take(self, samples: int) -> Sound:
        """Return 1 to ``samples`` samples."""
        if self._silence:
            quiet = min(samples, self._silence)
            self._silence -= quiet
            return np.zeros((quiet, self._channels), np.int16)
        if len(self._held) == 0:
            self._held = next((p for p in self._pieces if len(p)), self._held)[: self._left]
            self._left -= len(self._held)
        if len(self._held) == 0:
            return np.zeros((samples, self._channels), np.int16)
        taken, self._held = self._held[:samples].copy(), self._held[samples:]
        return taken
