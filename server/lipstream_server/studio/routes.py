"""The studio's doors. All but the page ask for the token, or for a ticket that was made of it."""

import contextlib
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from lipstream.avatar.pack import embedded_avatars
from lipstream.errors import InputError, LipstreamError
from lipstream_server.metrics import Figures
from lipstream_server.request_body import check_kind, read_body
from lipstream_server.studio.errors import (
    DiskFull,
    NotNow,
    QueueFull,
    StudioBusy,
    TooLarge,
    Unknown,
)
from lipstream_server.studio.folder import Folder
from lipstream_server.studio.orders import LARGEST_ORDER, Shelf, parse_json, parse_order
from lipstream_server.studio.records import Job
from lipstream_server.studio.runner import Runner
from lipstream_server.studio.settings import StudioConfig, default_folder
from lipstream_server.studio.signed_urls import Tickets
from lipstream_server.studio.store import FILM, POSTER, Store
from lipstream_server.studio.uploads import Incoming, Reception, Use
from lipstream_server.studio.views import Views

_STATUS: dict[type[LipstreamError], int] = {
    TooLarge: 413,
    Unknown: 404,
    NotNow: 409,
    QueueFull: 503,
    StudioBusy: 503,
    DiskFull: 507,
    InputError: 422,
}
"""Error -> HTTP status; the first that fits."""
_RETRY_SECONDS = "30"
_CLOSED_BY_CLIENT = 499
_BYTES, _JSON = "application/octet-stream", "application/json"
_PLAIN = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}
"""Sent with visitors' files: whatever is in them, a browser must not run it."""

Door = Callable[[Request], Awaitable[Response]]


class Studio:
    """Answers to the studio page. The event loop's."""

    def __init__(
        self,
        config: StudioConfig,
        check: Callable[[Request], None],
        now: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
    ) -> None:
        """``check`` raises HTTPException for who may not use the server."""
        self._config, self._check = config, check
        self._tickets = Tickets(now)
        self._store = Store(Folder(config.folder or default_folder()), config.limits, now)
        self._reception = Reception(self._store, config)
        self._runner = Runner(self._store, config)
        self._views = Views(self._store, self._runner, self._tickets)
        self._closed: StudioBusy | None = None
        self._avatars = list(embedded_avatars())

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take up what an earlier server left, and make films until the end."""
        try:
            self._store.open()
        except StudioBusy as error:
            self._closed = error
        if self._closed is None:
            self._runner.start()
        try:
            yield
        finally:
            await self._runner.close()
            self._store.close()

    async def figures(self) -> Figures:
        """Return how the studio stands, for a monitoring system."""
        return await self._store.figures()

    def routes(self) -> list[Route]:
        """Return the routes."""
        doors: list[tuple[str, str, Door]] = [
            ("GET", "about", self._about),
            ("GET", "voices", self._voices),
            ("POST", "media", self._take),
            ("POST", "speech", self._say),
            ("DELETE", "media/{id}", self._drop),
            ("GET", "jobs", self._list),
            ("POST", "jobs", self._order),
            ("GET", "jobs/{id}", self._show),
            ("DELETE", "jobs/{id}", self._delete),
            ("POST", "jobs/{id}/cancel", self._cancel),
            ("POST", "jobs/{id}/again", self._again),
        ]
        files: list[tuple[str, Door]] = [
            ("avatars/{name}", self._avatar_picture),
            ("media/{id}/poster", self._media_poster),
            ("media/{id}/file", self._media_file),
            ("jobs/{id}/poster", self._job_poster),
            ("jobs/{id}/film", self._film),
        ]
        return [
            *(Route(f"/studio/{path}", self._door(door), methods=[m]) for m, path, door in doors),
            *(Route(f"/studio/{path}", self._door(door, ticket=True)) for path, door in files),
        ]

    def _door(self, door: Door, *, ticket: bool = False) -> Door:
        async def answer(request: Request) -> Response:
            if not (ticket and self._tickets.valid(request.url.path, request.query_params)):
                self._check(request)
            try:
                if self._closed is not None:
                    raise self._closed
                return await door(request)
            except ClientDisconnect:
                return Response(status_code=_CLOSED_BY_CLIENT)
            except LipstreamError as error:
                raise _http_error(error) from error

        return answer

    async def _about(self, _: Request) -> Response:
        return JSONResponse(self._views.about(self._config.limits, self._avatars))

    async def _voices(self, _: Request) -> Response:
        return JSONResponse({"voices": await self._reception.voices()})

    async def _take(self, request: Request) -> Response:
        check_kind(request, _BYTES)
        use: Use = "sound" if request.query_params.get("use") == "sound" else "face"
        if request.query_params.get("use") not in get_args(Use):
            raise InputError("say what the file is for: use=face or use=sound")
        length = request.headers.get("Content-Length", "")
        known = int(length) if length.isascii() and length.isdigit() else None
        name = request.query_params.get("name", "")
        content = request.stream()
        try:
            media = await self._reception.take(Incoming(use, name, known, content))
        except LipstreamError:
            await _hear_out(content, self._config.limits.upload_bytes)
            raise
        return JSONResponse(self._views.media(media), 201)

    async def _say(self, request: Request) -> Response:
        written = parse_json(await read_body(request, _JSON, LARGEST_ORDER))
        text, voice, speed = written.get("text"), written.get("voice"), written.get("speed", 1)
        if not isinstance(text, str) or not text.strip():
            raise InputError("there is no text: type what is to be said")
        if voice is not None and not isinstance(voice, str):
            raise InputError("voice is the name of one of the voices")
        if not isinstance(speed, int | float) or isinstance(speed, bool):
            raise InputError("speed is a number from 0.5 to 2")
        media = await self._reception.say(text, voice, speed)
        return JSONResponse(self._views.media(media), 201)

    async def _drop(self, request: Request) -> Response:
        await self._store.delete(self._store.media(request.path_params["id"]))
        return Response(status_code=204)

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"jobs": self._views.jobs(self._config.limits.keep_days)})

    async def _order(self, request: Request) -> Response:
        written = parse_json(await read_body(request, _JSON, LARGEST_ORDER))
        shelf = Shelf(self._store.media, self._avatars)
        order = parse_order(written, shelf, self._config.limits)
        job = await self._store.add_job(order)
        self._runner.wake()
        return self._described(job, 201, {"Location": f"/studio/jobs/{job.id}"})

    async def _show(self, request: Request) -> Response:
        return self._described(self._job(request))

    async def _cancel(self, request: Request) -> Response:
        return self._described(await self._runner.cancel(self._job(request)))

    async def _again(self, request: Request) -> Response:
        return self._described(self._runner.again(self._job(request)))

    async def _delete(self, request: Request) -> Response:
        await self._store.delete(self._job(request))
        return Response(status_code=204)

    async def _avatar_picture(self, request: Request) -> Response:
        name = next((one for one in self._avatars if one == request.path_params["name"]), None)
        if name is None:
            raise Unknown("there is no such avatar")
        return _file(await self._reception.avatar_picture(name), "image/jpeg")

    async def _media_poster(self, request: Request) -> Response:
        media = self._store.media(request.path_params["id"])
        return _file(self._store.place(media) / POSTER, "image/jpeg")

    async def _media_file(self, request: Request) -> Response:
        media = self._store.media(request.path_params["id"])
        guessed, _ = mimetypes.guess_type(media.file)  # of an ending that we chose
        kind = guessed if guessed and guessed.startswith(("audio/", "video/")) else _BYTES
        return _file(self._store.place(media) / media.file, kind)

    async def _job_poster(self, request: Request) -> Response:
        return _file(self._store.place(self._job(request)) / POSTER, "image/jpeg")

    async def _film(self, request: Request) -> Response:
        job = self._job(request)
        if job.made is None:
            raise Unknown("the film is not finished")
        name = None
        if "download" in request.query_params:
            name = job.order.title.translate(str.maketrans('\\/:*?"<>|', "         ")) + ".mp4"
        return _file(self._store.place(job) / FILM, "video/mp4", name)

    def _job(self, request: Request) -> Job:
        return self._store.job(request.path_params["id"])

    def _described(
        self, job: Job, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        described = self._views.job(job, self._config.limits.keep_days)
        return JSONResponse(described, status, headers)


def _file(path: Path, kind: str, name: str | None = None) -> Response:
    if not path.is_file():
        raise Unknown("this is no longer kept")
    return FileResponse(path, media_type=kind, filename=name, headers=_PLAIN)


async def _hear_out(content: AsyncIterator[bytes], most: int) -> None:
    """Read on and forget: clients that are cut short while they send see no answer."""
    async for piece in content:
        most -= len(piece)
        if most < 0:
            return


def _http_error(error: LipstreamError) -> HTTPException:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    headers = {"Retry-After": _RETRY_SECONDS} if status == 503 else None
    return HTTPException(status, " ".join(str(error).split()), headers)
