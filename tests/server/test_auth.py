"""Who may ask for what: every route against names, origins, tokens and methods."""

import asyncio
import json
import ssl
import subprocess
from dataclasses import dataclass

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from lipstream.errors import InputError
from lipstream_server.app import Routes
from lipstream_server.auth import (
    FAILURE_SECONDS,
    FAILURES,
    SECURITY_HEADERS,
    AccessControl,
    AccessRules,
    FailureLimit,
    UrlSigner,
    is_same_origin,
)
from lipstream_server.config import ServerConfig, StudioConfig, read_token
from lipstream_server.webrtc.peer import PeerSessions
from server.peers import running

TOKEN = "correct horse"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
FRIEND, STRANGER = "https://friend.example", "https://stranger.example"
PUBLIC = {"/", "/studio", "/healthz", "/readyz"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an ASGI application answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(app, method, path, headers=None, client="192.0.2.1"):
    """Send one request without a body straight to an application."""
    path, _, query = path.partition("?")
    sent = {"Host": "127.0.0.1:8080"} | (headers or {})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in sent.items()],
        "client": (client, 5000),
        "server": ("127.0.0.1", 8080),
    }
    messages = []

    bodies = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if not bodies:
            await asyncio.Event().wait()  # the client stays
        return bodies.pop()

    async def send(message):
        messages.append(message)

    asyncio.run(app(scope, receive, send))
    start, *rest = messages
    named = {k.decode().title(): v.decode("latin-1") for k, v in start["headers"]}
    return Answer(start["status"], named, b"".join(m.get("body", b"") for m in rest))


@pytest.fixture
def served(worker, toy_avatar, tmp_path):
    """Make the application of a server with given access rules."""

    def make(**rules):
        config = ServerConfig(studio=StudioConfig(tmp_path / "studio"))
        sessions = PeerSessions(worker, toy_avatar)
        return Routes(sessions, config, rules=AccessRules(**rules), loopback=True)

    return make


async def reached(scope, receive, send):
    """Answer in the place of the routes: a request came through."""
    await PlainTextResponse("reached")(scope, receive, send)


def guarded(routes):
    """Return the access control of an application, with ``reached`` behind it."""
    app = routes.app()
    app._app = reached
    return app


def every_route(routes):
    """Yield a method and a path of all there is, with names that nobody has."""
    for route in routes.routed().routes:
        if isinstance(route, Mount):
            yield "GET", "/index.html"
            yield "GET", "/studio.html"
            yield "GET", "/nothing"
            continue
        if isinstance(route, WebSocketRoute):
            continue  # the one for WebSockets is walked below
        assert isinstance(route, Route)
        path = (
            route.path.replace("{id}", "nobody")
            .replace("{name}", "nobody")
            .replace("{stage}", "nobody")
        )
        for method in sorted(route.methods - {"HEAD"}):
            yield method, path


def is_public(method, path):
    return method == "GET" and (path in PUBLIC or path.endswith(".html"))


def test_the_walk_meets_every_kind_of_route(served):
    walked = set(every_route(served()))
    assert len(walked) > 30
    assert {("POST", "/whip"), ("DELETE", "/whep/nobody"), ("GET", "/metrics")} < walked
    assert {("POST", "/studio/jobs"), ("GET", "/studio/jobs/nobody/film")} < walked


@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ({}, False),
        ({"Authorization": "Bearer battery staple"}, False),
        ({"Authorization": TOKEN}, False),
        ({"Authorization": f"Basic {TOKEN}"}, False),
        ({"Authorization": "Bearer"}, False),
        ({"Authorization": "Bearer Grüße"}, False),
        (RIGHT, True),
        ({"Authorization": f"bearer {TOKEN}"}, True),
        ({"Authorization": f"BEARER  {TOKEN} "}, True),
    ],
)
def test_every_route_but_the_pages_asks_for_the_token(served, headers, opens):
    routes = served(token=TOKEN)
    app = guarded(routes)
    for number, (method, path) in enumerate(every_route(routes)):
        answer = ask(app, method, path, headers, f"192.0.2.{number}")
        free = opens or is_public(method, path) or method == "OPTIONS"
        assert answer.status == (200 if free else 401), (method, path)
        if answer.status == 401:
            assert answer.headers["Www-Authenticate"] == "Bearer"
            assert "Bearer TOKEN" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8080", True),
        ("localhost:1", True),
        ("[::1]:8080", True),
        ("films.example", False),
        ("films.example:8080", False),
        ("127.0.0.1.films.example", False),
        ("[::1", False),
        ("", False),
        ("127.0.0.1@films.example", False),
        ("a" * 5000, False),
    ],
)
def test_without_a_token_only_names_of_this_machine_are_answered(served, host, fine):
    routes = served()
    app = guarded(routes)
    for method, path in every_route(routes):
        answer = ask(app, method, path, {"Host": host})
        assert answer.status == (200 if fine else 403), (method, path)


def test_with_a_token_any_name_is_fine_but_no_nonsense(served):
    app = served(token=TOKEN).app()
    assert ask(app, "GET", "/avatars", RIGHT | {"Host": "films.example"}).status == 200
    assert ask(app, "GET", "/avatars", RIGHT | {"Host": "[::1"}).status == 403


@pytest.mark.parametrize("origin", [STRANGER, "null", "http://127.0.0.1:81", "http://localhost"])
@pytest.mark.parametrize("rules", [{}, {"token": TOKEN, "allowed_origins": (FRIEND,)}])
def test_pages_of_other_sites_may_ask_nothing(served, origin, rules):
    routes = served(**rules)
    app = guarded(routes)
    for method, path in every_route(routes):
        answer = ask(app, method, path, RIGHT | {"Origin": origin})
        assert answer.status == 403, (method, path)
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("rule", [FRIEND, "*"])
def test_pages_that_are_let_in_may_read_what_whip_and_whep_answer(served, rule):
    routes = served(token=TOKEN, allowed_origins=(rule,))
    app = guarded(routes)
    for method, path in every_route(routes):
        answer = ask(app, method, path, RIGHT | {"Origin": FRIEND})
        assert answer.status == 200, (method, path)
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
        exposed = answer.headers["Access-Control-Expose-Headers"]
        assert {"Location", "Link", "ETag"} <= set(exposed.split(", "))
        assert "Origin" in answer.headers["Vary"]
        asking = {"Origin": FRIEND, "Access-Control-Request-Method": method}
        preflight = ask(app, "OPTIONS", path, asking)
        assert preflight.status == 204
        assert method in preflight.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]


def test_the_servers_own_pages_may_ask(served):
    app = served().app()
    own = {"Host": "localhost:8080", "Origin": "http://localhost:8080"}
    assert ask(app, "GET", "/avatars", own).status == 200
    assert is_same_origin("https://talk.example", "talk.example:443")
    assert is_same_origin("http://[::1]:8080", "[::1]:8080")
    assert not is_same_origin("talk.example", "talk.example")


def test_an_allowed_origins_name_may_lead_here_without_a_token(served):
    app = served(allowed_origins=(FRIEND,)).app()
    assert ask(app, "GET", "/avatars", {"Host": "friend.example"}).status == 200
    assert ask(app, "GET", "/avatars", {"Host": "stranger.example"}).status == 403


def test_offers_say_what_they_take(served):
    answer = ask(served(token=TOKEN).app(), "OPTIONS", "/whip")
    assert answer.status == 200
    assert answer.headers["Accept-Post"] == "application/sdp"


@pytest.mark.parametrize("rules", [{}, {"token": TOKEN}])
def test_every_answer_carries_the_security_headers(served, rules):
    routes = served(**rules)
    app = routes.app()
    slow = {("GET", "/studio/voices")}  # starts a process
    for method, path in {*every_route(routes), ("GET", "/client.js"), ("BREW", "/")} - slow:
        answer = ask(app, method, path)
        for name in SECURITY_HEADERS:
            assert answer.headers.get(name.title()), (method, path, name)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_fault_of_ours_carries_them_too_and_tells_nothing():
    async def broken(scope, receive, send):
        await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)

    app = AccessControl(broken, AccessRules(), public=(), signer=UrlSigner(lambda: 0.0))
    assert "Content-Security-Policy" in ask(app, "GET", "/").headers


def test_the_eleventh_wrong_token_of_a_minute_is_not_looked_at(served):
    app = served(token=TOKEN).app()
    wrong = {"Authorization": "Bearer guess"}
    assert [ask(app, "GET", "/avatars", wrong).status for _ in range(FAILURES)] == [401] * FAILURES
    for headers in (wrong, RIGHT):
        answer = ask(app, "GET", "/avatars", headers)
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= FAILURE_SECONDS + 1
    assert ask(app, "GET", "/avatars").status == 401  # who sends none guesses nothing
    assert ask(app, "GET", "/").status == 200
    assert ask(app, "GET", "/avatars", RIGHT, "192.0.2.2").status == 200


def test_guessing_from_many_addresses_of_one_ipv6_network_is_one_guesser(served):
    app = served(token=TOKEN).app()
    wrong = {"Authorization": "Bearer guess"}
    for number in range(FAILURES):
        assert ask(app, "GET", "/avatars", wrong, f"2001:db8::{number:x}").status == 401
    assert ask(app, "GET", "/avatars", RIGHT, "2001:db8::ffff").status == 429
    assert ask(app, "GET", "/avatars", RIGHT, "2001:db8:0:1::1").status == 200


def test_a_minute_later_tokens_are_looked_at_again_and_strangers_take_bounded_room():
    now = [0.0]
    limit = FailureLimit(lambda: now[0])
    for _ in range(FAILURES):
        limit.add("a")
        now[0] += 1
    assert limit.wait_s("a") == pytest.approx(FAILURE_SECONDS - FAILURES)
    now[0] += FAILURE_SECONDS - FAILURES
    assert limit.wait_s("a") == 0
    for number in range(20_000):
        limit.add(f"{number}")
    assert len(limit._failures) == 10_000
    assert limit.wait_s("a") == 0


def test_a_signed_link_opens_one_path_to_those_who_only_read(served):
    routes = served(token=TOKEN)
    link = routes._signer.link("/studio/avatars/ada")
    app = routes.app()
    assert ask(app, "GET", link.replace("ada", "mei")).status == 401
    assert ask(app, "DELETE", link).status == 401
    assert ask(app, "GET", link.replace("ticket=", "ticket=0")).status == 401
    assert ask(app, "GET", routes._signer.link("/nothing")).status == 404


@pytest.mark.parametrize(
    ("headers", "words", "status"),
    [
        ({"host": "127.0.0.1"}, [], 401),
        ({"host": "127.0.0.1", "authorization": "Bearer wrong horse"}, [], 401),
        ({"host": "127.0.0.1"}, ["lipstream", "bearer.wrong"], 401),
        ({"host": "127.0.0.1", "origin": "https://stranger.example"}, ["bearer.secret-one"], 403),
        ({"host": "127.0.0.1"}, ["lipstream", "bearer.secret-one"], None),
        ({"host": "127.0.0.1", "authorization": "Bearer secret-one"}, [], None),
    ],
)
def test_websockets_are_asked_as_everything_else_is(headers, words, status):
    sent, passed = [], []

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        passed.append(scope)

    scope = {
        "type": "websocket",
        "path": "/stages/hall/speech",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "subprotocols": words,
        "client": ("127.0.0.1", 1),
    }
    rules = AccessRules("secret-one")
    control = AccessControl(app, rules, public=(), signer=UrlSigner(lambda: 0.0))
    asyncio.run(control(scope, None, send))
    assert [one.get("status") for one in sent][:1] == ([] if status is None else [status])
    assert len(passed) == (status is None)


def test_a_token_may_stand_in_a_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("  correct horse battery\n")
    assert read_token(path) == "correct horse battery"
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_token(tmp_path / "nowhere")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="it is not text"):
        read_token(path)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"token": "naïve token"}, "cannot be sent in a header"),
        ({"token": "two\nlines of it"}, "cannot be sent in a header"),
        ({"allowed_origins": ("friend.example",)}, "friend.example is no origin"),
        ({"allowed_origins": ("https://friend.example/page",)}, "is no origin"),
        ({"tls_key": "key.pem"}, "give that with --tls-cert"),
        ({"tls_cert": "/nowhere.pem"}, "no such file"),
    ],
)
def test_access_that_cannot_work_is_refused(wrong, says):
    with pytest.raises(InputError, match=says) as refused:
        ServerConfig(**wrong).check()
    assert "\n" not in str(refused.value)


def test_https_is_served_and_a_key_of_another_certificate_refused(worker, toy_avatar, tmp_path):
    for name in ("one", "other"):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
        files = ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")]
        subprocess.run([*command, *files], check=True, capture_output=True)
    ServerConfig(tls_cert=tmp_path / "one.pem", tls_key=tmp_path / "one.key").check()
    with pytest.raises(InputError, match="belong together"):
        ServerConfig(tls_cert=tmp_path / "one.pem", tls_key=tmp_path / "other.key").check()

    async def visit():
        keys = {"tls_cert": tmp_path / "one.pem", "tls_key": tmp_path / "one.key"}
        async with running(worker, toy_avatar, **keys) as server:
            port = server.url.rpartition(":")[2]
            trust = ssl.create_default_context(cafile=tmp_path / "one.pem")
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trust, server_hostname="localhost"
            )
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(visit()).startswith(b"HTTP/1.1 200")
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(InputError, match="give PEM files"):
        ServerConfig(tls_cert=tmp_path / "text.pem").check()
