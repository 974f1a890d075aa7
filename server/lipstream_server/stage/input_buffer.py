"""Turn sound that comes when it likes into sound that never stops.

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

Pure: no clock, no thread. The caller says how many samples of time have passed.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lipstream.types import Pcm

SILENT_PEAK = 100
"""Peak of int16 samples below which a block counts as a pause (-50 dBFS)."""
_PIECE = 960
"""Longest piece of speech fed at once, samples."""


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """Bounds of the intake, in samples."""

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


class Intake:
    """Sound waiting to be fed. Used by one thread."""

    def __init__(self, policy: IntakePolicy) -> None:
        self._policy = policy
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

    def hear(self, pcm: Pcm) -> None:
        """Add (n,) int16 of live sound."""
        pause = int(np.abs(pcm.astype(np.int32)).max(initial=0)) < SILENT_PEAK
        if len(pcm) == 0 or self._speech or (pause and self._live):
            return
        self._live.append(pcm)
        self._live_queued += len(pcm)
        while self._live_queued > self._policy.live_queue:
            oldest = self._live.popleft()
            self._live_queued -= len(oldest)
            self.dropped += len(oldest)

    def speak(self, pcm: Pcm, cues: Sequence[Cue] = ()) -> bool:
        """Add (n,) int16 to be spoken in its own time; return False when it does not fit.

        ``cues`` come with it, in order; one past its end counts as at its end.
        """
        if self._speech_queued + len(pcm) > self._policy.speech_queue:
            return False
        for at in range(0, len(pcm), _PIECE):
            last = at + _PIECE >= len(pcm)
            inside = [c for c in cues if at <= c.sample and (last or c.sample < at + _PIECE)]
            self._speech.append((pcm[at : at + _PIECE], [_moved(c, -at) for c in inside]))
        self._speech_queued += len(pcm)
        return True

    def take_cues(self) -> list[Cue]:
        """Return the cues in what was fed since the last call, at samples of the session."""
        cues, self._cues = self._cues, []
        return cues

    def interrupt(self) -> None:
        """Forget what waits."""
        self._speech.clear()
        self._cues.clear()
        self._live.clear()
        self._live_queued = self._speech_queued = 0

    def take(self, due: int) -> list[Pcm]:
        """Return the sound to feed now that ``due`` samples of time have passed, in order."""
        taken: list[Pcm] = []
        while self.fed < due and (pcm := self._next()) is not None:
            self.fed += len(pcm)
            taken.append(pcm)
        self._flowing |= bool(taken)
        allowed = self._policy.patience if self._flowing else self._policy.idle_lag
        if due - self.fed > allowed:
            self._flowing = False
            silence = np.zeros(due - self._policy.idle_lag - self.fed, np.int16)
            self.fed += len(silence)
            self.filled += len(silence)
            taken.append(silence)
        return taken

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
