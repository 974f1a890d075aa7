"""How many sessions one engine serves at 25 frames a second before a deadline is missed."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from lipstream_bench.live import LiveEngine, expected_frames, live_engines, run_live
from lipstream_bench.report import Report, Row
from lipstream_bench.subject import BLOCK_MS, Settings

METHOD = (
    f"n sessions, evenly spread in time, are fed {BLOCK_MS} ms blocks at 48 kHz on the real clock"
    " by one thread of the same process; n doubles until a picture leaves the engine later than"
    " {deadline:g} ms after the last sample it needs, then the limit is searched by halving."
    " A level holds when no deadline is missed in {seconds:g} s (one second try: other programs"
    " run too). {lanes} frames are made at once at most. Rows give the delay beyond the look-ahead"
    " over all sessions of a level; CPU ms a frame is the processor time of the whole program, the"
    " feeding thread included, at the limit. Encoding and sending are not included"
)
MOST_SESSIONS = 64


@dataclass(frozen=True, slots=True)
class Level:
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
    rows: list[Row] = []
    summary: dict[str, float] = {}
    subject, lanes = None, 1
    for engine in live_engines(settings, capacity=MOST_SESSIONS):
        subject, name, lanes = engine.subject, engine.backend, engine.worker.lanes
        limit, levels = _search(engine, settings)
        summary[f"{name}: sessions at {float(engine.timing.fps):g} fps"] = limit
        if limit > 0:
            summary[f"{name}: CPU ms a frame at that"] = round(levels[limit].cpu_ms, 2)
        rows += [
            Row.of(
                name, "1 session" if count == 1 else f"{count} sessions", levels[count].delays_ms
            )
            for count in sorted(levels)
            if levels[count].delays_ms
        ]
    assert subject is not None, "there is at least one backend"
    method = METHOD.format(deadline=settings.deadline_ms, seconds=settings.seconds, lanes=lanes)
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


def _search(engine: LiveEngine, settings: Settings) -> tuple[int, dict[int, Level]]:
    """Return the limit of one engine, and what came of every number tried."""
    levels: dict[int, Level] = {}

    def holds(count: int) -> bool:
        for _ in range(2):
            levels[count] = _measure_level(engine, count, settings.seconds)
            if levels[count].holds(settings.deadline_ms):
                return True
        return False

    return search_limit(holds), levels


def _measure_level(engine: LiveEngine, count: int, seconds: float) -> Level:
    begun = time.process_time()
    sessions = run_live(engine, count, seconds)
    cpu_ms = (time.process_time() - begun) * 1000
    delays = [one.beyond_look_ahead_ms for session in sessions for one in session.times()]
    expected = expected_frames(engine.timing, seconds)
    lost = sum(max(0, expected - len(session.out)) for session in sessions)
    made = sum(len(session.out) for session in sessions)
    return Level(count, delays, lost, cpu_ms / max(made, 1))
