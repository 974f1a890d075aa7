"""Sound from the session's rate to the network's 16 kHz, with a millisecond of delay.

General resamplers buffer 20 to 40 ms in streaming use; that is as much as the whole rest of the
engine, so the rate is changed here: a windowed sinc, evaluated only where an output sample falls.
"""

import math

import numpy as np

from lipstream.audio.ring import windows
from lipstream.errors import InputError
from lipstream.timing import MODEL_RATE
from lipstream.types import Array, Float32, Pcm

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
"""Sound rates taken, in Hz."""
ZERO_CROSSINGS = 16
"""Half-length of the filter in zero crossings of its sinc: 1 ms at 16 kHz."""
_ROLL_OFF = 0.94
_KAISER_BETA = 8.0


def check_rate(rate: int) -> int:
    """Return ``rate`` if sound at that rate can be taken, else raise InputError."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(
            f"sound at {rate} Hz cannot be used:"
            f" give a rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz"
        )
    return rate


def check_pcm(pcm: Array) -> Pcm:
    """Return ``pcm`` if it is mono int16 sound, else raise InputError."""
    if pcm.dtype != np.int16 or pcm.ndim != 1:
        raise InputError(
            f"sound must be int16 of shape (n,), one channel; got {pcm.dtype} of shape {pcm.shape}"
        )
    return pcm


class Resampler:
    """Turn a stream of int16 at ``rate`` into float32 in -1..1 at 16 kHz, block by block.

    Output sample n stands for time n / 16000 s exactly, so nothing is delayed; it appears once
    ``delay`` further input samples are in. Any cutting into blocks gives the same samples. The
    filter is a Kaiser-windowed sinc (Smith, "Digital Audio Resampling", CCRMA 1984), one set of
    taps for each of the phases that the ratio of the rates has.
    """

    def __init__(self, rate: int) -> None:
        check_rate(rate)
        common = math.gcd(rate, MODEL_RATE)
        self._up, self._down = MODEL_RATE // common, rate // common
        self._half = (
            0 if rate == MODEL_RATE else math.ceil(ZERO_CROSSINGS * max(1.0, rate / MODEL_RATE))
        )
        self._taps = _taps(self._up, self._down, self._half)
        self.reset()

    @property
    def delay(self) -> int:
        """Input samples past an output sample's own time that it needs."""
        return self._half

    def reset(self) -> None:
        """Start anew: the next input sample is number 0."""
        self._held: Float32 = np.zeros(self._half, np.float32)
        self._held_start = -self._half
        self._next = 0

    def needed(self, count: int) -> int:
        """Return the input samples, since the start, that the first ``count`` outputs need."""
        if count < 1:
            return 0
        return -(-(count - 1) * self._down // self._up) + self._half + 1

    def feed(self, pcm: Pcm) -> Float32:
        """Take (n,) int16 and return the (m,) float32 samples that are now complete."""
        fresh = pcm.astype(np.float32) / np.float32(32768)
        if self._half == 0:
            return fresh
        held = np.concatenate([self._held, fresh])
        stop = self._held_start + len(held)
        last = (stop - self._half - 1) * self._up // self._down
        if last < self._next:
            self._held = held
            return np.zeros(0, np.float32)
        out = self._filtered(held, last + 1)
        self._next = last + 1
        drop = self._next * self._down // self._up - self._half + 1 - self._held_start
        self._held = held[drop:].copy()
        self._held_start += drop
        return out

    def _filtered(self, held: Float32, stop: int) -> Float32:
        """Return the outputs from the next one up to ``stop``, new."""
        taps, before = 2 * self._half, self._half - 1 + self._held_start
        if self._up == 1:  # one set of taps, evenly spaced: nothing is gathered
            evenly = windows(held[self._next * self._down - before :], taps, self._down)
            out = np.einsum("ij,j->i", evenly[: stop - self._next], self._taps[0])
            return np.asarray(out, np.float32)
        wanted = np.arange(self._next, stop) * self._down
        chosen = windows(held, taps, 1)[wanted // self._up - before]
        out = np.einsum("ij,ij->i", chosen, self._taps[wanted % self._up])
        return np.asarray(out, np.float32)

    def flush(self) -> Float32:
        """Return what is left when the sound ends, as if silence followed."""
        return self.feed(np.zeros(self._half, np.int16))


def _taps(up: int, down: int, half: int) -> Float32:
    """Return the (up, 2 half) filter taps, one row a phase, each summing to 1."""
    if half == 0:
        return np.zeros((1, 0), np.float32)
    phase = np.arange(up)[:, None] / up
    distance = np.arange(-half + 1, half + 1)[None, :] - phase
    cutoff = _ROLL_OFF * min(1.0, up / down)
    inside = np.clip(1.0 - (distance / half) ** 2, 0.0, None)
    taps = np.sinc(cutoff * distance) * np.i0(_KAISER_BETA * np.sqrt(inside))
    return np.asarray(taps / taps.sum(1, keepdims=True), np.float32)
