"""A backend that speaks on a stage: over a WebSocket, and with nothing but HTTP."""

import asyncio
import json
from contextlib import asynccontextmanager

import av
import numpy as np
import pytest
from av import AudioFrame
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from lipstream import MouthModel, Worker
from lipstream.errors import InputError
from lipstream_clients.stage_client import StageClient
from server.peers import peer, running, until
from toys import make_toy_shape_model

JSON = {"Content-Type": "application/json"}
QUIET = ("stage", "floor", "state", "stats", "progress")


def noise(seconds, rate=24_000):
    samples = np.random.default_rng(0).standard_normal(int(seconds * rate)) * 4000
    return samples.astype("<i2").tobytes()


class Backend:
    """One WebSocket."""

    def __init__(self, socket):
        self.socket = socket

    async def tell(self, **message):
        await self.socket.send(json.dumps(message))

    async def say(self, name, pcm, rate=24_000):
        await self.tell(type="begin", id=name, rate=rate)
        for at in range(0, len(pcm), 9_600):
            await self.socket.send(pcm[at : at + 9_600])
        await self.tell(type="end")

    async def event(self, *kinds):
        async with asyncio.timeout(20):
            while (event := json.loads(await self.socket.recv()))["type"] not in kinds:
                pass
        return event


@asynccontextmanager
async def backend(server, path="/stages/hall/speech", **headers):
    url = server.url.replace("http", "ws") + path
    async with connect(url, additional_headers=headers) as socket:
        yield Backend(socket)


def order(**fields):
    return json.dumps(fields).encode()


@pytest.mark.slow
def test_utterances_are_told_from_begin_to_end_in_order(worker, toy_avatar):
    async def talk():
        told = []
        async with running(worker, toy_avatar) as server, backend(server) as one:
            for name in ("a", 2):
                await one.say(name, noise(0.5))
            while len(told) < 4:
                told.append(await one.event("started", "ended", "error"))
        return told

    told = asyncio.run(talk())
    assert [(one["type"], one["id"]) for one in told] == [
        ("started", "a"),
        ("ended", "a"),
        ("started", 2),
        ("ended", 2),
    ]
    assert told[1]["heard_ms"] == pytest.approx(500, abs=2)


@pytest.mark.slow
def test_eighty_seconds_at_once_are_taken_and_progress_is_told(worker, toy_avatar):
    async def talk():
        async with running(worker, toy_avatar) as server, backend(server) as one:
            await one.say("long", noise(80.0, 16_000), 16_000)
            while (told := await one.event("progress", "ended", "error"))["type"] == "progress":
                if told["queued_ms"] > 70_000:  # it is told from the first of them on
                    break
            return told

    assert asyncio.run(talk())["type"] == "progress"


@pytest.mark.slow
def test_an_interruption_tells_what_was_heard_and_drops_what_was_on_its_way(worker, toy_avatar):
    async def talk():
        async with running(worker, toy_avatar) as server, backend(server) as one:
            await one.tell(type="begin", id="a", rate=24_000)
            await one.socket.send(noise(5.0))
            await one.event("progress")
            await one.tell(type="interrupt")
            await one.socket.send(noise(1.0))
            cut = await one.event("interrupted")
            await one.say("b", noise(0.3))
            return cut, await one.event("started"), await one.event("ended")

    cut, started, ended = asyncio.run(talk())
    assert cut["id"] == "a"
    assert 200 <= cut["heard_ms"] <= 1000
    assert (started["id"], ended["id"]) == ("b", "b")
    assert ended["heard_ms"] == pytest.approx(300, abs=2)


@pytest.mark.slow
def test_a_second_speaker_is_told_to_wait_and_the_first_notices_nothing(worker, toy_avatar):
    async def talk():
        async with (
            running(worker, toy_avatar) as server,
            backend(server) as one,
            backend(server) as two,
        ):
            await one.tell(type="begin", id="a", rate=24_000)
            await one.socket.send(noise(1.0))
            await one.event("started")
            await two.tell(type="begin", id="b", rate=24_000)
            refused = await two.event("error")
            text = await server.ask("POST", "/stages/hall/say", order(text="Hello."), JSON)
            await one.tell(type="end")
            return refused, text, await one.event("ended", "error")

    refused, text, ended = asyncio.run(talk())
    assert "is speaking: wait until its utterance has ended" in refused["message"]
    assert text.status == 409
    assert "sound is being pushed" in text.error
    assert (ended["type"], ended["id"]) == ("ended", "a")


@pytest.mark.slow
def test_opus_packets_are_spoken(worker, toy_avatar):
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    tone = (8000 * np.sin(np.arange(48_000) / 20)).astype(np.int16)
    packets = []
    for at in range(0, 48_000, 960):
        frame = AudioFrame.from_ndarray(tone[None, at : at + 960], "s16", "mono")
        frame.sample_rate = 48_000
        packets += [bytes(one) for one in encoder.encode(frame)]

    async def talk():
        async with running(worker, toy_avatar) as server, backend(server) as one:
            await one.tell(type="begin", id="o", format="opus")
            for packet in packets:
                await one.socket.send(packet)
            await one.socket.send(b"")
            await one.tell(type="end")
            return await one.event("ended")

    ended = asyncio.run(talk())
    assert ended["heard_ms"] == pytest.approx(1000, abs=45)


@pytest.mark.slow
def test_what_makes_no_sense_is_told_and_the_next_is_spoken(worker, toy_avatar):
    wrong = [
        "{",
        '{"type": "dance"}',
        '{"type": "begin", "rate": 0}',
        '{"type": "end"}',
        b"\x00\x01\x02",
    ]

    async def talk():
        async with running(worker, toy_avatar) as server, backend(server) as one:
            for message in wrong:
                await one.socket.send(message)
            errors = [(await one.event("error"))["message"] for _ in wrong]
            await one.tell(type="begin", rate=16_000)
            await one.socket.send(bytes(1_000_000))
            for _ in range(12):
                await one.socket.send(bytes(900_000))
            errors.append((await one.event("error"))["message"])
            await one.tell(type="interrupt")
            await one.say("fine", noise(0.2))
            return errors, await one.event("ended")

    errors, ended = asyncio.run(talk())
    assert "not JSON" in errors[0]
    assert "0 Hz" in errors[2]
    assert "nothing is being pushed" in errors[3]
    assert "of speech would wait" in errors[-1]
    assert ended["id"] == "fine"


def test_a_viewer_hears_what_a_backend_says_and_both_are_told(worker, toy_avatar):
    async def talk():
        async with (
            running(worker, toy_avatar) as server,
            backend(server) as one,
            peer() as viewer,
        ):
            assert (await viewer.join(server, "/session?stage=hall")).status == 201
            await viewer.ready()
            await viewer.connected()
            await one.say("a", noise(1.0))
            told = await viewer.event("ended")
            shown = json.loads((await server.ask("GET", "/stages/hall")).body)
            return told, shown, len(server.sessions.stages)

    told, shown, stages = asyncio.run(talk())
    assert told["id"] == "a"
    assert stages == 1
    assert (shown["name"], shown["members"]) == ("hall", 2)


def test_a_stage_that_is_not_there_is_named(worker, toy_avatar):
    async def ask():
        async with running(worker, toy_avatar) as server, peer() as viewer:
            said = await server.ask("POST", "/stages/nowhere/say", order(text="Hello."), JSON)
            strange = await server.offer("/session?stage=a%20b", await viewer.offer())
            opened = await server.ask("POST", "/stages", order(stage="hall"), JSON)
            again = await server.ask("POST", "/stages/hall/interrupt")
            ended = await server.ask("DELETE", "/stages/hall")
            gone = await server.ask("GET", "/stages/hall")
            return said, strange, opened, again, ended, gone

    said, strange, opened, again, ended, gone = asyncio.run(ask())
    assert (said.status, gone.status) == (404, 404)
    assert "no stage 'nowhere'" in said.error
    assert strange.status == 422
    assert (opened.status, opened.headers["location"]) == (201, "/stages/hall")
    assert json.loads(again.body) == {"heard_ms": 0.0}
    assert ended.status == 204


def test_a_text_that_no_voice_can_say_is_refused_before_it_waits(worker, toy_avatar):
    wrong = (
        ({"text": "Hello.", "voice": "klingon"}, "no voice 'klingon'"),
        ({"text": "...", "voice": "en-us"}, "no words"),
        ({"text": "\u0645\u0631\u062d\u0628\u0627", "voice": "en-us"}, "en-us"),
    )

    async def ask():
        async with running(worker, toy_avatar) as server:
            await server.ask("POST", "/stages", order(stage="hall"), JSON)
            say = "/stages/hall/say"
            refused = [await server.ask("POST", say, order(**one), JSON) for one, _ in wrong]
            taken = await server.ask("POST", say, order(text="Hello.", voice="en-us"), JSON)
            return refused, taken

    refused, taken = asyncio.run(ask())
    for answer, (_, why) in zip(refused, wrong, strict=True):
        assert answer.status == 422
        assert why in answer.error
    assert taken.status == 202


@pytest.mark.slow
def test_a_stage_is_kept_after_the_last_has_left_and_gives_way_when_all_places_are_taken(
    worker, toy_avatar
):
    async def come_and_go():
        async with running(worker, toy_avatar) as server:
            stages = server.sessions.stages
            async with backend(server, "/stages/one/speech") as one:
                await one.say("a", noise(0.2))
                await one.event("started")
            await until(lambda: stages.find("one").empty)
            async with backend(server, "/stages/two/speech") as two:
                await two.event("stage")
                names = [one.name for one in stages]
                async with backend(server, "/stages/three/speech") as three:
                    await three.event("stage")
                    return names, [one.name for one in stages]

    kept, after = asyncio.run(come_and_go())
    assert kept == ["one", "two"]
    assert after == ["two", "three"]


@pytest.mark.slow
def test_a_token_for_a_stage_does_what_it_was_made_for_and_no_more(worker, toy_avatar):
    secret = "correct horse"
    admin = {"Authorization": f"Bearer {secret}"}

    async def use():
        async with running(worker, toy_avatar, token=secret) as server, peer() as viewer:

            async def token(**fields):
                made = await server.ask("POST", "/tokens", order(**fields), JSON | admin)
                return {"Authorization": f"Bearer {json.loads(made.body)['token']}"}

            speak = await token(stage="hall", rights=["speak"])
            watch = await token(stage="hall", rights=["watch"])
            late = await token(stage="hall", rights=["speak"], seconds=-1)
            early = await server.offer("/whep", await viewer.offer(), **watch)
            async with backend(server, **speak) as one:
                await one.say("a", noise(0.2))
                await one.event("ended")
                found = {
                    "viewer may watch": await server.ask("GET", "/stages/hall", None, watch),
                    "viewer may not speak": await server.ask(
                        "POST", "/stages/hall/say", order(text="No."), JSON | watch
                    ),
                    "viewer is no source": await server.offer(
                        "/whip", viewer.connection.localDescription.sdp, **watch
                    ),
                    "speaker may not end": await server.ask("DELETE", "/stages/hall", None, speak),
                    "another stage": await server.ask("GET", "/stages/other", None, speak),
                    "the studio": await server.ask("GET", "/metrics", None, speak),
                    "expired": await server.ask("GET", "/stages/hall", None, late),
                    "before it began": early,
                }
            with pytest.raises(InvalidStatus) as refused:
                async with backend(server, "/stages/other/speech", **speak):
                    pass
            with pytest.raises(InvalidStatus) as nobody:
                async with backend(server):
                    pass
            statuses = [one.value.response.status_code for one in (refused, nobody)]
            return found, statuses

    found, statuses = asyncio.run(use())
    assert {name: answer.status for name, answer in found.items()} == {
        "viewer may watch": 200,
        "viewer may not speak": 403,
        "viewer is no source": 403,
        "speaker may not end": 403,
        "another stage": 403,
        "the studio": 403,
        "expired": 401,
        "before it began": 404,
    }
    assert "has expired" in found["expired"].error
    assert statuses == [403, 401]


def test_a_browser_brings_its_token_as_a_subprotocol(worker, toy_avatar):
    async def talk():
        async with running(worker, toy_avatar, token="correct horse-1".replace(" ", "")) as server:
            url = server.url.replace("http", "ws") + "/stages/hall/speech"
            words = ["lipstream", "bearer.correcthorse-1"]
            async with connect(url, subprotocols=words) as socket:
                return socket.subprotocol, json.loads(await socket.recv())["type"]

    assert asyncio.run(talk()) == ("lipstream", "stage")


@pytest.mark.slow
def test_a_socket_that_reads_nothing_is_closed_and_nobody_else_notices(
    worker, toy_avatar, monkeypatch
):
    monkeypatch.setattr("lipstream_server.stage.member.MOST_EVENTS", 20)

    async def stop_reading():
        async with running(worker, toy_avatar) as server, backend(server) as good:
            stage = server.sessions.stages.find("hall")
            url = server.url.replace("http", "ws") + "/stages/hall/speech"
            async with connect(url, max_queue=1) as deaf:
                await until(lambda: len(stage._members) == 2)
                deaf.transport.pause_reading()
                while len(stage._members) == 2:
                    stage.tell(json.dumps({"type": "long", "words": "x" * 100_000}))
                    await good.event("long")
                await good.say("a", noise(0.2))
                ended = await good.event("ended")
                deaf.transport.abort()
            return ended

    assert asyncio.run(stop_reading())["id"] == "a"


@pytest.mark.slow
def test_the_python_client_speaks_and_says_why_it_is_refused(worker, toy_avatar):
    async def talk():
        async with running(worker, toy_avatar, token="correct-horse") as server:
            with pytest.raises(InputError, match="HTTP 401: token missing or wrong"):
                async with StageClient(server.url, "hall"):
                    pass
            async with StageClient(server.url, "hall", token="correct-horse") as stage:
                await stage.say(np.frombuffer(noise(0.4), "<i2").astype(np.int16), 24_000, "a")
                async with asyncio.timeout(20):
                    async for event in stage:
                        if event["type"] == "ended":
                            return event

    ended = asyncio.run(talk())
    assert (ended["id"], ended["heard_ms"]) == ("a", 400.0)


@pytest.mark.slow
def test_how_the_face_stands_is_told_to_who_asks(toy_avatar, tmp_path):
    async def talk(worker):
        async with (
            running(worker, toy_avatar) as server,
            backend(server) as one,
            backend(server) as other,
        ):
            await one.tell(type="face", on=True)
            await one.event("stage")
            await one.say("a", noise(0.5))
            face = await one.event("face")
            heard = []
            while not heard or heard[-1]["type"] != "ended":
                heard.append(json.loads(await other.socket.recv()))
            return face, {event["type"] for event in heard}

    model = MouthModel.open(make_toy_shape_model(tmp_path / "model"), threads=1)
    with Worker(model, capacity=2) as worker:
        face, others = asyncio.run(talk(worker))
    assert len(face["measures"]) == 17
    assert {"jawOpen", "mouthPucker", "mouthLowerDownLeft"} <= face["arkit"].keys()
    assert "face" not in others


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "example.org", "ftp://example.org", ""])
def test_an_address_without_its_scheme_is_told_what_it_lacks(address):
    with pytest.raises(InputError, match="give http://HOST:PORT"):
        asyncio.run(StageClient(address, "hall").open())
