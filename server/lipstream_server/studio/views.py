"""What the page is told of films and files, as JSON."""

from dataclasses import asdict
from typing import Any

from lipstream_server.studio.records import Job, Media
from lipstream_server.studio.runner import Runner
from lipstream_server.studio.settings import StudioLimits
from lipstream_server.studio.signed_urls import Tickets
from lipstream_server.studio.store import Store

_DAY = 86_400


class Views:
    """Makes descriptions; links in them open for who reads them."""

    def __init__(self, store: Store, runner: Runner, tickets: Tickets) -> None:
        self._store, self._runner, self._tickets = store, runner, tickets

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
            "state": job.state,
            "asked": job.asked,
            "ended": job.ended,
            "kept_until": kept_until,
            "message": job.message,
            "before": self._before(job),
            "progress": self._progress(job),
            "poster": self._poster(job),
            "film": None
            if made is None
            else {
                "link": self._tickets.link(f"{link}/film"),
                "seconds": round(made.seconds, 3),
                "bytes": made.bytes,
                "frames": made.frames,
                "faceless": made.faceless,
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
            "poster": self._tickets.link(f"{link}/poster") if face else None,
            "link": None if media.kind == "picture" else self._tickets.link(f"{link}/file"),
        }

    def about(self, limits: StudioLimits, avatars: list[str]) -> dict[str, Any]:
        """Describe the studio: its limits, and who is there."""
        names = [name for name in limits.__slots__ if name != "reserve_mb"]
        faces = [{"name": name, "poster": self._avatar(name)} for name in avatars]
        return {"limits": {name: getattr(limits, name) for name in names}, "avatars": faces}

    def _avatar(self, name: str) -> str:
        return self._tickets.link(f"/studio/avatars/{name}")

    def _poster(self, job: Job) -> str:
        if job.order.avatar is not None:
            return self._avatar(job.order.avatar)
        return self._tickets.link(f"/studio/jobs/{job.id}/poster")

    def _before(self, job: Job) -> int:
        """Return how many films are made before this one."""
        if job.state != "waiting":
            return 0
        under_way = [one for one in self._store.jobs() if not one.over and one.id != job.id]
        return sum(one.asked <= job.asked or one.state == "working" for one in under_way)

    def _progress(self, job: Job) -> dict[str, Any] | None:
        progress = self._runner.progress(job)
        if progress is None:
            return None
        left = None if progress.left_s is None else round(progress.left_s, 1)
        return {"done": progress.done, "of": progress.of, "left_s": left}
