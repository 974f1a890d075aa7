"""Requests, good and bad."""

import asyncio
import json
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lipstream_server.metrics import ServerMetrics
from lipstream_server.stage.registry import Avatars
from server.peers import SDP, peer, running


def ask(worker, avatar, method, path, body=None, headers=None, **settings):
    async def once():
        async with running(worker, avatar, **settings) as server:
            return await server.ask(method, path, body, headers)

    return asyncio.run(once())


@pytest.mark.parametrize("path", ["/", "/client.js", "/healthz", "/readyz", "/metrics", "/avatars"])
def test_what_can_be_got(worker, toy_avatar, path):
    assert ask(worker, toy_avatar, "GET", path).status == 200


def test_health_says_what_runs(worker, toy_avatar):
    health = json.loads(ask(worker, toy_avatar, "GET", "/healthz").body)
    assert health["status"] == "ok"
    assert (health["sessions"], health["capacity"]) == (0, 2)
    assert (health["model"], health["avatar"]) == ("toy", "toy")


def test_metrics_are_prometheus_text(worker, toy_avatar):
    answer = ask(worker, toy_avatar, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = {
        sample.name: sample.value
        for family in text_string_to_metric_families(answer.body)
        for sample in family.samples
    }
    assert told["lipstream_session_capacity"] == 2
    assert told["lipstream_sessions"] == told["lipstream_sessions_opened_total"] == 0
    assert told["lipstream_studio_films_waiting"] == 0
    assert told["lipstream_offer_seconds_count"] == 0


def test_a_session_is_measured(worker, toy_avatar, monkeypatch):
    monkeypatch.setattr("lipstream_server.stage.stage.REPORT_SECONDS", 0.02)

    async def visit():
        async with running(worker, toy_avatar) as server, peer() as client:
            await client.join(server)
            await client.event("stats")
            await server.ask("DELETE", client.location)
            return (await server.ask("GET", "/metrics")).body

    told = asyncio.run(visit())
    assert "lipstream_sessions_opened_total 1.0" in told
    assert "lipstream_offer_seconds_count 1.0" in told
    assert "lipstream_session_seconds_count 1.0" in told
    assert "lipstream_session_delay_seconds_count 0.0" not in told


def test_large_counts_are_told_to_the_last_digit():
    metrics = ServerMetrics()
    metrics.received_bytes.inc(123_456_789_012)
    metrics.film_seconds.inc(8_640_000.25)
    families = text_string_to_metric_families(metrics.text().decode())
    told = {sample.name: sample.value for family in families for sample in family.samples}
    assert told["lipstream_studio_received_bytes_total"] == 123_456_789_012
    assert told["lipstream_studio_film_seconds_total"] == 8_640_000.25


def test_the_avatars_are_listed_the_default_one_first(worker, toy_avatar):
    listed = json.loads(ask(worker, toy_avatar, "GET", "/avatars").body)["avatars"]
    assert listed == ["toy", "ada", "mei", "omar"]


@pytest.mark.parametrize("path", ["/session", "/whip", "/whep"])
def test_an_avatar_that_nobody_has_is_refused_in_one_line(worker, toy_avatar, path):
    async def once():
        async with running(worker, toy_avatar) as server, peer() as client:
            return await server.offer(f"{path}?avatar=..%2feve", await client.offer())

    answer = asyncio.run(once())
    assert answer.status == 422
    assert "no avatar '../eve' here: choose one of toy, ada, mei, omar" in answer.error


@pytest.mark.slow
def test_an_avatar_is_opened_when_it_is_first_asked_for_and_shared(worker, toy_avatar):
    async def twice():
        async with running(worker, toy_avatar) as server, peer() as one, peer() as other:
            before = set(server.sessions.stages.avatars.opened)
            statuses = [
                (await each.join(server, "/session?avatar=mei")).status for each in (one, other)
            ]
            picture = await one.track("video").recv()
            avatars = server.sessions.stages.avatars
            assert await avatars.open("mei") is await avatars.open("mei")
            return before, statuses, set(avatars.opened), (picture.width, picture.height)

    before, statuses, after, size = asyncio.run(twice())
    assert before == {"toy"}
    assert statuses == [201, 201]
    assert after == {"toy", "mei"}
    assert size == (512, 512)


def test_the_given_avatar_goes_before_an_embedded_one_of_its_name(toy_avatar):
    own = replace(toy_avatar, name="mei")
    avatars = Avatars(own)
    assert avatars.names == ["mei", "ada", "omar"]
    assert asyncio.run(avatars.open("mei")) is own


def test_the_page_loads_nothing_from_elsewhere(worker, toy_avatar):
    answer = ask(worker, toy_avatar, "GET", "/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "https://" not in answer.body


@pytest.mark.parametrize(
    ("headers", "body", "status", "says"),
    [
        ({}, b"v=0", 415, "application/sdp"),
        ({"Content-Type": "application/json"}, b"{}", 415, "application/sdp"),
        (SDP, b"", 422, "v=0"),
        (SDP, b"hello", 422, "v=0"),
        (SDP, b"\xff\xfe\x00", 422, "not text"),
        (SDP, b"v=0\r\nm=nonsense\r\n", 422, "not valid SDP"),
        (SDP, b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", 422, "no audio and no video"),
        (SDP, b"v=0\r\n" + b"a=x\r\n" * 20_000, 413, "too large"),
    ],
)
def test_an_offer_that_makes_no_sense_is_refused_in_one_line(
    worker, toy_avatar, headers, body, status, says
):
    answer = ask(worker, toy_avatar, "POST", "/session", body, headers)
    assert answer.status == status
    assert says in answer.error
    assert "\n" not in answer.error


@pytest.mark.parametrize(
    ("path", "audio", "video", "says"),
    [
        ("/session", "recvonly", "recvonly", "sends no sound"),
        ("/whip", "recvonly", "recvonly", "sends no sound"),
        ("/whep", "sendonly", "sendonly", "receives nothing"),
    ],
)
def test_an_offer_must_fit_what_it_is_for(worker, toy_avatar, path, audio, video, says):
    async def once():
        async with running(worker, toy_avatar) as server, peer() as client:
            return await server.offer(path, await client.offer(audio, video))

    answer = asyncio.run(once())
    assert answer.status == 422
    assert says in answer.error


def test_an_offer_cut_anywhere_never_fails_the_server(worker, toy_avatar):
    async def cut():
        async with running(worker, toy_avatar) as server, peer() as client:
            sdp = await client.offer()
            lines = sdp.splitlines(keepends=True)
            statuses = set()
            for end in range(0, len(lines), 9):
                statuses.add((await server.offer("/whip", "".join(lines[:end]))).status)
            for session in server.sessions:
                await session.end()
            return statuses, (await server.ask("GET", "/healthz")).status, worker.session_count()

    statuses, health, left = asyncio.run(cut())
    assert statuses <= {201, 422, 503}
    assert (health, left) == (200, 0)


def test_an_unknown_session_cannot_be_ended(worker, toy_avatar):
    assert ask(worker, toy_avatar, "DELETE", "/whep/nobody").status == 404


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/session"), ("POST", "/healthz"), ("PUT", "/")]
)
def test_a_wrong_method_is_refused(worker, toy_avatar, method, path):
    assert ask(worker, toy_avatar, method, path).status in (404, 405)


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/%2e%2e/__init__.py", "/nothing"])
def test_only_the_page_is_served(worker, toy_avatar, path):
    assert ask(worker, toy_avatar, "GET", path).status == 404


@pytest.mark.slow
def test_a_token_is_asked_for_when_there_is_one(worker, toy_avatar):
    token = {"token": "correct horse"}
    right = {"Authorization": "Bearer correct horse"}
    wrong = {"Authorization": "Bearer battery staple"}
    refused = ask(worker, toy_avatar, "POST", "/session", b"v=0", SDP, **token)
    assert refused.status == 401
    assert "Bearer" in refused.error
    assert ask(worker, toy_avatar, "GET", "/metrics", headers=wrong, **token).status == 401
    assert ask(worker, toy_avatar, "GET", "/metrics", headers=right, **token).status == 200
    assert ask(worker, toy_avatar, "GET", "/", **token).status == 200
