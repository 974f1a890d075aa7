"""The routes: the pages, WHIP, WHEP, the studio, and what a monitoring system asks."""

import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lipstream.errors import AtCapacity, AvatarError, InputError, LipstreamError, ServerError
from lipstream_server import metrics
from lipstream_server.auth import AccessControl, AccessRules, UrlSigner
from lipstream_server.config import StudioConfig
from lipstream_server.request_body import read_body
from lipstream_server.studio.routes import StudioRoutes
from lipstream_server.webrtc.offer import Role, read_offer
from lipstream_server.webrtc.peers import PeerSessions

log = logging.getLogger(__name__)

LARGEST_OFFER = 64 * 1024
"""Bytes of an SDP offer; a browser's is 4 to 8 kB."""
RETRY_SECONDS = 5
_SDP = "application/sdp"


class Routes:
    """Answers to requests."""

    def __init__(
        self,
        sessions: PeerSessions,
        *,
        rules: AccessRules,
        loopback: bool,
        studio: StudioConfig | None = None,
    ) -> None:
        self._sessions, self._rules, self._loopback = sessions, rules, loopback
        self._web = Path(str(files("lipstream_clients") / "web"))
        self._signer = UrlSigner(lambda: datetime.now(UTC).timestamp())
        self._studio = StudioRoutes(studio or StudioConfig(), self._signer, sessions.metrics)

    def app(self) -> AccessControl:
        """Return the ASGI application."""
        files_of_page = {f"/{path.name}" for path in self._web.iterdir() if path.is_file()}
        public = {"/", "/studio", "/healthz"} | files_of_page
        return AccessControl(self.routed(), self._rules, public=public, signer=self._signer)

    def routed(self) -> Starlette:
        """Return the application behind the access control."""
        offers = [
            Route(f"/{role.value}", self._offer, methods=["POST", "OPTIONS"]) for role in Role
        ]
        ends = [
            Route(f"/{role.value}/{{name}}", self._end, methods=["DELETE", "PATCH"])
            for role in Role
        ]
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/studio", self._studio_page),
                *self._studio.routes(),
                Route("/healthz", self._health),
                Route("/metrics", self._metrics),
                Route("/avatars", self._avatars),
                *offers,
                *ends,
                Mount("/", StaticFiles(directory=self._web)),
            ],
            exception_handlers={HTTPException: _http_error},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._studio.open():
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
                "avatar": self._sessions.avatars.default.name,
            },
            200 if fault is None else 503,
        )

    async def _avatars(self, _: Request) -> Response:
        return JSONResponse({"avatars": self._sessions.avatars.names})

    async def _metrics(self, _: Request) -> Response:
        await self._studio.measure()
        text = self._sessions.metrics.text()
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def _offer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(None, 204, {"Allow": "POST, OPTIONS", "Accept-Post": _SDP})
        role = Role(request.url.path.strip("/"))
        try:
            sent = await read_body(request, _SDP, LARGEST_OFFER)
            offer = read_offer(sent, role, keep_candidates=not self._loopback)
            session, answer = await self._sessions.open(offer, request.query_params.get("avatar"))
        except (InputError, AvatarError, ServerError) as error:
            raise _refusal(error) from error
        headers = {"Location": f"/{role.value}/{session.name}"}
        return Response(answer, 201, headers, _SDP)

    async def _end(self, request: Request) -> Response:
        if request.method == "PATCH":
            raise HTTPException(405, "trickle ICE is not needed: candidates are found by checks")
        if not await self._sessions.close(request.path_params["name"]):
            raise HTTPException(404, "there is no such session: it may have ended")
        return Response(status_code=200)


def _refusal(error: LipstreamError) -> HTTPException:
    """Return the answer to an offer that cannot be served: whose fault it is says the status."""
    if isinstance(error, AtCapacity):
        return HTTPException(503, str(error), {"Retry-After": str(RETRY_SECONDS)})
    return HTTPException(500 if isinstance(error, ServerError) else 422, str(error))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
