"""Made-up music without a voice, so that a sound stage learns what no mouth moves to.

Random pieces: chords and lines of additive tones (plucked, bowed, blown, organ-like, distorted),
bass, drums and cymbals, a room. Nothing is recorded and nothing is quoted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import mel_spectrogram
from lipstream.timing import MODEL_RATE
from lipstream.types import Float32

Sound = NDArray[np.float64]
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10))
_Plan = tuple[float, NDArray[np.int_], int]
"""Seconds from note to note, the scale in semitones, the key as a MIDI note."""
_LOUDEST = 0.3


@dataclass(frozen=True, slots=True)
class _Instrument:
    """How tones sound."""

    slope: float
    """Fall of the harmonics: the k-th has k to the minus slope."""
    even: float
    """Strength of the even harmonics."""
    attack_s: float
    decay_s: float
    """Time to fall to 1/e; long for what is bowed or blown."""
    vibrato: float
    """Depth, share of the pitch."""
    drive: float
    """Distortion: 0 none."""


def _instrument(rng: np.random.Generator) -> _Instrument:
    held = rng.random() < 0.5
    return _Instrument(
        float(rng.uniform(0.6, 2.2)),
        float(rng.uniform(0.1, 1.0)),
        float(rng.uniform(0.03, 0.25) if held else rng.uniform(0.002, 0.02)),
        float(rng.uniform(1.0, 5.0) if held else rng.uniform(0.12, 0.9)),
        float(rng.uniform(0.0, 0.012) if held else 0.0),
        float(rng.uniform(1.0, 6.0) if rng.random() < 0.2 else 0.0),
    )


def piece(rng: np.random.Generator, seconds: float = 6.0) -> Float32:
    """Return a random piece: (n,) float32 at 16 kHz, at most 0.3 loud."""
    sound = np.zeros(int(seconds * MODEL_RATE))
    beat = 60.0 / rng.uniform(60, 180)
    scale, key = np.array(_SCALES[rng.integers(len(_SCALES))]), int(rng.integers(40, 56))
    parts = rng.random(4) < (0.75, 0.6, 0.5, 0.55)
    if not parts.any():
        parts[0] = True
    if parts[0]:
        _chords(sound, rng, (beat * rng.choice([1, 2, 4]), scale, key))
    if parts[1]:
        _line(sound, rng, (beat / rng.choice([1, 2, 4]), scale, key + 12 * int(rng.integers(0, 3))))
    if parts[2]:
        _line(sound, rng, (beat, scale, key - 12))
    if parts[3]:
        _drums(sound, rng, beat / 2)
    if rng.random() < 0.5:
        sound = _in_room(sound, rng)
    peak = float(np.abs(sound).max())
    return (sound * (_LOUDEST / max(peak, 1e-6))).astype(np.float32)


def piece_mels(count: int, seed: int, seconds: float = 6.0) -> Float32:
    """Return the mels of random pieces: (count, 80, columns) float32."""
    rng = np.random.default_rng(seed)
    return np.stack([mel_spectrogram(piece(rng, seconds)) for _ in range(count)])


def _chords(sound: Sound, rng: np.random.Generator, plan: _Plan) -> None:
    every, scale, key = plan
    played, level = _instrument(rng), rng.uniform(0.3, 1.0)
    for start in np.arange(0, len(sound) / MODEL_RATE, every):
        root = int(rng.integers(len(scale)))
        for step in range(0, 2 * int(rng.integers(1, 5)), 2):
            degree = root + step
            note = key + int(scale[degree % len(scale)]) + 12 * (degree // len(scale))
            _add(sound, start, level * _tone(note, min(every * 1.3, 2.0), played, rng))


def _line(sound: Sound, rng: np.random.Generator, plan: _Plan) -> None:
    every, scale, key = plan
    played, level, degree = _instrument(rng), rng.uniform(0.4, 1.5), 0
    for start in np.arange(0, len(sound) / MODEL_RATE, max(every, 0.1)):
        degree = int(np.clip(degree + rng.integers(-3, 4), -4, 10))
        if rng.random() < 0.2:
            continue
        note = key + int(scale[degree % len(scale)]) + 12 * (degree // len(scale))
        _add(sound, start, level * _tone(note, every * rng.uniform(0.5, 1.5), played, rng))


def _tone(note: int, seconds: float, played: _Instrument, rng: np.random.Generator) -> Sound:
    hertz = 440.0 * 2.0 ** ((note - 69) / 12.0)
    at = np.arange(int(max(seconds, 0.08) * MODEL_RATE)) / MODEL_RATE
    sway = played.vibrato * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * at)
    phase = 2 * np.pi * np.cumsum(hertz * (1 + sway)) / MODEL_RATE
    tone = np.zeros(len(at))
    for k in range(1, min(24, int(7600 / hertz)) + 1):
        weight = k**-played.slope * (played.even if k % 2 == 0 else 1.0)
        tone += weight * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    if played.drive:
        tone = np.tanh(played.drive * tone)
    swell = np.minimum(1.0, at / played.attack_s) * np.exp(-at / played.decay_s)
    return np.asarray(tone * swell * np.minimum(1.0, (at[-1] - at) / 0.03))


def _drums(sound: Sound, rng: np.random.Generator, every: float) -> None:
    level, cymbals = rng.uniform(0.5, 3.0), rng.uniform(0.1, 1.2)
    pattern = rng.random((2, 8)) < np.array([[0.45], [0.7]])
    at = np.arange(int(0.25 * MODEL_RATE)) / MODEL_RATE
    for number, start in enumerate(np.arange(0, len(sound) / MODEL_RATE, max(every, 0.1))):
        if pattern[0, number % 8]:
            fall = rng.uniform(45, 70) + 110 * np.exp(-at / 0.03)
            body = np.sin(2 * np.pi * np.cumsum(fall) / MODEL_RATE) * np.exp(-at / 0.09)
            snare = rng.standard_normal(len(at)) * np.exp(-at / 0.06) * rng.choice([0.05, 0.7])
            _add(sound, start, level * (body + snare))
        if pattern[1, number % 8]:
            hiss = np.diff(rng.standard_normal(len(at) + 1)) * np.exp(-at / rng.uniform(0.02, 0.12))
            _add(sound, start, cymbals * hiss)


def _in_room(sound: Sound, rng: np.random.Generator) -> Sound:
    at = np.arange(int(0.6 * MODEL_RATE)) / MODEL_RATE
    tail = rng.standard_normal(len(at)) * np.exp(-at / rng.uniform(0.05, 0.25))
    tail *= rng.uniform(0.1, 0.6) / np.linalg.norm(tail)
    size = len(sound) + len(tail)
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)
    return np.asarray(sound + wet[: len(sound)])


def _add(sound: Sound, start: float, stroke: Sound) -> None:
    first = int(start * MODEL_RATE)
    length = min(len(stroke), len(sound) - first)
    if length > 0:
        sound[first : first + length] += stroke[:length]
