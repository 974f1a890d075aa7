"""Settings that cannot work, or would be unsafe, are refused."""

import base64
import hmac
import re

import pytest

from lipstream.errors import InputError
from lipstream_server.config import IceServer, ReachConfig, ServerConfig, is_loopback, ports_of


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "LOCALHOST"])
def test_loopback(host):
    assert is_loopback(host)
    ServerConfig(host=host).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_a_host_others_can_reach_needs_a_token(host):
    assert not is_loopback(host)
    with pytest.raises(InputError, match="--token"):
        ServerConfig(host=host).check()
    ServerConfig(host=host, token="long enough").check()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"port": 70_000}, "--port"),
        ({"sessions": 0}, "--sessions"),
        ({"token": "short"}, "--token"),
    ],
)
def test_values_that_cannot_work_say_what_to_give(wrong, says):
    with pytest.raises(InputError, match=says):
        ServerConfig(**wrong).check()


def test_turn_credentials_end_and_are_signed_with_the_secret():
    reach = ReachConfig(("stun:a.example", "turn:b.example:3478?transport=tcp"), "north")
    stun, turn = reach.servers(1000.0)
    assert stun == IceServer("stun:a.example")
    assert turn.username == f"{1000 + 12 * 3600}:lipstream"
    signed = hmac.digest(b"north", turn.username.encode(), "sha1")
    assert base64.b64decode(turn.credential) == signed
    assert turn.link.startswith('<turn:b.example:3478?transport=tcp>; rel="ice-server"; username=')


def test_a_turn_server_without_a_secret_is_named_without_credentials():
    [turn] = ReachConfig(("turn:b.example",)).servers(1000.0)
    assert turn.link == '<turn:b.example>; rel="ice-server"'


@pytest.mark.parametrize(
    ("reach", "says"),
    [
        ({"ice_servers": ("http://a",)}, "--ice-server http://a"),
        ({"ice_servers": ('turn:a"b',)}, "--ice-server"),
        ({"turn_secret": "x"}, "--turn-secret"),
        ({"udp_ports": (9, 1)}, "--udp-ports 9-1"),
        ({"udp_ports": (0, 70_000)}, "--udp-ports"),
        ({"public_address": "host.example"}, "--public-address host.example"),
    ],
)
def test_what_cannot_be_reached_is_refused(reach, says):
    with pytest.raises(InputError, match=re.escape(says)):
        ServerConfig(reach=ReachConfig(**reach)).check()


def test_ports_are_read_as_first_and_last():
    assert ports_of("40000-40100") == (40_000, 40_100)
    assert ports_of(None) is None
    with pytest.raises(InputError, match="as in 40000-40100"):
        ports_of("many")
