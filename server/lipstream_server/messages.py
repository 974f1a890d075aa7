"""The data channel's words: JSON texts both ways, and raw sound in.

in    {"type": "speak", "rate": 24000}     then binary messages: int16 little-endian mono
      {"type": "interrupt"}                forget what waits to be spoken
out   {"type": "state", "state": "idle" | "speaking"}
      {"type": "stats", "fps": 25.0, ...}  once a second, the fields of `Stats`
      {"type": "error", "message": "..."}  what came in could not be used; the session goes on
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

from lipstream.audio import check_rate
from lipstream.errors import InputError
from lipstream.types import Pcm

LARGEST_TEXT = 4096
"""Characters of a text message; more is refused unread."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Sound follows, to be spoken."""

    rate: int
    """Its samples a second."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Forget what waits to be spoken."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How a session did in the last second."""

    fps: float
    """Pictures sent a second, repeats included."""
    delay_ms: float
    """From sound coming in to its being heard and seen, here on the server."""
    repeated: int
    """Pictures sent again because the next was late, since the session began."""
    lost: int
    """Pictures the encoder had no time for, since the session began."""
    queue_ms: float
    """Sound that waits to be fed."""
    dropped_ms: float
    """Sound lost because too much of it waited, since the session began."""


def parse_text(text: str) -> Speak | Interrupt:
    """Read a text message; raise InputError saying what is wrong with it."""
    if len(text) > LARGEST_TEXT:
        raise InputError(f"message of {len(text)} characters: send {LARGEST_TEXT} at most")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("message is not JSON: send an object with a type") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if kind == "interrupt":
        return Interrupt()
    if kind == "speak":
        rate = message.get("rate")
        if not isinstance(rate, int) or isinstance(rate, bool):
            raise InputError("speak needs the sound's rate: a whole number of samples a second")
        return Speak(check_rate(rate))
    raise InputError("message has no known type: send speak or interrupt")


def parse_sound(sent: bytes) -> Pcm:
    """Read a binary message as (n,) int16; raise InputError when it is cut in mid-sample."""
    if len(sent) % 2:
        raise InputError(f"sound of {len(sent)} bytes: send int16, two bytes a sample")
    return np.frombuffer(sent, "<i2").astype(np.int16)


def state_event(speaking: bool) -> str:
    """Return the text that says whether the avatar speaks."""
    return json.dumps({"type": "state", "state": "speaking" if speaking else "idle"})


def stats_event(stats: Stats) -> str:
    """Return the text that carries ``stats``, milliseconds to a tenth."""
    fields = {k: round(v, 1) for k, v in asdict(stats).items()}
    return json.dumps({"type": "stats", **fields})


def error_event(error: Exception) -> str:
    """Return the text that says what was wrong."""
    return json.dumps({"type": "error", "message": str(error)})
