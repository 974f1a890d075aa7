"""What the server says of itself to a monitoring system: Prometheus text, format 0.0.4."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lipstream_server.stage.schedule import milliseconds
from lipstream_server.webrtc.peers import PeerSessions


@dataclass(slots=True)
class Counts:
    """What happened since the server started. The event loop's."""

    finished: int = 0
    """Films made."""
    failed: int = 0
    """Films that could not be made, each try counted."""
    film_seconds: float = 0.0
    """Length of the films made."""
    received_bytes: int = 0
    """Files that visitors sent and that could be used."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How a studio stands at one moment."""

    waiting: int
    """Films that wait."""
    working: int
    """Films being made: 0 or 1."""
    counts: Counts
    kept_bytes: int
    """Room that all files take on the disk."""


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files under a folder, those of several names once."""
    sizes: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = Path(place, name).lstat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


_Metric = tuple[str, str, str, float]
"""Name, kind, what it says, value."""


def render(sessions: PeerSessions, studio: Figures) -> str:
    """Return all metrics as text."""
    return "".join(
        f"# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {value:.15g}\n"
        for name, kind, about, value in (*_of_sessions(sessions), *_of_studio(studio))
    )


def _of_sessions(sessions: PeerSessions) -> Iterator[_Metric]:
    totals = sessions.totals()
    dropped_s = milliseconds(totals.dropped) / 1000
    delay_s = max((session.live_avatar.delay_ms for session in sessions), default=0.0) / 1000
    capacity = sessions.worker.capacity
    yield "lipstream_sessions", "gauge", "PeerSessions open now.", len(sessions)
    yield "lipstream_session_capacity", "gauge", "PeerSessions served at once.", capacity
    yield "lipstream_sessions_opened_total", "counter", "PeerSessions opened.", sessions.opened
    yield "lipstream_sessions_refused_total", "counter", "Offers refused: full.", sessions.refused
    yield "lipstream_pictures_total", "counter", "Pictures sent, repeats included.", totals.pictures
    yield "lipstream_pictures_repeated_total", "counter", "Pictures sent again.", totals.repeated
    about = "Live sound lost because too much waited."
    yield "lipstream_sound_dropped_seconds_total", "counter", about, dropped_s
    yield "lipstream_delay_seconds", "gauge", "Longest delay of a session.", delay_s


def _of_studio(studio: Figures) -> Iterator[_Metric]:
    counts = studio.counts
    yield "lipstream_studio_films_waiting", "gauge", "Films that wait.", studio.waiting
    yield "lipstream_studio_films_working", "gauge", "Films in work.", studio.working
    yield "lipstream_studio_films_finished_total", "counter", "Films made.", counts.finished
    yield "lipstream_studio_films_failed_total", "counter", "Films that failed.", counts.failed
    about = "Length of films made."
    yield "lipstream_studio_film_seconds_total", "counter", about, counts.film_seconds
    about = "Files taken in."
    yield "lipstream_studio_received_bytes_total", "counter", about, counts.received_bytes
    yield "lipstream_studio_kept_bytes", "gauge", "Room taken on the disk.", studio.kept_bytes
