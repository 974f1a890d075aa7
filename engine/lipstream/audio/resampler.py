"""Sound from the session's rate to the network's 16 kHz, with a millisecond of delay.

General resamplers buffer 20 to 40 ms in streaming use; that is as much as the whole rest of the
engine, so the rate is changed here: a windowed sinc, evaluated only where an output sample falls.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from lipstream.audio.ring import windows
from lipstream.errors import InputError
from lipstream.timing import MODEL_RATE, check_rate
from lipstream.types import Array, Float32, Pcm

ZERO_CROSSINGS = 16
"""Half-length of the filter in zero crossings of its sinc: 1 ms at 16 kHz."""
_LOUDEST = 2.0
"""Largest float that is taken for sound that overshoots, and clipped; above, for another scale."""
_ROLL_OFF = 0.94
_KAISER_BETA = 8.0


def to_pcm(sound: ArrayLike) -> Pcm:
    """Return mono int16 of what people have; an int16 array of shape (n,) as it is.

    Taken are int16 samples as an array, a list or bytes (little-endian), and floats from -1 to 1,
    which are scaled by 32767; of shape (n,), (n, 1) or (1, n). Raises InputError for all else.
    """
    if isinstance(sound, np.ndarray) and sound.dtype == np.int16 and sound.ndim == 1:
        return sound
    if isinstance(sound, bytes | bytearray | memoryview):
        if len(sound) % 2:
            raise InputError(f"sound as bytes must be whole int16 samples; got {len(sound)} bytes")
        return np.frombuffer(sound, "<i2").astype(np.int16)
    try:
        array = np.asarray(sound)
    except ValueError as error:
        raise _no_sound(f"a list that is no row of numbers ({error})") from error
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise _no_sound(f"{type(sound).__name__}, {array.dtype} of shape {array.shape}")
    return _to_int16(array)


def _to_int16(array: Array) -> Pcm:
    if array.size == 0:
        return np.zeros(0, np.int16)
    most = float(np.abs(array.astype(np.float64)).max()) if array.dtype.kind in "fi" else math.nan
    if array.dtype.kind == "f" and most <= _LOUDEST:
        return np.clip(np.rint(array * 32767.0), -32768, 32767).astype(np.int16)
    if array.dtype.kind == "i" and array.min() >= -32768 and array.max() <= 32767:
        return array.astype(np.int16)
    raise _no_sound(f"{array.dtype} with values up to {most:g}")


def _no_sound(description: str) -> InputError:
    return InputError(
        "sound must be one channel of int16, or of floats from -1 to 1, in pieces of shape (n,);"
        f" got {description}"
    )


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

    def silence(self) -> None:
        """Take what it still holds for silence; the counts go on."""
        self._held = np.zeros_like(self._held)

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
