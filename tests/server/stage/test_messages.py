"""Texts on the data channel: how they are read."""

import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import msgspec
import numpy as np
import pytest

from lipstream import AvFrame
from lipstream.errors import InputError
from lipstream.lips.shape import MEASURES, LipFrame, named_units
from lipstream.live.conversation import ConversationEvent
from lipstream.live.playout import ShownPicture
from lipstream.speech import Mark, SpeechSettings, VoiceCard
from lipstream_server.limits import RIGHTS
from lipstream_server.stage.messages import (
    MESSAGES_IN,
    AskVoices,
    BeginSpeech,
    SpeakText,
    StageState,
    Stats,
    clock_event,
    error_event,
    face_event,
    floor_event,
    interrupted_event,
    mark_event,
    parse_text,
    pictures_event,
    stage_event,
    state_event,
    stats_event,
    utterance_event,
    voices_event,
)


def test_a_text_is_read_with_its_voice_and_id():
    sent = json.dumps({"type": "speak", "text": "Hello.", "voice": "ar", "id": "a1"})
    assert parse_text(sent) == SpeakText("Hello.", "ar", "a1")
    assert parse_text('{"type": "speak", "text": "Hello."}') == SpeakText("Hello.")
    assert parse_text('{"type": "voices"}') == AskVoices()


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": 7},
        {"text": None},
        {"text": "a", "voice": 3},
        {"text": "a", "voice": "x" * 201},
        {"text": "a", "id": 1.5},
        {"text": "a", "id": True},
        {"text": "a", "id": ["x"]},
        {"text": "a", "id": "x" * 201},
        {"text": "a", "id": 1 << 60},
        {"text": "a" * 20_000},
    ],
)
def test_a_text_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InputError) as caught:
        parse_text(json.dumps({"type": "speak", **wrong}))
    assert "\n" not in str(caught.value)


def test_an_utterance_begins_with_a_rate_and_an_id():
    assert parse_text('{"type": "begin", "id": "a", "rate": 24000}') == BeginSpeech(24_000, "a")
    opus = parse_text('{"type": "begin", "id": 7, "format": "opus"}')
    assert opus == BeginSpeech(48_000, 7, opus=True)
    assert parse_text('{"type": "speak", "rate": 16000}') == BeginSpeech(16_000)
    for wrong in ({"rate": 0}, {"rate": "loud"}, {"format": "mp3"}, {"id": 1.5}):
        with pytest.raises(InputError) as caught:
            parse_text(json.dumps({"type": "begin", **wrong}))
        assert "\n" not in str(caught.value)


SCHEMA = json.loads((files("lipstream_clients") / "web" / "live-api.json").read_text("utf-8"))


def check(direction, message):
    schema = {"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{direction}"}
    jsonschema.Draft202012Validator(schema).validate(json.loads(message))


def test_the_schema_of_messages_in_is_that_of_what_reads_them():
    (union,), parts = msgspec.json.schema_components([MESSAGES_IN], ref_template="#/$defs/{name}")
    assert SCHEMA["$defs"]["in"] == json.loads(json.dumps(union))
    for name, part in parts.items():
        assert SCHEMA["$defs"][name] == json.loads(json.dumps(part))


def test_what_is_told_is_as_its_schema_says():
    frame = AvFrame(0, np.zeros((2, 2, 3), np.uint8), np.zeros(0, np.int16), 0, 1.0)
    lips = replace(frame, measures=np.linspace(-3, 3, MEASURES).astype(np.float32))
    state, text = StageState("hall", "mei", 2, ["a"]), SpeakText("Hello.", None, 1)
    card = VoiceCard("ar", "ar", "Arabic")
    told = [
        stage_event(state, "live", "a"),
        stage_event(state, "nobody", "", RIGHTS),
        floor_event("speech", "backend"),
        state_event(True),
        stats_event(Stats(25.0, 90.1, 0, 1, 2.0, 3.0)),
        pictures_event(0.5, 120_000, 3),
        pictures_event(0.0, 0, 1),
        clock_event(4_294_967_000, 48_000),
        error_event(InputError("no")),
        error_event(InputError("no"), "a"),
        *(
            utterance_event(ConversationEvent(kind, 1, 0, 12.5, 7.0))
            for kind in ("began", "progress", "ended", "interrupted")
        ),
        interrupted_event(None),
        mark_event(text, Mark("word", 0, 5, 100)),
        mark_event(text, Mark("sentence", 0, 6, 0)),
        face_event(ShownPicture(lips, 960, False), named_units(LipFrame(lips.measures))),
        voices_event(SpeechSettings(), [card]),
        voices_event(SpeechSettings(), [], "none here"),
    ]
    for one in told:
        check("out", one)
    kinds = {json.loads(one)["type"] for one in told}
    known = {part["properties"]["type"]["const"] for part in SCHEMA["$defs"]["out"]["anyOf"]}
    assert kinds == known
    with pytest.raises(jsonschema.ValidationError):
        check("out", json.dumps({"type": "state", "state": "asleep"}))
