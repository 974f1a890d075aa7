"""Any standard client connects: each on a host of its own, which the test makes.

The figures are shown by ``pytest -rA``; a loaded machine is slower than what is asserted wants.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.apart import show
from server.namespaces import Host, hosts
from timing import limit

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SYSTEM_PYTHON = "/usr/bin/python3"
"""Has GStreamer's bindings, which pip does not."""
TOKEN = "a-secret-of-the-test"
SERVE = "import sys; from lipstream.cli import main; sys.exit(main())"
ASK_STUN = """
import socket, sys
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(0.3)
for _ in range(100):
    try:
        asking.sendto(bytes.fromhex("000100002112a442") + bytes(12), (sys.argv[1], 3478))
        sys.exit(not asking.recv(2000))
    except OSError:
        continue
sys.exit(1)
"""
"""Waits until a STUN server answers."""
WATCHED_SECONDS = 3
SLOWEST_FIRST_S, FEWEST_FPS = limit(6, 15), limit(20, 8)


@pytest.fixture(scope="module")
def wire() -> Iterator[list[Host]]:
    with hosts(3) as made:
        yield made


@contextmanager
def serving(host: Host, model, avatar, *words: str) -> Iterator[str]:
    """Run a server on a host; gives its URL as the other hosts know it."""
    files = ("--model", model, "--avatar", avatar)
    command = host.command(sys.executable, "-c", SERVE, "serve", "--port", "0", *files, *words)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            url = re.search(r"http://\S+", process.stdout.readline()).group()
            yield url if "--host" not in words else url.replace("127.0.0.1", host.address)
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def local(wire, toy_folder, toy_pack) -> Iterator[str]:
    """A server that listens on loopback alone, as it does unless told otherwise."""
    with serving(wire[0], toy_folder, toy_pack) as url:
        yield url


@pytest.fixture(scope="module")
def public(wire, toy_folder, toy_pack) -> Iterator[str]:
    """A server for other hosts."""
    words = ("--host", "0.0.0.0", "--token", TOKEN)
    with serving(wire[0], toy_folder, toy_pack, *words) as url:
        yield url


def needs(program: str) -> None:
    """Skip where a program is absent; fail instead where every client has to be there."""
    if shutil.which(program):
        return
    if os.environ.get("LIPSTREAM_REQUIRE_BROWSER"):
        pytest.fail(f"no {program} on this machine")
    pytest.skip(f"no {program} on this machine")


def needs_gstreamer() -> None:
    found = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import gi; gi.require_version('GstWebRTC', '1.0')"],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if found.returncode:
        needs("gir1.2-gst-plugins-bad-1.0")


def check_pictures(name: str, result: dict) -> None:
    show(f"{name}: first picture after {result['first_s']:.2f} s, {result['fps']:.1f} fps")
    assert result["first_s"] < SLOWEST_FIRST_S
    assert result["fps"] > FEWEST_FPS


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_gstreamer_on_the_same_machine_watches(wire, local, codec):
    needs_gstreamer()
    printed = wire[0].run_client(
        "gstreamer", local, "whep", codec, WATCHED_SECONDS, python=SYSTEM_PYTHON
    )
    result = json.loads(printed)
    check_pictures(f"GStreamer, {codec}, same machine", result)
    assert result["sound"] > WATCHED_SECONDS * 40
    assert result["ended"] == 200


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_gstreamer_on_another_machine_watches(wire, public, codec, monkeypatch):
    needs_gstreamer()
    monkeypatch.setenv("TOKEN", TOKEN)
    printed = wire[1].run_client(
        "gstreamer", public, "whep", codec, WATCHED_SECONDS, python=SYSTEM_PYTHON
    )
    check_pictures(f"GStreamer, {codec}, another machine", json.loads(printed))


@pytest.mark.parametrize("pictures", ["none", "H264"])
def test_gstreamer_sends_and_is_not_cut_off_for_its_pictures(wire, public, pictures, monkeypatch):
    needs_gstreamer()
    monkeypatch.setenv("TOKEN", TOKEN)
    words = (public, "whip", pictures, 5)
    result = json.loads(wire[1].run_client("gstreamer", *words, python=SYSTEM_PYTHON))
    assert (result["status"], result["state"], result["ended"]) == (201, "connected", 200)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_aiortc_on_another_machine_watches(wire, public, codec, monkeypatch):
    monkeypatch.setenv("TOKEN", TOKEN)
    result = json.loads(wire[1].run_client("peer", public, "whep", codec, WATCHED_SECONDS))
    check_pictures(f"aiortc, {codec}, another machine", result)


def test_firefox_on_the_same_machine_shows_the_page(wire, local):
    needs("firefox-esr")
    result = json.loads(wire[0].run_client("firefox", local, WATCHED_SECONDS))
    check_pictures("Firefox, same machine (from opening the page)", result)


def test_firefox_on_another_machine_shows_the_page(wire, public):
    needs("firefox-esr")
    result = json.loads(wire[1].run_client("firefox", f"{public}/#token={TOKEN}", WATCHED_SECONDS))
    check_pictures("Firefox, another machine (from opening the page)", result)


@pytest.mark.parametrize("place", [0, 1], ids=["same machine", "another machine"])
def test_chromium_shows_the_page(wire, local, public, place):
    needs("chromium")
    page = f"{public}/#token={TOKEN}" if place else local
    result = json.loads(wire[place].run_client("chromium", page, WATCHED_SECONDS))
    check_pictures(f"Chromium, host {place} (from opening the page)", result)


@contextmanager
def coturn(host: Host, secret: str) -> Iterator[str]:
    """Run a TURN server on a host; gives its URL."""
    needs("turnserver")
    words = ["-n", "--use-auth-secret", f"--static-auth-secret={secret}", "--realm=lipstream"]
    words += [f"--listening-ip={host.address}", f"--relay-ip={host.address}"]
    words += ["--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout", "--pidfile=/dev/null"]
    with subprocess.Popen(
        host.command("turnserver", *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            asking = host.command(sys.executable, "-c", ASK_STUN, host.address)
            subprocess.run(asking, check=True, timeout=60)
            yield f"turn:{host.address}:3478?transport=udp"
        finally:
            process.terminate()
            process.wait(10)


def test_a_session_through_a_turn_server_alone(wire, toy_folder, toy_pack, monkeypatch):
    """With credentials that end, made of the secret that both servers share."""
    with coturn(wire[2], "shared-secret") as url:
        words = ("--host", "0.0.0.0", "--token", TOKEN, "--udp-ports", "41000-41020")
        words += ("--ice-server", url, "--turn-secret", "shared-secret")
        with serving(wire[0], toy_folder, toy_pack, *words) as server:
            monkeypatch.setenv("TOKEN", TOKEN)
            monkeypatch.setenv("ICE", "relay")
            result = json.loads(wire[1].run_client("peer", server, "whep", "VP8", WATCHED_SECONDS))
    assert result["pair"][0] == "relay"
    check_pictures("aiortc through coturn alone", result)


def test_a_server_on_loopback_is_out_of_reach_for_other_machines(wire, local):
    port = local.rpartition(":")[2]
    ask = "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=3)"
    for host, reached in ((wire[0], True), (wire[1], False)):
        url = f"http://{'127.0.0.1' if reached else wire[0].address}:{port}/healthz"
        done = subprocess.run(
            host.command(sys.executable, "-c", ask, url), stderr=subprocess.DEVNULL, check=False
        )
        assert (done.returncode == 0) is reached
