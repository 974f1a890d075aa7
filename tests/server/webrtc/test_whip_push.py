"""A stage pushed by WHIP: to our own server, to one of aiortc, and to some that refuse."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from lipstream.errors import InputError, MediaError
from lipstream.live.playout import ShownPicture
from lipstream_server.config import OutputConfig
from lipstream_server.outputs import Outputs
from lipstream_server.webrtc.peer import PeerSessions
from lipstream_server.webrtc.whip_push import publish
from server.peers import running, until
from server.whip_peers import refusal, whip_peer

TOKEN = "administrator"


class Mouths:
    """How open the mouth of each picture of a stage was."""

    lost = 0

    def __init__(self):
        self.openness = []

    def on_media(self, item):
        if isinstance(item, ShownPicture):
            self.openness.append(item.frame.openness)


@asynccontextmanager
async def pushed(worker, avatar, url, token=None):
    """Give a stage that speaks, and its output."""
    sessions = PeerSessions(worker, avatar)
    stage = await sessions.stages.open("hall")
    outputs = Outputs(sessions, OutputConfig())
    try:
        async with outputs.open():
            loud = np.random.default_rng(1).integers(-9000, 9000, 48_000 * 60)
            stage.conversation.push(loud.astype(np.int16), 48_000)
            yield stage, outputs.push(stage, url, token)
    finally:
        await sessions.close_all()


@pytest.mark.slow
def test_pictures_and_sound_come_and_the_session_is_ended_with_delete(worker, toy_avatar):
    async def run():
        async with whip_peer() as peer:
            async with pushed(worker, toy_avatar, peer.url, "secret") as (_, output):
                assert output.state.target == peer.url.replace("/whip", "/...")
                await until(lambda: output.state.state == "live")
                await until(lambda: min(map(len, peer.frames.values())) > 50)
                assert output.state.begun == 1
            assert output.state.state == "ended"
            post, delete = peer.asked
            assert post.headers["content-type"] == "application/sdp"
            assert {one.headers["authorization"] for one in peer.asked} == {"Bearer secret"}
            assert delete.method == "DELETE"
            offer = (await post.body()).decode()
            assert offer.count("a=sendonly") == 2
            assert "a=group:BUNDLE 0 1" in offer
            pictures = peer.frames["video"]
            assert {(one.width, one.height) for one in pictures} == {(128, 128)}
            sound = np.concatenate([one.to_ndarray().ravel() for one in peer.frames["audio"][20:]])
            assert np.abs(sound).max() > 1000

    asyncio.run(run())


@pytest.mark.slow
def test_the_face_of_another_server_speaks_what_is_pushed_to_its_whip(worker, toy_avatar):
    async def run():
        async with running(worker, toy_avatar, token=TOKEN) as server:
            where = f"{server.url}/whip?stage=there"
            async with pushed(worker, toy_avatar, where, TOKEN) as (_, output):
                await until(lambda: output.state.state == "live")
                mouths = Mouths()
                server.sessions.stages.find("there").attach(mouths)
                await until(lambda: max(mouths.openness, default=0) > 0.5)
                assert len(server.sessions) == 1
            begun = time.monotonic()
            await until(lambda: len(server.sessions) == 0)
            assert time.monotonic() - begun < 5  # it was told, and need not find out

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("token", "told"), [(None, "asks for a token"), ("something else", "refuses the token")]
)
def test_a_token_that_is_not_right_is_told_and_the_stage_lives_on(worker, toy_avatar, token, told):
    async def run():
        async with (
            running(worker, toy_avatar, token=TOKEN) as server,
            pushed(worker, toy_avatar, f"{server.url}/whip", token) as (stage, output),
        ):
            await until(lambda: output.state.state == "waiting")
            assert told in output.state.error
            assert TOKEN not in output.state.error
            await until(lambda: output.lost > 5)
            assert stage.lost == output.lost
            assert not stage.ended

    asyncio.run(run())


@pytest.mark.slow
def test_a_push_begins_anew_when_the_server_ends_the_session(worker, toy_avatar):
    async def run():
        async with whip_peer() as peer, pushed(worker, toy_avatar, peer.url) as (_, output):
            await until(lambda: output.state.state == "live")
            await peer.sessions[0].close()
            await until(lambda: output.state.state == "waiting")
            assert "ended the session" in output.state.error
            await until(lambda: output.state.state == "live")
            assert output.state.begun == 2
            assert output.state.error == ""
            shown = len(peer.frames["video"])
            await until(lambda: len(peer.frames["video"]) > shown + 10)

    asyncio.run(run())


@pytest.mark.slow
def test_a_server_that_is_slow_to_end_a_session_keeps_nobody(worker, toy_avatar):
    async def run():
        async with whip_peer() as peer:
            peer.deleting = 5.0
            async with pushed(worker, toy_avatar, peer.url) as (_, output):
                await until(lambda: output.state.state == "live")
            assert output.state.state == "ended"
            assert [one.method for one in peer.asked] == ["POST", "DELETE"]
            await until(lambda: peer.sessions[0].connectionState != "connected")

    asyncio.run(run())


REFUSED = [
    (refusal(404), "takes no WHIP at this path"),
    (refusal(503, "all\nplaces are taken"), "with 503: all places are taken"),
    (refusal(200, "<html>"), "answers 200 where WHIP has 201"),
    (refusal(201, "v=0\r\n"), "names no session"),
    (refusal(201, "v=0\r\nm=audio 9\r\n", Location="x"), "SDP that cannot be used"),
    (refusal(307, Location="file:///etc/passwd"), "never to a WHIP server"),
    (refusal(307, Location="http://127.0.0.1:9/whip"), "refuses connections"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "told"), REFUSED)
def test_a_server_that_refuses_is_told_and_asked_again(worker, toy_avatar, answer, told):
    async def run():
        async with (
            whip_peer(answer) as peer,
            pushed(worker, toy_avatar, peer.url) as (_, output),
        ):
            await until(lambda: output.state.state == "waiting")
            assert told in output.state.error
            await until(lambda: output.state.state == "live")

    asyncio.run(run())


@pytest.mark.slow
def test_an_offer_is_sent_on_with_its_token_to_the_same_origin_alone(worker, toy_avatar):
    async def run():
        async with whip_peer() as peer, whip_peer() as other:
            peer.refusals = [refusal(307, Location="whip"), refusal(308, Location=other.url)]
            async with pushed(worker, toy_avatar, peer.url, "secret") as (_, output):
                await until(lambda: output.state.state == "live")
            assert [one.headers.get("authorization") for one in peer.asked] == ["Bearer secret"] * 2
            assert [one.method for one in other.asked] == ["POST", "DELETE"]
            assert not any("authorization" in one.headers for one in other.asked)

    asyncio.run(run())


def test_nobody_there_is_told():
    with pytest.raises(ConnectionRefusedError):
        publish("http://127.0.0.1:9/whip", None, "v=0")


def test_what_speaks_no_http_is_told():
    async def answer(reader, writer):
        await reader.readuntil(b"v=0")
        writer.write(b"\x00\x01 nothing\r\n\r\n")
        writer.close()

    async def run():
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(MediaError, match="does not speak HTTP"):
                await asyncio.to_thread(publish, f"http://127.0.0.1:{port}/whip", None, "v=0")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("urls", "token"),
    [
        (("rtmp://a/b/c",), "secret"),
        (("http://live.example.org/whip",), "secret"),
        (("https://live.example.org/whip",), "two\r\nlines"),
    ],
)
def test_a_token_that_would_not_be_sent_or_be_seen_is_refused(urls, token):
    with pytest.raises(InputError):
        OutputConfig(push=urls, push_token=token).check()
    OutputConfig(push=("https://a.example/whip", "rtmp://a/b/c"), push_token="secret").check()


@pytest.mark.slow
def test_a_push_is_begun_by_http_and_its_token_is_not_shown(worker, toy_avatar):
    async def run():
        async with whip_peer() as peer, running(worker, toy_avatar) as server:
            await server.sessions.stages.open("hall")
            order = json.dumps({"push": peer.url, "token": "secret"}).encode()
            kind = {"Content-Type": "application/json"}
            begun = await server.ask("POST", "/stages/hall/outputs", order, kind)
            assert begun.status == 201
            assert "secret" not in begun.body
            await until(lambda: len(peer.frames["video"]) > 5)
            assert (await server.ask("DELETE", begun.headers["location"])).status == 204
            await until(lambda: [one.method for one in peer.asked] == ["POST", "DELETE"])

    asyncio.run(run())
