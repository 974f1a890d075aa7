"""Sound in, a face in a window and the sound out again, in step: the loop between the devices.

The loop owns the pacer. What it hears goes to the engine and to the pacer at once; what the engine
makes comes back by ``arrive`` from the engine thread. The picture shown is the one of the sample
that is just leaving the loudspeaker, so the two cannot drift apart, whatever either clock does.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lipstream.audio.ring import SoundQueue
from lipstream.lips.phones import Phone
from lipstream.types import AvFrame, Image, Pcm

MAKING_MS = 80.0
"""What the delay leaves for sound blocks and the making of a frame, beyond the look-ahead."""
_WAKE_SECONDS = 0.01
"""Longest sleep of the loop: keys and the close button are looked at this often."""
_RATE_WINDOW = 50
"""Frames over which the rate in the title is taken."""
_TITLE_SECONDS = 0.5
_MOST_FRAMES = 250
"""Frames kept from the engine, at most; the oldest fall out. Only a stalled screen gets there."""


_MOST_GAPS = 10_000
"""Blocks that the engine may refuse in one run before the picture loses its place."""


class AudioSource(Protocol):
    """Where sound comes from."""

    rate: int

    def take(self, now: float, /) -> list[Pcm]:
        """Return the blocks that have come in since the last call, each mono int16."""
        ...

    def phones(self) -> list[Phone]:
        """Return what is spoken when in what ``take`` gave since, in samples from the start."""
        ...

    def ended(self) -> bool:
        """Return whether no more will come."""
        ...


class AudioSink(Protocol):
    """Where sound goes to."""

    def wanted(self, now: float, /) -> int:
        """Return how many samples it can take now."""
        ...

    def play(self, pcm: Pcm, /) -> None:
        """Take (n,) int16."""
        ...

    def heard(self, now: float, /) -> int:
        """Return how many of the samples played have left it."""
        ...


class Screen(Protocol):
    """Where pictures go to."""

    def show(self, image: Image, /) -> None:
        """Show a (H, W, 3) uint8 BGR picture."""
        ...

    def set_title(self, title: str, /) -> None:
        """Set the title."""
        ...

    def closed(self) -> bool:
        """Appearance at keys and mouse; return whether the user wants to leave."""
        ...


class FedSession(Protocol):
    """The engine's side: ``lipstream.live.session.SessionHandle`` is one."""

    def feed(self, pcm: Pcm, /) -> bool:
        """Hand over sound; return False when it was refused."""
        ...

    def know(self, phones: Sequence[Phone], /) -> None:
        """Hand over phones known beforehand, before the sound they are in."""
        ...

    def flush(self) -> None:
        """End the sound."""
        ...

    @property
    def look_ahead_ms(self) -> float:
        """Sound the model needs past the start of a frame."""
        ...


@dataclass(frozen=True, slots=True)
class PlaybackDevices:
    """What is played to and from."""

    source: AudioSource
    speaker: AudioSink
    screen: Screen


@dataclass(frozen=True, slots=True)
class PlaybackStats:
    """What a run came to."""

    shown: int
    """Pictures shown."""
    skipped: int
    """Pictures that came too late to be shown."""
    delay_ms: float
    """From sound in to sound and picture out."""


@dataclass(frozen=True, slots=True)
class _Gap:
    """Sound that a busy engine refused: heard, but not spoken by the face."""

    at: int
    """Samples the engine had taken before."""
    samples: int


@dataclass(frozen=True, slots=True)
class PacerStats:
    """What went other than planned, since the session began."""

    repeated_pictures: int
    """Pictures shown again because the next one was late."""
    skipped_pictures: int
    """Pictures that came so late that the next one was due as well."""
    silent_samples: int
    """Samples of silence put in because no sound was there."""
    waiting_ms: float
    """Sound that came in and is yet to be heard."""


class Pacer:
    """Hold sound and pictures until they are due. One thread (or one event loop) uses it.

    Bounds: ``hear`` keeps what is not yet played, which is ``delay_ms`` of sound when sound comes
    in as fast as it is played; whoever feeds faster than real time must pace himself.
    """

    def __init__(
        self, *, rate: int, delay_ms: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make a pacer for sound at ``rate`` Hz.

        ``delay_ms`` must cover the model's look-ahead and the making of a frame.
        """
        self._rate, self._clock, self._delay = rate, clock, delay_ms / 1000
        self._repeated = self._skipped = self._silent = 0
        self.reset()

    def reset(self) -> None:
        """Throw away what waits; the next sound is sample 0 and begins a new schedule."""
        self._frames: deque[AvFrame] = deque()
        self._sound = SoundQueue()
        self._begin: float | None = None
        self._shown: AvFrame | None = None

    def hear(self, pcm: Pcm) -> None:
        """Add (n,) int16, the same that the engine is fed, as it comes in. It is not copied."""
        if self._begin is None:
            self._begin = self._clock() + self._delay
        self._sound.put(pcm)

    def push(self, frame: AvFrame) -> None:
        """Add the next frame that the engine made."""
        self._frames.append(frame)

    @property
    def started(self) -> bool:
        """Whether sound has come, so that ``due`` has a meaning."""
        return self._begin is not None

    def due(self, sample: int) -> float:
        """Return the clock's time in seconds at which a session sample is to be heard."""
        assert self._begin is not None, "no sound yet"
        return self._begin + sample / self._rate

    def sound(self, count: int) -> Pcm:
        """Take the next ``count`` samples: new int16, silence where none is there."""
        out = np.empty(count, np.int16)
        self._silent += count - self._sound.take(out)
        return out

    def picture(self, sample: int) -> AvFrame | None:
        """Return the frame to show at a session sample; None before the first one has come."""
        due = 0
        while self._frames and self._frames[0].start_sample <= sample:
            self._shown = self._frames.popleft()
            due += 1
        self._skipped += max(0, due - 1)
        self._repeated += due == 0 and self._shown is not None
        return self._shown

    def stats(self) -> PacerStats:
        """Return the counters."""
        waiting_ms = len(self._sound) * 1000 / self._rate
        return PacerStats(self._repeated, self._skipped, self._silent, waiting_ms)


class Playback:
    """One run of the window. ``arrive`` may be called on any thread, the rest on one."""

    def __init__(
        self, devices: PlaybackDevices, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._devices, self._clock = devices, clock
        self._wake = threading.Event()
        self._arrived: deque[AvFrame] = deque(maxlen=_MOST_FRAMES)
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._shown, self._shown_count, self._titled = -1, 0, 0.0
        self._fed = self._given = self._taken = 0
        self._gaps: deque[_Gap] = deque(maxlen=_MOST_GAPS)
        self._flushed = False

    def arrive(self, frame: AvFrame) -> None:
        """Take a frame from the engine. Engine thread."""
        self._arrived.append(frame)
        self._wake.set()

    def run(self, session: FedSession, delay_ms: float | None = None) -> PlaybackStats:
        """Show until the user leaves or the sound has ended and been heard.

        ``delay_ms`` from sound in to sound out; None for the look-ahead and a little more.
        """
        begin = self.begin(session, delay_ms)
        while self.step(session, begin):
            self._wake.wait(_WAKE_SECONDS)
            self._wake.clear()
        return PlaybackStats(self._shown_count, begin.stats().skipped_pictures, self._delay_ms)

    def begin(self, session: FedSession, delay_ms: float | None = None) -> Pacer:
        """Return the pacer of a run that is about to begin."""
        self._delay_ms = session.look_ahead_ms + MAKING_MS if delay_ms is None else delay_ms
        return Pacer(rate=self._devices.source.rate, delay_ms=self._delay_ms, clock=self._clock)

    def step(self, session: FedSession, pacer: Pacer) -> bool:
        """Move everything that is due; return whether to go on."""
        now = self._clock()
        self._listen(session, pacer, now)
        while self._arrived:
            pacer.push(self._on_time(self._arrived.popleft()))
        heard = self._play(pacer, now)
        if heard is not None:
            self._look(pacer, heard, now)
        over = self._flushed and (heard is None or heard >= self._fed)
        return not over and not self._devices.screen.closed()

    def _listen(self, session: FedSession, pacer: Pacer, now: float) -> None:
        blocks = self._devices.source.take(now)
        phones = self._devices.source.phones()
        if phones:
            refused = self._fed - self._taken
            session.know([phone.later(-refused) for phone in phones])
        for block in blocks:
            if session.feed(block):
                self._taken += len(block)
            else:
                self._gaps.append(_Gap(self._taken, len(block)))
            pacer.hear(block)
            self._fed += len(block)
        if self._devices.source.ended() and not self._flushed:
            self._flushed = True
            session.flush()

    def _on_time(self, frame: AvFrame) -> AvFrame:
        """Return the frame at its place in what is heard: sound the engine refused moves it."""
        missed = sum(gap.samples for gap in self._gaps if gap.at <= frame.start_sample)
        return replace(frame, start_sample=frame.start_sample + missed) if missed else frame

    def _play(self, pacer: Pacer, now: float) -> int | None:
        """Keep the loudspeaker filled; return how much of the session has been heard."""
        if not pacer.started or now < pacer.due(0):
            return None
        speaker = self._devices.speaker
        left = self._fed - self._given if self._flushed else sys.maxsize
        wanted = min(speaker.wanted(now), left)
        if wanted > 0:
            silent = pacer.stats().silent_samples
            speaker.play(pacer.sound(wanted))
            self._given += wanted - (pacer.stats().silent_samples - silent)
        return speaker.heard(now) - pacer.stats().silent_samples

    def _look(self, pacer: Pacer, heard: int, now: float) -> None:
        frame = pacer.picture(heard) if heard >= 0 else None
        if frame is not None and frame.index != self._shown:
            self._shown = frame.index
            self._shown_count += 1
            self._times.append(now)
            self._devices.screen.show(frame.image)
        if now - self._titled >= _TITLE_SECONDS:
            self._titled = now
            self._devices.screen.set_title(self._title())

    def _title(self) -> str:
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        rate = (len(self._times) - 1) / span if span > 0 else 0.0
        return f"lipstream · {rate:.1f} fps · delay {self._delay_ms:.0f} ms"
