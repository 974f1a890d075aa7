"""Texts on the data channel: read, spoken, told of as they are heard, interrupted."""

import asyncio
import json
from collections import Counter

import pytest

from engine.speech.toy_voices import hum, send_chunks, send_text, speech_server
from lipstream.cli import main
from lipstream.errors import BackendUnavailable, InputError
from lipstream.speech import SpeechSettings
from lipstream.speech.espeak import espeak_library
from lipstream_server.stage.messages import SpeakText
from lipstream_server.stage.stage import Stage
from lipstream_server.stage.text_to_speech import MOST_TEXTS
from server.peers import peer, running, until


@pytest.fixture
def espeak():
    try:
        return espeak_library()
    except BackendUnavailable as error:
        pytest.skip(str(error))


async def told(client, last):
    """Return the events up to the one for which ``last`` holds, without states and statistics."""
    events = []
    async with asyncio.timeout(30):
        while not events or not last(events[-1]):
            event = await client.events.get()
            if event["type"] not in ("stats", "state", "stage", "floor", "progress"):
                events.append(event)
    return events


def send(client, **message):
    client.channel.send(json.dumps(message))


@pytest.mark.slow
def test_an_interrupt_ends_all_texts_and_the_next_begins_at_once(worker, toy_avatar, espeak):
    async def talk():
        async with running(worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            send(client, type="speak", text="One, two, three, four. " * 20, id=1)
            send(client, type="speak", text="Never said.", id=2)
            await told(client, lambda e: e["type"] == "word")
            send(client, type="speak", rate=48_000)
            client.channel.send(bytes(960))
            refused = await told(client, lambda e: e["type"] == "error")
            send(client, type="interrupt")
            send(client, type="speak", text="Yes.", id=3)
            return refused, await told(client, lambda e: e["type"] == "ended")

    refused, events = asyncio.run(talk())
    assert "a text is being spoken" in refused[-1]["message"]
    kinds = ("interrupted", "started", "ended")
    ends = [(e["id"], e["type"]) for e in events if e["type"] in kinds]
    assert sorted(ends[:2]) == [(1, "interrupted"), (2, "interrupted")]
    assert ends[2:] == [(3, "started"), (3, "ended")]
    after = events[[e["type"] for e in events].index("interrupted") :]
    assert {e["id"] for e in after if e["type"] == "word"} == {3}


def test_voices_are_listed(worker, toy_avatar, espeak):
    async def ask():
        async with running(worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            send(client, type="voices")
            return await client.event("voices")

    said = asyncio.run(ask())
    assert said["provider"] == "auto"
    assert {"name": "ar", "language": "ar", "title": "Arabic"} in said["voices"]
    assert "error" not in said


HELLO = SpeakText("Hello there.", None, 1)


class Listener:
    """Takes part in a stage without a network, and keeps what is told of texts."""

    wants_face = False
    name = "listener"

    def __init__(self, worker, avatar, speech=None):
        self.told = []
        self.stage = Stage.open("texts", worker, avatar, speech)
        self.texts = self.stage.texts

    def tell(self, event):
        event = json.loads(event)
        if event["type"] not in ("stage", "floor", "state", "stats", "progress"):
            self.told.append(event)

    def stage_ended(self, error):
        pass

    async def play(self, until_told):
        self.stage.join(self)
        self.stage.start()
        try:
            await until(lambda: until_told(self.told))
        finally:
            self.stage.end()


def perform(worker, avatar, speech, until_told, *texts):
    async def run():
        listener = Listener(worker, avatar, speech)
        for text in texts:
            listener.texts.add(text)
        await listener.play(until_told)
        return listener.told

    return asyncio.run(run())


def ended(told):
    return bool(told) and told[-1]["type"] == "ended"


def failed(told):
    return bool(told) and told[-1]["type"] == "error"


@pytest.mark.slow
def test_texts_are_spoken_one_after_the_other_with_events(worker, toy_avatar, espeak):
    texts = SpeakText("Hi 😀 you. Yes.", None, 1), SpeakText("نعم", "ar", "two")
    events = perform(
        worker, toy_avatar, None, lambda told: ended(told) and told[-1]["id"] == "two", *texts
    )
    assert [(e["type"], e["id"], e.get("text")) for e in events] == [
        ("started", 1, None),
        ("sentence", 1, "Hi 😀 you."),
        ("word", 1, "Hi"),
        ("word", 1, "you"),
        ("sentence", 1, "Yes."),
        ("word", 1, "Yes"),
        ("ended", 1, None),
        ("started", "two", None),
        ("sentence", "two", "نعم"),
        ("word", "two", "نعم"),
        ("ended", "two", None),
    ]
    places = [(e["start"], e["stop"]) for e in events[1:6]]
    assert places == [(0, 9), (0, 2), (5, 8), (10, 14), (10, 13)]


@pytest.mark.slow
def test_a_text_that_cannot_be_spoken_is_answered_and_the_next_is_spoken(
    worker, toy_avatar, espeak
):
    texts = (
        SpeakText("...", None, 1),
        SpeakText("привет", None, 2),
        SpeakText("Hello", "nobody", 3),
        SpeakText("Yes.", None, 4),
    )
    events = perform(worker, toy_avatar, None, ended, *texts)
    errors = {e["id"]: e["message"] for e in events if e["type"] == "error"}
    assert errors.keys() == {1, 2, 3}
    assert "no words" in errors[1]
    assert "Cyrillic" in errors[2]
    assert "no voice 'nobody'" in errors[3]
    assert events[-1]["id"] == 4


@pytest.mark.slow
def test_a_server_of_voices_that_fails_in_mid_sentence_is_heard_so_far_and_named(
    worker, toy_avatar
):
    with speech_server() as server:
        server.answer = send_chunks(server, hum(0.3).tobytes(), None)
        server.go_on.set()
        told = perform(worker, toy_avatar, SpeechSettings("openai", url=server.url), ended, HELLO)
    assert [e["type"] for e in told] == ["started", "sentence", "error", "ended"]
    assert "hung up in mid-sentence" in told[-2]["message"]
    assert told[-2]["id"] == 1


def test_a_refused_key_is_named(worker, toy_avatar):
    with speech_server() as server:
        server.answer = send_text(401, "no")
        told = perform(worker, toy_avatar, SpeechSettings("openai", url=server.url), failed, HELLO)
    assert "HTTP 401" in told[0]["message"]


@pytest.mark.slow
def test_the_first_word_is_heard_before_the_server_has_made_the_sentence(worker, toy_avatar):
    with speech_server() as server:
        server.answer = send_chunks(server, hum(0.3).tobytes(), hum(0.1).tobytes())

        def first_heard(told):
            if any(e["type"] == "sentence" for e in told):
                server.go_on.set()
            return ended(told)

        speech = SpeechSettings("openai", url=server.url)
        told = perform(worker, toy_avatar, speech, first_heard, HELLO)
    assert Counter(e["type"] for e in told) == {"started": 1, "sentence": 1, "ended": 1}


def test_too_many_texts_are_refused(worker, toy_avatar):
    async def run():
        stage = Listener(worker, toy_avatar)
        try:
            for _ in range(MOST_TEXTS):
                stage.texts.add(HELLO)
            with pytest.raises(InputError, match=f"{MOST_TEXTS} texts wait"):
                stage.texts.add(HELLO)
        finally:
            stage.stage.end()

    asyncio.run(run())


def test_a_voice_that_is_not_there_is_refused_before_the_server_starts(
    toy_folder, toy_pack, capsys
):
    toys = ["--model", str(toy_folder), "--avatar", str(toy_pack)]
    assert main(["serve", "--port", "0", *toys, "--provider", "openai"]) == 2
    assert "--speech-url" in capsys.readouterr().err
