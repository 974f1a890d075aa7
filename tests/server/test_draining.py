"""Places told apart from health, and a server that ends only when its sessions have."""

import asyncio
import json
import signal
import time

import pytest

from lipstream.errors import InputError
from lipstream_server.config import ReachConfig, ServerConfig
from server.apart import apart
from server.peers import peer, running
from timing import LEAST_RATE, limit


async def readiness(server) -> tuple[int, dict]:
    answer = await server.ask("GET", "/readyz")
    return answer.status, json.loads(answer.body)


def test_a_server_is_ready_while_it_has_places_and_healthy_all_the_time(worker, toy_avatar):
    async def fill():
        async with running(worker, toy_avatar) as server, peer() as one, peer() as two:
            seen = [await readiness(server)]
            await one.join(server)
            seen.append(await readiness(server))
            await two.join(server)
            seen.append(await readiness(server))
            healthy = (await server.ask("GET", "/healthz")).status
            await server.ask("DELETE", one.location)
            seen.append(await readiness(server))
            return seen, healthy

    seen, healthy = asyncio.run(fill())
    assert [(code, told["status"], told["free"]) for code, told in seen] == [
        (200, "ready", 2),
        (200, "ready", 1),
        (503, "full", 0),
        (200, "ready", 1),
    ]
    assert healthy == 200


@pytest.mark.slow
def test_a_server_told_to_end_lets_sessions_go_on_and_takes_no_more(toy_folder, toy_pack, tmp_path):
    async def drain():
        words = ("--drain-seconds", "60")
        log = tmp_path / "log"
        async with apart(toy_folder, toy_pack, log, *words) as server, peer() as client:
            await client.join(server)
            await client.connected()
            server.process.send_signal(signal.SIGTERM)
            while (await readiness(server))[1]["status"] != "draining":
                await asyncio.sleep(0.02)
            async with peer() as late:
                refused = await server.offer("/session", await late.offer())
            rate = await client.pictures_a_second(3.0)
            healthy = (await server.ask("GET", "/healthz")).status
            running = server.process.poll() is None
            await server.ask("DELETE", client.location)
            begun = time.monotonic()
            code = await asyncio.to_thread(server.process.wait, 20)
            return refused, rate, healthy, running, code, time.monotonic() - begun

    refused, rate, healthy, still_running, code, seconds = asyncio.run(drain())
    assert refused.status == 503
    assert "since it ends" in refused.error
    assert "retry-after" in {name.lower() for name in refused.headers}
    assert rate >= LEAST_RATE
    assert (healthy, still_running, code) == (200, True, 0)
    assert seconds < limit(5, 15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drain", "signals", "least", "most"),
    [("2", 1, 2, 10), ("60", 2, 0, 8), ("0", 1, 0, 8)],
    ids=["until the time is over", "until it is told again", "not at all"],
)
def test_a_server_waits_for_sessions_no_longer_than_it_may(
    toy_folder, toy_pack, tmp_path, drain, signals, least, most
):
    async def stop():
        words = ("--drain-seconds", drain)
        log = tmp_path / "log"
        async with apart(toy_folder, toy_pack, log, *words) as server, peer() as client:
            await client.join(server)
            await client.connected()
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            if signals == 2:
                while (await readiness(server))[1]["status"] != "draining":
                    await asyncio.sleep(0.02)
                server.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(server.process.wait, 30)
            return code, time.monotonic() - begun

    code, seconds = asyncio.run(stop())
    assert code == 0
    assert least <= seconds < most


def test_behind_a_balancer_a_session_is_told_to_come_back_to_its_own_server(worker, toy_avatar):
    async def offer():
        reach = ReachConfig(advertised_url=node)
        async with running(worker, toy_avatar, reach=reach) as server, peer() as client:
            await client.join(server)
            ended = await server.ask("DELETE", client.location.removeprefix(node))
            return client.location, ended.status

    node = "https://node7.example.org:8080"
    location, ended = asyncio.run(offer())
    assert location.startswith(f"{node}/session/")
    assert ended == 200


@pytest.mark.parametrize("url", ["node7:8080", "*", "https://a/b", "ftp://a", "https://u@a"])
def test_an_address_that_none_can_come_back_to_is_refused(url):
    with pytest.raises(InputError, match="--advertise-url"):
        ReachConfig(advertised_url=url).check()


@pytest.mark.parametrize("seconds", [-1, 1e9, float("nan")])
def test_a_time_to_drain_that_makes_no_sense_is_refused(seconds):
    with pytest.raises(InputError, match="--drain-seconds"):
        ServerConfig(drain_seconds=seconds).check()
