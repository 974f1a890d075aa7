"""What the server says of itself to a monitoring system: Prometheus text, format 0.0.4."""

from collections.abc import Iterator

from lipstream_server.sessions import Sessions
from lipstream_server.timeline import milliseconds

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(sessions: Sessions) -> str:
    """Return all metrics as text."""
    return "".join(_lines(sessions))


def _lines(sessions: Sessions) -> Iterator[str]:
    totals = sessions.totals()
    yield from _metric("lipstream_sessions", "gauge", "Sessions open now.", len(sessions))
    yield from _metric(
        "lipstream_session_capacity", "gauge", "Sessions served at once.", sessions.worker.capacity
    )
    yield from _metric(
        "lipstream_sessions_opened_total", "counter", "Sessions opened.", sessions.opened
    )
    yield from _metric(
        "lipstream_sessions_refused_total", "counter", "Offers refused: full.", sessions.refused
    )
    yield from _metric(
        "lipstream_pictures_total", "counter", "Pictures sent, repeats included.", totals.pictures
    )
    yield from _metric(
        "lipstream_pictures_repeated_total", "counter", "Pictures sent again.", totals.repeated
    )
    yield from _metric(
        "lipstream_sound_dropped_seconds_total",
        "counter",
        "Live sound lost because too much waited.",
        milliseconds(totals.dropped) / 1000,
    )
    delay = max((session.performance.delay_ms for session in sessions), default=0.0)
    yield from _metric(
        "lipstream_delay_seconds", "gauge", "Longest delay of a session.", delay / 1000
    )


def _metric(name: str, kind: str, about: str, value: float) -> Iterator[str]:
    yield f"# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {value:g}\n"
