"""An avatar that listens and speaks: audio input, engine session, and the schedule of what is sent.

It knows nothing of WebRTC: what falls due goes to ``on_media``.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lipstream import Avatar, AvFrame, Pacer, Worker
from lipstream.errors import EngineFailed
from lipstream.live.session import MOST_LATE_MS
from lipstream.types import Pcm
from lipstream_server.stage.audio_input import AudioInputBuffer, AudioInputLimits, Cue
from lipstream_server.stage.messages import Stats
from lipstream_server.stage.schedule import (
    RATE,
    AudioBlock,
    Playout,
    SampleClock,
    VideoPicture,
    milliseconds,
    samples,
)

FPS = Fraction(25)
INPUT_LIMITS = AudioInputLimits(
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
"""How often sound is pulled in before anything plays."""
SPEAKING = 0.5
"""Openness from which the avatar counts as speaking."""
STALL_SECONDS = 1.5
"""Time without a frame from which a session counts as stalled: it is fed sound all the time."""
GIVE_UP_SECONDS = 10.0
"""Time without a frame after which a session ends."""
_INPUT_TIMES = 512
"""Blocks of sound whose time of arrival is remembered."""


@dataclass(frozen=True, slots=True)
class _InputTime:
    """When a block of sound went to the engine."""

    sample: int
    at: float


class LiveAvatar:
    """One session of the engine, fed and played. The event loop's, but for the callback."""

    def __init__(
        self, worker: Worker, avatar: Avatar, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open a session of ``worker``; blocks until that is done, its avatar prepared.

        Raises AtCapacity when all of the worker's places are taken, EngineFailed when it is over.
        """
        self.on_media: Callable[[AudioBlock | VideoPicture], None] = lambda _: None
        """Called with each block of sound and each picture as it falls due."""
        self.on_speaking: Callable[[bool], None] = lambda _: None
        """Called when the avatar begins (True) and ends to speak."""
        self.on_cue: Callable[[Cue], None] = lambda _: None
        """Called with each cue as its sample is heard."""
        self.ignores_live = False
        """Whether live sound is ignored: while a text is spoken."""
        self._cues: deque[Cue] = deque()
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._input = AudioInputBuffer(INPUT_LIMITS)
        self._input_clock = SampleClock(clock())
        self._input_times: deque[_InputTime] = deque(maxlen=_INPUT_TIMES)
        self._speaking = False
        self._last_frame_at: float | None = None  # None until it runs
        self.delay_ms = 0.0
        """From the newest sound shown coming in to its being shown."""
        self._counted = (clock(), 0)
        self._session = worker.open_session(
            avatar, rate=RATE, fps=FPS, on_frame=self._from_engine, most_late_ms=MOST_LATE_MS
        )
        delay_ms = self._session.look_ahead_ms + UNEVEN_MS + MAKING_MS
        self._pacer = Pacer(rate=RATE, delay_ms=delay_ms, clock=clock)
        self._playout = Playout(self._pacer, FPS)

    def push_live(self, pcm: Pcm) -> None:
        """Take (n,) int16 of live sound at 48 kHz."""
        if not self.ignores_live:
            self._input.push_live(pcm)
        self._feed()

    def push_speech(self, pcm: Pcm, cues: Sequence[Cue] = ()) -> bool:
        """Take (n,) int16 at 48 kHz to be spoken in its own time, with cues in it.

        Returns False, and takes nothing, when more than ``INPUT_LIMITS.speech_queue`` would wait.
        """
        fits = self._input.push_speech(pcm, cues)
        self._feed()
        return fits

    @property
    def speech_queued(self) -> int:
        """Samples that wait to be spoken."""
        return self._input.speech_queued

    def interrupt(self) -> None:
        """Forget what waits to be spoken; what the engine already holds, 0.3 s, is still spoken."""
        self._input.interrupt()
        self._cues.clear()

    async def run(self) -> None:
        """Feed sound and play what is due, until cancelled.

        Raises EngineFailed when the engine has ended the session, or makes no frames for it.
        """
        self._loop = asyncio.get_running_loop()
        self._input_clock = SampleClock(self._clock())
        self._last_frame_at = self._clock()
        while True:
            if self._session.closed:
                raise EngineFailed(
                    "a picture could not be made by a fault of the server: connect anew"
                )
            if self._seconds_without_frame > GIVE_UP_SECONDS:
                raise EngineFailed("no picture was made for ten seconds: connect anew later")
            self._feed()
            for item in self._playout.play(self._clock()):
                self._send(item)
            self._send_cues()
            due = self._playout.next_due
            wait = TICK_SECONDS if due is None else min(due - self._clock(), TICK_SECONDS)
            await asyncio.sleep(max(0.0, wait))

    @property
    def stalled(self) -> bool:
        """Whether sound goes in and no frames come out."""
        return self._seconds_without_frame > STALL_SECONDS

    @property
    def _seconds_without_frame(self) -> float:
        return 0.0 if self._last_frame_at is None else self._clock() - self._last_frame_at

    def close(self) -> None:
        """End the engine's session. Closing twice is fine."""
        self._session.close()

    def seconds_since(self, sample: int) -> float:
        """Return how long ago a sample fell due; there is a schedule once a frame has come."""
        return self._clock() - self._pacer.due(sample)

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
        return self._input.dropped

    def stats(self, lost: int = 0) -> Stats:
        """Return how the time since the last call went; ``lost`` pictures were never encoded."""
        now, pictures = self._clock(), self.picture_count
        before, counted = self._counted
        self._counted = (now, pictures)
        return Stats(
            fps=(pictures - counted) / max(now - before, 1e-3),
            delay_ms=self.delay_ms,
            repeated=self.repeated_count,
            lost=lost,
            queue_ms=milliseconds(self._input.queued),
            dropped_ms=milliseconds(self.dropped_samples),
        )

    def _feed(self) -> None:
        now = self._clock()
        at = self._input.fed
        for pcm in self._input.pull(self._input_clock.sample(now)):
            self._session.feed(pcm)
            self._pacer.hear(pcm)
            self._input_times.append(_InputTime(at, now))
            at += len(pcm)
        self._cues += self._input.pull_cues()

    def _send_cues(self) -> None:
        while self._cues and self._pacer.due(self._cues[0].sample) <= self._clock():
            self.on_cue(self._cues.popleft())

    def _from_engine(self, frame: AvFrame) -> None:
        """Pass a frame on to the event loop. Called on an engine's thread."""
        if self._last_frame_at is not None:
            self._last_frame_at = self._clock()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pacer.push, frame)

    def _send(self, item: AudioBlock | VideoPicture) -> None:
        self.on_media(item)
        if isinstance(item, AudioBlock):
            return
        times = self._input_times
        while len(times) > 1 and times[1].sample <= item.frame.start_sample:
            times.popleft()
        if times:
            self.delay_ms = (self._clock() - times[0].at) * 1000
        if (speaking := item.frame.openness >= SPEAKING) != self._speaking:
            self._speaking = speaking
            self.on_speaking(speaking)
