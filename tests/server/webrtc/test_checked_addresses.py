"""To whom a server that others reach sends its checks: in a network of its own, with a listener."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from server.apart import apart, show

OURS, THEIRS = "10.77.0.1", "10.77.0.2"
FORBIDDEN = (
    *("127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1"),
    *("169.254.169.254", "169.254.7.7", "fe80::1", "fe80::a9fe:a9fe"),
    *("100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    *("0.0.0.0", "::", "224.0.0.251", "255.255.255.255", "ff02::fb"),
)
"""Loopback, link-local, where clouds keep their machines' secrets, and what is no machine."""

LISTEN = """
import json, socket, struct, sys
heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(3))
print("listening", flush=True)
sys.stdout.reconfigure(line_buffering=True)
while True:
    packet, (interface, protocol, kind, *_) = heard.recvfrom(2048)
    if kind != socket.PACKET_OUTGOING:
        continue
    if protocol == 0x0800 and packet[9] == 17:
        to, port = socket.inet_ntop(socket.AF_INET, packet[16:20]), packet[22:24]
    elif protocol == 0x86DD and packet[6] == 17:
        to, port = socket.inet_ntop(socket.AF_INET6, packet[24:40]), packet[42:44]
    else:
        continue
    print(json.dumps([interface, to, struct.unpack("!H", port)[0]]))
"""

OFFER = """
import asyncio, json, sys
from server.peers import Peer, Running, until
url, token, forbidden = sys.argv[1], sys.argv[2], sys.argv[3:]

async def offer():
    client = Peer()
    sdp = await client.offer()
    lines = "".join(
        f"a=candidate:{k} 1 udp {2130706431 - k} {host} {40000 + k} typ host\\r\\n"
        for k, host in enumerate(forbidden)
    )
    place = sdp.index("a=candidate")
    sdp = sdp[:place] + lines + sdp[place:]
    answer = await Running(url, None).offer("/session", sdp, Authorization=f"Bearer {token}")
    assert answer.status == 201, answer.body
    await client.accept(answer)
    await client.connected()
    frame = await asyncio.wait_for(client.track("video").recv(), 20)
    await asyncio.sleep(4)  # aioice sends a check again for half of that
    print(json.dumps(client.connection.connectionState))
    await client.connection.close()

asyncio.run(offer())
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_machines():
    """Two network namespaces joined by a cable; all that is not known goes over it."""
    try:
        ip("netns", "add", "lipstream-ours")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network of its own can be made: {error}")
    try:
        ip("netns", "add", "lipstream-theirs")
        ip("link", "add", "ours", "netns", "lipstream-ours", "type", "veth",
           "peer", "name", "theirs", "netns", "lipstream-theirs")  # fmt: skip
        for name, address, other in (("ours", OURS, THEIRS), ("theirs", THEIRS, OURS)):
            inside = ("-n", f"lipstream-{name}")
            ip(*inside, "address", "add", f"{address}/24", "dev", name)
            ip(*inside, "link", "set", "lo", "up")
            ip(*inside, "link", "set", name, "up")
            ip(*inside, "route", "add", "default", "via", other)
            ip(*inside, "-6", "route", "add", "default", "dev", name)
        yield
    finally:
        for name in ("ours", "theirs"):
            subprocess.run(["ip", "netns", "del", f"lipstream-{name}"], check=False)


def within(name: str, code: str, *words: str, **more) -> subprocess.Popen:
    command = ["ip", "netns", "exec", f"lipstream-{name}", sys.executable, "-c", code, *words]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, **more)


@pytest.mark.slow
def test_no_check_goes_to_loopback_link_local_or_metadata_addresses(toy_folder, toy_pack, tmp_path):
    async def check():
        before = ("ip", "netns", "exec", "lipstream-ours")
        words = ("--host", "0.0.0.0", "--token", "a long enough secret")
        async with apart(toy_folder, toy_pack, tmp_path / "log", *words, before=before) as server:
            url = f"http://{OURS}:{server.port}"
            listener = within("ours", LISTEN)
            try:
                assert listener.stdout.readline() == "listening\n"
                offer = within("theirs", OFFER, url, words[-1], *FORBIDDEN, stderr=-1)
                told, errors = await asyncio.to_thread(offer.communicate)
                assert told.strip() == '"connected"', errors[-3000:]
            finally:
                listener.kill()
                sent = [json.loads(line) for line in listener.stdout]
                listener.stdout.close()
            return sent

    with two_machines():
        sent = asyncio.run(check())
    places = {(host, port) for _, host, port in sent}
    show(f"{len(sent)} datagrams, to {sorted({host for host, _ in places})}")
    assert {host for host, _ in places} == {THEIRS}
    assert len(places) <= 10
    assert not any(40_000 <= port < 40_000 + len(FORBIDDEN) for _, port in places)
