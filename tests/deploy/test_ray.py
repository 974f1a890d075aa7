"""Lipstream on Ray Serve: where offers go, whose session it is, and what a rollout loses.

In an environment of its own: `make test-ray`.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make test-ray")
from ray import serve  # noqa: E402

from browser.driving import FLAGS, find_chromium  # noqa: E402
from server import peers  # noqa: E402
from server.apart import show  # noqa: E402
from server.peers import Running, peer  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "ray"))
import lipstream_ray  # noqa: E402
from lipstream_ray import Answered, Asked, Mailbox, summed  # noqa: E402
from lipstream_ray_router import ROLES, is_offer, left, ranked, replica_of, stage_of  # noqa: E402

from lipstream_server.webrtc.offer import Role  # noqa: E402
from timing import limit  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PORT = 18_650
PLACES = 3
LEAST_RATE = limit(24, 1)
"""Pictures a second of a session, on a quiet machine and on one that has other work."""
URL = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Ray on this machine, as small as it goes, and its proxy."""
    patient = pytest.MonkeyPatch()
    patient.setattr(
        peers, "PATIENCE_SECONDS", 60
    )  # replicas load as they answer for the first time
    where = [str(Path(lipstream_ray.__file__).parent), *filter(None, sys.path)]
    os.environ["PYTHONPATH"] = os.pathsep.join(where)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  Ray's own spelling
    for waiting in ("READY_CHECK", "HEALTH_CHECK"):  # it takes long to begin on a busy machine
        os.environ[f"RAY_SERVE_PROXY_{waiting}_TIMEOUT_S"] = "60"
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100_000_000,
        _temp_dir=str(tmp_path_factory.mktemp("ray")),
        logging_level="warning",
    )
    for _ in range(5):
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": PORT})
            break
        except TimeoutError:  # Ray waits 60 s for its proxy; the second time it finds it begun
            continue
    yield
    serve.shutdown()
    ray.shutdown()
    patient.undo()


def arguments(toy_folder, toy_pack, **more):
    given = {"model": toy_folder, "avatar": toy_pack, "sessions": PLACES, "cpus": 0.5}
    given |= {"backend": "cpu", "drain_seconds": 120} | more
    return {name: str(value) for name, value in given.items()}


@pytest.fixture(scope="module")
def deployed(cluster, toy_folder, toy_pack):
    """Two replicas of the server."""
    given = arguments(toy_folder, toy_pack)
    serve.run(lipstream_ray.app(given), name="lips", route_prefix="/")
    return given


@pytest.fixture
def server(deployed):
    return Running(URL, None)


def owner(client) -> str:
    """Return the replica that a session's address names."""
    return replica_of(client.location.removeprefix(URL))


async def joined(server, client, path="/whep"):
    """Offer, and return the status."""
    answer = await server.offer(path, await client.offer("recvonly"))
    if answer.status == 201:
        await client.accept(answer)
    return answer.status


async def count(server, name: str) -> float:
    """Return a metric, of all replicas together."""
    lines = (await server.ask("GET", "/metrics")).body.splitlines()
    return float(next(line for line in lines if line.startswith(name + " ")).split()[1])


async def settled(server, stages: float) -> None:
    """Wait until so many stages are open, and the routers know."""
    async with asyncio.timeout(120):
        while await count(server, "lipstream_stages") != stages:
            await asyncio.sleep(0.1)
    await asyncio.sleep(2 * lipstream_ray.STATS_SECONDS)


def test_paths_name_their_replica_and_their_stage():
    assert {role.value for role in Role} == ROLES
    assert replica_of("/whep/ab12.x-9") == "ab12"
    assert [replica_of(path) for path in ("/whep", "/whep/x-9", "/studio/a.b", "/")] == [None] * 4
    assert stage_of({"path": "/whep", "query_string": b"stage=a%20b"}) == "a b"
    assert stage_of({"path": "/stages/news/say", "query_string": b""}) == "news"
    assert stage_of({"path": "/whep", "query_string": b""}) is None
    assert stage_of({"path": "/healthz", "query_string": b"stage=a"}) is None
    offer = {"method": "POST", "path": "/whep/"}
    asked = [offer, Asked(offer, b"", ()), offer | {"method": "GET"}, {"path": "/"}, "ab12", None]
    assert [is_offer(one) for one in asked] == [True, True, False, False, False, False]


def test_offers_go_where_most_is_free_and_who_names_a_stage_where_it_is_open():
    free = {"a": 1, "b": 3, "c": 0}
    assert ranked(free, {}, None) == ["b", "a", "c"]
    assert ranked(free, {"c": ["news"]}, "news")[0] == "c"
    assert ranked(left(free, ["b", "b", "b"]), {}, None)[0] == "a"
    orders = {tuple(ranked(dict.fromkeys("abcdef", 1), {}, "news")) for _ in range(3)}
    assert len(orders) == 1
    firsts = {ranked(dict.fromkeys("abcdef", 1), {}, f"stage {k}")[0] for k in range(50)}
    assert len(firsts) > 3


def test_metrics_are_added_up_and_of_delays_the_longest_is_told():
    text = (
        "# HELP a_total Sessions.\n# TYPE a_total counter\na_total {0}\n"
        '# HELP b_seconds Delay.\n# TYPE b_seconds gauge\nb_seconds{{of="x"}} {1}\n'
    )
    lines = summed([text.format(2, 0.5), text.format(3, 0.25)]).splitlines()
    assert "a_total 5.0" in lines
    assert 'b_seconds{of="x"} 0.5' in lines
    assert "# TYPE a_total counter" in lines


def test_mail_is_answered_by_the_replica_it_is_for_and_by_nobody_where_there_is_none(monkeypatch):
    monkeypatch.setattr(lipstream_ray, "ANSWER_SECONDS", 0.2)
    asked, answer = Asked({"path": "/whep/b.1"}, b"", ()), Answered(200, [], b"done")

    async def exchange():
        mail = Mailbox()
        assert await mail.ask("b", asked) is None  # nobody of this name
        taking = asyncio.create_task(mail.take("b"))
        await asyncio.sleep(0)
        asking = asyncio.create_task(mail.ask("b", asked))
        number, taken = await taking
        await mail.answer(number, answer)
        assert (taken, await asking) == (asked, answer)
        assert await mail.ask("b", asked) is None  # it is there and silent
        await mail.answer(number, answer)  # too late for anybody
        mail.forget("b")
        assert await mail.ask("b", asked) is None

    asyncio.run(exchange())


def test_what_is_asked_of_a_session_goes_to_the_replica_that_has_it(server):
    async def ask():
        right, owners = 0, set()
        for _ in range(2):
            async with peer() as one, peer() as two:
                for client in (one, two):
                    assert await joined(server, client) == 201
                    owners.add(owner(client))
                for client in (one, two):
                    for _ in range(24):
                        answer = await server.ask("PATCH", client.location)
                        right += answer.headers["x-replica"] == owner(client)
                    right += (await server.ask("DELETE", client.location)).status == 200
                gone = await server.ask("DELETE", one.location)
                assert gone.status == 404
            await settled(server, 0)
        return right, owners

    right, owners = asyncio.run(ask())
    show(f"{right} of 100 PATCH and DELETE reached the right one of {len(owners)} replicas")
    assert right == 100
    assert len(owners) == 2


def test_an_offer_is_refused_only_when_all_replicas_are_full(server):
    async def fill(rounds: int):
        statuses, refused = [], []
        for _ in range(rounds):
            async with asyncio.timeout(120):
                clients = [peer() for _ in range(2 * PLACES + 1)]
                opened = [await one.__aenter__() for one in clients]
                places = opened[:-1]  # all at once: what routers know of places is old by then
                statuses += await asyncio.gather(*(joined(server, one) for one in places))
                refused.append(await joined(server, opened[-1]))
                for one in places:
                    await server.ask("DELETE", one.location)
                for one in clients:
                    await one.__aexit__(None, None, None)
            await settled(server, 0)
        return statuses, refused

    rounds = int(os.environ.get("LIPSTREAM_RAY_ROUNDS", "4"))
    statuses, refused = asyncio.run(fill(rounds))
    show(f"{statuses.count(201)} of {len(statuses)} offers found a place; when full: {refused}")
    assert set(statuses) == {201}
    assert set(refused) == {503}


def test_who_names_a_stage_is_led_to_the_replica_that_has_it(server):
    async def meet():
        async with peer() as speaker, peer() as one, peer() as two:
            answer = await server.offer("/session?stage=meeting", await speaker.offer())
            await speaker.accept(answer)
            await speaker.connected()
            for viewer in (one, two):
                assert await joined(server, viewer, "/whep?stage=meeting") == 201
            sessions = await count(server, "lipstream_sessions")
            stages = await count(server, "lipstream_stages")
            for client in (one, two, speaker):
                await server.ask("DELETE", client.location)
            return {owner(one), owner(two), owner(speaker)}, sessions, stages

    owners, sessions, stages = asyncio.run(meet())
    assert len(owners) == 1
    assert (sessions, stages) == (3, 1)


def test_the_studio_says_that_it_is_elsewhere(server):
    answer = asyncio.run(server.ask("GET", "/studio/jobs"))
    assert answer.status == 404
    assert "a server of its own" in answer.error


def test_a_rollout_loses_no_picture_of_live_sessions(server, deployed):
    async def roll_out():
        async with peer() as one, peer() as two, peer() as three, peer() as four:
            clients = (one, two, three, four)
            for client in clients:
                assert await joined(server, client) == 201
                await client.connected()
            before = {owner(client) for client in clients}
            seen = [asyncio.create_task(client.pictures_a_second(20)) for client in clients]
            await asyncio.sleep(2)
            again = lipstream_ray.app(deployed | {"drain_seconds": "119"})
            rolling = asyncio.create_task(
                asyncio.to_thread(serve.run, again, name="lips", route_prefix="/")
            )
            rates = await asyncio.gather(*seen)
            async with peer() as late:
                assert await joined(server, late) == 201
                await server.ask("DELETE", late.location)
            stats = [
                one for client in clients for one in (await client.connection.getStats()).values()
            ]
            ended = [(await server.ask("DELETE", one.location)).status for one in clients]
            await asyncio.wait_for(rolling, 180)
            return rates, before, ended, packets_lost(stats)

    rates, before, ended, lost = asyncio.run(roll_out())
    rounded = [round(rate, 1) for rate in rates]
    show(f"{lost} packets lost, a second {rounded} pictures, ended with {ended}")
    assert len(before) == 2
    assert ended == 4 * [200]
    assert lost == 0
    assert min(rates) >= LEAST_RATE


def test_a_replica_that_is_killed_takes_no_other_with_it(server, deployed):
    async def kill():
        async with peer() as one, peer() as two, peer() as three:
            for client in (one, two):
                assert await joined(server, client) == 201
                await client.connected()
            assert owner(one) != owner(two)
            pid = process_of(one.connection.remoteDescription.sdp)
            seen = asyncio.create_task(two.pictures_a_second(6))
            await asyncio.sleep(1)
            os.kill(pid, signal.SIGKILL)
            begun = time.monotonic()
            while await joined(server, three) != 201:
                await asyncio.sleep(0.1)
            await three.connected()
            again = time.monotonic() - begun
            rate = await seen
            for client in (two, three):
                await server.ask("DELETE", client.location)
            return rate, again

    rate, again = asyncio.run(kill())
    show(f"the other session: {rate:.1f} a second; a new one after {again:.1f} s")
    assert rate >= LEAST_RATE
    assert again < 5


WATCH = """() => {
  const see = () => { window.seenAt = performance.now(); avatar.requestVideoFrameCallback(see); };
  see();
}"""


@asynccontextmanager
async def visitor(url):
    """Give a page that is live in a real Chromium, its session's address and the answer to it."""
    driver = pytest.importorskip("playwright.async_api", reason="no playwright")
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    async with driver.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        page = await browser.new_page(bypass_csp=True)
        page.set_default_timeout(60_000)
        async with page.expect_response(lambda one: one.status == 201) as joining:
            await page.goto(url)
        answer = await joining.value
        await page.wait_for_selector("body[data-connection=live][data-picture=true]")
        await page.evaluate(WATCH)
        yield page, await answer.header_value("location"), await answer.text()
        await browser.close()


def test_a_page_shows_pictures_again_when_its_replica_is_killed_and_others_go_on(server):
    async def kill():
        async with asyncio.timeout(180):
            while running_replicas() != 2:
                await asyncio.sleep(0.5)
        await settled(server, 0)
        async with visitor(URL) as (page, location, sdp), peer() as other:
            assert await joined(server, other) == 201
            await other.connected()
            assert owner(other) != replica_of(location.removeprefix(URL))
            seen = asyncio.create_task(other.pictures_a_second(6))
            await asyncio.sleep(1)
            os.kill(process_of(sdp), signal.SIGKILL)
            begun = time.monotonic()
            await page.wait_for_function("performance.now() - seenAt > 800")
            await page.wait_for_function("performance.now() - seenAt < 200")
            back = time.monotonic() - begun
            rate = await seen
            await server.ask("DELETE", other.location)
            return back, rate

    back, rate = asyncio.run(kill())
    show(f"pictures {back:.1f} s after the replica was killed; the other's: {rate:.1f} a second")
    assert back < limit(5, 20)
    assert rate >= LEAST_RATE


def running_replicas() -> int:
    deployed = serve.status().applications["lips"].deployments[lipstream_ray.DEPLOYMENT]
    return deployed.replica_states.get("RUNNING", 0)


def test_a_replica_more_begins_when_stages_fill_those_there_are(server, deployed):
    async def fill():
        growing = lipstream_ray.app(deployed | {"replicas": "1", "most": "2"})
        await asyncio.to_thread(serve.delete, "lips")
        await asyncio.to_thread(serve.run, growing, name="lips", route_prefix="/")
        assert running_replicas() == 1
        async with peer() as one, peer() as two, peer() as three, peer() as four:
            for client in (one, two, three):
                assert await joined(server, client) == 201
            begun = time.monotonic()
            async with asyncio.timeout(180):
                while running_replicas() != 2:
                    await asyncio.sleep(0.5)
                took = time.monotonic() - begun
                while await joined(server, four) != 201:
                    await asyncio.sleep(0.5)
            for client in (one, two, three, four):
                assert (await server.ask("DELETE", client.location)).status == 200
            return took, owner(four) != owner(one)

    took, elsewhere = asyncio.run(fill())
    show(f"a second replica ran {took:.0f} s after the first was full")
    assert elsewhere


def packets_lost(stats) -> int:
    return sum(getattr(one, "packetsLost", 0) for one in stats)


def process_of(answer: str) -> int:
    """Return the process whose own socket an answer names: media passes nothing of Ray."""
    [port] = set(re.findall(r"a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+)", answer))
    sockets = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    [inode] = [fields[9] for fields in sockets if int(fields[1].split(":")[1], 16) == int(port)]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            opened = [str(one.readlink()) for one in (process / "fd").iterdir()]
            if f"socket:[{inode}]" in opened:
                return int(process.name)
    raise AssertionError("nobody has this socket")
