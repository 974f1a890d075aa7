"""Sound as peers send it, to (n,) int16 mono at the session's 48 kHz."""

import numpy as np
from av import AudioFrame, AudioResampler

from lipstream.types import Pcm
from lipstream_server.webrtc.sample_clock import RATE, samples

LONGEST_GAP = samples(200)
"""Samples of lost packets that are made up for with silence; a longer gap is left to the intake."""


class TrackSound:
    """Decoded blocks of one incoming track, holes filled, so that time stays true."""

    def __init__(self) -> None:
        self._next_pts: int | None = None

    def read(self, frame: AudioFrame) -> Pcm:
        """Return the frame as mono; silence stands in for packets lost before it."""
        interleaved = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
        mono: Pcm = interleaved.astype(np.int32).mean(axis=1).astype(np.int16)
        gap = 0 if self._next_pts is None or frame.pts is None else frame.pts - self._next_pts
        self._next_pts = None if frame.pts is None else frame.pts + frame.samples
        if not 0 < gap <= LONGEST_GAP:
            return mono
        return np.concatenate([np.zeros(gap, np.int16), mono])


class SpeechSound:
    """Sound at a rate of the sender's choice, block by block, to the session's rate."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler = AudioResampler(format="s16", layout="mono", rate=RATE)

    def read(self, pcm: Pcm) -> Pcm:
        """Return the samples that are complete; a few stay inside until more comes."""
        if len(pcm) == 0 or self._rate == RATE:
            return pcm
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = self._rate
        parts = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)
