"""The files that start a server elsewhere say what the server understands."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from lipstream_server.app import Routes
from lipstream_server.auth import AccessRules
from lipstream_server.command import add_arguments
from lipstream_server.config import ReachConfig, ServerConfig
from lipstream_server.webrtc.peer import PeerSessions

DEPLOY = Path(__file__).parents[2] / "deploy"
CONTAINER, KUBERNETES, SYSTEMD = (
    (DEPLOY / name).read_text("utf-8")
    for name in ("Containerfile", "kubernetes.yaml", "lipstream.service")
)


def words_of_container() -> list[str]:
    """Return what follows ``lipstream serve`` there."""
    entry, usual = (
        re.search(rf"^{what} \[(.*)\]$", CONTAINER, re.M)[1] for what in ("ENTRYPOINT", "CMD")
    )
    words = shlex.split(f"{entry}, {usual}".replace(",", " "))
    assert words[:2] == ["lipstream", "serve"]
    return words[2:]


def words_of_kubernetes() -> list[str]:
    arguments = re.search(r"^ +args:\n((?: +- .*\n)+)", KUBERNETES, re.M)[1]
    return [line.strip().removeprefix("- ") for line in arguments.splitlines()]


def words_of_systemd() -> list[str]:
    return shlex.split(re.search(r"^ExecStart=(.*)$", SYSTEMD, re.M)[1])[2:]


def drain_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("words", [words_of_container, words_of_kubernetes, words_of_systemd])
def test_every_argument_is_understood_and_sessions_may_end_by_themselves(words):
    told = drain_of(words())
    assert told.drain_seconds == 3600
    url = told.advertise_url.replace("$(NODE_ADDRESS)", "192.0.2.7")
    ServerConfig(
        host=told.host,
        sessions=told.sessions,
        token="long enough a secret",
        reach=ReachConfig(advertised_url=url),
        drain_seconds=told.drain_seconds,
    ).check()


def test_whoever_ends_a_server_waits_longer_than_it_drains():
    grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", KUBERNETES)[1])
    stop = int(re.search(r"^TimeoutStopSec=(\d+)", SYSTEMD, re.M)[1])
    assert grace > 3600 + 10
    assert stop > 3600 + 10


def test_what_is_asked_for_health_and_places_is_answered(worker, toy_avatar):
    sessions = PeerSessions(worker, toy_avatar)
    routes = Routes(sessions, rules=AccessRules(), loopback=True).routed().routes
    known = {route.path for route in routes}
    asked = set(re.findall(r"path: (/\w+)", KUBERNETES))
    asked |= set(re.findall(r"http://127\.0\.0\.1:8080(/\w+)", CONTAINER))
    assert asked == {"/healthz", "/readyz"}
    assert asked <= known
