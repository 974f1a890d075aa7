"""Who may ask for what: one ASGI middleware before every route, and links that open by themselves.

The token of ``--token`` is the administrator's. From it tokens are signed that let somebody watch,
speak on or control one stage until a moment.

In this order: the ``Host`` (without a token only this machine may ask, and a page of any site can
reach it under a name of its own, by DNS rebinding), the ``Origin`` of a browser's page, CORS
preflights, then the token. Every answer, the ones given here included, carries the security
headers, and those of CORS for pages that ``--allow-origin`` lets in.
"""

import base64
import hmac
import ipaddress
import json
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lipstream.errors import InputError
from lipstream.machine import steady_time
from lipstream_server.config import is_loopback
from lipstream_server.limits import RIGHTS

FAILURES, FAILURE_SECONDS = 10, 60.0
"""Wrong tokens from one address in this time after which none is looked at."""
_ADDRESSES = 10_000
"""Addresses whose failures are remembered; when there are more, the oldest is forgotten."""
VALID_SECONDS = 24 * 3600
"""Signed links live at least half of this; they end with the server."""
_HALF = VALID_SECONDS // 2
ANY_ORIGIN = "*"
_POLICY = "Content-Security-Policy"
SECURITY_HEADERS = {
    _POLICY: "default-src 'self'; img-src 'self' data: blob:;"
    " media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Sent with every answer that does not set its own; allowed origins may frame the pages as well."""
_CORS_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_CORS_HEADERS = "Authorization, Content-Type, If-Match"
_CORS_EXPOSED = "Location, Link, ETag, Retry-After"
"""What a page of another origin may read; WHIP and WHEP answer with the first three (RFC 9725)."""
_CORS_SECONDS = "600"
_SAFE = {"GET", "HEAD"}
_OFFERS = {"/session", "/whip", "/whep"}
_SIGNED = "stage."
"""What signed tokens begin with."""
SUBPROTOCOL = "lipstream"
"""Subprotocol of a browser's WebSocket, whose token comes as another one, for want of headers."""
_BEARER = "bearer."
_OF_STAGES = re.compile(r"/(session|whip|whep|avatars|stages)(/.*)?")
"""Paths that the token of a stage opens; each looks at the stage itself."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(:\d{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who may use a server."""

    token: str | None = None
    """What must be sent as ``Authorization: Bearer``; None lets in all of this machine."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of other sites whose pages may ask, ``https://example.org``; ``*`` is all of them."""

    def allows_host(self, host: str) -> bool:
        """Return whether a server may be asked for under a name, which may carry a port.

        With a token any name is fine: a page that does not know it gains nothing by one.
        """
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        named = {urlsplit(origin).netloc for origin in self.allowed_origins}
        anybody = self.token is not None or ANY_ORIGIN in self.allowed_origins
        return anybody or host in named or is_loopback(match[1].strip("[]"))

    def allows_origin(self, origin: str, host: str) -> bool:
        """Return whether a page of an origin may ask a server that it calls ``host``."""
        if ANY_ORIGIN in self.allowed_origins or origin in self.allowed_origins:
            return True
        return is_same_origin(origin, host)


def is_same_origin(origin: str, host: str) -> bool:
    """Return whether a page's origin is the server itself; a proxy may have taken TLS off."""
    scheme, separator, netloc = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    return bool(separator) and netloc.removesuffix(port) == host.removesuffix(port)


class FailureLimit:
    """Counts wrong tokens by address. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}

    def wait_s(self, address: str) -> float:
        """Return how long an address has to wait until a token of it is looked at; mostly 0."""
        times = self._failures.get(address)
        if times is None or len(times) < FAILURES:
            return 0.0
        return max(0.0, times[0] + FAILURE_SECONDS - self._clock())

    def add(self, address: str) -> None:
        """Note a wrong token."""
        times = self._failures.pop(address, None) or deque(maxlen=FAILURES)
        times.append(self._clock())
        self._failures[address] = times  # the one that failed last is forgotten last
        if len(self._failures) > _ADDRESSES:
            del self._failures[next(iter(self._failures))]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do."""

    stage: str | None = None
    """The one stage it may touch; None for any, and for all else: the administrator."""
    rights: frozenset[str] = frozenset(RIGHTS)
    """Of ``watch``, ``speak``, ``control``."""

    def allows_stage(self, name: str | None) -> bool:
        """Return whether it is for a stage."""
        return self.stage is None or self.stage == name


ADMINISTRATOR = Grant()


class StageTokens:
    """Signs tokens for one stage, with a key that follows from the administrator's token.

    They outlive the server: whoever knows the administrator's token can make them.
    """

    def __init__(self, secret: str, now: Callable[[], float]) -> None:
        """``now`` gives seconds since 1970."""
        self._key = hmac.digest(secret.encode(), b"lipstream stage tokens", "sha256")
        self._now = now

    def make(self, grant: Grant, seconds: float) -> str:
        """Return a token for one stage that ends in ``seconds``."""
        until = int(self._now() + seconds)
        fields = {"stage": grant.stage, "rights": sorted(grant.rights), "until": until}
        body = _base64(json.dumps(fields, separators=(",", ":")).encode())
        return f"{_SIGNED}{body}.{_base64(self._sign(body))}"

    def read(self, token: str) -> Grant | None:
        """Return what a token grants, None for one that was not made here.

        Raises InputError for one that was, and has expired.
        """
        body, _, signature = token.removeprefix(_SIGNED).partition(".")
        right = _base64(self._sign(body))
        if not hmac.compare_digest(signature.encode(), right.encode()):
            return None
        fields = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if fields["until"] <= self._now():
            raise InputError(
                f"this token for stage {fields['stage']!r} has expired: ask for a new one"
            )
        return Grant(fields["stage"], frozenset(fields["rights"]))

    def _sign(self, body: str) -> bytes:
        return hmac.digest(self._key, body.encode(), "sha256")


def grant_of(scope: Scope) -> Grant:
    """Return what the request of an ASGI scope may do."""
    grant = scope.get("lipstream.grant", ADMINISTRATOR)
    assert isinstance(grant, Grant), "AccessControl puts it there"
    return grant


def is_known(scope: Scope) -> bool:
    """Return whether who sent an OPTIONS request, which needs no token, may do more."""
    return bool(scope.get("lipstream.known", False))


class UrlSigner:
    """Signs paths, since players and downloads cannot send a header.

    ``now`` gives seconds since 1970.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._key = now, secrets.token_bytes(32)

    def link(self, path: str) -> str:
        """Return a link to ``path``, the same one for half of its life."""
        until = (int(self._now()) // _HALF + 2) * _HALF
        return f"{path}?until={until}&ticket={self._sign(path, until)}"

    def valid(self, path: str, query: Mapping[str, str]) -> bool:
        """Return whether a request for ``path`` carries its signature, and it has not expired."""
        until, signature = query.get("until", ""), query.get("ticket", "")
        if not (until.isascii() and until.isdigit() and len(until) <= 12):
            return False
        right = self._sign(path, int(until))
        return hmac.compare_digest(signature.encode(), right.encode()) and self._now() < int(until)

    def _sign(self, path: str, until: int) -> str:
        return hmac.digest(self._key, f"{until} {path}".encode(), "sha256").hex()


class AccessControl:
    """The middleware. Of what is not public everything needs the token, unknown paths included."""

    def __init__(
        self,
        app: ASGIApp,
        rules: AccessRules,
        *,
        public: Collection[str],
        signer: UrlSigner,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``public`` are paths that anybody may get; ``signer`` made the links that open others."""
        self._app, self._rules, self._public, self._signer = app, rules, public, signer
        self._failures = FailureLimit(clock)
        self._framing = "".join(f" {origin}" for origin in rules.allowed_origins)
        self._tokens = None if rules.token is None else StageTokens(rules.token, steady_time)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._answer(scope, Headers(scope=scope)) or self._app
            await answer(scope, receive, self._with_headers(scope, send))
        else:  # a WebSocket is refused by an answer as well
            refused = self._answer(scope, Headers(scope=scope))
            await (refused or self._app)(scope, receive, send)

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a request that goes no further; None lets it pass."""
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if not self._rules.allows_host(host):
            return _error(
                HTTPStatus.FORBIDDEN,
                f"asked for as {host[:80]}: use http://127.0.0.1, or start the server with --token",
            )
        if origin is not None and not self._rules.allows_origin(origin, host):
            return _error(
                HTTPStatus.FORBIDDEN,
                f"pages of {origin[:80]} may not use this server: start it with --allow-origin",
            )
        method = scope.get("method", "")  # a WebSocket has none
        if method == "OPTIONS":
            if origin is not None and "Access-Control-Request-Method" in headers:
                takes = {"Accept-Post": "application/sdp"} if scope["path"] in _OFFERS else None
                return Response(None, HTTPStatus.NO_CONTENT, takes)
            known = self._rules.token is None or _given_token(scope, headers) is not None
            scope["lipstream.known"] = known and self._check_token(scope, headers) is None
            return None
        if method in _SAFE and self._opens_for_all(scope):
            return None
        return self._check_token(scope, headers)

    def _opens_for_all(self, scope: Scope) -> bool:
        if scope["path"] in self._public:
            return True
        return self._signer.valid(scope["path"], QueryParams(scope["query_string"]))

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self._rules.token is None:
            return None
        given = _given_token(scope, headers)
        address = _network(scope)
        if given is not None and (wait_s := self._failures.wait_s(address)):
            return _error(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many wrong tokens from this address: try again later",
                {"Retry-After": str(int(wait_s) + 1)},
            )
        if given and hmac.compare_digest(given.encode(), self._rules.token.encode()):
            return None
        if given and given.startswith(_SIGNED) and self._tokens is not None:
            try:
                grant = self._tokens.read(given)
            except InputError as error:
                return _error(HTTPStatus.UNAUTHORIZED, str(error), {"WWW-Authenticate": "Bearer"})
            if grant is not None:
                return self._admit(scope, grant)
        if given is not None:
            self._failures.add(address)
        return _error(
            HTTPStatus.UNAUTHORIZED,
            "token missing or wrong: send Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )

    def _admit(self, scope: Scope, grant: Grant) -> Response | None:
        """Let the token of a stage to where stages are looked at."""
        scope["lipstream.grant"] = grant
        if _OF_STAGES.fullmatch(scope["path"]):
            return None
        return _error(HTTPStatus.FORBIDDEN, f"this token is for stage {grant.stage!r} alone")

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        """Return ``send``, adding to each answer's headers."""
        asked = Headers(scope=scope)
        host, origin = asked.get("Host", ""), asked.get("Origin")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value + self._framing * (name == _POLICY))
                if self._rules.allowed_origins:
                    headers.add_vary_header("Origin")
                if origin is not None and self._rules.allows_origin(origin, host):
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Expose-Headers"] = _CORS_EXPOSED
                    if scope["method"] == "OPTIONS":
                        headers["Access-Control-Allow-Methods"] = _CORS_METHODS
                        headers["Access-Control-Allow-Headers"] = _CORS_HEADERS
                        headers["Access-Control-Max-Age"] = _CORS_SECONDS
            await send(message)

        return send_with_headers


def _given_token(scope: Scope, headers: Headers) -> str | None:
    """Return the token that a request brings; empty for a header that is none."""
    authorization = headers.get("Authorization")
    if authorization:
        scheme, _, given = authorization.partition(" ")
        return given.strip() if scheme.lower() == "bearer" else ""
    for word in scope.get("subprotocols", ()):
        if word.startswith(_BEARER):
            return str(word.removeprefix(_BEARER))
    return None


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _network(scope: Scope) -> str:
    """Return the address of who asks; of IPv6 the /64, which one customer has whole."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _error(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)
