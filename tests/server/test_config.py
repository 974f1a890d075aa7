"""Settings that cannot work, or would be unsafe, are refused."""

import pytest

from lipstream.errors import InputError
from lipstream_server.config import ServerConfig, is_loopback


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
