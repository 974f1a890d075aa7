"""Turn sound as peers send it, when it likes to come, into 48 kHz mono that never stops.

A session's clock is the number of samples fed to the engine, so it has to run on while nobody
speaks, while the microphone is muted and while the network stalls. The policy, in full:

- Live sound is fed the moment it arrives. What comes ahead of the clock (a burst) waits.
- No sound: silence is fed, ``idle_lag`` behind the clock. The lag is the room that the first blocks
  of speech have to arrive unevenly in.
- Sound that stops arriving is given ``patience`` before silence takes its place.
- Live sound that waits is bounded by ``live_queue``; above it the oldest is lost, since late sound
  is worse than lost sound in a conversation. Silent blocks are skipped while any sound waits, so
  the queue empties in the pauses of speech.
- Sound sent to be spoken (a synthesizer, faster than real time) waits in a queue of its own and is
  fed as it falls due; live sound is ignored meanwhile. Above ``speech_queue`` it is refused.

The buffer is pure: no clock, no thread. The caller says how many samples of time have passed.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from av import AudioFrame, AudioResampler

from lipstream.types import Pcm
from lipstream_server.stage.schedule import RATE

SILENT_PEAK = 100
"""Peak of int16 samples below which a block counts as a pause (-50 dBFS)."""
LONGEST_GAP_MS = 200
"""Lost packets that are made up for with silence; a longer gap is left to the buffer."""
_PIECE = 960
"""Longest piece of speech fed at once, samples."""


class SpeechResampler:
    """Mono sound at a rate of the sender's choice, block by block, to the session's rate."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        """Samples a second of what comes in."""
        self._resampler = AudioResampler(format="s16", layout="mono", rate=RATE)

    def resample(self, pcm: Pcm) -> Pcm:
        """Return the samples that are complete; a few stay inside until more comes."""
        if len(pcm) == 0 or self.rate == RATE:
            return pcm
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = self.rate
        parts = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)


class AudioTrackReader:
    """Decoded blocks of an incoming track as 48 kHz mono, holes filled, so that time stays true."""

    def __init__(self) -> None:
        self._next_pts: int | None = None
        self._resampler = SpeechResampler(RATE)

    def read(self, frame: AudioFrame) -> Pcm:
        """Return a frame whose timestamps count its own samples, as those of aiortc's codecs do.

        Silence stands in for packets lost before it.
        """
        if frame.sample_rate != self._resampler.rate:
            self._resampler = SpeechResampler(frame.sample_rate)
        interleaved = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
        mono: Pcm = interleaved.astype(np.int32).mean(axis=1).astype(np.int16)
        gap = 0 if self._next_pts is None or frame.pts is None else frame.pts - self._next_pts
        self._next_pts = None if frame.pts is None else frame.pts + frame.samples
        if 0 < gap * 1000 <= LONGEST_GAP_MS * frame.sample_rate:
            mono = np.concatenate([np.zeros(gap, np.int16), mono])
        return self._resampler.resample(mono)


@dataclass(frozen=True, slots=True)
class AudioInputLimits:
    """Bounds of the buffer, in samples."""

    idle_lag: int
    patience: int
    live_queue: int
    speech_queue: int


@dataclass(frozen=True, slots=True)
class Cue:
    """Something to tell when a sample is heard."""

    sample: int
    """Of the piece of speech it came with, or of the session once that is fed."""
    event: str
    """Text for the data channel."""
    is_last: bool = False
    """Whether it is the last of its text."""


class AudioInputBuffer:
    """Sound waiting to be fed. Used by one thread."""

    def __init__(self, limits: AudioInputLimits) -> None:
        self._limits = limits
        self._live: deque[Pcm] = deque()
        self._speech: deque[tuple[Pcm, list[Cue]]] = deque()
        self._cues: list[Cue] = []
        self._live_queued = self._speech_queued = 0
        self._flowing = False
        self.fed = 0
        """Samples handed out since the session began, silence included."""
        self.dropped = 0
        """Live samples lost because too much waited."""
        self.filled = 0
        """Samples of silence put in where no sound was."""

    @property
    def speech_queued(self) -> int:
        """Samples of speech that wait."""
        return self._speech_queued

    @property
    def queued(self) -> int:
        """Samples that wait."""
        return self._live_queued + self._speech_queued

    def push_live(self, pcm: Pcm) -> None:
        """Add (n,) int16 of live sound."""
        pause = int(np.abs(pcm.astype(np.int32)).max(initial=0)) < SILENT_PEAK
        if len(pcm) == 0 or self._speech or (pause and self._live):
            return
        self._live.append(pcm)
        self._live_queued += len(pcm)
        while self._live_queued > self._limits.live_queue:
            oldest = self._live.popleft()
            self._live_queued -= len(oldest)
            self.dropped += len(oldest)

    def push_speech(self, pcm: Pcm, cues: Sequence[Cue] = ()) -> bool:
        """Add (n,) int16 to be spoken in its own time; return False when it does not fit.

        ``cues`` come with it, in order; one past its end counts as at its end.
        """
        if self._speech_queued + len(pcm) > self._limits.speech_queue:
            return False
        for at in range(0, len(pcm), _PIECE):
            last = at + _PIECE >= len(pcm)
            inside = [c for c in cues if at <= c.sample and (last or c.sample < at + _PIECE)]
            self._speech.append((pcm[at : at + _PIECE], [_moved(c, -at) for c in inside]))
        self._speech_queued += len(pcm)
        return True

    def pull_cues(self) -> list[Cue]:
        """Return the cues in what was fed since the last call, at samples of the session."""
        cues, self._cues = self._cues, []
        return cues

    def interrupt(self) -> None:
        """Forget what waits."""
        self._speech.clear()
        self._cues.clear()
        self._live.clear()
        self._live_queued = self._speech_queued = 0

    def pull(self, due: int) -> list[Pcm]:
        """Return the sound to feed now that ``due`` samples of time have passed, in order."""
        pulled: list[Pcm] = []
        while self.fed < due and (pcm := self._next()) is not None:
            self.fed += len(pcm)
            pulled.append(pcm)
        self._flowing |= bool(pulled)
        allowed = self._limits.patience if self._flowing else self._limits.idle_lag
        if due - self.fed > allowed:
            self._flowing = False
            silence = np.zeros(due - self._limits.idle_lag - self.fed, np.int16)
            self.fed += len(silence)
            self.filled += len(silence)
            pulled.append(silence)
        return pulled

    def _next(self) -> Pcm | None:
        if self._speech:
            pcm, cues = self._speech.popleft()
            self._speech_queued -= len(pcm)
            self._cues += [_moved(cue, self.fed) for cue in cues]
            return pcm
        if self._live:
            pcm = self._live.popleft()
            self._live_queued -= len(pcm)
            return pcm
        return None


def _moved(cue: Cue, samples: int) -> Cue:
    return replace(cue, sample=cue.sample + samples)
