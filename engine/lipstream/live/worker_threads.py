"""How the engine of ``lipstream serve`` shares a processor with the encoders."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many frames are made at once on a processor, and why so many."""

    count: int
    threads: int
    """CPU threads that make one frame, 0 for the runtime's own choice."""
    reason: str


def choose_lanes(sessions: int, cores: int) -> Lanes:
    """Return what serves ``sessions`` peers at most on ``cores`` cores.

    One thread a frame does it for less than two do, which wait for each other whenever an encoder
    takes a core.
    """
    if cores == 1:
        return Lanes(1, 1, "there is one core")
    if sessions == 1:
        return Lanes(1, 0, "one session has one frame to make at a time: all cores share it")
    if sessions < cores:
        return Lanes(sessions, 1, f"one for each of {sessions} sessions")
    if cores == 2:
        return Lanes(2, 1, "one for each of 2 cores, which encoding shares")
    return Lanes(cores - 1, 1, f"{cores} cores, one of them left for encoding")
