"""Opening a media file, and saying plainly why it will not open."""

import io
import re
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import PIL.Image
from av import AudioStream, VideoStream
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.media.colour import BACKGROUND
from lipstream.types import Image

_ONLY_FILES = {"protocol_whitelist": "file"}
"""A playlist must not make us read from the network."""
_FOREIGN_TAGS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)
"""How tags that are no UTF-8 are read: PyAV 19 keeps their bytes, and knows no other way."""


def open_media(path: Path, options: dict[str, str] | None = None) -> InputContainer:
    """Open a sound, picture or film file for reading; raises MediaError."""
    check_readable(path)
    try:
        container: InputContainer = av.open(
            f"file:{path}", options=_ONLY_FILES | (options or {}), **_FOREIGN_TAGS
        )
    except (FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"{path.name} cannot be read: {_cause(path, error)}") from error
    if _HEADERLESS.fullmatch(container.format.name):
        container.close()
        raise MediaError(
            f"{path.name} holds samples without a header that tells their rate: give it as wav, as"
            " 'ffmpeg -f mulaw -ar 8000 -i FILE out.wav' makes it"
        )
    return container


def open_chains(path: Path) -> Iterator[InputContainer]:
    """Open a file, or one after the other the streams of a chained Ogg file (RFC 3533).

    Raises MediaError. Each is the receiver's to close.
    """
    container = open_media(path)
    chains = _ogg_chains(path) if container.format.name == "ogg" else []
    if len(chains) < 2:
        yield container
        return
    container.close()
    with path.open("rb") as opened:
        for chain in chains:
            opened.seek(chain.start)
            try:
                content = io.BytesIO(opened.read(len(chain)))
                yield av.open(content, mode="r", format="ogg")
            except (FFmpegError, ValueError) as error:
                raise MediaError(f"{path.name} cannot be read: {reason(error)}") from error


def _ogg_chains(path: Path) -> list[range]:
    """Return the bytes of each chain: it begins with pages that begin streams."""
    starts: list[int] = []
    at, beginning = 0, False
    with path.open("rb") as opened:
        while len(head := opened.read(27)) == 27 and head[:4] == b"OggS":
            begins = bool(head[5] & 2)
            if begins and not beginning:
                starts.append(at)
            beginning = begins
            size = sum(opened.read(head[26]))
            at = opened.seek(size, 1)
    stops = [*starts[1:], path.stat().st_size]
    return [range(start, stop) for start, stop in zip(starts, stops, strict=False)]


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
    if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison]  as for SVG
        raise MediaError(f"{name} is of a kind that cannot be decoded here: convert it first")


def check_gif(encoded: bytes, name: str) -> None:
    """Raise MediaError when a GIF's picture is cut short: FFmpeg shows a part of it."""
    try:
        with PIL.Image.open(io.BytesIO(encoded), formats=["GIF"]) as opened:
            opened.load()
    except (OSError, ValueError, IndexError) as error:
        raise MediaError(f"{name} is cut short or damaged: copy it again") from error


def reason(error: Exception) -> str:
    """Return FFmpeg's own words for an error, in one line."""
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]


def _cause(path: Path, error: Exception) -> str:
    with path.open("rb") as opened:
        head = opened.read(28)
    if head[:4] == b"RIFF" and head[12:16] == b"fmt " and head[24:28] == bytes(4):
        return "its header says 0 Hz; write it again with a rate from 8000 to 192000 Hz"
    if isinstance(error, InvalidDataError | EndOfFile):
        return "it is damaged, cut short, or of a kind not known; play it elsewhere to see which"
    return reason(error)


_SHORTEST_MS, _USUAL_MS = 10, 100
"""A picture of an animation that is shown no longer than the one is shown as long as the other."""
_LONGEST_LEAD_S = 60
"""A sound alone that begins later than this is a piece of a longer one: its times tell nothing."""


def sound_lead(container: InputContainer) -> Fraction:
    """Return the seconds of silence before the sound of an MP4 or MOV, as its edit list has it.

    They count from where the picture begins, or from the file's start where there is none. Other
    formats have no edit lists: ``without_delay`` is for them.
    """
    sound, picture = (container.streams.best(kind) for kind in ("audio", "video"))
    if not container.format.name.startswith("mov") or sound is None:
        return Fraction(0)
    begins, shown = (
        None
        if one is None or one.start_time is None or one.time_base is None
        else Fraction(one.start_time * one.time_base)
        for one in (sound, picture)
    )
    if begins is None:
        return Fraction(0)
    if shown is None:
        shown = Fraction(0) if begins <= _LONGEST_LEAD_S else begins
    return max(Fraction(0), begins - shown)


_UNTOLD = ("aac", "loas", "mp3", "mpegts", "flv", "avi", "ac3", "eac3", "dts", "wav", "nut", "mpeg")
"""Formats without a field for what an encoder puts before a sound; Matroska's is often empty."""
_LEAST_DELAY = {"mp2": 481, "mp3": 1105, "ac3": 256, "eac3": 256, "dca": 480}
"""Samples by which sound leaves encoder and decoder later than it went in, at the least: of both
filter banks; of MP3 528 + 1 in the decoder and LAME's 576. No encoder is known with fewer."""
_HEADERLESS = re.compile(r"[suf]\d+([lb]e)?|alaw|mulaw|vidc")
"""FFmpeg's formats that are samples and nothing else: it guesses their rate."""


def _untold_delay(container: InputContainer, codec: str, first: AudioFrame) -> int:
    stream = container.streams.best("audio")
    is_told = stream is not None and stream.codec_context.delay > 0
    if is_told or container.format.name not in (*_UNTOLD, "matroska,webm"):
        return 0
    if container.format.name == "mp3" and container.streams.audio[0].start_time:
        return 0  # LAME's header has told it
    if codec.startswith("aac"):  # half a window, with nothing that overlaps (ISO/IEC 14496-3)
        return first.samples
    return _LEAST_DELAY.get(codec.removesuffix("float"), 0)


def without_delay(
    frames: Iterable[AudioFrame], container: InputContainer, codec: str
) -> Iterator[AudioFrame]:
    """Leave out of a decoded sound what its encoder put before it, where no field tells that.

    As much as every encoder of the kind puts there: none of it can be sound. The time stamps of
    what follows stay.
    """
    left: int | None = None
    for frame in frames:
        if left is None:
            left = _untold_delay(container, codec, frame)
        if left < frame.samples:
            yield _without_head(frame, left) if left else frame
        left = max(0, left - frame.samples)


def _without_head(frame: AudioFrame, samples: int) -> AudioFrame:
    step = 1 if frame.format.is_planar else len(frame.layout.channels)
    content: Any = np.ascontiguousarray(frame.to_ndarray()[:, samples * step :])
    rest = AudioFrame.from_ndarray(content, frame.format.name, frame.layout.name)
    rest.sample_rate, rest.time_base = frame.sample_rate, Fraction(1, frame.sample_rate)
    if frame.pts is not None and frame.time_base:
        rest.pts = round(frame.pts * frame.time_base * frame.sample_rate) + samples
    return rest


def sound_start(container: InputContainer) -> Fraction:
    """Return when the first sound that is heard begins, by the file's stamps, seconds.

    Some decoders drop a little. An opened file is read on by it.
    """
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream) or stream.time_base is None:
        return Fraction(0)
    begins = (stream.start_time or 0) * stream.time_base
    with suppress(FFmpegError, StopIteration, ValueError):  # told by who reads the sound
        frames = without_delay(container.decode(stream), container, stream.codec_context.name)
        first = next(frames)
        if first.pts is None or first.time_base is None:
            return Fraction(0)
        begins = first.pts * first.time_base
    return begins - sound_lead(container)


def riff_chunks(encoded: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the body of each chunk from a place on."""
    while at + 8 <= len(encoded):
        size = int.from_bytes(encoded[at + 4 : at + 8], "little")
        yield encoded[at : at + 4], encoded[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def is_animated_webp(path: Path) -> bool:
    """Return whether a WebP file holds more than one picture."""
    with path.open("rb") as opened:
        head = opened.read(21)
    if head[8:16] != b"WEBPVP8X" or not head[20] & 2:
        return False
    kinds = [kind for kind, _ in riff_chunks(path.read_bytes(), 12)]
    return kinds.count(b"ANMF") > 1


def webp_film(path: Path, most_megapixels: int) -> Any:
    """Return a temporary file with the film that an animated WebP file is.

    FFmpeg reads its first picture only. Raises MediaError. The file goes when it is closed.
    """
    encoded = path.read_bytes()
    chunks = list(riff_chunks(encoded, 12))
    head = next((body for kind, body in chunks if kind == b"VP8X"), bytes(10))
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7))
    if width * height > most_megapixels * 1_000_000:
        raise MediaError(
            f"{path.name} is larger than {most_megapixels} megapixels: make it smaller"
        )
    file = tempfile.NamedTemporaryFile(suffix=".mkv")  # noqa: SIM115  the reader's
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    time_ms = 0
    with av.open(file.name, "w") as container:
        stream = container.add_stream("ffv1", rate=1000)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for body in (body for kind, body in chunks if kind == b"ANMF"):
            drawn_part = _drawn(canvas, body, path.name)
            frame = VideoFrame.from_ndarray(canvas, format="bgr24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            duration = int.from_bytes(body[12:15], "little")
            frame.duration = duration if duration > _SHORTEST_MS else _USUAL_MS  # as browsers do
            time_ms += frame.duration
            container.mux(stream.encode(frame))
            if body[15] & 1:
                canvas[drawn_part] = BACKGROUND
        container.mux(stream.encode(None))
    return file


def _drawn(canvas: Image, body: bytes, name: str) -> tuple[slice, slice]:
    """Draw one picture of an animation where it belongs, and return where that is."""
    left, top, width, height = (int.from_bytes(body[at : at + 3], "little") for at in (0, 3, 6, 9))
    where = (slice(2 * top, 2 * top + height + 1), slice(2 * left, 2 * left + width + 1))
    inner = body[16:]
    if inner[:4] == b"ALPH":  # it needs the header of the extended form
        inner = b"VP8X\x0a\0\0\0\x10\0\0\0" + body[6:12] + inner
    whole = b"RIFF" + struct.pack("<I", len(inner) + 4) + b"WEBP" + inner
    image = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.shape[:2] != canvas[where].shape[:2]:
        raise MediaError(f"{name} is damaged: a picture of it cannot be decoded; copy it again")
    if image.ndim == 2 or image.shape[2] == 3:
        canvas[where] = image.reshape(*image.shape[:2], -1)
        return where
    alpha = image[..., 3:].astype(np.uint16)
    below = canvas[where] if not body[15] & 2 else np.full_like(canvas[where], BACKGROUND)
    canvas[where] = (image[..., :3] * alpha + below * (255 - alpha) + 127) // 255
    return where
