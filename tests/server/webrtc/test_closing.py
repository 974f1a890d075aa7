"""A session ends within seconds, whatever the connection under it does."""

import asyncio
import gc
import time
import weakref
from pathlib import Path

import aioice.ice
import pytest
from aiortc import RTCPeerConnection

from lipstream_server.webrtc import peer as peer_module
from server.apart import apart, show
from server.peers import peer, running


def sockets() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def never(self) -> None:
    """Wait for ever, and let nobody cancel that."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if getattr(never, "over", False):
                raise


async def fails(self) -> None:
    raise AttributeError("'NoneType' object has no attribute 'stop'")


@pytest.mark.slow
@pytest.mark.parametrize("close", [never, fails], ids=["hangs", "fails"])
def test_a_session_ends_though_its_connection_does_not_close(
    worker, toy_avatar, monkeypatch, close
):
    monkeypatch.setattr(peer_module, "CLOSE_SECONDS", 0.2)

    async def end():
        async with running(worker, toy_avatar) as server, peer() as client:
            before = sockets()
            await client.join(server)
            await client.ready()
            [session] = server.sessions
            with monkeypatch.context() as patched:
                patched.setattr(RTCPeerConnection, "close", close)
                begun = time.monotonic()
                await session.end()
                ended = time.monotonic() - begun
            await asyncio.sleep(0)
            never.over = True
            return ended, len(server.sessions), sockets() - before

    ended, left, more = asyncio.run(end())
    assert ended < 2
    assert (left, worker.session_count()) == (0, 0)
    assert more <= len(aioice.ice.get_host_addresses(True, True))  # the client's own


@pytest.mark.slow
def test_nothing_holds_a_stage_that_has_ended(worker, toy_avatar):
    async def come_and_go():
        async with running(worker, toy_avatar) as server:
            stages = []
            for _ in range(3):
                async with peer() as client:
                    await client.join(server)
                    await client.ready()
                    [session] = server.sessions
                    stages.append(weakref.ref(session.stage))
                    await server.ask("DELETE", client.location)
                    session = None
            for _ in range(50):
                gc.collect()
                if not any(stage() for stage in stages):
                    break
                await asyncio.sleep(0.1)
            return [stage() for stage in stages]

    assert asyncio.run(come_and_go()) == [None, None, None]


@pytest.mark.slow
def test_2000_requests_for_voices_are_answered_few_times(worker, toy_avatar):
    async def ask():
        async with running(worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.ready()
            for _ in range(2000):
                client.channel.send('{"type": "voices"}')
            await client.event("stats")
            await client.event("stats")
            answers = [client.events.get_nowait() for _ in range(client.events.qsize())]
            return sum(one["type"] == "voices" for one in answers), len(server.sessions)

    answers, sessions = asyncio.run(ask())
    assert answers <= 40
    assert sessions == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 45 s on a quiet machine; 3 s a session beside a dozen busy processes
def test_200_sessions_come_and_go_and_leave_nothing(toy_folder, toy_pack, tmp_path):
    async def come_and_go():
        async with apart(toy_folder, toy_pack, tmp_path / "log") as server:

            async def once() -> None:
                async with peer() as client:
                    assert (await client.join(server)).status == 201
                    await client.ready()
                    await server.ask("DELETE", client.location)

            for _ in range(50):
                await once()
            before = server.descriptors(), server.threads(), server.memory_mb()
            for _ in range(150):
                await once()
            after = server.descriptors(), server.threads(), server.memory_mb()
            return before, after, server.log.read_text()

    before, after, log = asyncio.run(come_and_go())
    a_cycle = (after[2] - before[2]) / 150
    show(f"descriptors {before[0]} -> {after[0]}, threads {before[1]} -> {after[1]}")
    show(f"{a_cycle:.3f} MB a cycle")
    assert abs(after[0] - before[0]) <= 2
    assert abs(after[1] - before[1]) <= 2
    assert a_cycle < 0.2
    assert log == ""
