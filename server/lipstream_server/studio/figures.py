"""What the studio says of itself to a monitoring system."""

import os
from dataclasses import dataclass
from pathlib import Path


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


def bytes_under(folder: Path) -> int:
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
