"""The data channel's words: JSON texts both ways, and raw sound in.

in    {"type": "speak", "rate": 24000}     then binary messages: int16 little-endian mono
      {"type": "speak", "text": "Hello."}  a text to be spoken, after those sent before; also
                                           "voice": its name, "id": comes back with its events
      {"type": "voices"}                   which voices are there?
      {"type": "interrupt"}                forget what waits to be spoken
out   {"type": "state", "state": "idle" | "speaking"}
      {"type": "stats", "fps": 25.0, ...}  once a second, the fields of `Stats`
      {"type": "error", "message": "..."}  what came in could not be used; the session goes on;
                                           with the "id" of a text that cannot be spoken (further)
      {"type": "text", "id": 1, "state": "begun" | "ended" | "interrupted"}
      {"type": "sentence" | "word", "id": 1, "start": 0, "stop": 5, "text": "Hello"}
                                           as it is heard; start and stop count characters of the
                                           text (code points); words from voices that know them
      {"type": "voices", "provider": "espeak-ng", "voice": "en-us",
       "voices": [{"name": "ar", "language": "ar", "title": "Arabic"}, ...]}
                                           with an "error" when there are none
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np

from lipstream.audio.resampler import check_rate
from lipstream.errors import InputError
from lipstream.speech import Mark, SpeechSettings, VoiceCard
from lipstream.types import Pcm

LARGEST_TEXT = 20_000
"""Characters of a text message; more is refused unread."""
LONGEST_NAME = 200
"""Characters of a voice's name, and of a text's id."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Sound follows, to be spoken."""

    rate: int
    """Its samples a second."""


@dataclass(frozen=True, slots=True)
class SpeakText:
    """A text, to be spoken."""

    text: str
    voice: str | None = None
    """None for the server's default one."""
    name: str | int | None = None
    """The sender's id of it."""


@dataclass(frozen=True, slots=True)
class AskVoices:
    """Which voices are there?"""


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


Message = Speak | SpeakText | AskVoices | Interrupt
_Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
_ExactInteger = Annotated[int, msgspec.Meta(gt=-(1 << 53), lt=1 << 53)]
"""A whole number that JavaScript keeps as it is."""


class _SpeakMessage(msgspec.Struct, tag_field="type", tag="speak", frozen=True):
    text: str | msgspec.UnsetType = msgspec.UNSET
    rate: int | None = None
    voice: _Name | None = None
    id: _Name | _ExactInteger | None = None


class _VoicesMessage(msgspec.Struct, tag_field="type", tag="voices", frozen=True):
    pass


class _InterruptMessage(msgspec.Struct, tag_field="type", tag="interrupt", frozen=True):
    pass


_DECODER = msgspec.json.Decoder(_SpeakMessage | _VoicesMessage | _InterruptMessage)
_RATE = "speak needs a text, or the sound's rate: a whole number of samples a second"
_SENTENCES = {
    "`$.text`": "speak needs its text as a string",
    "`$.rate`": _RATE,
    "`$.voice`": "speak takes a voice by its name: a string",
    "`$.id`": "speak takes an id that is a short string or a whole number",
}
"""Where msgspec finds something wrong -> what the peer is told."""


def parse_text(text: str) -> Message:
    """Read a text message; raise InputError saying what is wrong with it."""
    if len(text) > LARGEST_TEXT:
        raise InputError(f"message of {len(text)} characters: send {LARGEST_TEXT} at most")
    try:
        message = _DECODER.decode(text)
    except msgspec.ValidationError as error:
        where = str(error).rpartition(" - at ")[2]
        otherwise = "message has no known type: send speak, voices or interrupt"
        raise InputError(_SENTENCES.get(where, otherwise)) from None
    except (ValueError, RecursionError):  # msgspec's other errors are ValueErrors
        raise InputError("message is not JSON: send an object with a type") from None
    if isinstance(message, _InterruptMessage):
        return Interrupt()
    if isinstance(message, _VoicesMessage):
        return AskVoices()
    if isinstance(message.text, str):
        return SpeakText(message.text, message.voice or None, message.id)
    if message.rate is None:
        raise InputError(_RATE)
    return Speak(check_rate(message.rate))


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


def error_event(error: Exception, name: str | int | None = None) -> str:
    """Return the text that says what was wrong, and with which text."""
    text = {} if name is None else {"id": name}
    return json.dumps({"type": "error", "message": str(error), **text})


def text_event(order: SpeakText, state: Literal["begun", "ended", "interrupted"]) -> str:
    """Return the text that says how far a text is."""
    return json.dumps({"type": "text", "id": order.name, "state": state})


def mark_event(order: SpeakText, mark: Mark) -> str:
    """Return the text that says which sentence or word begins."""
    where = {"start": mark.start, "stop": mark.stop, "text": order.text[mark.start : mark.stop]}
    return json.dumps({"type": mark.kind, "id": order.name, **where})


def voices_event(
    settings: SpeechSettings, voices: Sequence[VoiceCard], error: str | None = None
) -> str:
    """Return the text that lists voices, or says why there are none."""
    listed = [asdict(voice) for voice in voices]
    fields = {"provider": settings.provider, "voice": settings.voice, "voices": listed}
    why = {} if error is None else {"error": error}
    return json.dumps({"type": "voices", **fields, **why})
