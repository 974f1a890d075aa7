"""The studio's routes, and what the page is told of films and files, as JSON."""

import asyncio
import contextlib
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lipstream.avatar.pack import embedded_avatars
from lipstream.errors import InputError, LipstreamError
from lipstream.film.captions import srt_of_vtt
from lipstream.machine import steady_time
from lipstream_server.auth import UrlSigner
from lipstream_server.config import StudioConfig, StudioLimits, default_folder
from lipstream_server.limits import check_kind, read_body
from lipstream_server.metrics import ServerMetrics
from lipstream_server.studio.errors import (
    DiskFull,
    NotFound,
    QueueFull,
    StudioBusy,
    TooLarge,
    WrongState,
)
from lipstream_server.studio.orders import (
    LARGEST_ORDER,
    OrderChoices,
    parse_json,
    parse_order,
    parse_speech,
)
from lipstream_server.studio.records import Job, Media
from lipstream_server.studio.runner import JobRunner
from lipstream_server.studio.store import CAPTIONS, FILM, GROWING, POSTER, Folder, Store
from lipstream_server.studio.uploads import Upload, Uploads, Use

_DAY = 86_400


class Views:
    """Makes descriptions; links in them open for who reads them."""

    def __init__(self, store: Store, runner: JobRunner, signer: UrlSigner) -> None:
        self._store, self._runner, self._signer = store, runner, signer

    def jobs(self, keep_days: int) -> list[dict[str, Any]]:
        """Describe all films, the newest order first."""
        return [self.job(job, keep_days) for job in self._store.jobs()]

    def job(self, job: Job, keep_days: int) -> dict[str, Any]:
        """Describe a film."""
        order, made = job.order, job.made
        link = f"/studio/jobs/{job.id}"
        kept_until = None if job.ended is None else job.ended + keep_days * _DAY
        return {
            "id": job.id,
            "title": order.title,
            "preview": order.preview,
            "state": job.state,
            "asked": job.asked,
            "ended": job.ended,
            "kept_until": kept_until,
            "message": job.message,
            "before": self._before(job),
            "progress": self._progress(job),
            "poster": self._poster(job),
            "growing": self._growing(job),
            "film": None
            if made is None
            else {
                "link": self._signer.link(f"{link}/film"),
                "seconds": round(made.seconds, 3),
                "bytes": made.bytes,
                "frames": made.frames,
                "faceless": made.faceless,
                "turned": made.turned,
                "covered": made.covered,
                "before": self._unspoken(job),
                "captions": self._signer.link(f"{link}/captions") if made.captions else None,
            },
        }

    def media(self, media: Media) -> dict[str, Any]:
        """Describe a file that was taken in."""
        seconds = media.seconds
        link = f"/studio/media/{media.id}"
        face = media.kind != "sound"
        return {
            "id": media.id,
            "kind": media.kind,
            "name": media.name,
            "seconds": None if seconds is None else round(float(seconds), 3),
            "width": media.width,
            "height": media.height,
            "frames": media.frames,
            "fps": float(media.fps),
            "sounds": media.rate > 0,
            "faces": [asdict(one) for one in media.faces],
            "poster": self._signer.link(f"{link}/poster") if face else None,
            "link": None if media.kind == "picture" else self._signer.link(f"{link}/file"),
        }

    def about(self, limits: StudioLimits, avatars: list[str]) -> dict[str, Any]:
        """Describe the studio: its limits, and who is there."""
        names = [name for name in limits.__slots__ if name not in {"reserve_mb", "total_mb"}]
        faces = [{"name": name, "poster": self._avatar(name)} for name in avatars]
        return {"limits": {name: getattr(limits, name) for name in names}, "avatars": faces}

    def _avatar(self, name: str) -> str:
        return self._signer.link(f"/studio/avatars/{name}")

    def _poster(self, job: Job) -> str:
        if job.order.avatar is not None:
            return self._avatar(job.order.avatar)
        return self._signer.link(f"/studio/jobs/{job.id}/poster")

    def _unspoken(self, job: Job) -> dict[str, str] | None:
        """Return the picture or film as it was before; None for an avatar."""
        face = job.order.face
        if face is None:
            return None
        link = f"/studio/jobs/{job.id}/{'face' if face.kind == 'film' else 'poster'}"
        return {"kind": face.kind, "link": self._signer.link(link)}

    def _growing(self, job: Job) -> str | None:
        """Return where a preview plays while it is made; None where nothing is there yet."""
        path = self._store.folder_of(job) / GROWING
        if job.state != "working" or not path.is_file() or path.stat().st_size == 0:
            return None
        return self._signer.link(f"/studio/jobs/{job.id}/growing")

    def _before(self, job: Job) -> int:
        """Return how many films are made before this one."""
        if job.state != "waiting":
            return 0
        alike = [one for one in self._store.jobs() if one.order.preview == job.order.preview]
        waiting = [one for one in self._store.waiting() if one in alike]
        return sum(one.state == "working" for one in alike) + waiting.index(job)

    def _progress(self, job: Job) -> dict[str, Any] | None:
        progress = self._runner.progress(job)
        if progress is None:
            return None
        left = None if progress.left_s is None else round(progress.left_s, 1)
        return {"done": progress.done, "of": progress.of, "left_s": left}


_STATUS: dict[type[LipstreamError], int] = {
    TooLarge: 413,
    NotFound: 404,
    WrongState: 409,
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

_PIECE_BYTES, _FOLLOW_SECONDS = 65_536, 0.1
"""How a preview that is being made is read: so much at once, and then so much later again."""

Handler = Callable[[Request], Awaitable[Response]]


class StudioRoutes:
    """Answers to the studio page. The event loop's."""

    def __init__(
        self,
        config: StudioConfig,
        signer: UrlSigner,
        metrics: ServerMetrics,
        now: Callable[[], float] = steady_time,
    ) -> None:
        """``signer`` signs the links to files, which open them for players and downloads."""
        self._config = config
        self._store = Store(Folder(config.folder or default_folder()), config.limits, metrics, now)
        self._uploads = Uploads(self._store, config)
        self._runner = JobRunner(self._store, config)
        self._views = Views(self._store, self._runner, signer)
        self._closed: StudioBusy | None = None
        self._avatars = list(embedded_avatars())

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
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

    async def measure(self) -> None:
        """Bring the gauges up to date."""
        await self._store.measure()

    def routes(self) -> list[Route]:
        """Return the routes."""
        handlers: list[tuple[str, str, Handler]] = [
            ("GET", "about", self._about),
            ("GET", "voices", self._voices),
            ("POST", "media", self._upload),
            ("POST", "speech", self._speech),
            ("DELETE", "media/{id}", self._delete_media),
            ("GET", "jobs", self._jobs),
            ("POST", "jobs", self._order_film),
            ("GET", "jobs/{id}", self._job),
            ("DELETE", "jobs/{id}", self._delete_job),
            ("POST", "jobs/{id}/cancel", self._cancel),
            ("POST", "jobs/{id}/again", self._retry),
        ]
        files: list[tuple[str, Handler]] = [
            ("avatars/{name}", self._avatar_picture),
            ("media/{id}/poster", self._media_poster),
            ("media/{id}/file", self._media_file),
            ("jobs/{id}/poster", self._job_poster),
            ("jobs/{id}/face", self._job_face),
            ("jobs/{id}/captions", self._captions),
            ("jobs/{id}/film", self._film),
            ("jobs/{id}/growing", self._growing),
        ]
        return [
            *(Route(f"/studio/{path}", self._handler(h), methods=[m]) for m, path, h in handlers),
            *(Route(f"/studio/{path}", self._handler(h)) for path, h in files),
        ]

    def _handler(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                if self._closed is not None:
                    raise self._closed
                return await handler(request)
            except ClientDisconnect:
                return Response(status_code=_CLOSED_BY_CLIENT)
            except LipstreamError as error:
                raise _http_error(error) from error

        return answer

    async def _about(self, _: Request) -> Response:
        return JSONResponse(self._views.about(self._config.limits, self._avatars))

    async def _voices(self, _: Request) -> Response:
        return JSONResponse({"voices": await self._uploads.voices()})

    async def _upload(self, request: Request) -> Response:
        check_kind(request, _BYTES)
        use: Use = "sound" if request.query_params.get("use") == "sound" else "face"
        if request.query_params.get("use") not in get_args(Use):
            raise InputError("say what the file is for: use=face or use=sound")
        length = request.headers.get("Content-Length", "")
        known = int(length) if length.isascii() and length.isdigit() else None
        name = request.query_params.get("name", "")
        content = request.stream()
        try:
            media = await self._uploads.receive(Upload(use, name, known, content))
        except LipstreamError:
            await _drain(content, self._config.limits.upload_bytes)
            raise
        return JSONResponse(self._views.media(media), 201)

    async def _speech(self, request: Request) -> Response:
        body = parse_json(await read_body(request, _JSON, LARGEST_ORDER))
        media = await self._uploads.synthesize(parse_speech(body))
        return JSONResponse(self._views.media(media), 201)

    async def _delete_media(self, request: Request) -> Response:
        await self._store.delete(self._store.media(request.path_params["id"]))
        return Response(status_code=204)

    async def _jobs(self, _: Request) -> Response:
        return JSONResponse({"jobs": self._views.jobs(self._config.limits.keep_days)})

    async def _order_film(self, request: Request) -> Response:
        body = parse_json(await read_body(request, _JSON, LARGEST_ORDER))
        choices = OrderChoices(self._store.media, self._avatars)
        order = parse_order(body, choices, self._config.limits)
        job = await self._store.add_job(order)
        self._runner.wake()
        return self._described(job, 201, {"Location": f"/studio/jobs/{job.id}"})

    async def _job(self, request: Request) -> Response:
        return self._described(self._requested(request))

    async def _cancel(self, request: Request) -> Response:
        return self._described(await self._runner.cancel(self._requested(request)))

    async def _retry(self, request: Request) -> Response:
        return self._described(self._runner.retry(self._requested(request)))

    async def _delete_job(self, request: Request) -> Response:
        await self._store.delete(self._requested(request))
        return Response(status_code=204)

    async def _avatar_picture(self, request: Request) -> Response:
        name = next((one for one in self._avatars if one == request.path_params["name"]), None)
        if name is None:
            raise NotFound("there is no such avatar")
        return _file(await self._uploads.avatar_picture(name), "image/jpeg")

    async def _media_poster(self, request: Request) -> Response:
        media = self._store.media(request.path_params["id"])
        return _file(self._store.folder_of(media) / POSTER, "image/jpeg")

    async def _media_file(self, request: Request) -> Response:
        media = self._store.media(request.path_params["id"])
        return _media(self._store.folder_of(media) / media.file)

    async def _job_poster(self, request: Request) -> Response:
        return _file(self._store.folder_of(self._requested(request)) / POSTER, "image/jpeg")

    async def _job_face(self, request: Request) -> Response:
        job = self._requested(request)
        if job.order.face is None:
            raise NotFound("an avatar speaks in this film")
        return _media(self._store.folder_of(job) / job.order.face.file)

    async def _captions(self, request: Request) -> Response:
        """Answer with WebVTT, or SRT where ``format=srt`` asks for it."""
        job = self._requested(request)
        path = self._store.folder_of(job) / CAPTIONS
        if job.made is None or not job.made.captions or not path.is_file():
            raise NotFound("nothing is known of what is said in this film")
        if request.query_params.get("format") != "srt":
            return _file(path, "text/vtt")
        text = srt_of_vtt(path.read_text("utf-8"))
        named = {"Content-Disposition": 'attachment; filename="captions.srt"'}
        return Response(text, media_type="application/x-subrip", headers=_PLAIN | named)

    async def _film(self, request: Request) -> Response:
        job = self._requested(request)
        if job.made is None:
            raise NotFound("the film is not finished")
        name = None
        if "download" in request.query_params:
            name = job.order.title.translate(str.maketrans('\\/:*?"<>|', "         ")) + ".mp4"
        return _file(self._store.folder_of(job) / FILM, "video/mp4", name)

    async def _growing(self, request: Request) -> Response:
        """Answer with a preview as far as it has come, and with the rest as it is made."""
        job = self._requested(request)
        path = self._store.folder_of(job) / GROWING
        if job.over or not path.is_file():
            raise NotFound("nothing of the film can be watched yet, or it is finished")
        if request.method == "HEAD":
            return Response(media_type="video/mp4", headers=_PLAIN)
        return StreamingResponse(self._follow(job, path), media_type="video/mp4", headers=_PLAIN)

    async def _follow(self, job: Job, path: Path) -> AsyncGenerator[bytes]:
        with path.open("rb") as opened:
            over = False
            while not over:  # asked before reading: what was written by then is read
                over = not any(one.id == job.id and not one.over for one in self._store.jobs())
                while piece := await asyncio.to_thread(opened.read, _PIECE_BYTES):
                    yield piece
                await asyncio.sleep(0 if over else _FOLLOW_SECONDS)

    def _requested(self, request: Request) -> Job:
        return self._store.job(request.path_params["id"])

    def _described(
        self, job: Job, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        described = self._views.job(job, self._config.limits.keep_days)
        return JSONResponse(described, status, headers)


def _media(path: Path) -> Response:
    guessed, _ = mimetypes.guess_type(path.name)  # of an ending that we chose
    kind = guessed if guessed and guessed.startswith(("audio/", "video/")) else _BYTES
    return _file(path, kind)


def _file(path: Path, kind: str, name: str | None = None) -> Response:
    if not path.is_file():
        raise NotFound("this is no longer kept")
    return FileResponse(path, media_type=kind, filename=name, headers=_PLAIN)


async def _drain(content: AsyncIterator[bytes], most: int) -> None:
    """Read on and forget: clients that are cut short while they send see no answer."""
    async for piece in content:
        most -= len(piece)
        if most < 0:
            return


def _http_error(error: LipstreamError) -> HTTPException:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    headers = {"Retry-After": _RETRY_SECONDS} if status == 503 else None
    return HTTPException(status, " ".join(str(error).split()), headers)
