"""What is heard and seen, and when: blocks of sound and pictures in the order they are due.

The engine's `Pacer` holds the frames and owns the schedule; here it is cut into what the two tracks
carry. Pure but for the pacer's clock: the caller says what time it is.
"""

from dataclasses import dataclass
from fractions import Fraction

from lipstream import AvFrame, Pacer
from lipstream.types import Pcm

from lipstream_server.timeline import RATE

BLOCK = 960
"""Samples of one block of sound: 20 ms, one Opus packet."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A block to be heard."""

    pcm: Pcm
    """(BLOCK,) int16."""
    sample: int
    """Samples played before it since playing began."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be seen."""

    frame: AvFrame
    """The frame it shows."""
    sample: int
    """Samples played before it since playing began."""


class Playout:
    """Cut a pacer's schedule into blocks and pictures. Used by one thread."""

    def __init__(self, pacer: Pacer, fps: Fraction) -> None:
        self._pacer, self._fps = pacer, fps
        self._played = 0
        self._slot = 0
        self.pictures = 0
        """Pictures played since the session began, repeats included."""

    @property
    def _slot_sample(self) -> int:
        return int(self._slot * RATE / self._fps)

    @property
    def next_due(self) -> float | None:
        """Clock reading at which something is to be played next; None before the first frame."""
        if not self._pacer.started:
            return None
        return self._pacer.due(min(self._played, self._slot_sample))

    def play(self, now: float) -> list[Sound | Picture]:
        """Return everything due by ``now``, in order; a block goes before the picture over it."""
        played: list[Sound | Picture] = []
        while (due := self.next_due) is not None and due <= now:
            if self._played <= self._slot_sample:
                played.append(Sound(self._pacer.sound(BLOCK), self._played))
                self._played += BLOCK
            else:
                frame = self._pacer.picture(self._slot_sample)
                if frame is not None:
                    played.append(Picture(frame, self._slot_sample))
                    self.pictures += 1
                self._slot += 1
        return played
