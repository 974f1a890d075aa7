"""Looking into files that came in: what they are, whether they can be used, how they look."""

import itertools
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.audio.stream import AudioStream

from lipstream.avatar import Avatar, embedded_avatars
from lipstream.errors import MediaError
from lipstream.types import Image
from lipstream_clients.dubbing.crowd import Crowd, open_crowd
from lipstream_clients.faces_of import LONGEST_SIDE, avatar_of_picture, shrunk
from lipstream_clients.media import Film, SoundFile, is_picture
from lipstream_clients.media.opening import open_media
from lipstream_server.studio.child import Reply
from lipstream_server.studio.store import POSTER

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,mpeg,mpegts,mxf,gif,apng,webp,avif,image2,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,jpegxl_pipe,ico,"
    "wav,w64,mp3,flac,ogg,aac,ac3,eac3,aiff,caf,amr,au,wv"
)
"""FFmpeg's readers that a stranger's file may choose: none that opens other files (playlists), and
none that takes any text for a film."""
_POSTER_SIDE = 640
_POSTER_QUALITY = 82
_POSTER_SECONDS, _POSTER_LOOKS = 5, 10
"""Where somebody is looked for to show on the poster: as many looks in this part of a film."""


def face(order: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Look into a picture or film; a picture must show a face. Leaves a poster beside it."""
    path = Path(order["file"])
    _check_format(path)
    if is_picture(path):
        avatar = avatar_of_picture(path, LONGEST_SIDE)
        picture = np.asarray(avatar.frames[0])
        _write_poster(picture, path.with_name(POSTER))
        with closing(open_crowd()) as crowd:
            faces = _faces(picture, crowd)
        size = {"width": avatar.width, "height": avatar.height}
        return {"kind": "picture", "faces": faces} | size
    film = Film(path)
    frames = film.count()
    _check_length(path.name, float(frames / film.fps), order["longest_s"])
    poster, faces = _shown_first(film)
    _write_poster(poster, path.with_name(POSTER))
    size = {"width": film.width, "height": film.height}
    length = {"frames": frames, "fps": str(film.fps)}
    return {"kind": "film", "faces": faces} | length | size | _own_sound(path)


def sound(order: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Look into a sound, or the sound of a film."""
    path = Path(order["file"])
    _check_format(path)
    with open_media(path) as container:
        stated = (container.duration or 0) / 1_000_000
    _check_length(path.name, stated, order["longest_s"])
    opened = SoundFile.open(path)
    _check_length(path.name, float(opened.seconds), order["longest_s"])
    return {
        "kind": "sound",
        "rate": opened.rate,
        "channels": opened.channels,
        "samples": opened.samples,
    }


def avatar(order: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Write the picture of an embedded avatar to a file."""
    pack = embedded_avatars()[order["name"]]
    _write_poster(np.asarray(Avatar.open(pack).frames[0]), Path(order["file"]))
    return {}


def _check_format(path: Path) -> None:
    open_media(path, {"format_whitelist": FORMATS}).close()


def _check_length(name: str, seconds: float, longest_s: int) -> None:
    if seconds > longest_s:
        raise MediaError(
            f"{name} lasts {_clock(seconds)}, and at most {_clock(longest_s)} are taken here:"
            " cut it first"
        )


def _shown_first(film: Film) -> tuple[Image, list[dict[str, int]]]:
    """Return the first picture, or one soon after in which there is a face, and its faces."""
    every = max(1, round(film.fps * _POSTER_SECONDS / _POSTER_LOOKS))
    first: Image | None = None
    with closing(open_crowd()) as crowd:
        for picture in itertools.islice(film.pictures(), 0, every * _POSTER_LOOKS, every):
            faces = _faces(picture, crowd)
            if faces:
                return picture, faces
            first = picture if first is None else first
    if first is None:
        raise MediaError(f"{film.path.name} has no picture that can be decoded: copy it again")
    return first, []


def _faces(picture: Image, crowd: Crowd) -> list[dict[str, int]]:
    """Return the middles and heights of the faces in a picture, from left to right."""
    found = []
    for seen in crowd.step(picture, cut=True):
        x, y = seen.crop @ np.array([0.5, 0.5, 1.0], np.float32)
        found.append({"x": round(float(x)), "y": round(float(y)), "size": round(seen.size)})
    return sorted(found, key=lambda face: face["x"])


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
