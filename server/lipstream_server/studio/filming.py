"""Making the film of an order: the same work as ``lipstream render`` does, told to the server."""

import json
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from lipstream.avatar import embedded_avatars
from lipstream.errors import InputError
from lipstream_clients.dubbing.programme import WHOLE, Segment
from lipstream_clients.media import Encoding
from lipstream_clients.render import RenderJob, render
from lipstream_server.studio.child import Reply
from lipstream_server.studio.jobs import Job, Order
from lipstream_server.studio.store import FILM

_TELL_SECONDS = 0.2


def make_film(order: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    """Make the film of the job in a folder, going on from what is there of it."""
    folder = Path(order["folder"])
    job = Job.from_json(json.loads((folder / "job.json").read_text("utf-8")))
    model = None if order["model"] is None else Path(order["model"])
    engine = (model, str(order["backend"]), str(order["precision"]))
    made = render(render_job(job.order, folder, engine), _seldom(reply.step))
    return {
        "frames": made.frames,
        "seconds": float(made.frames / made.fps),
        "faceless": made.faceless,
        "bytes": (folder / FILM).stat().st_size,
    }


def render_job(order: Order, folder: Path, engine: tuple[Path | None, str, str]) -> RenderJob:
    """Return what to render; ``engine`` is the model, the backend and the precision."""
    segments: tuple[Segment, ...] = ()
    sound, cut, who = None, WHOLE, order.who
    if plain_speech(order):
        first = order.pieces[0]
        sound, cut, who = folder / first.sound.file, first.cut, first.who or order.who
    else:
        segments = tuple(
            Segment(folder / piece.sound.file, piece.at, piece.until, piece.cut, piece.who)
            for piece in order.pieces
        )
    model, backend, precision = engine
    return RenderJob(
        face=_face(order, folder),
        sound=sound,
        segments=segments,
        output=folder / FILM,
        model=model,
        backend=backend,
        precision=precision,
        ends=order.ends,
        sound_cut=cut,
        who=who,
        still=order.still and order.face is not None,
        encoding=Encoding(quality=order.quality),
    )


def plain_speech(order: Order) -> bool:
    """Return whether one sound is the film's whole sound and gives it its length."""
    first = order.pieces[0]
    alone = len(order.pieces) == 1 and first.at == Fraction(0) and first.until is None
    endless = order.face is None or order.face.kind == "picture"
    return alone and (endless or order.length == "speech")


def _face(order: Order, folder: Path) -> Path:
    if order.face is not None:
        return folder / order.face.file
    packs = embedded_avatars()
    if order.avatar not in packs:
        raise InputError(f"there is no avatar {order.avatar}: choose one of {', '.join(packs)}")
    return packs[order.avatar]


def _seldom(tell: Callable[[int, int], None]) -> Callable[[int, int], None]:
    told = -_TELL_SECONDS

    def step(done: int, of: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now >= told + _TELL_SECONDS or done == of:
            told = now
            tell(done, of)

    return step
