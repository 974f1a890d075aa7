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
from dataclasses import dataclass

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


class Intake:
    """Sound waiting to be fed. Used by one thread."""

    def __init__(self, policy: IntakePolicy) -> None:
        self._policy = policy
        self._live: deque[Pcm] = deque()
        self._speech: deque[Pcm] = deque()
        self._live_queued = self._speech_queued = 0
        self._flowing = False
        self.fed = 0
        """Samples handed out since the session began, silence included."""
        self.dropped = 0
        """Live samples lost because too much waited."""
        self.filled = 0
        """Samples of silence put in where no sound was."""

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

    def speak(self, pcm: Pcm) -> bool:
        """Add (n,) int16 to be spoken in its own time; return False when it does not fit."""
        if self._speech_queued + len(pcm) > self._policy.speech_queue:
            return False
        self._speech.extend(pcm[at : at + _PIECE] for at in range(0, len(pcm), _PIECE))
        self._speech_queued += len(pcm)
        return True

    def interrupt(self) -> None:
        """Forget what waits."""
        self._speech.clear()
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
            pcm = self._speech.popleft()
            self._speech_queued -= len(pcm)
            return pcm
        if self._live:
            pcm = self._live.popleft()
            self._live_queued -= len(pcm)
            return pcm
        return None
