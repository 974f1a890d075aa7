"""Looking into files that came in: what they are, whether they can be used, how they look."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.audio.stream import AudioStream

from lipstream.avatar import Avatar, embedded_avatars
from lipstream.errors import MediaError
from lipstream.types import Image
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


def face(order: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Look into a picture or film; a picture must show a face. Leaves a poster beside it."""
    path = Path(order["file"])
    _check_format(path)
    if is_picture(path):
        avatar = avatar_of_picture(path, LONGEST_SIDE)
        _write_poster(avatar.frames[0], path.with_name(POSTER))
        return {"kind": "picture", "width": avatar.width, "height": avatar.height}
    film = Film(path)
    frames = film.count()
    _check_length(path.name, float(frames / film.fps), order["longest_s"])
    first = next(film.pictures(), None)
    if first is None:
        raise MediaError(f"{path.name} has no picture that can be decoded: copy it again")
    _write_poster(first, path.with_name(POSTER))
    size = {"width": film.width, "height": film.height}
    return {"kind": "film", "frames": frames, "fps": str(film.fps)} | size | _own_sound(path)


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
