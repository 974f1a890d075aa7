"""Sounds that no one speaks, made up: what a mouth should not move to. And one steady vowel."""

import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import BANDS, SILENCE, mel_spectrogram
from lipstream.timing import MODEL_RATE
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import COLUMNS, SAMPLES

_CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))
"""Am, F, C, G as MIDI notes: one each half second."""
_BEAT = MODEL_RATE // 4
"""Samples from one stroke of the drums to the next: 120 crotchets a minute, in quavers."""
_FORMANTS = ((700.0, 110.0, 1.0), (1220.0, 120.0, 0.5), (2600.0, 160.0, 0.2))
"""Centre and width in hertz, and height, of an open "a" (Peterson and Barney 1952, men)."""


def silence() -> Float32:
    """Return the (80, 241) mel of three seconds of digital silence."""
    return np.full((BANDS, COLUMNS), SILENCE, np.float32)


def room_noise(rng: np.random.Generator) -> Float32:
    """Return the mel of three seconds of a quiet room: 1/f noise at -60 to -35 dB full scale."""
    level = 10.0 ** (rng.uniform(-60.0, -35.0) / 20.0)
    return _mel_at(_coloured(rng, SAMPLES), level)


def music(rng: np.random.Generator) -> Float32:
    """Return the mel of three seconds of plucked chords, a bass and drums at -20 dB; no voice."""
    sound = np.zeros(SAMPLES)
    shift = int(rng.integers(-4, 5))
    order = rng.permutation(len(_CHORDS))
    for number, start in enumerate(range(0, SAMPLES, 2 * _BEAT)):
        notes = _CHORDS[order[number % len(order)]]
        for note in (*notes, notes[0] - 24, notes[1] + 12):
            _add(sound, start, _pluck(440.0 * 2.0 ** ((note + shift - 69) / 12.0)))
    for number, start in enumerate(range(0, SAMPLES, _BEAT)):
        _add(sound, start, _drum(rng) if number % 2 == 0 else 0.6 * _cymbal(rng))
    return _mel_at(sound, 0.1)


def vowel(rng: np.random.Generator) -> Float32:
    """Return the mel of three seconds of a sung "a" that holds its pitch and loudness."""
    pitch = rng.uniform(100.0, 220.0)
    seconds = np.arange(SAMPLES) / MODEL_RATE
    sound = np.zeros(SAMPLES)
    for harmonic in range(1, int(7000.0 / pitch)):
        hertz = harmonic * pitch
        height = sum(g / (1.0 + ((hertz - f) / w) ** 2) for f, w, g in _FORMANTS)
        sound += height * np.sin(2 * np.pi * hertz * seconds + rng.uniform(0, 2 * np.pi))
    return _mel_at(sound, 0.1)


def _mel_at(sound: NDArray[np.float64], level: float) -> Float32:
    """Scale a sound to a root mean square and return its mel."""
    loud = float(np.sqrt(np.mean(sound**2)))
    return mel_spectrogram(np.clip(sound * (level / loud), -1.0, 1.0).astype(np.float32))


def _coloured(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return noise whose power falls with frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1.0 / MODEL_RATE)
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 30.0)), count))


def _pluck(hertz: float) -> NDArray[np.float64]:
    seconds = np.arange(3 * _BEAT) / MODEL_RATE
    harmonics = range(1, min(9, int(7500.0 / hertz)) + 1)
    tones = [np.sin(2 * np.pi * hertz * k * seconds) * np.exp(-k * 1.5 * seconds) / k
             for k in harmonics]  # fmt: skip
    return np.asarray(np.sum(tones, 0) * np.minimum(1.0, seconds / 0.004))


def _drum(rng: np.random.Generator) -> NDArray[np.float64]:
    seconds = np.arange(_BEAT) / MODEL_RATE
    fall = 50.0 + 90.0 * np.exp(-seconds / 0.03)
    body = np.sin(2 * np.pi * np.cumsum(fall) / MODEL_RATE) * np.exp(-seconds / 0.08)
    return np.asarray(3.0 * body + 0.5 * rng.standard_normal(_BEAT) * np.exp(-seconds / 0.005))


def _cymbal(rng: np.random.Generator) -> NDArray[np.float64]:
    seconds = np.arange(_BEAT) / MODEL_RATE
    hiss = np.diff(rng.standard_normal(_BEAT + 1))
    return np.asarray(hiss * np.exp(-seconds / 0.04))


def _add(sound: NDArray[np.float64], start: int, stroke: NDArray[np.float64]) -> None:
    stop = min(len(sound), start + len(stroke))
    sound[start:stop] += stroke[: stop - start]
