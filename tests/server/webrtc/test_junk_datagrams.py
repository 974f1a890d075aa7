"""What comes from addresses that are not the peer's: nobody's session ends by it."""

import asyncio
import random
import re
import socket
import time

import pytest

from server.apart import apart, show
from server.peers import peer
from timing import LEAST_RATE, limit

DATAGRAMS = 10_000
_COOKIE = bytes.fromhex("2112a442")


def junk(seed: int) -> list[bytes]:
    """Empty datagrams, DTLS records, alerts and hellos, RTP, RTCP, and STUN that is none."""
    chance = random.Random(seed)
    record = b"\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00"
    hello = b"\x16" + record + b"\x00\x0c\x01" + bytes(11)
    kinds = [
        lambda: b"",
        lambda: b"\x15" + record + b"\x00\x02\x02\x28",  # fatal alert
        lambda: b"\x15" + record + b"\x00\x02\x01\x00",  # close_notify
        lambda: hello,
        lambda: b"\x17" + record + b"\x00\x10" + chance.randbytes(16),
        lambda: b"\x80" + chance.randbytes(60),
        lambda: b"\x80\xc8" + chance.randbytes(60),
        lambda: chance.randbytes(chance.randrange(1, 200)),
        lambda: b"\x00\x01\x00\x00" + _COOKIE + chance.randbytes(12),
        lambda: b"\x00\x01\x00\x08" + _COOKIE + chance.randbytes(12) + b"\x00\x24\x00\x01abcd",
        lambda: b"\x01\x01\x00\x00" + _COOKIE + chance.randbytes(12),
    ]
    return [chance.choice(kinds)() for _ in range(DATAGRAMS)]


async def throw(port: int, datagrams: list[bytes]) -> None:
    """Send datagrams from a few addresses that are nobody's, 10,000 a second at most."""
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
    for place, datagram in enumerate(datagrams):
        senders[place % 4].sendto(datagram, ("127.0.0.1", port))
        if place % 100 == 99:
            await asyncio.sleep(0.01)
    for sender in senders:
        sender.close()


def port_in(answer: str) -> int:
    return int(re.search(r"a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+)", answer).group(1))


@pytest.mark.slow
def test_junk_before_and_during_a_session_ends_none(toy_folder, toy_pack, tmp_path):
    async def attack():
        async with (
            apart(toy_folder, toy_pack, tmp_path / "log") as server,
            peer() as viewer,
        ):
            answer = await server.offer("/whep", await viewer.offer())
            port = port_in(answer.body)
            await throw(port, junk(1))
            begun = time.monotonic()
            await viewer.accept(answer)
            await viewer.connected()
            handshake = time.monotonic() - begun
            async with asyncio.TaskGroup() as both:
                both.create_task(throw(port, junk(2)))
                rate = both.create_task(viewer.pictures_a_second(3))
            health = (await server.ask("GET", "/healthz")).body
            return handshake, rate.result(), health, server.log.read_text()

    handshake, rate, health, log = asyncio.run(attack())
    show(f"handshake {handshake:.2f} s, {rate:.1f} pictures a second")
    assert '"sessions":1' in health
    assert handshake < limit(1, 5)
    assert rate >= LEAST_RATE
    assert log == ""
