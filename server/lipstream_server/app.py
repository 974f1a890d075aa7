"""The routes: the pages, WHIP, WHEP, the studio, and what a monitoring system asks."""

import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from lipstream.errors import AtCapacity, AvatarError, InputError, LipstreamError, ServerError
from lipstream.machine import steady_time
from lipstream_server import metrics
from lipstream_server.auth import (
    SUBPROTOCOL,
    AccessControl,
    AccessRules,
    Grant,
    StageTokens,
    UrlSigner,
    grant_of,
    is_known,
)
from lipstream_server.config import ReachConfig, ServerConfig
from lipstream_server.limits import RIGHTS, read_body
from lipstream_server.outputs import Outputs
from lipstream_server.stage.member import SpeechSocket
from lipstream_server.stage.messages import SpeakText
from lipstream_server.stage.registry import NoSuchStage
from lipstream_server.stage.stage import Stage
from lipstream_server.studio.routes import StudioRoutes
from lipstream_server.webrtc.offer import Role, read_fragment, read_offer
from lipstream_server.webrtc.peer import PeerSession, PeerSessions, Place

log = logging.getLogger(__name__)

LARGEST_OFFER = 64 * 1024
"""Bytes of an SDP offer; a browser's is 4 to 8 kB."""
LARGEST_FRAGMENT = 16 * 1024
"""Bytes of a client's candidates."""
LARGEST_ORDER = 64 * 1024
"""Bytes of an order about a stage: a text of 20,000 characters."""
RETRY_SECONDS = 5
_SDP, _FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"


class Routes:
    """Answers to requests."""

    def __init__(
        self,
        sessions: PeerSessions,
        config: ServerConfig | None = None,
        *,
        rules: AccessRules,
        loopback: bool,
    ) -> None:
        config = config or ServerConfig()
        self._sessions, self._rules = sessions, rules
        self._peers = PeerRoutes(sessions, config.reach, loopback=loopback)
        self._web = Path(str(files("lipstream_clients") / "web"))
        self._signer = UrlSigner(steady_time)
        tokens = None if rules.token is None else StageTokens(rules.token, steady_time)
        self._outputs = Outputs(sessions, config.outputs)
        self._stages = StageRoutes(sessions, tokens, self._outputs)
        self._studio = StudioRoutes(config.studio, self._signer, sessions.metrics)

    def app(self) -> AccessControl:
        """Return the ASGI application."""
        files_of_page = {f"/{path.name}" for path in self._web.iterdir() if path.is_file()}
        public = {"/", "/studio", "/healthz", "/readyz"} | files_of_page
        return AccessControl(self.routed(), self._rules, public=public, signer=self._signer)

    def routed(self) -> Starlette:
        """Return the application behind the access control."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/studio", self._studio_page),
                *self._studio.routes(),
                *self._stages.routes(),
                Route("/healthz", self._health),
                Route("/readyz", self._ready),
                Route("/metrics", self._metrics),
                Route("/avatars", self._avatars),
                *self._peers.routes(),
                Mount("/", StaticFiles(directory=self._web)),
            ],
            exception_handlers={HTTPException: _http_error},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        async with self._studio.open(), self._outputs.open():
            yield
        await self._sessions.close_all()

    async def _page(self, _: Request) -> Response:
        return FileResponse(self._web / "index.html")

    async def _studio_page(self, _: Request) -> Response:
        return FileResponse(self._web / "studio.html")

    async def _health(self, _: Request) -> Response:
        worker = self._sessions.worker
        fault = self._sessions.fault
        return JSONResponse(
            {
                "status": "ok" if fault is None else "failing",
                **({} if fault is None else {"fault": fault}),
                "sessions": len(self._sessions),
                "capacity": worker.capacity,
                "model": worker.manifest_name,
                "backend": worker.backend,
                "avatar": self._sessions.stages.avatars.default.name,
            },
            200 if fault is None else 503,
        )

    async def _ready(self, _: Request) -> Response:
        """Say whether one more stage finds a place here, for who shares them out."""
        stages = self._sessions.stages
        full = "draining" if stages.draining else "ready" if stages.free else "full"
        status = full if self._sessions.fault is None else "failing"
        told = {"status": status, "free": stages.free, "sessions": len(self._sessions)}
        return JSONResponse(told, 200 if status == "ready" else 503)

    async def _avatars(self, _: Request) -> Response:
        return JSONResponse({"avatars": self._sessions.stages.avatars.names})

    async def _metrics(self, _: Request) -> Response:
        await self._studio.measure()
        text = self._sessions.metrics.text()
        return Response(text, media_type=metrics.CONTENT_TYPE)


class PeerRoutes:
    """WHIP (RFC 9725), WHEP (draft-ietf-wish-whep-03), and both at once: ``/session``.

    ``docs/whip-and-whep.md`` says which requirement is met where.
    """

    def __init__(self, sessions: PeerSessions, reach: ReachConfig, *, loopback: bool) -> None:
        self._sessions, self._reach, self._loopback = sessions, reach, loopback

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        methods = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"]  # some to say which are not
        return [
            *(Route(f"/{role.value}", self._endpoint, methods=methods) for role in Role),
            *(Route(f"/{role.value}/{{name}}", self._session, methods=methods) for role in Role),
        ]

    async def _endpoint(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._offer(request)
        if request.method in ("GET", "HEAD"):
            return Response(status_code=204)
        allowed = "GET, HEAD, OPTIONS, POST"
        if request.method != "OPTIONS":
            raise _not_allowed(allowed)
        headers = {"Allow": allowed, "Accept-Post": _SDP}
        links = self._links() if is_known(request.scope) else []
        return _with_links(Response(None, 200, headers), links)

    async def _session(self, request: Request) -> Response:
        allowed = "DELETE, GET, HEAD, OPTIONS, PATCH"
        if request.method == "OPTIONS":
            return Response(None, 200, {"Allow": allowed, "Accept-Patch": _FRAGMENT})
        if request.method not in allowed.split(", "):
            raise _not_allowed(allowed)
        session = self._find(request)
        if request.method == "PATCH":
            return await self._trickle(request, session)
        if request.method == "DELETE":
            await session.end()
            return Response(status_code=200)
        return Response(status_code=204)

    async def _offer(self, request: Request) -> Response:
        role = Role(request.url.path.strip("/"))
        try:
            sent = await read_body(request, _SDP, LARGEST_OFFER)
            offer = read_offer(sent, role, keep_candidates=not self._loopback)
            self._sessions.check_load()
            place = await self._place(request)
            session, answer = await self._sessions.open(offer, place)
        except (InputError, AvatarError, ServerError) as error:
            raise _refusal(error) from error
        # Relative to what was asked for: it holds behind any proxy and under any prefix.
        node = self._reach.advertised_url
        where = f"{node}/{role.value}" if node else role.value
        headers = {"Location": f"{where}/{session.name}", "ETag": session.ice_tag}
        return _with_links(Response(answer, 201, headers, _SDP), self._links())

    async def _place(self, request: Request) -> Place:
        """Return the stage that an offer is for: one that it names, or one of its own."""
        grant, stages, query = grant_of(request.scope), self._sessions.stages, request.query_params
        name = query.get("stage", grant.stage)
        if not grant.allows_stage(name):
            raise HTTPException(403, f"this token is for stage {grant.stage!r} alone")
        may_speak = bool(grant.rights & {"speak", "control"})
        if request.url.path == f"/{Role.SEND.value}" and not may_speak:
            raise HTTPException(403, "this token may watch, and not speak: ask for one that may")
        if name is not None and not may_speak:
            stage = stages.find(name)
        else:
            stage = await stages.open(name, query.get("avatar"))
        return Place(stage, named=name is not None, rights=grant.rights)

    async def _trickle(self, request: Request, session: PeerSession) -> Response:
        """Take a client's candidates, or begin ICE anew (RFC 9725, 4.3)."""
        body = await read_body(request, _FRAGMENT, LARGEST_FRAGMENT)
        expected = request.headers.get("If-Match")
        if expected is None:
            raise HTTPException(428, "which ICE session is meant? send its ETag in If-Match")
        if expected.strip() not in ("*", session.ice_tag):
            raise HTTPException(412, "this is of another ICE session than the one there is")
        try:
            fragment = read_fragment(body, keep_candidates=not self._loopback)
        except InputError as error:
            raise HTTPException(400, str(error)) from error
        try:
            answer = await session.take_fragment(fragment)
        except InputError as error:
            raise HTTPException(409, str(error)) from error
        if answer is None:
            return Response(status_code=204)
        return Response(answer, 200, {"ETag": session.ice_tag}, _FRAGMENT)

    def _find(self, request: Request) -> PeerSession:
        role = Role(request.url.path.split("/")[1])
        session = self._sessions.find(request.path_params["name"], role)
        if session is None or not grant_of(request.scope).allows_stage(session.stage.name):
            raise HTTPException(404, "there is no such session: it may have ended")
        return session

    def _links(self) -> list[str]:
        return [one.link for one in self._reach.servers(steady_time())]


def _with_links(response: Response, links: list[str]) -> Response:
    if links:
        response.headers["Link"] = ", ".join(links)
    return response


def _not_allowed(allowed: str) -> HTTPException:
    return HTTPException(405, f"this is asked by {allowed} alone", {"Allow": allowed})


class _SayOrder(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    voice: str | None = None
    id: str | int | None = None


class _OutputOrder(msgspec.Struct, forbid_unknown_fields=True):
    push: str | None = None
    token: str | None = None
    record: str | None = None


class _StageOrder(msgspec.Struct, forbid_unknown_fields=True):
    stage: str | None = None
    avatar: str | None = None


class _TokenOrder(msgspec.Struct, forbid_unknown_fields=True):
    stage: str
    rights: list[Literal["watch", "speak", "control"]]
    seconds: float = 3600.0


_Order = TypeVar("_Order", bound=msgspec.Struct)


class StageRoutes:
    """Answers about stages: opened, looked at, spoken on, interrupted, ended, and their tokens."""

    def __init__(
        self, sessions: PeerSessions, tokens: StageTokens | None, outputs: Outputs
    ) -> None:
        self._stages, self._tokens, self._outputs = sessions.stages, tokens, outputs

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/stages", self._list, methods=["GET"]),
            Route("/stages", self._open, methods=["POST"]),
            Route("/stages/{stage}", self._show, methods=["GET"]),
            Route("/stages/{stage}", self._end, methods=["DELETE"]),
            Route("/stages/{stage}/say", self._say, methods=["POST"]),
            Route("/stages/{stage}/interrupt", self._interrupt, methods=["POST"]),
            Route("/stages/{stage}/outputs", self._list_outputs, methods=["GET"]),
            Route("/stages/{stage}/outputs", self._begin_output, methods=["POST"]),
            Route("/stages/{stage}/outputs/{id}", self._end_output, methods=["DELETE"]),
            WebSocketRoute("/stages/{stage}/speech", self._speech),
            Route("/tokens", self._token, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        grant = grant_of(request.scope)
        stages = [asdict(one.state()) for one in self._stages if grant.allows_stage(one.name)]
        return JSONResponse({"stages": stages})

    async def _open(self, request: Request) -> Response:
        order = await _read_order(request, _StageOrder)
        name = secrets.token_urlsafe(9) if order.stage is None else order.stage
        self._check(request, name, "speak")
        try:
            stage = await self._stages.open(name, order.avatar)
        except (InputError, AvatarError, ServerError) as error:
            raise _refusal(error) from error
        self._stages.release(stage, named=True)
        return JSONResponse(asdict(stage.state()), 201, {"Location": f"/stages/{stage.name}"})

    async def _show(self, request: Request) -> Response:
        stage = self._find(request, "watch")
        return JSONResponse({**asdict(stage.state()), "stats": asdict(stage.stats())})

    async def _end(self, request: Request) -> Response:
        self._find(request, "control").end()
        return Response(status_code=204)

    async def _say(self, request: Request) -> Response:
        stage = self._find(request, "speak")
        order = await _read_order(request, _SayOrder)
        text = SpeakText(order.text, order.voice, order.id)
        try:
            await stage.texts.check(text)
        except LipstreamError as error:
            raise _refusal(error) from error
        try:
            stage.say(text)
        except InputError as error:
            raise HTTPException(409, str(error)) from error
        self._stages.release(stage, named=True)
        return JSONResponse({"id": order.id, "queued_ms": stage.conversation.queued_ms}, 202)

    async def _interrupt(self, request: Request) -> Response:
        heard_ms = self._find(request, "speak").interrupt()
        return JSONResponse({"heard_ms": round(heard_ms, 1)})

    async def _list_outputs(self, request: Request) -> Response:
        stage = self._find(request, "control")
        return JSONResponse({"outputs": [asdict(one) for one in self._outputs.of(stage)]})

    async def _begin_output(self, request: Request) -> Response:
        """Push or record: the server connects to others and writes files, for its own people."""
        if grant_of(request.scope).stage is not None:
            raise HTTPException(403, "a stage's token begins no outputs: the administrator's does")
        stage = self._find(request, "control")
        order = await _read_order(request, _OutputOrder)
        try:
            if order.push is not None and order.record is None:
                output = self._outputs.push(stage, order.push, order.token)
            elif order.record is not None and order.push is order.token is None:
                output = self._outputs.record(stage, order.record)
            else:
                raise InputError('give "push", an address, or "record", the name of a file')
        except InputError as error:
            raise HTTPException(409, str(error)) from error
        where = f"/stages/{stage.name}/outputs/{output.state.id}"
        return JSONResponse(asdict(output.state), 201, {"Location": where})

    async def _end_output(self, request: Request) -> Response:
        stage = self._find(request, "control")
        if not self._outputs.end(stage, request.path_params["id"]):
            raise HTTPException(404, "there is no such output: it may have ended")
        return Response(status_code=204)

    async def _token(self, request: Request) -> Response:
        if self._tokens is None:
            raise HTTPException(409, "this server has no --token to sign with, and asks for none")
        order = await _read_order(request, _TokenOrder)
        grant = Grant(order.stage, frozenset(order.rights))
        token = self._tokens.make(grant, order.seconds)
        return JSONResponse({"token": token, "stage": order.stage}, 201)

    async def _speech(self, socket: WebSocket) -> None:
        """Take part over a WebSocket; the stage begins with it where there is none."""
        name, grant = socket.path_params["stage"], grant_of(socket.scope)
        try:
            self._check(socket, name, "watch")
            may_speak = bool(grant.rights & {"speak", "control"})
            avatar = socket.query_params.get("avatar")
            stage = await self._stages.open(name, avatar) if may_speak else self._stages.find(name)
        except HTTPException as error:
            await _refuse(socket, error)
        except LipstreamError as error:
            await _refuse(socket, _refusal(error))
        else:
            offered = socket.scope.get("subprotocols", [])
            await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await SpeechSocket(socket, stage, grant.rights).run()
            self._stages.release(stage, named=True)

    def _find(self, request: Request, right: str) -> Stage:
        name = request.path_params["stage"]
        self._check(request, name, right)
        try:
            return self._stages.find(name)
        except InputError as error:
            raise HTTPException(404, str(error)) from error

    def _check(self, connection: HTTPConnection, name: str, right: str) -> None:
        grant = grant_of(connection.scope)
        if not grant.allows_stage(name):
            raise HTTPException(403, f"this token is for stage {grant.stage!r} alone")
        enough = {"watch": set(RIGHTS), "speak": {"speak", "control"}, "control": {"control"}}
        if not grant.rights & enough[right]:
            raise HTTPException(403, f"this token may not {right}: ask for one that may")


async def _read_order(request: Request, kind: type[_Order]) -> _Order:
    """Read a body of JSON; raises 400 saying what is wrong with it."""
    body = await read_body(request, "application/json", LARGEST_ORDER)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise HTTPException(400, f"the order cannot be read: {error}") from error


async def _refuse(socket: WebSocket, error: HTTPException) -> None:
    """Answer a WebSocket's request with why there is none."""
    headers = dict(error.headers or {})
    await socket.send_denial_response(
        JSONResponse({"error": error.detail}, error.status_code, headers)
    )


def _refusal(error: LipstreamError) -> HTTPException:
    """Return the answer to an offer that cannot be served: whose fault it is says the status."""
    if isinstance(error, NoSuchStage):
        return HTTPException(404, str(error))
    if isinstance(error, AtCapacity):
        return HTTPException(503, str(error), {"Retry-After": str(RETRY_SECONDS)})
    return HTTPException(500 if isinstance(error, ServerError) else 422, str(error))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
