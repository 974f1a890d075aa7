"""The floor of a stage: who is heard, and who is told."""

import asyncio
import json

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream_server.stage.messages import SpeakText
from lipstream_server.stage.stage import Stage
from server.peers import until

LOUD = np.full(960, 9000, np.int16)


class Listener:
    """Takes part, and keeps what is told and shown."""

    wants_face, lost = False, 0

    def __init__(self, name="listener"):
        self.name, self.told, self.ended = name, [], False

    def tell(self, event):
        self.told.append(json.loads(event))

    def interrupted(self):
        pass

    def stage_ended(self, error):
        self.ended = True

    def kinds(self, kind):
        return [event for event in self.told if event["type"] == kind]


@pytest.fixture
def stage(worker, toy_avatar):
    opened = Stage.open("hall", worker, toy_avatar)
    yield opened
    opened.end()


def test_the_newest_live_source_is_heard_and_then_the_one_before(stage):
    listener = Listener()
    stage.join(listener)
    one, two = stage.open_source("one"), stage.open_source("two")
    live = stage.conversation._live
    one.hear(LOUD, 0)
    assert not live.active
    two.hear(LOUD, 0)
    assert live.active
    two.close()
    two.close()
    assert not live.active
    one.hear(LOUD, 960)
    assert live.active
    assert [event["sources"] for event in listener.kinds("stage")] == [
        [],
        ["one"],
        ["one", "two"],
        ["one"],
    ]


@pytest.mark.slow
def test_who_has_the_floor_is_told_as_it_changes(stage):
    async def run():
        listener, speaker = Listener(), Listener("speaker")
        stage.join(listener)
        stage.start()
        source = stage.open_source("microphone")
        await until(lambda: listener.kinds("floor"))
        stage.push_speech(speaker, np.tile(LOUD, 10), 48_000)
        await until(lambda: len(listener.kinds("floor")) == 2)
        stage.end_speech(speaker)
        await until(lambda: len(listener.kinds("floor")) == 3)
        source.close()
        await until(lambda: len(listener.kinds("floor")) == 4)
        return [(event["floor"], event["holder"]) for event in listener.kinds("floor")]

    assert asyncio.run(run()) == [
        ("live", "microphone"),
        ("speech", "speaker"),
        ("live", "microphone"),
        ("nobody", ""),
    ]


def test_one_member_pushes_at_a_time_and_a_text_waits_for_its_end(stage):
    one, two = Listener("one"), Listener("two")
    stage.begin_speech(one, "a")
    with pytest.raises(InputError, match="one is speaking"):
        stage.push_speech(two, LOUD, 48_000)
    with pytest.raises(InputError, match="sound is being pushed"):
        stage.say(SpeakText("Hello."))
    stage.end_speech(two)  # not its own: nothing happens
    with pytest.raises(InputError, match="one is speaking"):
        stage.begin_speech(two, "b")
    stage.end_speech(one)
    stage.begin_speech(two, "b")


@pytest.mark.slow
def test_what_was_pushed_is_said_though_its_sender_is_gone(stage):
    async def run():
        listener, speaker = Listener(), Listener("speaker")
        stage.join(listener)
        stage.join(speaker)
        stage.start()
        stage.begin_speech(speaker, "last words")
        stage.push_speech(speaker, np.tile(LOUD, 15), 48_000)
        stage.leave(speaker)
        await until(lambda: listener.kinds("ended"))
        return listener.kinds("ended")[0]

    ended = asyncio.run(run())
    assert ended["id"] == "last words"
    assert ended["heard_ms"] == pytest.approx(300, abs=1)


def test_a_stage_that_ends_tells_all_who_take_part(stage):
    members = [Listener("one"), Listener("two")]
    for member in members:
        stage.join(member)
    stage.end(InputError("over"))
    assert all(member.ended for member in members)
    assert [event["message"] for event in members[0].kinds("error")] == ["over"]
