"""The mel window of a frame, as the published Wav2Lip network expects it.

Formulas: ``audio.py`` of the original (melspectrogram, _amp_to_db, _normalize) with its
``hparams.py``: pre-emphasis 0.97, 800-point Hann STFT, 80 Slaney mel bands from 55 to 7600 Hz,
``20 log10(max(1e-5, m)) - 20`` dB, mapped from [-100, 0] to [-4, 4] and clipped.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lipstream.audio.ring import RingBuffer, windows
from lipstream.timing import HOP, MODEL_RATE, WINDOW, Span
from lipstream.types import Float32, Float64

BANDS = 80
"""Mel bands."""
_PREEMPHASIS = 0.97
_LOWEST_HZ, _HIGHEST_HZ = 55.0, 7600.0
_FLOOR = 1e-5
_REFERENCE_DB = 20.0
_RANGE_DB = 100.0
_LIMIT = 4.0
SILENCE = -_LIMIT
"""The value of every band in digital silence."""


class MelWindow:
    """The newest mel columns of a stream: windows overlap, and a column is computed once."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self.reset()

    def reset(self) -> None:
        """Forget the columns: the next window may lie anywhere."""
        self._window: Float32 = np.empty((BANDS, self._columns), np.float32)
        self._stop = self._held = 0

    def read(self, first: int, sound: RingBuffer) -> Float32:
        """Return the columns from ``first`` on, (80, columns) float32: new, never written again.

        ``sound`` is float32 in -1..1 at 16 kHz and holds ``timing.Timing.mel_span``. Asked in
        rising order.
        """
        reused = min(max(0, self._stop - first), self._held)
        window = np.empty((BANDS, self._columns), np.float32)
        window[:, :reused] = self._window[:, self._columns - reused :]
        if reused < self._columns:
            at = (first + reused) * HOP - WINDOW // 2
            stop = at + (self._columns - reused - 1) * HOP + WINDOW
            window[:, reused:] = mel_columns(np.asarray(sound.read(Span(at - 1, stop)), np.float32))
        self._window, self._stop, self._held = window, first + self._columns, self._columns
        return window


def mel_columns(samples: Float32) -> Float32:
    """Compute the mel columns of consecutive samples.

    ``samples`` is (1 + 800 + 200 (columns - 1),) float32 in -1..1 at 16 kHz: the first one only
    feeds pre-emphasis (``timing.Timing.mel_span``). Returns (80, columns) float32 in -4..4, a new
    array. Digital silence gives -4 everywhere.
    """
    return _columns(_emphasise(samples)[1:])


def mel_spectrogram(samples: Float32) -> Float32:
    """Compute the whole mel spectrogram of a clip: (80, 1 + n // 200) float32.

    ``samples`` is (n,) float32 in -1..1 at 16 kHz. As in the original, zeros stand before and after
    the *emphasised* sound; a stream that ends in silence differs from that in its last two columns.
    """
    padded = np.zeros(WINDOW + HOP * (len(samples) // HOP))
    inside = padded[WINDOW // 2 :]
    inside[: len(samples)] = _emphasise(samples)[: len(inside)]
    return _columns(padded)


def _emphasise(samples: Float32) -> Float64:
    sound = samples.astype(np.float64)
    sound[1:] -= _PREEMPHASIS * sound[:-1].copy()
    return sound


def _columns(emphasised: Float64) -> Float32:
    blocks = windows(emphasised, WINDOW, HOP)
    magnitude = np.abs(np.fft.rfft(blocks * _hann(), axis=1))
    # Not a matrix product: BLAS starts threads for it, which cost 8 ms where cores are busy.
    places, weights = _triangles()
    bands: Float64 = np.einsum("bw,cbw->bc", weights, magnitude[:, places])
    decibel = 20.0 * np.log10(np.maximum(_FLOOR, bands)) - _REFERENCE_DB
    scaled = 2.0 * _LIMIT * (decibel + _RANGE_DB) / _RANGE_DB - _LIMIT
    return np.minimum(np.maximum(scaled, -_LIMIT), _LIMIT).astype(np.float32)


@lru_cache(maxsize=1)
def _hann() -> Float64:
    """Return the periodic Hann window, as ``scipy.signal.get_window('hann', 800)`` has it."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)


@lru_cache(maxsize=1)
def _filter_bank() -> Float64:
    """Return the (80, 401) triangular filters, each of unit area.

    Slaney, "Auditory Toolbox" (1998): linear up to 1 kHz, logarithmic above; what
    ``librosa.filters.mel(htk=False, norm='slaney')`` computes (compared in the tests).
    """
    edges = _mel_to_hz(np.linspace(_hz_to_mel(_LOWEST_HZ), _hz_to_mel(_HIGHEST_HZ), BANDS + 2))
    bins = np.fft.rfftfreq(WINDOW, 1.0 / MODEL_RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None])


@lru_cache(maxsize=1)
def _triangles() -> tuple[NDArray[np.intp], Float64]:
    """Return the filters without their zeros, each (80, width): places in the spectrum, weights."""
    bank = _filter_bank()
    width = int((bank > 0).sum(1).max())
    first = np.minimum((bank > 0).argmax(1), bank.shape[1] - width)
    places = first[:, None] + np.arange(width)
    return places, np.take_along_axis(bank, places, 1)


_LINEAR_HZ = 200.0 / 3.0
_KNEE_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hertz: float) -> float:
    if hertz < _KNEE_HZ:
        return hertz / _LINEAR_HZ
    return float(_KNEE_HZ / _LINEAR_HZ + np.log(hertz / _KNEE_HZ) / _LOG_STEP)


def _mel_to_hz(mel: Float64) -> Float64:
    knee = _KNEE_HZ / _LINEAR_HZ
    return np.where(mel < knee, mel * _LINEAR_HZ, _KNEE_HZ * np.exp(_LOG_STEP * (mel - knee)))
