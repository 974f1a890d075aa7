"""Sound in to picture out, through the live engine in real time."""

from lipstream_bench.live import expected_frames, live_engines, run_live
from lipstream_bench.report import Report, Row
from lipstream_bench.subject import BLOCK_MS, Settings

METHOD = (
    f"one session of the engine thread is fed {BLOCK_MS} ms blocks at 48 kHz on the real clock,"
    " each handed over when its last sample would have been spoken. 'look-ahead': from a frame's"
    " own first sample to the last sample its mel window needs. 'beyond look-ahead': from that last"
    " sample to the finished picture leaving the engine; it holds the wait for the rest of the"
    f" block (0 to {BLOCK_MS} ms), resampling, queueing, mel, network and paste. 'total': both"
)


def measure_latency(settings: Settings) -> Report:
    """Measure the delay in every backend asked for."""
    rows: list[Row] = []
    summary: dict[str, float] = {}
    subject = None
    for engine in live_engines(settings, capacity=1):
        subject, name = engine.subject, engine.backend
        session = run_live(engine, 1, settings.seconds)[0]
        times = session.times()
        rows += [
            Row.of(name, "look-ahead", [one.look_ahead_ms for one in times]),
            Row.of(name, "beyond look-ahead", [one.beyond_look_ahead_ms for one in times]),
            Row.of(name, "total", [one.total_ms for one in times]),
        ]
        summary[f"{name}: frames a second"] = round(_rate([one.out_s for one in times]), 2)
        expected = expected_frames(engine.timing, settings.seconds)
        summary[f"{name}: frames lost"] = max(0, expected - len(session.out))
    assert subject is not None, "there is at least one backend"
    return Report("latency", METHOD, subject, tuple(rows), summary)


def _rate(times_s: list[float]) -> float:
    span = times_s[-1] - times_s[0] if len(times_s) > 1 else 0.0
    return (len(times_s) - 1) / span if span > 0 else 0.0
