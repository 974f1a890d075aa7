"""What the server says of itself to a monitoring system: Prometheus text, format 0.0.4."""

from collections.abc import Iterator

from lipstream_server.sessions import Sessions
from lipstream_server.studio.figures import Figures
from lipstream_server.timeline import milliseconds

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(sessions: Sessions, studio: Figures) -> str:
    """Return all metrics as text."""
    return "".join((*_of_sessions(sessions), *_of_studio(studio)))


def _of_sessions(sessions: Sessions) -> Iterator[str]:
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


def _of_studio(studio: Figures) -> Iterator[str]:
    counts = studio.counts
    yield from _metric(
        "lipstream_studio_films_waiting", "gauge", "Films that wait.", studio.waiting
    )
    yield from _metric("lipstream_studio_films_working", "gauge", "Films in work.", studio.working)
    yield from _metric(
        "lipstream_studio_films_finished_total", "counter", "Films made.", counts.finished
    )
    yield from _metric(
        "lipstream_studio_films_failed_total", "counter", "Films that failed.", counts.failed
    )
    yield from _metric(
        "lipstream_studio_film_seconds_total",
        "counter",
        "Length of films made.",
        counts.film_seconds,
    )
    yield from _metric(
        "lipstream_studio_received_bytes_total", "counter", "Files taken in.", counts.received_bytes
    )
    yield from _metric(
        "lipstream_studio_kept_bytes", "gauge", "Room taken on the disk.", studio.kept_bytes
    )


def _metric(name: str, kind: str, about: str, value: float) -> Iterator[str]:
    yield f"# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {value:.15g}\n"
