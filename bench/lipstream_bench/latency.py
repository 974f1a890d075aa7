"""Sound in to picture out, through the live engine in real time."""

import time

from lipstream.lips import LipSync, Options
from lipstream_bench.live import expected_frames, live_engines, run_live
from lipstream_bench.report import Report, Row
from lipstream_bench.subject import BLOCK_MS, FPS, RATE, Settings, speech_like

METHOD = (
    f"one session of the engine thread is fed {BLOCK_MS} ms blocks at 48 kHz on the real clock,"
    " each handed over when its last sample would have been spoken. 'look-ahead': from a frame's"
    " own first sample to the last sample its mel window needs. 'beyond look-ahead': from that last"
    " sample to the finished picture leaving the engine; it holds the wait for the rest of the"
    f" block (0 to {BLOCK_MS} ms), resampling, queueing, mel, network and paste. 'total': both."
    " 'opening to first frame': in a program that has loaded its libraries, from nothing to the"
    " first finished picture: model and avatar read and checked, every face of the avatar prepared,"
    " one frame made"
)
_OPENINGS = 3


def measure_latency(settings: Settings) -> Report:
    """Measure the delay in every backend asked for."""
    rows: list[Row] = []
    summary: dict[str, float] = {}
    subject = None
    for engine, asked in zip(live_engines(settings, 1), settings.backends, strict=True):
        subject, name = engine.subject, engine.backend
        openings = [_open_to_first_frame(settings, asked) for _ in range(_OPENINGS)]
        session = run_live(engine, 1, settings.seconds)[0]
        times = session.times()
        rows += [
            Row.of(name, "look-ahead", [one.look_ahead_ms for one in times]),
            Row.of(name, "beyond look-ahead", [one.beyond_look_ahead_ms for one in times]),
            Row.of(name, "total", [one.total_ms for one in times]),
            Row.of(name, "opening to first frame", openings),
        ]
        summary[f"{name}: frames a second"] = round(_rate([one.out_s for one in times]), 2)
        expected = expected_frames(engine.timing, settings.seconds)
        summary[f"{name}: frames lost"] = max(0, expected - len(session.out))
    assert subject is not None, "there is at least one backend"
    return Report("latency", METHOD, subject, tuple(rows), summary)


def _open_to_first_frame(settings: Settings, backend: str) -> float:
    """Return the milliseconds from nothing to the first picture."""
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
    begun = time.perf_counter()
    with LipSync.open(options) as lips:
        next(lips.stream(sound))
        return (time.perf_counter() - begun) * 1000


def _rate(times_s: list[float]) -> float:
    span = times_s[-1] - times_s[0] if len(times_s) > 1 else 0.0
    return (len(times_s) - 1) / span if span > 0 else 0.0
