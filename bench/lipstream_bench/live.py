"""Sessions of the live engine, fed in real time as microphones would feed them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lipstream.avatar.pack import Avatar
from lipstream.live.session import SessionHandle
from lipstream.live.worker import Worker
from lipstream.machine import usable_cores
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import AvFrame
from lipstream_bench.report import Subject
from lipstream_bench.subject import (
    BLOCK_MS,
    RATE,
    Settings,
    called,
    describe,
    open_model,
    speech_like,
    timing_of,
)

_WARM_UP_FRAMES = 10
_BLOCK = RATE * BLOCK_MS // 1000


@dataclass(frozen=True, slots=True)
class LiveEngine:
    """An engine thread with the model in one backend, its avatar prepared."""

    worker: Worker
    avatar: Avatar
    timing: Timing
    backend: str
    """Name of the backend, and the precision asked for."""
    subject: Subject


def live_engines(settings: Settings, capacity: int) -> Iterator[LiveEngine]:
    """Yield an engine for each backend asked for, closed when the next one is asked for."""
    avatar = Avatar.open(settings.avatar)
    for backend in settings.backends:
        model = open_model(settings, backend, min(capacity, settings.threads or usable_cores()))
        subject = describe(model, avatar)
        with Worker(model, capacity=capacity) as worker:
            worker.prepare(avatar)
            yield LiveEngine(worker, avatar, timing_of(model), called(model, backend), subject)


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """When one frame could be made and when it was, seconds since its session's sound began."""

    index: int
    start_s: float
    """When the frame's own first sample was spoken."""
    needed_s: float
    """When the last sample that its mel window is a function of was spoken."""
    out_s: float
    """When the finished picture left the engine."""

    @property
    def beyond_look_ahead_ms(self) -> float:
        """From the last sample needed to the picture: what the engine adds."""
        return (self.out_s - self.needed_s) * 1000

    @property
    def total_ms(self) -> float:
        """From the frame's own first sample to the picture."""
        return (self.out_s - self.start_s) * 1000

    @property
    def look_ahead_ms(self) -> float:
        """Sound waited for because the model looks ahead."""
        return (self.needed_s - self.start_s) * 1000


@dataclass(slots=True)
class LiveSession:
    """One session under measurement. ``out`` is filled by the engine thread."""

    timing: Timing
    begin: float
    """The clock's time at which its first sample is spoken."""
    out: list[tuple[int, float]] = field(default_factory=list)
    handle: SessionHandle | None = None

    def block_due(self, block: int) -> float:
        """Return the clock's time at which the last sample of a block is spoken."""
        return self.begin + (block + 1) * BLOCK_MS / 1000

    def times(self) -> list[FrameTimes]:
        """Return the times of its frames after the first ones."""
        return [self._times(index, at - self.begin) for index, at in self.out][_WARM_UP_FRAMES:]

    def _times(self, index: int, out_s: float) -> FrameTimes:
        needed_s = self.timing.mel_span(index).stop / MODEL_RATE
        return FrameTimes(index, self.timing.frame_start(index) / RATE, needed_s, out_s)


def run_live(engine: LiveEngine, count: int, seconds: float) -> list[LiveSession]:
    """Feed ``count`` sessions in blocks of 20 ms for ``seconds`` and return when frames came out.

    A block is handed over when its last sample would have been spoken. The sessions start evenly
    spread over one frame. The last frames, whose sound is not all fed, are not waited for.
    """
    worker, timing = engine.worker, engine.timing
    pcm = speech_like(seconds + 1)
    begin = worker.clock() + 0.05
    spread_s = 1 / float(timing.fps) / count
    sessions = [LiveSession(timing, begin + spread_s * k) for k in range(count)]
    for session in sessions:
        session.handle = worker.open_session(
            engine.avatar, rate=RATE, fps=timing.fps, on_frame=_stamp(session, worker.clock)
        )
    for block, session in turns(sessions, int(seconds * 1000 / BLOCK_MS)):
        _sleep_until(session.block_due(block), worker.clock)
        assert session.handle is not None, "opened above"
        session.handle.feed(pcm[block * _BLOCK : (block + 1) * _BLOCK])
    _sleep_until(worker.clock() + 0.2, worker.clock)
    for session in sessions:
        if session.handle is not None:
            session.handle.close()
    return sessions


def turns(sessions: Sequence[LiveSession], blocks: int) -> list[tuple[int, LiveSession]]:
    """Return whose which block is to be fed next, in the order in which they are spoken."""
    each = [(block, session) for block in range(blocks) for session in sessions]
    return sorted(each, key=lambda turn: turn[1].block_due(turn[0]))


def expected_frames(timing: Timing, seconds: float) -> int:
    """Return how many frames of one session are complete when ``seconds`` have been fed."""
    fed = int(seconds * 1000 / BLOCK_MS) * _BLOCK
    count = 0
    while timing.mel_span(count).stop * RATE // MODEL_RATE + RATE // 100 <= fed:
        count += 1
    return count


def _stamp(session: LiveSession, clock: Callable[[], float]) -> Callable[[AvFrame], None]:
    return lambda frame: session.out.append((frame.index, clock()))


def _sleep_until(when: float, clock: Callable[[], float]) -> None:
    left = when - clock()
    if left > 0:
        time.sleep(left)
