"""Real WebRTC peers at a real server on 127.0.0.1."""

import asyncio
import json

import aioice.ice
import numpy as np
import pytest

from server.peers import Peer, peer, running, until


async def next_frames(track, count):
    return [await asyncio.wait_for(track.recv(), 20) for _ in range(count)]


def test_a_viewer_sees_the_idle_avatar_and_hears_silence(worker, toy_avatar):
    async def watch():
        async with running(worker, toy_avatar) as server, peer() as viewer:
            assert (await viewer.join(server, "/whep")).status == 201
            pictures = await next_frames(viewer.track("video"), 8)
            blocks = await next_frames(viewer.track("audio"), 4)
            return pictures, blocks

    pictures, blocks = asyncio.run(watch())
    assert {(p.width, p.height) for p in pictures} == {(128, 128)}
    steps = np.diff([p.pts for p in pictures])
    assert (steps % 3600 == 0).all()  # late pictures are skipped whole
    assert np.median(steps) == 3600
    assert set(np.diff([b.pts for b in blocks])) == {960}
    assert max(np.abs(b.to_ndarray()).max() for b in blocks) < 50


@pytest.mark.slow
def test_what_is_sent_to_be_spoken_is_spoken_and_can_be_interrupted(
    worker, toy_avatar, bursts, monkeypatch
):
    monkeypatch.setattr("lipstream_server.stage.stage.REPORT_SECONDS", 0.02)

    async def talk():
        async with running(worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            client.channel.send(json.dumps({"type": "speak", "rate": 24_000}))
            for block in np.array_split(np.tile(bursts, 4), 60):
                client.channel.send(block.tobytes())
            spoken = await client.event("state")
            client.channel.send(json.dumps({"type": "interrupt"}))
            [session] = server.sessions
            await until(lambda: session.stage.conversation.queued_ms == 0)
            return spoken, await client.event("stats")

    spoken, stats = asyncio.run(talk())
    assert spoken == {"type": "state", "state": "speaking"}
    assert {"fps", "delay_ms", "repeated", "lost", "queue_ms", "dropped_ms"} < stats.keys()


NONSENSE = [
    "",
    "{",
    "[]",
    "null",
    '{"type": "dance"}',
    '{"type": "speak"}',
    '{"type": "speak", "rate": 0}',
    '{"type": "speak", "rate": "loud"}',
    "[" * 3000,
    "x" * 60_000,
    b"\x00",
    b"\x00" * 64,
]


def test_a_peer_alone_is_told_its_stage_and_when_its_sound_is_due(worker, toy_avatar):
    async def watch():
        async with running(worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            return await client.event("stage"), await client.event("clock")

    stage, told = asyncio.run(watch())
    assert stage["members"] == 1
    assert told["rate"] == 48_000
    assert 0 <= told["timestamp"] < 1 << 32


@pytest.mark.slow
def test_a_peer_is_told_what_pictures_it_is_sent(worker, toy_avatar):
    async def watch():
        async with running(worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            return await client.event("pictures")

    told = asyncio.run(watch())
    assert (told["scale"], told["bits_per_second"]) == (1.0, 800_000)
    assert told["every"] >= 1


def test_messages_that_make_no_sense_are_answered_and_the_session_goes_on(
    worker, toy_avatar, monkeypatch
):
    monkeypatch.setattr("lipstream_server.stage.stage.REPORT_SECONDS", 0.02)

    async def send():
        async with running(worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            for message in NONSENSE:
                client.channel.send(message)
            errors = [(await client.event("error"))["message"] for _ in NONSENSE]
            await client.event("stats")
            return errors, len(server.sessions)

    errors, sessions = asyncio.run(send())
    assert all(error and "\n" not in error for error in errors)
    assert sessions == 1


def test_one_too_many_is_told_when_to_come_back_and_finds_a_place_later(worker, toy_avatar):
    async def many_offers():
        async with (
            running(worker, toy_avatar) as server,
            peer() as one,
            peer() as two,
            peer() as three,
        ):
            assert (await one.join(server)).status == 201
            assert (await two.join(server)).status == 201
            refused = await server.offer("/session", await three.offer())
            left = await server.ask("DELETE", one.location)
            again = await server.ask("DELETE", one.location)
            taken = await server.offer("/session", three.connection.localDescription.sdp)
            return refused, left, again, taken

    refused, left, again, taken = asyncio.run(many_offers())
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "2 places" in refused.error
    assert (left.status, again.status, taken.status) == (200, 404, 201)


def test_a_peer_that_says_goodbye_frees_its_place(worker, toy_avatar):
    async def leave():
        async with running(worker, toy_avatar) as server:
            async with peer() as client:
                await client.join(server)
                await client.ready()
                assert len(server.sessions) == 1
            await until(lambda: len(server.sessions) == 0)
            assert worker.session_count() == 0

    asyncio.run(leave())


@pytest.mark.slow
def test_a_peer_that_vanishes_frees_its_place(worker, toy_avatar, monkeypatch):
    async def vanish():
        async with running(worker, toy_avatar) as server:
            monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.02)
            client = Peer()
            await client.join(server)
            await client.ready()
            client.vanish()
            await until(lambda: len(server.sessions) == 0)
            async with peer() as another:
                assert (await another.join(server)).status == 201
            await client.connection.close()

    asyncio.run(vanish())


def test_a_peer_that_offers_and_never_comes_frees_its_place(worker, toy_avatar, monkeypatch):
    monkeypatch.setattr("lipstream_server.webrtc.peer.CONNECT_SECONDS", 0.05)

    async def stay_away():
        async with running(worker, toy_avatar) as server, peer() as client:
            answer = await server.offer("/session", await client.offer())
            assert answer.status == 201
            await until(lambda: len(server.sessions) == 0)

    asyncio.run(stay_away())


def test_a_server_that_stops_ends_its_sessions(worker, toy_avatar):
    async def stop():
        async with peer() as client:
            async with running(worker, toy_avatar) as server:
                await client.join(server)
                await client.ready()
            return len(server.sessions)

    assert asyncio.run(stop()) == 0
    assert worker.session_count() == 0
