"""What breaks in the engine is told: to the peer, to who monitors, to who offers, at the end."""

import asyncio
import json
import subprocess
import sys
import time

import pytest

from lipstream import MouthModel, Worker
from lipstream.live import conversation
from lipstream.live import session as engine_session
from lipstream_server.stage import stage
from server.peers import peer, running, until
from timing import limit


@pytest.fixture
def own_worker(toy_folder):
    with Worker(MouthModel.open(toy_folder, threads=1), capacity=2) as opened:
        yield opened


async def health(server) -> tuple[int, dict]:
    answer = await server.ask("GET", "/healthz")
    return answer.status, json.loads(answer.body)


@pytest.mark.slow
def test_a_network_that_raises_ends_its_peer_in_two_seconds_and_tells_it(
    own_worker, toy_avatar, monkeypatch
):
    def fail(*_):
        raise RuntimeError("the network broke")

    async def broken():
        async with running(own_worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            with monkeypatch.context() as patched:
                patched.setattr(engine_session, "paint", fail)
                begun = time.monotonic()
                told = await client.event("error")
                await until(lambda: len(server.sessions) == 0)
                ended = time.monotonic() - begun
            async with peer() as another:
                again = (await another.join(server)).status
            return told["message"], ended, again, await health(server)

    told, ended, again, (status, _) = asyncio.run(broken())
    assert "fault of the server" in told
    assert ended < 2
    assert (again, status) == (201, 200)


@pytest.mark.slow
@pytest.mark.parametrize("thread", ["engine", "frames"])
def test_a_dead_engine_thread_is_told_by_health_and_to_offers(
    toy_folder, toy_avatar, monkeypatch, thread
):
    async def die(worker):
        async with running(worker, toy_avatar) as server, peer() as client, peer() as late:
            await client.join(server)
            await client.ready()
            begun = time.monotonic()
            if thread == "engine":
                worker.post(lambda: 1 / 0)
            else:
                monkeypatch.setattr(engine_session.SessionHandle, "release", lambda self: 1 / 0)
            told = await client.event("error")
            while (await health(server))[0] != 503:
                assert time.monotonic() - begun < limit(2, 10)
            failed = await health(server)
            seconds = time.monotonic() - begun
            refused = await server.offer("/session", await late.offer())
            await until(lambda: len(server.sessions) == 0)
            return told["message"], failed, refused, seconds

    model = MouthModel.open(toy_folder, threads=1, frame_threads=2)
    with Worker(model, capacity=2) as worker:
        told, (status, body), refused, seconds = asyncio.run(die(worker))
    assert told
    assert status == 503
    assert body["status"] == "failing"
    assert "ZeroDivisionError" in body["fault"]
    assert seconds < limit(2, 10)
    assert refused.status == 500
    assert "the engine failed" in refused.error


@pytest.mark.slow
def test_sound_without_frames_is_told_by_health(own_worker, toy_avatar, monkeypatch):
    monkeypatch.setattr(stage, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(conversation, "GIVE_UP_SECONDS", 2.0)

    async def stall():
        async with running(own_worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            held = asyncio.run_coroutine_threadsafe(done.wait(), loop)
            for _ in range(own_worker.session_count() + 1):
                own_worker.post(held.result)
            while (await health(server))[0] != 503:
                pass
            fault = (await health(server))[1]["fault"]
            told = await client.event("error")
            done.set()
            return fault, told["message"]

    fault, told = asyncio.run(stall())
    assert fault == "1 of 1 stages get no pictures"
    assert "no picture was made" in told


@pytest.mark.slow
def test_a_server_whose_engine_fails_ends_with_its_reason(toy_folder, toy_pack):
    code = """
import sys, threading
from lipstream_server import command
command.FAULT_SECONDS = 0.2
serve = command.serve
async def failing(config, sessions, listener):
    sessions.worker.post(lambda: 1 / 0)
    await serve(config, sessions, listener)
command.serve = failing
from lipstream.cli import main
sys.exit(main(["serve", "--port", "0", *sys.argv[1:]]))
"""
    command = [sys.executable, "-c", code, "--model", str(toy_folder), "--avatar", str(toy_pack)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("lipstream: the server ended: the engine failed: ZeroDivisionError")
