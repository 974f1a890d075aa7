"""Sound in to picture out, through the live engine in real time; and what opening costs."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lipstream.live.lipsync import LipSync, Options
from lipstream_bench.live import expected_frames, live_engines, run_live
from lipstream_bench.report import Report, Row
from lipstream_bench.subject import BLOCK_MS, FPS, RATE, Settings, speech_like

METHOD = (
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
    rows: list[Row] = []
    summary: dict[str, float] = {}
    subject = None
    for engine, asked in zip(live_engines(settings, 1), settings.backends, strict=True):
        subject, name = engine.subject, engine.backend
        openings = _openings(settings, asked)
        session = run_live(engine, 1, settings.seconds)[0]
        times = session.times()
        rows += [
            Row.of(name, "look-ahead", [one.look_ahead_ms for one in times]),
            Row.of(name, "beyond look-ahead", [one.beyond_look_ahead_ms for one in times]),
            Row.of(name, "total", [one.total_ms for one in times]),
            *(Row.of(name, o, [one.milliseconds for one in openings[o]]) for o in openings),
        ]
        for opening, taken in openings.items():
            seconds = statistics.median(one.processor_seconds for one in taken)
            summary[f"{name}: {opening}, {_SECONDS}"] = round(seconds, 4)
        summary[f"{name}: frames a second"] = round(_rate([one.out_s for one in times]), 2)
        expected = expected_frames(engine.timing, settings.seconds)
        summary[f"{name}: frames lost"] = max(0, expected - len(session.out))
    assert subject is not None, "there is at least one backend"
    return Report("latency", METHOD, subject, tuple(rows), summary)


def _openings(settings: Settings, backend: str) -> dict[str, list[_Opening]]:
    """Open with nothing kept, then again and again."""
    with _empty_cache():
        taken = [_open_to_first_frame(settings, backend) for _ in range(1 + _OPENINGS)]
    return {"first opening": taken[:1], "prepared opening": taken[1:]}


@contextmanager
def _empty_cache() -> Iterator[None]:
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
    begun, worked = time.perf_counter(), time.process_time()
    with LipSync.open(options) as lips:
        next(lips.stream(sound))
        wall_ms = (time.perf_counter() - begun) * 1000
        return _Opening(wall_ms, time.process_time() - worked)


def _rate(times_s: list[float]) -> float:
    span = times_s[-1] - times_s[0] if len(times_s) > 1 else 0.0
    return (len(times_s) - 1) / span if span > 0 else 0.0
