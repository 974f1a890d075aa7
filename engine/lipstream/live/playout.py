"""What leaves a conversation, and when: one schedule for sound and pictures, and a measured delay.

Two counts of samples run side by side. The *session's* is what the engine is fed; the *output's*
is what was sent since it began, and never jumps. ``offset`` lies between them: session sample s is
heard with output sample s + offset. Sound is sent ``lead`` before it is heard, since receivers take
longer over it than over a picture.

The offset is the delay from a sample's being fed to its being heard. It follows what the engine
and the event loop really need: when pictures came late, or nearly, it grows at the next pause by
what was missing; when they have come early for ``WINDOW_FRAMES``, it shrinks a little. ``_PASSING``
of them count for nothing: a machine that was held up once is not slow. A pause is made longer or
shorter for it; words never are.
"""

from collections import deque
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lipstream.audio.jitter_buffer import QUIET_PEAK
from lipstream.audio.ring import SoundQueue
from lipstream.timing import Timing
from lipstream.types import NOWHERE, AvFrame, Image, Patch, Pcm

WINDOW_FRAMES = 100
"""Pictures whose earliness is remembered, 4 s at 25 a second."""
_FEWEST = 10
"""Pictures below which nothing is concluded."""
_SMOOTHING = 0.05
_PASSING = 2
"""Pictures among them that may be late."""
FADE_MS = 10
"""Time over which sound that is cut off fades."""
_LEAST_EARLY_MS = 6.0
"""Earliness of pictures below which the delay grows."""
_WANTED_EARLY_MS = 10.0
"""Earliness of the least early picture that the delay is led to."""
_MOST_EARLY_MS = 20.0
"""Earliness of the least early picture from which the delay shrinks."""
_MOST_DELAY_MS = 250.0
"""The delay grows no further beyond the look-ahead: a machine too slow for live is not helped."""
_EXTRA_PICTURE_MS = 15.0
"""Time to the next picture from which an interruption has one of its own."""
_HALF_CLOSED = 0.5


@dataclass(frozen=True, slots=True)
class SoundBlock:
    """A piece of sound to send."""

    pcm: Pcm
    """(n,) int16, 20 ms."""
    sample: int
    """Output sample of its first; blocks follow each other without a gap."""
    generation: int
    """Interruptions before it."""
    fed: range = range(0)
    """Session samples that it holds."""
    spoken: int = 0
    """How many of its samples are of what was pushed; the others are live sound, or silence."""


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture to send."""

    frame: AvFrame
    """The frame it shows."""
    sample: int
    """Output sample heard as it appears: rising, mostly by one frame."""
    repeated: bool
    """Whether it shows what the one before did, because the next is late."""


@dataclass(frozen=True, slots=True)
class PlayoutStats:
    """What went other than planned, since the conversation began."""

    pictures: int
    """Pictures sent, repeats included."""
    repeated: int
    """Pictures sent again because the next one was late."""
    skipped: int
    """Pictures that came so late that the next one was due as well."""
    delay_ms: float
    """From sound being fed to its being due."""


class Playout:
    """The schedule of one session. Used by one thread; the caller says what time it is."""

    def __init__(
        self, timing: Timing, *, delay_ms: float, lead_ms: float, least_delay_ms: float = 0.0
    ) -> None:
        """``delay_ms`` is what the delay begins with, ``least_delay_ms`` what it never goes below.

        Sound is given out ``lead_ms`` before it is due.
        """
        self.timing = timing
        self._block = timing.rate // 50
        self._lead = self._samples(lead_ms)
        self._least_offset = max(self._lead + 3 * self._block // 2, self._samples(least_delay_ms))
        self._offset = max(self._in_step(self._samples(delay_ms)), self._least_offset)
        self._most_offset = self._samples(timing.look_ahead_ms + _MOST_DELAY_MS)
        self._sound = SoundQueue()
        self._frames: deque[AvFrame] = deque()
        self._early: deque[float] = deque(maxlen=WINDOW_FRAMES)
        self._painted_ms: float | None = None  # earliness of pictures of speech, smoothed
        self._resting_ms = 0.0  # that of the others
        self._shown: AvFrame | None = None
        self._closing: AvFrame | None = None  # what is shown half closed next
        self._coming_to_rest = False  # the next picture is part of that
        self._extra: int | None = None
        self.picture_step = 1
        """Every how many-th picture is sent: the others are not expected."""
        self.sent = 0
        """Output samples of sound sent."""
        self.sent_session = 0
        """Session samples of sound sent."""
        self.generation = 0
        """Interruptions so far."""
        self._next_frame = 0
        self._last_picture = -1
        self._pictures = self._repeated = self._skipped = 0

    @property
    def offset(self) -> int:
        """Output sample at which session sample 0 is, or would be, heard."""
        return self._offset

    @property
    def next_due(self) -> int:
        """Output sample whose time has come when something is to be sent next."""
        due = min(self.sent - self._lead, self._picture_due)
        return due if self._extra is None else min(due, self._extra)

    def heard(self, now: int) -> int:
        """Return how many session samples have been heard at an output sample."""
        return now - self._offset

    def hear(self, pcm: Pcm) -> None:
        """Add (n,) int16 as it is fed to the engine; it is not copied."""
        self._sound.put(pcm)

    def arrive(self, frame: AvFrame, now: int) -> None:
        """Add the next frame that the engine made, which came at an output sample."""
        self._frames.append(frame)
        early_ms = (frame.start_sample + self._offset - now) * 1000 / self.timing.rate
        if frame.openness > 0.0:
            before_ms = early_ms if self._painted_ms is None else self._painted_ms
            self._painted_ms = before_ms + _SMOOTHING * (early_ms - before_ms)
            self._early.append(early_ms)
            return
        # Made without a network: had there been speech, it would have come later.
        self._resting_ms += _SMOOTHING * (early_ms - self._resting_ms)
        painting_ms = 0.0 if self._painted_ms is None else self._resting_ms - self._painted_ms
        self._early.append(early_ms - max(0.0, painting_ms))

    def interrupt(self, now: int) -> int:
        """Fade what is not yet sent out to silence; return the first session sample not heard.

        The mouth comes to rest: half with the next picture, which is sent at once unless one is
        due anyway, and wholly with the one after.
        """
        self.generation += 1
        rest = np.empty(len(self._sound), np.int16)
        self._sound.take(rest)
        fade = min(self._samples(FADE_MS), len(rest))
        slope = np.linspace(1.0, 0.0, fade, endpoint=False, dtype=np.float32)
        rest[:fade] = (rest[:fade] * slope).astype(np.int16)
        rest[fade:] = 0
        self._sound.put(rest)
        open_mouth = self._shown is not None and self._shown.openness > 0.0
        self._closing = self._shown if open_mouth else None
        self._coming_to_rest = open_mouth
        if open_mouth and self._picture_due - now > self._samples(_EXTRA_PICTURE_MS):
            self._extra = now
        return self.sent_session + fade

    def play(self, now: int) -> list[SoundBlock | ShownPicture]:
        """Return everything to be sent by an output sample, in order."""
        played: list[SoundBlock | ShownPicture] = []
        while self.next_due <= now:
            if self._extra is not None:
                self._extra = None
                if self._shown is not None:
                    played.append(self._picture(self._shown, now, repeated=False))
            elif self.sent - self._lead <= self._picture_due:
                played.append(self._sound_block())
            elif (picture := self._next_picture()) is not None:
                played.append(picture)
        return played

    def stats(self) -> PlayoutStats:
        """Return the counters."""
        delay_ms = self._offset * 1000 / self.timing.rate
        return PlayoutStats(self._pictures, self._repeated, self._skipped, delay_ms)

    def _samples(self, duration_ms: float) -> int:
        return int(duration_ms * self.timing.rate / 1000)

    def _in_step(self, offset: int) -> int:
        """Return an offset near one with which pictures fall due together with blocks of sound.

        Each moment at which something falls due costs a turn of the event loop.
        """
        nearest = (offset + self._lead) // self._block * self._block - self._lead
        return nearest if offset - nearest <= self._block // 4 else nearest + self._block

    @property
    def _picture_due(self) -> int:
        return self.timing.frame_start(self._next_frame) + self._offset

    def _sound_block(self) -> SoundBlock:
        pcm, first = np.empty(self._block, np.int16), self.sent_session
        if self.sent < self._offset:  # before the session's first sample
            before = min(self._block, self._offset - self.sent)
            pcm[:before] = 0
            self.sent_session += self._sound.take(pcm[before:]) if before < self._block else 0
        else:
            self._follow_delay()
            first = max(first, self.sent_session)  # a pause that was made longer is nobody's
            taken = self._sound.take(pcm)
            self.sent_session += taken
            self._offset += self._block - taken  # not fed in time: it is heard later
        self.sent += self._block
        fed = range(first, self.sent_session)
        return SoundBlock(pcm, self.sent - self._block, self.generation, fed)

    def _follow_delay(self) -> None:
        """Lengthen or shorten a pause when the delay is to change."""
        change = self._wanted_change()
        if change == 0 or len(self._sound) < 2 * self._block:
            return
        ahead = np.empty(self._block, np.int16)
        self._sound.take(ahead)
        self._sound.put_front(ahead)
        if int(np.abs(ahead.astype(np.int32)).max(initial=0)) > QUIET_PEAK:
            return
        if change > 0:
            self._sound.put_front(np.zeros(change, np.int16))
            self.sent_session -= change  # they are nobody's
        else:
            self._sound.take(np.empty(-change, np.int16))
            self.sent_session -= change
        self._offset += change
        moved = change * 1000 / self.timing.rate
        self._early = deque((early + moved for early in self._early), WINDOW_FRAMES)
        self._resting_ms += moved
        if self._painted_ms is not None:
            self._painted_ms += moved

    def _wanted_change(self) -> int:
        """Return by how many samples the delay is to grow now, at most a block."""
        if len(self._early) < _FEWEST:
            return 0
        least = sorted(self._early)[_PASSING]
        if least < _LEAST_EARLY_MS and self._offset < self._most_offset:
            return min(self._samples(_WANTED_EARLY_MS - least), self._block)
        if least > _MOST_EARLY_MS and len(self._early) == WINDOW_FRAMES:
            room = self._offset - self._least_offset
            return -min(self._samples(least - _WANTED_EARLY_MS), self._block // 2, room)
        return 0

    def _next_picture(self) -> ShownPicture | None:
        due, index = self._picture_due, self._next_frame
        self._next_frame += 1
        arrived = 0
        while self._frames and self._frames[0].index <= index:
            self._shown = self._frames.popleft()
            arrived += 1
        self._skipped += max(0, arrived - 1)
        left_out = index % self.picture_step and not self._coming_to_rest
        if self._shown is None or left_out:
            return None
        self._repeated += arrived == 0
        return self._picture(self._shown, due, repeated=arrived == 0)

    def _picture(self, frame: AvFrame, due: int, *, repeated: bool) -> ShownPicture:
        if frame.generation < self.generation or self._closing is not None:
            half = closed_by(self._closing or frame, _HALF_CLOSED if self._closing else 0.0)
            frame = replace(half, index=frame.index, generation=self.generation)
            repeated = False
        self._coming_to_rest = self._closing is not None
        self._closing = None
        self._pictures += 1
        self._last_picture = max(due, self._last_picture + 1)
        return ShownPicture(frame, self._last_picture, repeated)


def closed_by(frame: AvFrame, amount: float) -> AvFrame:
    """Return a frame with ``amount`` of its mouth's movement left; 0 is the picture at rest."""
    shown = frame.shown
    measures = None if frame.measures is None else frame.measures * np.float32(amount)
    frame = replace(frame, measures=measures, tongue_out=frame.tongue_out * amount)
    if not isinstance(shown, Patch) or shown.part.size == 0:
        return replace(frame, openness=0.0)
    image = shown.still.image
    if amount <= 0.0:
        rest = Patch(shown.still, NOWHERE, image[NOWHERE])
        return replace(frame, shown=rest, openness=0.0)
    part: Image = np.asarray(
        cv2.addWeighted(shown.part, amount, image[shown.box], 1.0 - amount, 0.0), np.uint8
    )
    mixed = Patch(shown.still, shown.box, part)
    return replace(frame, shown=mixed, openness=frame.openness * amount)
