"""The words of a stage: JSON texts both ways, and sound in. The contract is docs/live-api.md.

The same on a data channel and on ``/stages/NAME/speech``; ``clients/lipstream_clients/web`` has
their JSON schemas (``live-api.json``), which a test compares with what is read and written here.

in    {"type": "begin", "id": "a", "rate": 24000, "format": "pcm" | "opus"}
      binary messages: int16 little-endian mono, or an Opus packet each
      {"type": "end"}
      {"type": "speak", "text": "Hello.", "voice": "en-us", "id": 1}
      {"type": "interrupt"}, {"type": "voices"}, {"type": "face", "on": true}
out   stage, floor, state, stats, pictures, clock; started, progress, ended, interrupted, sentence,
      word; error, voices, face
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np

from lipstream.errors import InputError
from lipstream.live.conversation import ConversationEvent
from lipstream.live.playout import ShownPicture
from lipstream.speech import Mark, SpeechSettings, VoiceCard
from lipstream.timing import check_rate
from lipstream.types import Pcm

LARGEST_TEXT = 20_000
"""Characters of a text message; more is refused unread."""
LONGEST_NAME = 200
"""Characters of a voice's name, and of an utterance's id."""
OPUS_RATE = 48_000


@dataclass(frozen=True, slots=True)
class BeginSpeech:
    """Sound follows, to be spoken: one utterance."""

    rate: int
    """Its samples a second."""
    name: str | int | None = None
    """The sender's id of it; None: a number is given."""
    opus: bool = False
    """Whether each binary message is an Opus packet, and no PCM."""


@dataclass(frozen=True, slots=True)
class EndSpeech:
    """The utterance is complete."""


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
    """Silence what is said, and forget what waits to be."""


@dataclass(frozen=True, slots=True)
class WatchFace:
    """Tell how the face stands with each picture, or no more."""

    on: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """How a stage did in the last second."""

    fps: float
    """Pictures shown a second, repeats included."""
    delay_ms: float
    """From sound coming in to its being heard and seen, here on the server."""
    repeated: int
    """Pictures shown again because the next was late, since the stage began."""
    lost: int
    """Pictures the encoders had no time for, since the stage began."""
    queue_ms: float
    """Sound that waits to be said."""
    dropped_ms: float
    """Live sound lost because too much of it waited or it came too late, since the stage began."""


@dataclass(frozen=True, slots=True)
class StageState:
    """Who takes part in a stage."""

    name: str
    avatar: str
    members: int
    """Those who are told events: viewers and speakers."""
    sources: list[str]
    """Names of the live sources, the oldest first."""


@dataclass(frozen=True, slots=True)
class OutputState:
    """How an output does."""

    id: str
    target: str
    """Where it goes, without stream keys and passwords."""
    state: Literal["connecting", "live", "waiting", "ended"] = "connecting"
    """``waiting`` until the next attempt."""
    error: str = ""
    """Why it is not live."""
    begun: int = 0
    """Times it has begun to send."""
    lost: int = 0
    """Pictures that it had no time for."""


StageMessage = BeginSpeech | EndSpeech | SpeakText | AskVoices | Interrupt | WatchFace
_Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
_ExactInteger = Annotated[int, msgspec.Meta(gt=-(1 << 53), lt=1 << 53)]
"""A whole number that JavaScript keeps as it is."""


class _BeginMessage(msgspec.Struct, tag_field="type", tag="begin", frozen=True):
    rate: int = OPUS_RATE
    format: Literal["pcm", "opus"] = "pcm"
    id: _Name | _ExactInteger | None = None


class _EndMessage(msgspec.Struct, tag_field="type", tag="end", frozen=True):
    pass


class _SpeakMessage(msgspec.Struct, tag_field="type", tag="speak", frozen=True):
    text: str | msgspec.UnsetType = msgspec.UNSET
    rate: int | None = None
    voice: _Name | None = None
    id: _Name | _ExactInteger | None = None


class _VoicesMessage(msgspec.Struct, tag_field="type", tag="voices", frozen=True):
    pass


class _InterruptMessage(msgspec.Struct, tag_field="type", tag="interrupt", frozen=True):
    pass


class _FaceMessage(msgspec.Struct, tag_field="type", tag="face", frozen=True):
    on: bool = True


MESSAGES_IN = (
    _BeginMessage | _EndMessage | _SpeakMessage | _VoicesMessage | _InterruptMessage | _FaceMessage
)
_DECODER = msgspec.json.Decoder(MESSAGES_IN)
_RATE = "speak needs a text, or the sound's rate: a whole number of samples a second"
_ID = "an id is a short string or a whole number"
_SENTENCES = {
    "`$.text`": "speak needs its text as a string",
    "`$.rate`": _RATE,
    "`$.voice`": "speak takes a voice by its name: a string",
    "`$.id`": _ID,
    "`$.format`": "begin takes the format pcm (int16, little-endian, mono) or opus",
    "`$.on`": "face takes on as true or false",
}
"""Where msgspec finds something wrong -> what the sender is told."""
_OTHERWISE = "message has no known type: send begin, end, speak, interrupt, voices or face"


def parse_text(text: str) -> StageMessage:
    """Read a text message; raise InputError saying what is wrong with it."""
    if len(text) > LARGEST_TEXT:
        raise InputError(f"message of {len(text)} characters: send {LARGEST_TEXT} at most")
    try:
        message = _DECODER.decode(text)
    except msgspec.ValidationError as error:
        where = str(error).rpartition(" - at ")[2]
        raise InputError(_SENTENCES.get(where, _OTHERWISE)) from None
    except (ValueError, RecursionError):  # msgspec's other errors are ValueErrors
        raise InputError("message is not JSON: send an object with a type") from None
    match message:
        case _BeginMessage():
            opus = message.format == "opus"
            return BeginSpeech(OPUS_RATE if opus else check_rate(message.rate), message.id, opus)
        case _SpeakMessage():
            return _speak(message)
        case _FaceMessage():
            return WatchFace(message.on)
        case _EndMessage():
            return EndSpeech()
        case _VoicesMessage():
            return AskVoices()
        case _:
            return Interrupt()


def _speak(message: _SpeakMessage) -> BeginSpeech | SpeakText:
    if isinstance(message.text, str):
        return SpeakText(message.text, message.voice or None, message.id)
    if message.rate is None:
        raise InputError(_RATE)
    return BeginSpeech(check_rate(message.rate), message.id)


def parse_sound(sent: bytes) -> Pcm:
    """Read a binary message as (n,) int16; raise InputError when it is cut in mid-sample."""
    if len(sent) % 2:
        raise InputError(f"sound of {len(sent)} bytes: send int16, two bytes a sample")
    return np.frombuffer(sent, "<i2").astype(np.int16)


def stage_event(state: StageState, floor: str, holder: str, rights: Sequence[str] = ()) -> str:
    """Return the text that says who takes part, and who has the floor."""
    mine = {"rights": list(rights)} if rights else {}
    fields = {**asdict(state), "floor": floor, "holder": holder}
    return json.dumps({"type": "stage", **fields, **mine})


def floor_event(floor: str, holder: str) -> str:
    """Return the text that says who is heard from now on."""
    return json.dumps({"type": "floor", "floor": floor, "holder": holder})


def state_event(speaking: bool) -> str:
    """Return the text that says whether the avatar speaks."""
    return json.dumps({"type": "state", "state": "speaking" if speaking else "idle"})


def stats_event(stats: Stats) -> str:
    """Return the text that carries ``stats``, milliseconds to a tenth."""
    fields = {k: round(v, 1) for k, v in asdict(stats).items()}
    return json.dumps({"type": "stats", **fields})


def pictures_event(scale: float, bits_per_second: int, every: int) -> str:
    """Return the text that says what pictures a viewer is sent; a scale of 0 is sound alone.

    ``scale`` is that of the best picture's sides, and one picture in ``every`` is sent.
    """
    sent = {"scale": scale, "bits_per_second": bits_per_second, "every": every}
    return json.dumps({"type": "pictures", **sent})


def clock_event(timestamp: int, rate: int) -> str:
    """Return the text that says which RTP timestamp of a viewer's sound is sample 0 of its stage.

    ``rate`` is how much timestamps grow in a second.
    """
    return json.dumps({"type": "clock", "timestamp": timestamp, "rate": rate})


def error_event(error: Exception, name: str | int | None = None) -> str:
    """Return the text that says what was wrong, and with which utterance."""
    text = {} if name is None else {"id": name}
    return json.dumps({"type": "error", "message": str(error), **text})


_KINDS = {"began": "started"}


def utterance_event(event: ConversationEvent) -> str:
    """Return the text that says how far an utterance is."""
    return json.dumps(
        {
            "type": _KINDS.get(event.kind, event.kind),
            "id": event.utterance,
            "heard_ms": event.heard_ms,
            "queued_ms": event.queued_ms,
        }
    )


def interrupted_event(name: str | int | None) -> str:
    """Return the text that says that something that waited will not be said."""
    return json.dumps({"type": "interrupted", "id": name, "heard_ms": 0.0, "queued_ms": 0.0})


def mark_event(order: SpeakText, mark: Mark) -> str:
    """Return the text that says which sentence or word begins."""
    where = {"start": mark.start, "stop": mark.stop, "text": order.text[mark.start : mark.stop]}
    return json.dumps({"type": mark.kind, "id": order.name, **where})


def face_event(picture: ShownPicture, units: Mapping[str, float]) -> str:
    """Return the text that says how the face stands in a picture."""
    measures = picture.frame.measures
    listed = [] if measures is None else [round(float(one), 3) for one in measures]
    return json.dumps(
        {"type": "face", "sample": picture.sample, "measures": listed, "arkit": dict(units)}
    )


def voices_event(
    settings: SpeechSettings, voices: Sequence[VoiceCard], error: str | None = None
) -> str:
    """Return the text that lists voices, or says why there are none."""
    listed = [asdict(voice) for voice in voices]
    fields = {"provider": settings.provider, "voice": settings.voice, "voices": listed}
    why = {} if error is None else {"error": error}
    return json.dumps({"type": "voices", **fields, **why})
