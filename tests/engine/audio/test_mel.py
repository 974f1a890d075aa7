import wave
from fractions import Fraction

import numpy as np
import pytest

from golden.seeded_state import GOLDEN
from lipstream.audio import mel as module
from lipstream.audio.mel import SILENCE, MelWindow, mel_columns, mel_spectrogram
from lipstream.audio.ring import RingBuffer
from lipstream.timing import Timing


def windows(samples, timing, frames):
    ring = RingBuffer(len(samples) + 8000, np.float32)
    ring.append(samples)
    ring.append(np.zeros(8000, np.float32))
    return [mel_columns(ring.read(timing.mel_span(k))) for k in range(frames)]


def test_every_live_window_is_a_piece_of_the_offline_spectrogram():
    samples = np.random.default_rng(1).standard_normal(16_000).astype(np.float32) * 0.1
    offline = mel_spectrogram(samples)
    timing = Timing(16_000, Fraction(25))
    for k, window in enumerate(windows(samples, timing, 20)):
        first = timing.first_column(k)
        if first >= 0:
            # 1e-6: the same float64 arithmetic, rounded to float32.
            np.testing.assert_allclose(window, offline[:, first : first + 16], atol=1e-6)


@pytest.mark.parametrize("frames", [range(30), [*range(5), 9, 11, 29], [4, 4, 5]])
def test_windows_that_keep_their_columns_are_those_computed_anew(frames, monkeypatch):
    samples = np.random.default_rng(4).standard_normal(24_000).astype(np.float32) * 0.1
    timing = Timing(16_000, Fraction(25), mel_columns=32, window_start_ms=-240)
    anew = windows(samples, timing, 30)
    computed = []

    def counted(sound):
        made = mel_columns(sound)
        computed.append(made.shape[1])
        return made

    monkeypatch.setattr(module, "mel_columns", counted)
    ring = RingBuffer(40_000, np.float32)
    ring.append(samples)
    window = MelWindow(32)
    for _ in range(2):
        for k in frames:
            np.testing.assert_array_equal(window.read(timing.first_column(k), ring), anew[k])
        window.reset()
    asked = {timing.first_column(k) + column for k in frames for column in range(32)}
    assert sum(computed) == 2 * len(asked)


def test_silence_is_the_floor_and_not_nan():
    assert (mel_columns(np.zeros(3801, np.float32)) == SILENCE).all()


def test_loud_noise_stays_in_range():
    loud = np.random.default_rng(2).uniform(-1, 1, 3801).astype(np.float32)
    mel = mel_columns(loud)
    assert mel.dtype == np.float32
    assert mel.shape == (80, 16)
    assert np.abs(mel).max() <= 4.0


@pytest.mark.slow
def test_the_filter_bank_is_librosas():
    filters = pytest.importorskip("librosa.filters")
    wanted = filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    # librosa rounds its own, at most 0.025, to float32.
    np.testing.assert_allclose(module._filter_bank(), wanted, atol=2e-9)


@pytest.mark.slow
def test_agrees_with_librosa():
    librosa = pytest.importorskip("librosa")
    samples = np.random.default_rng(3).standard_normal(8000).astype(np.float32) * 0.05
    emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
    spectrum = np.abs(librosa.stft(y=emphasised, n_fft=800, hop_length=200, win_length=800))
    bank = librosa.filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    decibel = 20 * np.log10(np.maximum(1e-5, bank @ spectrum)) - 20
    wanted = np.clip(8 * (decibel + 100) / 100 - 4, -4, 4)
    # 1e-4: librosa's filter bank is float32.
    np.testing.assert_allclose(mel_spectrogram(samples), wanted, atol=1e-4)


def test_reproduces_the_originals_own_spectrogram():
    with wave.open(str(GOLDEN / "speech.wav")) as clip:
        pcm = np.frombuffer(clip.readframes(clip.getnframes()), np.int16)
    samples = pcm.astype(np.float32) / 32_768
    golden = np.load(GOLDEN / "mel_io.npz")["mel"]
    np.testing.assert_allclose(mel_spectrogram(samples), golden, atol=1e-4)
    timing = Timing(16_000, Fraction(25))
    for k, window in enumerate(windows(samples, timing, 66)):
        first = timing.first_column(k)
        if first >= 0:
            np.testing.assert_allclose(window, golden[:, first : first + 16], atol=1e-4)
