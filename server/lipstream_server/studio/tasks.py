"""The tasks of the studio's subprocess: inspect a file, speak a text, make the film of an order.

A film is made as ``lipstream render`` makes it. Each task takes its fields of a JSON object and
returns one.
"""

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
from av.audio.stream import AudioStream

from lipstream.avatar.making import LONGEST_SIDE, avatar_of_picture
from lipstream.avatar.pack import Avatar, embedded_avatars
from lipstream.errors import InputError, MediaError
from lipstream.face.tracker import CropTracker, open_crop_tracker
from lipstream.film.job import AS_IT_IS, WHOLE, FaceChoice, Framing, Segment
from lipstream.film.render import RenderJob, render
from lipstream.media import Encoding, FilmReader, Quality, SoundFile, is_picture, shrunk
from lipstream.media.opening import open_media
from lipstream.speech import (
    SpeechSettings,
    list_voices,
    load_sentences,
    open_voice,
    write_speech,
)
from lipstream.types import Image
from lipstream_server.studio.records import FilmOrder, Job
from lipstream_server.studio.store import CAPTIONS, FILM, GROWING, POSTER


@dataclass(frozen=True, slots=True)
class Reply:
    """Where answers are written: lines of JSON, progress first and the end last."""

    output: TextIO

    def progress(self, done: int, of: int) -> None:
        """Say how far it is."""
        self._write({"progress": [done, of]})

    def end(self, **answer: object) -> None:
        """Say how it ended."""
        self._write(answer)

    def _write(self, answer: Mapping[str, object]) -> None:
        self.output.write(json.dumps(answer) + "\n")
        self.output.flush()


_PREVIEW_ROWS = 360
"""Of a film that is only looked at, at most."""
_PROGRESS_SECONDS = 0.2
"""Progress is told no oftener."""


def make_film(request: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    """Make the film of the job in a folder, going on from what is there of it."""
    folder = Path(request["folder"])
    job = Job.from_json(json.loads((folder / "job.json").read_text("utf-8")))
    model = None if request["model"] is None else Path(request["model"])
    engine = (model, str(request["backend"]), str(request["precision"]))
    asked = render_job(job.order, folder, engine)
    sounds = [folder / piece.sound.file for piece in job.order.pieces]
    worded = any(load_sentences(sound, 1000) for sound in sounds)
    if worded:
        asked = replace(asked, captions=folder / CAPTIONS)
    if request["tracks"] is not None:
        asked = replace(asked, tracks=Path(request["tracks"]))
    growing = folder / GROWING
    if job.order.preview:
        asked = replace(asked, growing=growing)
    made = render(asked, _throttled(reply.progress))
    growing.unlink(missing_ok=True)  # who watches it goes on to its end
    return {
        "frames": made.frames,
        "seconds": float(made.frames / made.fps),
        "faceless": made.faceless,
        "turned": made.undriven.turned,
        "covered": made.undriven.covered,
        "captions": worded,
        "bytes": (folder / FILM).stat().st_size,
    }


def render_job(order: FilmOrder, folder: Path, engine: tuple[Path | None, str, str]) -> RenderJob:
    """Return what to render; ``engine`` is the model, the backend and the precision."""
    segments: tuple[Segment, ...] = ()
    view = _view(order)
    sound, cut, who = None, WHOLE, _shown(order.who, order, view)
    if is_whole_sound(order):
        first = order.pieces[0]
        sound, cut = folder / first.sound.file, first.cut
        who = _shown(first.who or order.who, order, view)
    else:
        whose = [None if one.who is None else _shown(one.who, order, view) for one in order.pieces]
        segments = tuple(
            Segment(folder / piece.sound.file, piece.at, piece.until, piece.cut, who)
            for piece, who in zip(order.pieces, whose, strict=True)
        )
    model, backend, precision = engine
    quality: Quality = "low" if order.preview else order.quality
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
        view=view,
        draft=order.preview,
        burn_captions=order.captions,
        encoding=Encoding(quality=quality),
    )


def _view(order: FilmOrder) -> Framing:
    """Return how pictures are shown: a preview's are small."""
    if not order.preview:
        return AS_IT_IS
    face = order.face
    if face is None:
        return Framing(size=(-1, _PREVIEW_ROWS))
    rows = min(_PREVIEW_ROWS, face.height - face.height % 2)
    return Framing(size=(max(16, 2 * round(face.width * rows / face.height / 2)), rows))


def _shown(who: FaceChoice, order: FilmOrder, view: Framing) -> FaceChoice:
    """Return a choice whose point lies in the pictures as they are shown."""
    if view.size is None or order.face is None or who.rule != "nearest":
        return who
    across, down = view.size[0] / order.face.width, view.size[1] / order.face.height
    return replace(who, x=who.x * across, y=who.y * down)


def is_whole_sound(order: FilmOrder) -> bool:
    """Return whether one sound is the film's whole sound and gives it its length."""
    first = order.pieces[0]
    alone = len(order.pieces) == 1 and first.at == Fraction(0) and first.until is None
    endless = order.face is None or order.face.kind == "picture"
    return alone and (endless or order.length == "speech")


def _face(order: FilmOrder, folder: Path) -> Path:
    if order.face is not None:
        return folder / order.face.file
    packs = embedded_avatars()
    if order.avatar not in packs:
        raise InputError(f"there is no avatar {order.avatar}: choose one of {', '.join(packs)}")
    return packs[order.avatar]


def _throttled(tell: Callable[[int, int], None]) -> Callable[[int, int], None]:
    last = -_PROGRESS_SECONDS

    def step(done: int, of: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now >= last + _PROGRESS_SECONDS or done == of:
            last = now
            tell(done, of)

    return step


FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,mpeg,mpegts,mxf,gif,apng,webp,avif,image2,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,jpegxl_pipe,ico,"
    "wav,w64,mp3,flac,ogg,aac,ac3,eac3,aiff,caf,amr,au,wv"
)
"""FFmpeg's readers that a stranger's file may choose: none that opens other files (playlists), and
none that takes any text for a film."""
_POSTER_SIDE = 640
_POSTER_QUALITY = 82
_POSTER_SECONDS, _POSTER_TRIES = 5, 10
"""Where somebody is looked for to show on the poster: as many pictures in this part of a film."""


def inspect_face(request: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Inspect a picture or film; a picture must show a face. Leaves a poster beside it."""
    path = Path(request["file"])
    _check_format(path)
    if is_picture(path):
        avatar = avatar_of_picture(path, LONGEST_SIDE)
        picture = np.asarray(avatar.frames[0])
        _write_poster(picture, path.with_name(POSTER))
        with closing(open_crop_tracker()) as tracker:
            faces = _faces(picture, tracker)
        size = {"width": avatar.width, "height": avatar.height}
        return {"kind": "picture", "faces": faces} | size
    film = FilmReader(path)
    frames = film.count()
    _check_length(path.name, float(frames / film.fps), request["longest_s"])
    poster, faces = _poster_picture(film)
    _write_poster(poster, path.with_name(POSTER))
    size = {"width": film.width, "height": film.height}
    length = {"frames": frames, "fps": str(film.fps)}
    return {"kind": "film", "faces": faces} | length | size | _own_sound(path)


def inspect_sound(request: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Inspect a sound, or the sound of a film."""
    path = Path(request["file"])
    _check_format(path)
    with open_media(path) as container:
        stated = (container.duration or 0) / 1_000_000
    _check_length(path.name, stated, request["longest_s"])
    opened = SoundFile.open(path)
    _check_length(path.name, float(opened.seconds), request["longest_s"])
    return {
        "kind": "sound",
        "rate": opened.rate,
        "channels": opened.channels,
        "samples": opened.samples,
    }


def draw_avatar(request: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Write the picture of an embedded avatar to a file."""
    pack = embedded_avatars()[request["name"]]
    _write_poster(np.asarray(Avatar.open(pack).frames[0]), Path(request["file"]))
    return {}


def _check_format(path: Path) -> None:
    open_media(path, {"format_whitelist": FORMATS}).close()


def _check_length(name: str, seconds: float, longest_s: int) -> None:
    if seconds > longest_s:
        raise MediaError(
            f"{name} lasts {_clock(seconds)}, and at most {_clock(longest_s)} are taken here:"
            " cut it first"
        )


def _poster_picture(film: FilmReader) -> tuple[Image, list[dict[str, int]]]:
    """Return the first picture, or one soon after in which there is a face, and its faces."""
    every = max(1, round(film.fps * _POSTER_SECONDS / _POSTER_TRIES))
    first: Image | None = None
    with closing(open_crop_tracker()) as tracker:
        for picture in itertools.islice(film.pictures(), 0, every * _POSTER_TRIES, every):
            faces = _faces(picture, tracker)
            if faces:
                return picture, faces
            first = picture if first is None else first
    if first is None:
        raise MediaError(f"{film.path.name} has no picture that can be decoded: copy it again")
    return first, []


def _faces(picture: Image, tracker: CropTracker) -> list[dict[str, int]]:
    """Return the middles and heights of the faces in a picture, from left to right."""
    faces = []
    tracker.reset()
    for seen in tracker.step(picture):
        x, y = seen.crop @ np.array([0.5, 0.5, 1.0], np.float32)
        faces.append({"x": round(float(x)), "y": round(float(y)), "size": round(seen.size)})
    return sorted(faces, key=lambda face: face["x"])


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def _own_sound(path: Path) -> dict[str, int]:
    with open_media(path) as container:
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream):
            return {}
        return {"rate": stream.rate, "channels": stream.channels}


def _write_poster(image: Image, path: Path) -> None:
    small = shrunk(image, _POSTER_SIDE)
    done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _POSTER_QUALITY])
    assert done
    try:
        path.write_bytes(jpeg.tobytes())
    except OSError as error:
        raise MediaError(f"the picture of {path.name} cannot be written") from error


def find_voices(request: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Return the voices of a provider."""
    cards = list_voices(SpeechSettings(**request["speech"]))
    return {
        "voices": [
            {"name": card.name, "language": card.language, "title": card.title} for card in cards
        ]
    }


def speak(request: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Say a text into a wav file."""
    path, longest_s = Path(request["file"]), request["longest_s"]
    with contextlib.closing(open_voice(SpeechSettings(**request["speech"]))) as voice:
        samples = write_speech(voice, request["text"], path, longest_s=longest_s)
        return {"kind": "sound", "rate": voice.rate, "channels": 1, "samples": samples}


TASKS: dict[str, Callable[[Mapping[str, Any], Reply], dict[str, Any]]] = {
    "film": make_film,
    "face": inspect_face,
    "sound": inspect_sound,
    "avatar": draw_avatar,
    "speak": speak,
    "voices": find_voices,
}
