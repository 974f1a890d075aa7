"""What is sent, and when: blocks of sound and pictures, in the order they leave.

Time is a number of samples since the session began; ``SampleClock`` pins it to a clock. The
engine's `Pacer` holds the frames and owns the schedule; ``Playout`` cuts it into what two media
tracks carry. Pure but for the pacer's clock: the caller says what time it is.
"""

from dataclasses import dataclass
from fractions import Fraction

from lipstream import AvFrame, Pacer
from lipstream.types import Pcm

RATE = 48_000
"""Samples a second of every session: what Opus carries."""


@dataclass(frozen=True, slots=True)
class SampleClock:
    """Sample s falls on ``origin + s / RATE``."""

    origin: float
    """Clock reading, in seconds, of sample 0."""

    def sample(self, now: float) -> int:
        """Return how many samples have passed by ``now``."""
        return int((now - self.origin) * RATE)


def samples(duration_ms: float) -> int:
    """Convert milliseconds to samples of a session."""
    return int(duration_ms * RATE / 1000)


def milliseconds(count: int) -> float:
    """Convert samples of a session to milliseconds."""
    return count * 1000 / RATE


BLOCK = 960
"""Samples of one block of sound: 20 ms, one Opus packet."""
SOUND_LEAD = samples(50)
"""By how much sound is sent ahead of its picture. Receivers take longer over sound: a browser holds
it 40 to 60 ms for jitter and puts it out 10 to 40 ms later, and shows a picture 10 to 20 ms after
it has come. It evens out only differences above 30 ms by itself."""


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """A block to send."""

    pcm: Pcm
    """(BLOCK,) int16."""
    sample: int
    """Index of its first sample in the session."""


@dataclass(frozen=True, slots=True)
class VideoPicture:
    """A picture to send."""

    frame: AvFrame
    """The frame it shows."""
    sample: int
    """Index of the session sample heard as it appears."""


class Playout:
    """Cut a pacer's schedule into blocks and pictures. Used by one thread."""

    def __init__(self, pacer: Pacer, fps: Fraction) -> None:
        self._pacer, self._fps = pacer, fps
        self._played = 0
        self._slot = 0
        self.pictures = 0
        """Pictures played since the session began, repeats included."""

    @property
    def next_due(self) -> float | None:
        """Clock reading at which something is to be sent next; None before any sound."""
        if not self._pacer.started:
            return None
        return self._pacer.due(min(self._played - SOUND_LEAD, self._slot_sample))

    def play(self, now: float) -> list[AudioBlock | VideoPicture]:
        """Return everything to be sent by ``now``, in order."""
        played: list[AudioBlock | VideoPicture] = []
        while (due := self.next_due) is not None and due <= now:
            if self._played - SOUND_LEAD <= self._slot_sample:
                played.append(AudioBlock(self._pacer.sound(BLOCK), self._played))
                self._played += BLOCK
            elif (picture := self._next_picture()) is not None:
                played.append(picture)
        return played

    @property
    def _slot_sample(self) -> int:
        return int(self._slot * RATE / self._fps)

    def _next_picture(self) -> VideoPicture | None:
        sample = self._slot_sample
        self._slot += 1
        frame = self._pacer.picture(sample)
        self.pictures += frame is not None
        return None if frame is None else VideoPicture(frame, sample)
