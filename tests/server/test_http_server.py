"""Connections that ask nothing: the others are answered, and nobody's pictures stand still."""

import asyncio
import logging
import socket
import time

import pytest
from starlette.applications import Starlette

from lipstream_server import http_server
from lipstream_server.http_server import ConnectionTable, _ShutdownMiddleware
from lipstream_server.limits import RepeatedLines, each_line_once_a_second
from server.apart import apart, show
from server.peers import peer, running
from timing import LEAST_RATE, limit

FILES = 256


class Silent:
    """A connection that sends something, or nothing, and waits."""

    def __init__(self, url: str, sent: bytes = b"") -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.socket.sendall(sent)

    async def closed(self, patience: float) -> bool:
        """Return whether the server closes within a time."""
        self.socket.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(patience):
                while await loop.sock_recv(self.socket, 4096):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        self.socket.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal",
        b"POST /whip HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/sdp\r\n"
        b"Content-Length: 500\r\n\r\nv=0",
    ],
    ids=["nothing", "half a head", "half a second head", "half a body"],
)
def test_a_connection_that_falls_silent_is_closed(worker, toy_avatar, monkeypatch, sent):
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(http_server, "BODY_IDLE_SECONDS", 0.3)

    async def wait():
        async with running(worker, toy_avatar) as server:
            silent = Silent(server.url, sent)
            closed = await silent.closed(5)
            silent.close()
            return closed, (await server.ask("GET", "/healthz")).status

    assert asyncio.run(wait()) == (True, 200)


@pytest.mark.slow
def test_a_head_that_comes_byte_by_byte_is_closed_as_well(worker, toy_avatar, monkeypatch):
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.5)

    async def drip():
        async with running(worker, toy_avatar) as server:
            slow = Silent(server.url)
            begun = time.monotonic()
            slow.socket.setblocking(False)
            try:
                async with asyncio.timeout(5):
                    for byte in b"GET / HTTP/1.1\r\nHost: " + b"x" * 1000:
                        slow.socket.send(bytes([byte]))
                        await asyncio.sleep(0.02)
            except OSError:
                return time.monotonic() - begun
            finally:
                slow.close()

    assert asyncio.run(drip()) < 3


@pytest.mark.slow
def test_twice_as_many_idle_connections_as_files_stop_nobody(toy_folder, toy_pack, tmp_path):
    async def flood():
        async with (
            apart(toy_folder, toy_pack, tmp_path / "log", files=FILES) as server,
            peer() as viewer,
        ):
            await viewer.join(server, "/whep")
            await viewer.connected()
            await viewer.pictures_a_second(1)
            watching = asyncio.create_task(viewer.pictures_a_second(6))
            idle, slowest = [], 0.0
            cpu = server.cpu_seconds()
            for place in range(2 * FILES):
                idle.append(await asyncio.to_thread(Silent, server.url))
                if place % 64 == 63:
                    begun = time.monotonic()
                    assert (await server.ask("GET", "/healthz")).status == 200
                    slowest = max(slowest, time.monotonic() - begun)
            rate = await watching
            cpu = server.cpu_seconds() - cpu
            async with peer() as another:
                status = (await another.join(server, "/whep")).status
            for one in idle:
                one.close()
            return rate, slowest, status, cpu, server.log.read_bytes()

    rate, slowest, status, cpu, log = asyncio.run(flood())
    show(f"{rate:.1f} pictures a second, /healthz in {slowest:.2f} s, {cpu:.1f} s of a core,")
    show(f"{len(log)} bytes of log")
    assert rate >= LEAST_RATE
    assert slowest < limit(1, 4)
    assert status == 201
    assert len(log) < 2000


class Connection:
    """What a table needs to know of a connection."""

    def __init__(self, address: str, idle: bool = True) -> None:
        self.address, self.is_idle, self.aborted = address, idle, False
        self.transport = self

    def abort(self) -> None:
        self.aborted = True


def test_the_oldest_that_asks_nothing_goes_for_a_new_one():
    table = ConnectionTable(most=3, most_of_address=2)
    busy, first, second = Connection("a", idle=False), Connection("b"), Connection("c")
    for one in (busy, first, second):
        table.add(one)
    newest = Connection("d")
    table.add(newest)
    assert [one.aborted for one in (busy, first, second, newest)] == [False, True, False, False]
    assert len(table) == 3


def test_one_address_has_a_bound_of_its_own_and_loopback_has_none():
    table = ConnectionTable(most=100, most_of_address=2)
    here = [Connection("127.0.0.1") for _ in range(5)]
    there = [Connection("192.0.2.7", idle=False) for _ in range(3)]
    for one in here + there:
        table.add(one)
    assert [one.aborted for one in here] == [False] * 5
    assert [one.aborted for one in there] == [False, False, True]


def test_a_line_that_repeats_is_written_once_a_second_and_says_how_often_it_came():
    now = 0.0
    lines = RepeatedLines(lambda: now)

    def written(text: str) -> str | None:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, text, (), None)
        return record.getMessage() if lines.filter(record) else None

    assert written("out of files\nfirst trace") == "out of files\nfirst trace"
    assert [written(f"out of files\ntrace {k}") for k in range(3)] == [None] * 3
    assert written("another") == "another"
    now = 1.5
    assert written("out of files\nlast") == ("(3 lines like this were left out) out of files\nlast")
    assert written("another") == "another"


def test_lines_are_left_out_as_long_as_it_is_asked_for_and_no_longer(caplog):
    log = logging.getLogger("lipstream.test")
    with each_line_once_a_second():
        log.warning("twice")
        log.warning("twice")
    assert caplog.messages == ["twice"]
    log.warning("twice")
    assert caplog.messages == ["twice", "twice"]


@pytest.mark.slow
def test_a_request_that_the_end_cuts_off_is_told_so(toy_folder, toy_pack, tmp_path):
    studio = tmp_path / "studio"
    studio.mkdir()
    head = b"POST /studio/media?use=face&name=film.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += b"Content-Type: application/octet-stream\r\nContent-Length: 9000000\r\n\r\n"

    async def cut_off():
        log = tmp_path / "log"
        async with apart(toy_folder, toy_pack, log, "--studio", str(studio)) as server:
            upload = Silent(server.url, head + b"x" * 1_000_000)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.stop)
            return upload.socket.recv(4096), log.read_text(), [*(studio / "media").iterdir()]

    answer, log, left = asyncio.run(cut_off())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5" in answer
    assert "Traceback" not in log
    assert left == []


def test_an_end_that_waits_for_nothing_is_no_fault_of_the_application():
    async def run():
        messages = iter([{"type": "lifespan.startup"}])
        told, begun = [], asyncio.Event()

        async def receive():
            for message in messages:
                return message
            return await asyncio.Event().wait()

        async def send(message):
            told.append(message["type"])
            begun.set()

        app = _ShutdownMiddleware(Starlette())
        serving = asyncio.create_task(app({"type": "lifespan"}, receive, send))
        await begun.wait()
        await asyncio.sleep(0)
        serving.cancel()
        await serving
        return told

    assert asyncio.run(run()) == ["lifespan.startup.complete"]
