"""Texts on the data channel: how they are read, and events that stay with their sound."""

import json

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream.speech import Mark, SpeechChunk
from lipstream_server.stage.audio_input import AudioInputBuffer, Cue
from lipstream_server.stage.live_avatar import INPUT_LIMITS
from lipstream_server.stage.messages import AskVoices, SpeakText, parse_text
from lipstream_server.stage.schedule import RATE, samples
from lipstream_server.stage.text_to_speech import _SpokenText


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


def test_cues_come_out_at_the_samples_of_the_session_they_went_in_with():
    buffer = AudioInputBuffer(INPUT_LIMITS)
    buffer.pull(samples(500))
    begin = buffer.fed
    speech = np.arange(samples(100), dtype=np.int16)
    cues = [Cue(at, str(at)) for at in (0, 959, 960, 4799, 9999)]
    buffer.push_speech(speech, cues)
    buffer.push_speech(speech, [Cue(5, "next")])
    fed, told = [], []
    for due in range(samples(500), samples(900), samples(10)):
        fed += buffer.pull(due)
        told += buffer.pull_cues()
    assert [(c.sample - begin, c.event) for c in told] == [
        (0, "0"),
        (959, "959"),
        (960, "960"),
        (4799, "4799"),
        (9999, "9999"),
        (4805, "next"),
    ]
    assert np.array_equal(np.concatenate(fed)[: len(speech)], speech)


def test_an_interrupt_forgets_the_cues_of_what_was_not_said():
    buffer = AudioInputBuffer(INPUT_LIMITS)
    buffer.push_speech(np.ones(samples(100), np.int16), [Cue(0, "first"), Cue(4000, "second")])
    buffer.pull(1)
    buffer.interrupt()
    buffer.pull(samples(300))
    assert buffer.pull_cues() == []


def test_marks_stay_with_their_sound_when_the_rate_changes():
    class Voice:
        rate = 22_050

    order = SpeakText("one two three")
    spoken, given, told = _SpokenText(order, Voice()), 0, []
    for at in range(0, 22_050, 441):
        mark = Mark("word", 4, 7, 100)
        pcm, cues = spoken.resample(
            SpeechChunk(np.zeros(441, np.int16), (mark,) if at == 8820 else ())
        )
        told += [(given + cue.sample, json.loads(cue.event)) for cue in cues]
        given += len(pcm)
    assert [event["type"] for _, event in told] == ["text", "word"]
    assert told[1][1]["text"] == "two"
    assert told[1][0] == pytest.approx((8820 + 100) * RATE / 22_050, abs=48)
    assert given == pytest.approx(RATE, abs=200)
