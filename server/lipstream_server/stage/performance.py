"""An avatar that hears and speaks: intake, engine session, schedule and the two tracks."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lipstream import Avatar, AvFrame, Pacer, Worker
from lipstream.live.session import MOST_LATE_MS
from lipstream.types import Pcm
from lipstream_server.stage.input_buffer import Cue, Intake, IntakePolicy
from lipstream_server.stage.messages import Stats
from lipstream_server.webrtc import aiortc_setup
from lipstream_server.webrtc.playout import Picture, Playout, Sound
from lipstream_server.webrtc.sample_clock import RATE, Timeline, milliseconds, samples
from lipstream_server.webrtc.tracks import PictureTrack, SoundTrack

FPS = Fraction(25)
POLICY = IntakePolicy(
    idle_lag=samples(30),
    patience=samples(70),
    live_queue=samples(200),
    speech_queue=samples(60_000),
)
UNEVEN_MS = 40.0
"""How much later than while idle sound may come: patience less idle lag."""
MAKING_MS = 60.0
"""From the last sound a frame needs to its being due: room for the engine and the event loop."""
TICK_SECONDS = 0.02
"""How often sound is taken in before anything plays."""
SPEAKING = 0.5
"""Openness from which the avatar counts as speaking."""
_MARKS = 512


@dataclass(frozen=True, slots=True)
class _Fed:
    """When a block of sound went to the engine."""

    sample: int
    at: float


class Performance:
    """One session of the engine, played on two tracks. The event loop's, but for the callback."""

    def __init__(
        self, worker: Worker, avatar: Avatar, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open a session of ``worker``; blocks until that is done, its avatar prepared.

        Raises ServerError when all of the worker's places are taken.
        """
        self.sound, self.pictures = SoundTrack(), PictureTrack()
        self.on_speaking: Callable[[bool], None] = lambda _: None
        """Called when the avatar begins (True) and ends to speak."""
        self.on_cue: Callable[[Cue], None] = lambda _: None
        """Called with each cue as its sample is heard."""
        self.narrated = False
        """Whether a text is being spoken: live sound is ignored meanwhile."""
        self._cues: deque[Cue] = deque()
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._intake = Intake(POLICY)
        self._came_in = Timeline(clock(), aiortc_setup.ntp_now())
        self._played: Timeline | None = None
        self._fed: deque[_Fed] = deque(maxlen=_MARKS)
        self._speaking = False
        self.delay_ms = 0.0
        """From the newest sound shown coming in to its being shown."""
        self._counted = (clock(), 0)
        self._session = worker.open_session(
            avatar, rate=RATE, fps=FPS, on_frame=self._from_engine, most_late_ms=MOST_LATE_MS
        )
        delay_ms = self._session.look_ahead_ms + UNEVEN_MS + MAKING_MS
        self._pacer = Pacer(rate=RATE, delay_ms=delay_ms, clock=clock)
        self._playout = Playout(self._pacer, FPS)

    def hear(self, pcm: Pcm) -> None:
        """Take (n,) int16 of live sound at 48 kHz."""
        if not self.narrated:
            self._intake.hear(pcm)
        self._feed()

    def speak(self, pcm: Pcm) -> bool:
        """Take (n,) int16 at 48 kHz to be spoken in its own time; False when the queue is full."""
        return self._intake.speak(pcm)

    def narrate(self, pcm: Pcm, cues: Sequence[Cue]) -> None:
        """Take the next (n,) int16 of a text. With ``speech_waiting`` kept low there is room."""
        fits = self._intake.speak(pcm, cues)
        assert fits, "narrated further ahead than the queue is long"
        self._feed()

    @property
    def speech_waiting(self) -> int:
        """Samples that wait to be spoken."""
        return self._intake.speech_queued

    def interrupt(self) -> None:
        """Forget what waits to be spoken; what the engine already holds, 0.3 s, is still said."""
        self._intake.interrupt()
        self._cues.clear()

    async def run(self) -> None:
        """Feed sound and play what is due, until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._came_in = Timeline(self._clock(), aiortc_setup.ntp_now())
        while True:
            self._feed()
            for item in self._playout.play(self._clock()):
                self._put(item)
            self._give_cues()
            due = self._playout.next_due
            wait = TICK_SECONDS if due is None else min(due - self._clock(), TICK_SECONDS)
            await asyncio.sleep(max(0.0, wait))

    def close(self) -> None:
        """End the engine's session and both tracks. Closing twice is fine."""
        self._session.close()
        self.sound.stop()
        self.pictures.stop()

    def sound_ntp(self, ticks: int) -> int:
        """Return when sound with a timestamp of its track is due, as NTP time."""
        return self._schedule().ntp(self.sound.sample_of(ticks))

    def picture_ntp(self, ticks: int) -> int:
        """Return when the picture with a timestamp of its track is due, as NTP time."""
        return self._schedule().ntp(self.pictures.sample_of(ticks))

    @property
    def picture_count(self) -> int:
        """Pictures played, repeats included."""
        return self._playout.pictures

    @property
    def repeated_count(self) -> int:
        """Pictures played again because the next was late."""
        return self._pacer.stats().repeated_pictures

    @property
    def dropped_samples(self) -> int:
        """Live sound lost because too much waited."""
        return self._intake.dropped

    def stats(self) -> Stats:
        """Return how the time since the last call went."""
        now, pictures = self._clock(), self.picture_count
        before, counted = self._counted
        self._counted = (now, pictures)
        return Stats(
            fps=(pictures - counted) / max(now - before, 1e-3),
            delay_ms=self.delay_ms,
            repeated=self.repeated_count,
            lost=self.pictures.lost,
            queue_ms=milliseconds(self._intake.queued),
            dropped_ms=milliseconds(self.dropped_samples),
        )

    def _feed(self) -> None:
        now = self._clock()
        at = self._intake.fed
        for pcm in self._intake.take(self._came_in.sample(now)):
            self._session.feed(pcm)
            self._pacer.hear(pcm)
            self._fed.append(_Fed(at, now))
            at += len(pcm)
        self._cues += self._intake.take_cues()

    def _give_cues(self) -> None:
        while self._cues and self._pacer.due(self._cues[0].sample) <= self._clock():
            self.on_cue(self._cues.popleft())

    def _from_engine(self, frame: AvFrame) -> None:
        """Pass a frame on to the event loop. Called on an engine's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pacer.push, frame)

    def _put(self, item: Sound | Picture) -> None:
        if isinstance(item, Sound):
            self.sound.put(item)
            return
        self.pictures.put(item)
        while len(self._fed) > 1 and self._fed[1].sample <= item.frame.start_sample:
            self._fed.popleft()
        if self._fed:
            self.delay_ms = (self._clock() - self._fed[0].at) * 1000
        if (speaking := item.frame.openness >= SPEAKING) != self._speaking:
            self._speaking = speaking
            self.on_speaking(speaking)

    def _schedule(self) -> Timeline:
        """Return the schedule on which both tracks play; there is one once a frame has come."""
        if self._played is None:
            begun = self._pacer.due(0)
            ago = int((self._clock() - begun) * (1 << 32))
            self._played = Timeline(begun, aiortc_setup.ntp_now() - ago)
        return self._played
