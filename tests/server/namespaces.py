"""Hosts of their own, made of the kernel's network namespaces and joined by virtual wires."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "webrtc" / "clients"


@dataclass(frozen=True, slots=True)
class Host:
    """One host, known to the kernel as a namespace."""

    name: str
    address: str

    def command(self, *words: object) -> list[str]:
        """Return a command that runs on the host."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run_client(self, name: str, *words: object, python: str = sys.executable) -> str:
        """Run one of the clients beside this file on the host and return what it printed."""
        command = self.command(python, CLIENTS / f"{name}.py", *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def hosts(count: int = 2) -> Iterator[list[Host]]:
    """Give hosts on one wire, each with loopback and an address of its own; skip without rights."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need iproute2 and root")
    bridge = f"lip{os.getpid()}"
    made = [Host(f"{bridge}-{place}", f"10.77.0.{place + 1}") for place in range(count)]
    try:
        if _ip("link", "add", bridge, "type", "bridge").returncode != 0:
            pytest.skip("network namespaces cannot be made here")
        _must("link", "set", bridge, "up")
        for place, host in enumerate(made):
            _join(host, bridge, f"v{place}p{os.getpid()}")
        yield made
    finally:
        for host in made:
            _ip("netns", "delete", host.name)
        _ip("link", "delete", bridge)


def _join(host: Host, bridge: str, wire: str) -> None:
    """Make a host and plug it in."""
    _must("netns", "add", host.name)
    _must("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    _must("link", "set", wire, "master", bridge, "up")
    for words in (("link", "set", "lo", "up"), ("link", "set", "eth0", "up")):
        _must("-n", host.name, *words)
    _must("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
    _must("-n", host.name, "route", "add", "default", "via", "10.77.0.254")


def _must(*words: str) -> None:
    done = _ip(*words)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
