"""Opening a media file, and saying plainly why it will not open."""

from pathlib import Path

import av
from av import AudioStream, VideoStream
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError, InvalidDataError

from lipstream.errors import MediaError

_ONLY_FILES = {"protocol_whitelist": "file"}
"""A playlist must not make us read from the network."""


def open_media(path: Path, options: dict[str, str] | None = None) -> InputContainer:
    """Open a sound, picture or film file for reading; raises MediaError."""
    check_readable(path)
    try:
        container = av.open(f"file:{path}", options=_ONLY_FILES | (options or {}))
    except (FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"{path.name} cannot be read: {_cause(path, error)}") from error
    return container


def check_readable(path: Path) -> None:
    """Raise MediaError unless ``path`` is a file with something in it."""
    if not path.exists():
        raise MediaError(f"there is no file {path}")
    if not path.is_file():
        raise MediaError(f"{path} is not a file: give a sound, picture or film file")
    try:
        with path.open("rb") as opened:
            first = opened.read(1)
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error
    if not first:
        raise MediaError(f"{path.name} is empty (0 bytes): make or copy it again")


def check_decodable(stream: AudioStream | VideoStream, name: str) -> None:
    """Raise MediaError for a stream that nothing here decodes, as the drawing of an SVG file."""
    if stream.codec_context is None:
        raise MediaError(f"{name} is of a kind that cannot be decoded here: convert it first")


def reason(error: Exception) -> str:
    """Return FFmpeg's own words for an error, in one line."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


def _cause(path: Path, error: Exception) -> str:
    with path.open("rb") as opened:
        head = opened.read(28)
    if head[:4] == b"RIFF" and head[12:16] == b"fmt " and head[24:28] == bytes(4):
        return "its header says 0 Hz; write it again with a rate from 8000 to 192000 Hz"
    if isinstance(error, InvalidDataError | EndOfFile):
        return "it is damaged, cut short, or of a kind not known; play it elsewhere to see which"
    return reason(error)
