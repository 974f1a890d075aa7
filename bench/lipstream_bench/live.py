"""``bench latency`` and ``bench sessions``: the live engine, fed in real time as microphones would.

The delay of one session from sound in to picture out and what opening costs; and how many sessions
one engine serves before a deadline is missed.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lipstream.avatar.pack import Avatar
from lipstream.live.lipsync import LipSync, Options
from lipstream.live.session import SessionHandle
from lipstream.live.worker import Worker
from lipstream.machine import usable_cores
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import AvFrame
from lipstream_bench.report import (
    BLOCK_MS,
    FPS,
    RATE,
    Measurement,
    Report,
    Settings,
    Subject,
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


LATENCY_METHOD = (
    f"one session of the engine thread is fed {BLOCK_MS} ms blocks at 48 kHz on the real clock,"
    " each handed over when its last sample would have been spoken. 'look-ahead': from a frame's"
    " own first sample to the last sample its mel window needs. 'beyond look-ahead': from that last"
    " sample to the finished picture leaving the engine; it holds the wait for the rest of the"
    f" block (0 to {BLOCK_MS} ms), resampling, queueing, mel, network and paste. 'total': both."
    " 'first opening' and 'prepared opening': in a program that has loaded its libraries, from"
    " nothing to the first finished picture, without and with the faces of the avatar prepared and"
    " kept by an earlier opening; model and avatar are read and checked in both. Processor time is"
    " that of all threads"
)
_OPENINGS = 3
_SECONDS = "s of processor"


@dataclass(frozen=True, slots=True)
class _Opening:
    """From nothing to the first picture."""

    milliseconds: float
    processor_seconds: float


def measure_latency(settings: Settings) -> Report:
    """Measure the delay in every backend asked for."""
    rows: list[Measurement] = []
    summary: dict[str, float] = {}
    subject = None
    for engine, asked in zip(live_engines(settings, 1), settings.backends, strict=True):
        subject, name = engine.subject, engine.backend
        openings = _openings(settings, asked)
        session = run_live(engine, 1, settings.seconds)[0]
        times = session.times()
        rows += [
            Measurement.of(name, "look-ahead", [one.look_ahead_ms for one in times]),
            Measurement.of(name, "beyond look-ahead", [one.beyond_look_ahead_ms for one in times]),
            Measurement.of(name, "total", [one.total_ms for one in times]),
            *(Measurement.of(name, o, [one.milliseconds for one in openings[o]]) for o in openings),
        ]
        for opening, measured in openings.items():
            seconds = statistics.median(one.processor_seconds for one in measured)
            summary[f"{name}: {opening}, {_SECONDS}"] = round(seconds, 4)
        summary[f"{name}: frames a second"] = round(_rate([one.out_s for one in times]), 2)
        expected = expected_frames(engine.timing, settings.seconds)
        summary[f"{name}: frames lost"] = max(0, expected - len(session.out))
    assert subject is not None, "there is at least one backend"
    return Report("latency", LATENCY_METHOD, subject, tuple(rows), summary)


def _openings(settings: Settings, backend: str) -> dict[str, list[_Opening]]:
    """Open with nothing kept, then again and again."""
    with _empty_cache():
        measured = [_open_to_first_frame(settings, backend) for _ in range(1 + _OPENINGS)]
    return {"first opening": measured[:1], "prepared opening": measured[1:]}


@contextmanager
def _empty_cache() -> Generator[None]:
    """Have what the engine keeps in an empty folder, so that nothing is prepared yet."""
    name = "XDG_CACHE_HOME"
    before = os.environ.get(name)
    with tempfile.TemporaryDirectory(prefix="lipstream-", ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            del os.environ[name]
            if before is not None:
                os.environ[name] = before


def _open_to_first_frame(settings: Settings, backend: str) -> _Opening:
    """Return what it takes from nothing to the first picture."""
    name, _, precision = backend.partition(":")
    options = Options(
        model=settings.model,
        avatar=settings.avatar,
        rate=RATE,
        fps=FPS,
        backend=name,
        threads=settings.threads,
        precision=precision or "fp32",
    )
    sound = speech_like(1.0)
    started, cpu_started = time.perf_counter(), time.process_time()
    with LipSync.open(options) as lips:
        next(lips.stream(sound))
        wall_ms = (time.perf_counter() - started) * 1000
        return _Opening(wall_ms, time.process_time() - cpu_started)


def _rate(times_s: list[float]) -> float:
    span = times_s[-1] - times_s[0] if len(times_s) > 1 else 0.0
    return (len(times_s) - 1) / span if span > 0 else 0.0


SESSIONS_METHOD = (
    f"n sessions, evenly spread in time, are fed {BLOCK_MS} ms blocks at 48 kHz on the real clock"
    " by one thread of the same process; n doubles until a picture leaves the engine later than"
    " {deadline:g} ms after the last sample it needs, then the limit is searched by halving."
    " A level holds when no deadline is missed in {seconds:g} s (one second try: other programs"
    " run too). At most {at_once} frames are made at once. Rows give delays beyond the look-ahead"
    " over all sessions of a level; CPU ms a frame is the processor time of the whole program, the"
    " feeding thread included, at the limit. Encoding and sending are not included"
)
MOST_SESSIONS = 64


@dataclass(frozen=True, slots=True)
class LoadLevel:
    """What came of one number of sessions."""

    count: int
    delays_ms: list[float]
    """Beyond the look-ahead, of every frame."""
    lost: int
    """Frames that never came out."""
    cpu_ms: float = 0.0
    """Processor time of the whole program, for each frame that came out."""

    def holds(self, deadline_ms: float) -> bool:
        """Return whether every frame was in time."""
        return self.lost == 0 and max(self.delays_ms, default=0.0) <= deadline_ms


def measure_sessions(settings: Settings) -> Report:
    """Search the number of sessions in every backend asked for."""
    rows: list[Measurement] = []
    summary: dict[str, float] = {}
    subject, at_once = None, 1
    for engine in live_engines(settings, capacity=MOST_SESSIONS):
        subject, name = engine.subject, engine.backend
        at_once = engine.worker.frame_threads
        limit, levels = _search(engine, settings)
        summary[f"{name}: sessions at {float(engine.timing.fps):g} fps"] = limit
        if limit > 0:
            summary[f"{name}: CPU ms a frame at that"] = round(levels[limit].cpu_ms, 2)
        rows += [
            Measurement.of(
                name, "1 session" if count == 1 else f"{count} sessions", levels[count].delays_ms
            )
            for count in sorted(levels)
            if levels[count].delays_ms
        ]
    assert subject is not None, "there is at least one backend"
    method = SESSIONS_METHOD.format(
        deadline=settings.deadline_ms, seconds=settings.seconds, at_once=at_once
    )
    return Report("sessions", method, subject, tuple(rows), summary)


def search_limit(holds: Callable[[int], bool], most: int = MOST_SESSIONS) -> int:
    """Return the largest number that holds, 0 to ``most``: doubling, then halving the gap."""
    good, bad = 0, 1
    while bad <= most and holds(bad):
        good, bad = bad, bad * 2
    bad = min(bad, most + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def _search(engine: LiveEngine, settings: Settings) -> tuple[int, dict[int, LoadLevel]]:
    """Return the limit of one engine, and what came of every number tried."""
    levels: dict[int, LoadLevel] = {}

    def holds(count: int) -> bool:
        for _ in range(2):
            levels[count] = _measure_level(engine, count, settings.seconds)
            if levels[count].holds(settings.deadline_ms):
                return True
        return False

    return search_limit(holds), levels


def _measure_level(engine: LiveEngine, count: int, seconds: float) -> LoadLevel:
    started = time.process_time()
    sessions = run_live(engine, count, seconds)
    cpu_ms = (time.process_time() - started) * 1000
    delays = [one.beyond_look_ahead_ms for session in sessions for one in session.times()]
    expected = expected_frames(engine.timing, seconds)
    lost = sum(max(0, expected - len(session.out)) for session in sessions)
    made = sum(len(session.out) for session in sessions)
    return LoadLevel(count, delays, lost, cpu_ms / max(made, 1))
