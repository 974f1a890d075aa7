"""Still pictures: whatever PyAV reads, known by what is in the file, upright, as BGR.

Phones and cameras store a picture as the sensor saw it and say how to turn it: EXIF in JPEG, PNG,
WebP and TIFF, boxes in HEIC and AVIF (ISO/IEC 23008-12), which also cut large pictures into tiles.
"""

import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.media.colour import bgr_of, srgb_of
from lipstream.media.opening import check_decodable, check_gif, check_readable, open_media, reason
from lipstream.types import Image

MOST_MEGAPIXELS = 64
"""Pictures above this are refused from their header alone, before anything is decoded."""
_OPTIONS = {"max_pixels": str(MOST_MEGAPIXELS * 1_000_000)}
_STILL_FORMATS = {"image2", "image2pipe", "ico", "tiff_pipe"}
_STILL_BRANDS = {b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"miaf"}
"""Major brands of ISO files whose picture is an item, not a track."""
_ANIMATIONS = {"gif", "apng"}
_BACKGROUND = 200
"""Grey laid under the transparent parts of a picture."""
_ROWS = 64
"""Rows mixed at once."""
_TIFF_STARTS, _JPEG_START = (b"II*\0", b"MM\0*"), b"\xff\xd8"
_COMPRESSION, _ORIENTATION, _ICC_PROFILE = 0x0103, 0x0112, 0x8773
"""Fields of TIFF (TIFF 6.0, section 8; ICC.1:2022, annex B)."""
_APP2, _START_OF_SCAN = 0xE2, 0xDA
_ICON_SIDE = 256
_LONGEST_META = 16_000_000
_ICC_KINDS = (b"prof", b"rICC")
_SHORTEST_MS, _USUAL_MS = 10, 100
"""A picture of an animation that is shown no longer than the one is shown as long as the other."""


def is_picture(path: Path) -> bool:
    """Return whether a file is a still picture rather than a film, by what is in it.

    An animation of one picture is a picture, one of several is a film.
    """
    check_readable(path)
    with path.open("rb") as opened:
        head = opened.read(16)
    if head[4:8] == b"ftyp":
        return head[8:12] in _STILL_BRANDS
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return not is_animated_webp(path)
    with open_media(path, _OPTIONS) as container:
        name = container.format.name
        if name in _ANIMATIONS:
            return len(list(islice(_packets(container), 2))) < 2
        return name in _STILL_FORMATS or name.endswith("_pipe")


def read_picture(path: Path) -> Image:
    """Read a picture, turned upright as its EXIF or its boxes say, transparent parts on grey.

    Raises MediaError when it is missing, damaged, cut short or larger than 64 megapixels.
    """
    if not is_picture(path):
        raise MediaError(f"{path.name} is not a picture: give a jpg, png or webp file")
    with open_media(path, _OPTIONS) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise MediaError(f"{path.name} is not a picture: give a jpg, png or webp file")
        if container.format.name == "ico":  # one picture in several sizes; of PNG in it told as 0
            stream = max(container.streams.video, key=lambda one: one.width or _ICON_SIDE)
        check_decodable(stream, path.name)
        if stream.codec_context.width <= 0 or stream.codec_context.height <= 0:
            raise MediaError(
                f"{path.name} cannot be read: it is damaged, or larger than {MOST_MEGAPIXELS}"
                " megapixels; make it smaller first"
            )
        if container.format.name.startswith("mov"):
            return _read_items(container, path)
        encoded = path.read_bytes()
        if container.format.name == "gif":
            check_gif(encoded, path.name)
        icc = _icc_of(encoded)
        image = _decode_jpeg(encoded, path.name) if _is_jpeg(stream, encoded) else None
        if image is not None:
            return srgb_of(image, icc)
        image = srgb_of(_decode(container, stream, path.name), icc)
        return oriented(image, _orientation_of(encoded))


def shrunk(image: Image, longest_side: int, *, enlarge: bool = False) -> Image:
    """Return the picture with its longer side at most ``longest_side``; the same if it is.

    With ``enlarge`` it is just that long.
    """
    height, width = image.shape[:2]
    factor = max(height, width) / longest_side
    if factor == 1 or (factor < 1 and not enlarge):
        return image
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    how = cv2.INTER_AREA if factor > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def oriented(image: Image, orientation: int) -> Image:
    """Return a picture upright by its EXIF orientation, 1 to 8; the same array for 1."""
    if orientation in (2, 4, 5, 7):
        image = image[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(image, turns))


def _packets(container: InputContainer) -> "Iterator[av.Packet[av.VideoStream]]":
    return (packet for packet in container.demux(video=0) if packet.size)


def _is_jpeg(stream: av.VideoStream, encoded: bytes) -> bool:
    """Return whether a file is JPEG, in a TIFF perhaps: FFmpeg makes that black."""
    field_at = _tiff_field(encoded, _COMPRESSION)
    in_tiff = field_at and encoded[field_at + 8 : field_at + 10] in (b"\7\0", b"\0\7")
    return stream.codec_context.name == "mjpeg" or bool(in_tiff)


def _decode_jpeg(encoded: bytes, name: str) -> Image | None:
    """Decode with OpenCV, which knows all eight EXIF orientations; None if it cannot."""
    if encoded[:2] == _JPEG_START and not _jpeg_has_end(encoded):
        raise MediaError(f"{name} is cut short: the picture has no end; copy it again")
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    return None if decoded is None else np.asarray(decoded, np.uint8)


def _jpeg_has_end(encoded: bytes) -> bool:
    """Return whether the first picture ends: a motion photo has its film behind it."""
    at = 2
    while 0 < at < len(encoded) - 1:
        at = encoded.find(b"\xff", at)
        if at < 0 or at + 1 >= len(encoded):
            return False
        marker = encoded[at + 1]
        if marker == 0xD9:
            return True
        if marker == 0xFF:
            at += 1
        elif marker in (0, 1, *range(0xD0, 0xD9)):
            at += 2
        else:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return False


def _decode(container: InputContainer, stream: av.VideoStream, name: str) -> Image:
    """Decode with FFmpeg and lay the picture on grey where it is transparent."""
    try:
        frame = next(container.decode(stream))
    except (FFmpegError, StopIteration, ValueError) as error:
        raise MediaError(f"{name} is damaged: {reason(error)}; copy or export it again") from error
    return _flattened(frame, name)


def _flattened(frame: VideoFrame, name: str) -> Image:
    """Return a frame as (H, W, 3) BGR, transparent parts on grey."""
    try:
        if not frame.format.is_rgb and not any(one.is_alpha for one in frame.format.components):
            return bgr_of(frame)
        opaque = frame.format.is_rgb and not (
            frame.format.has_palette or any(one.is_alpha for one in frame.format.components)
        )
        is_rgba = frame.format.name == "rgba"  # taken as it is: a copy is 256 MB of 64 megapixels
        packed = frame.reformat(format="bgr24" if opaque else "rgba" if is_rgba else "bgra")
    except (FFmpegError, ValueError) as error:
        raise MediaError(f"{name} is damaged: {reason(error)}; copy or export it again") from error
    del frame  # a large one takes a few hundred megabytes
    depth = 3 if opaque else 4
    memory: memoryview[int] = memoryview(packed.planes[0])
    lines: Image = np.frombuffer(memory, np.uint8).reshape(packed.height, -1)
    layers = lines[:, : packed.width * depth].reshape(packed.height, packed.width, depth)
    return np.ascontiguousarray(layers) if opaque else on_background(layers, is_rgba=is_rgba)


def on_background(layers: Image, *, is_rgba: bool = False) -> Image:
    """Lay (h, w, 4) uint8 RGBA or BGRA on grey, and return (h, w, 3) BGR.

    Some rows at a time: 16 bits of all would be too much.
    """
    mixed = np.empty((*layers.shape[:2], 3), np.uint8)
    for top in range(0, len(layers), _ROWS):
        rows = layers[top : top + _ROWS]
        alpha = rows[..., 3:].astype(np.uint16)
        colours = rows[..., 2::-1] if is_rgba else rows[..., :3]
        mixed[top : top + _ROWS] = (colours * alpha + _BACKGROUND * (255 - alpha) + 127) // 255
    return mixed


def _orientation_of(encoded: bytes) -> int:
    """Return the EXIF orientation of a PNG, WebP or TIFF file; 1 where there is none."""
    if encoded[:4] in _TIFF_STARTS:
        return _orientation_in(encoded)
    exif = _chunk_of(encoded, b"eXIf", b"EXIF")
    return _orientation_in(exif.removeprefix(b"Exif\0\0"))


def _orientation_in(tiff: bytes) -> int:
    """Return the orientation that a TIFF structure tells; 1 for what is none."""
    field_at = _tiff_field(tiff, _ORIENTATION)
    order = "<" if tiff[:2] == b"II" else ">"
    return int(struct.unpack_from(order + "H", tiff, field_at + 8)[0]) if field_at else 1


def _tiff_field(tiff: bytes, wanted: int) -> int:
    """Return where a field of the first directory of a TIFF structure is; 0 where it has none."""
    if tiff[:4] not in _TIFF_STARTS:
        return 0
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        fields = range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12)
        return next((k for k in fields if struct.unpack_from(order + "H", tiff, k)[0] == wanted), 0)
    except struct.error:
        return 0


def _icc_of(encoded: bytes) -> bytes:
    """Return the ICC profile in a JPEG, PNG, WebP or TIFF file; empty where there is none."""
    if encoded[:2] == _JPEG_START:
        parts = [body[12:] for body in _jpeg_segments(encoded) if body[:12] == b"ICC_PROFILE\0"]
        return b"".join(part[2:] for part in sorted(parts, key=lambda part: part[:1]))
    field_at = _tiff_field(encoded, _ICC_PROFILE)
    if field_at:
        size, at = struct.unpack_from(
            "<II" if encoded[:2] == b"II" else ">II", encoded, field_at + 4
        )
        return encoded[at : at + size]
    profile = _chunk_of(encoded, b"iCCP", b"ICCP")
    if encoded[:4] == b"RIFF":
        return profile
    with suppress(zlib.error):  # after its name, a zero and the kind of compression
        return zlib.decompress(profile[profile.find(b"\0") + 2 :])
    return b""


def _jpeg_segments(encoded: bytes) -> Iterator[bytes]:
    """Yield what stands in the application segments (APP2) before the picture."""
    at = 2
    while encoded[at : at + 1] == b"\xff" and encoded[at + 1] != _START_OF_SCAN:
        size = int.from_bytes(encoded[at + 2 : at + 4], "big")
        if encoded[at + 1] == _APP2:
            yield encoded[at + 4 : at + 2 + size]
        at += 2 + size


def _chunk_of(encoded: bytes, of_png: bytes, of_webp: bytes) -> bytes:
    """Return the first chunk of a kind in a PNG or WebP file; empty where there is none."""
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        chunks, wanted = _png_chunks(encoded), of_png
    elif encoded[:4] == b"RIFF":
        chunks, wanted = riff_chunks(encoded, 12), of_webp
    else:
        return b""
    return next((body for kind, body in chunks if kind == wanted), b"")


def _png_chunks(encoded: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(encoded):
        size = int.from_bytes(encoded[at : at + 4], "big")
        yield encoded[at + 4 : at + 8], encoded[at + 8 : at + 8 + size]
        at += 12 + size


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


def webp_film(path: Path) -> Any:
    """Return a temporary file with the film that an animated WebP file is.

    FFmpeg reads its first picture only. Raises MediaError. The file goes when it is closed.
    """
    encoded = path.read_bytes()
    chunks = list(riff_chunks(encoded, 12))
    head = next((body for kind, body in chunks if kind == b"VP8X"), bytes(10))
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7))
    if width * height > MOST_MEGAPIXELS * 1_000_000:
        raise MediaError(
            f"{path.name} is larger than {MOST_MEGAPIXELS} megapixels: make it smaller"
        )
    file = tempfile.NamedTemporaryFile(suffix=".mkv")  # noqa: SIM115  the reader's
    canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)
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
                canvas[drawn_part] = _BACKGROUND
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
    below = canvas[where] if not body[15] & 2 else np.full_like(canvas[where], _BACKGROUND)
    canvas[where] = (image[..., :3] * alpha + below * (255 - alpha) + 127) // 255
    return where


@dataclass(slots=True)
class _Items:
    """What an ISO file says of its picture."""

    primary: int = 0
    tiles: list[int] = field(default_factory=list)
    grid: bytes = b""
    turns: list[tuple[bytes, int]] = field(default_factory=list)
    """``irot`` in quarter turns against the clock, and ``imir`` by its axis, in order."""
    icc: bytes = b""


def _boxes(content: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes]]:
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", content, at + 8), 16
        size = size or len(content) - at
        if size < head:
            return
        yield kind, content[at + head : at + size]
        at += size


def _items_of(path: Path) -> _Items:
    """Read the ``meta`` box. Raises struct.error, KeyError or IndexError for one that is none."""
    encoded = path.read_bytes()
    meta = next(body for kind, body in _boxes(encoded) if kind == b"meta")[4:_LONGEST_META]
    boxes = dict(_boxes(meta))
    wide = boxes[b"pitm"][0] > 0
    items = _Items(int.from_bytes(boxes[b"pitm"][4 : 8 if wide else 6], "big"))
    for kind, body in _boxes(boxes.get(b"iref", b""), 4):
        size = 4 if boxes[b"iref"][0] else 2
        source = int.from_bytes(body[:size], "big")
        if kind == b"dimg" and source == items.primary:
            many = int.from_bytes(body[size : size + 2], "big")
            starts = range(size + 2, size + 2 + many * size, size)
            items.tiles = [int.from_bytes(body[at : at + size], "big") for at in starts]
    if items.tiles:
        items.grid = _item_content(boxes, items.primary, encoded)
    properties = dict(_boxes(boxes.get(b"iprp", b"")))
    listed = list(_boxes(properties.get(b"ipco", b"")))
    for number in _associated(properties.get(b"ipma", b""), items.primary):
        kind, body = listed[number - 1]
        if kind in (b"irot", b"imir"):
            items.turns.append((kind, body[0] & (3 if kind == b"irot" else 1)))
    for item in (items.primary, *items.tiles[:1]):
        own = [listed[number - 1] for number in _associated(properties.get(b"ipma", b""), item)]
        profiles = [body[4:] for kind, body in own if kind == b"colr" and body[:4] in _ICC_KINDS]
        items.icc = items.icc or next(iter(profiles), b"")
    return items


def _associated(ipma: bytes, item: int) -> list[int]:
    """Return the numbers of an item's properties, in order."""
    if not ipma:
        return []
    wide_items, wide_numbers = ipma[0] > 0, ipma[3] & 1
    (count,) = struct.unpack_from(">I", ipma, 4)
    at = 8
    for _ in range(count):
        size = 4 if wide_items else 2
        number = int.from_bytes(ipma[at : at + size], "big")
        many, at = ipma[at + size], at + size + 1
        step, mask = (2, 0x7FFF) if wide_numbers else (1, 0x7F)
        ends = range(at, at + many * step, step)
        at += many * step
        if number == item:
            return [int.from_bytes(ipma[k : k + step], "big") & mask for k in ends]
    return []


def _item_content(boxes: dict[bytes, bytes], item: int, encoded: bytes) -> bytes:
    """Return what the ``iloc`` box says an item holds: of one piece, in the file or in ``idat``."""
    iloc = boxes[b"iloc"]
    version = iloc[0]
    sizes = [iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15 if version else 0]
    wide = 4 if version == 2 else 2
    at = 6 + wide
    for _ in range(int.from_bytes(iloc[6:at], "big")):
        number = int.from_bytes(iloc[at : at + wide], "big")
        at += wide
        method = int.from_bytes(iloc[at : at + 2], "big") & 15 if version else 0
        at += 4 if version else 2
        base = int.from_bytes(iloc[at : at + sizes[2]], "big")
        at += sizes[2]
        pieces = int.from_bytes(iloc[at : at + 2], "big")
        at += 2
        for _ in range(pieces):
            at += sizes[3]
            offset = base + int.from_bytes(iloc[at : at + sizes[0]], "big")
            at += sizes[0]
            length = int.from_bytes(iloc[at : at + sizes[1]], "big")
            at += sizes[1]
            if number == item:
                source = boxes[b"idat"] if method == 1 else encoded
                return source[offset : offset + length]
    return b""


def _read_items(container: InputContainer, path: Path) -> Image:
    """Decode the picture of a HEIC or AVIF file: its one item, or all of its tiles."""
    try:
        items = _items_of(path)
    except (struct.error, LookupError, StopIteration):
        return _decode(container, container.streams.video[0], path.name)
    image = srgb_of(_assembled(container, items, path.name), items.icc)
    for kind, value in items.turns:
        if kind == b"irot":
            image = np.rot90(image, value)
        else:  # axis 0 is vertical in the standard's words: it exchanges top and bottom
            image = image[::-1] if value == 0 else image[:, ::-1]
    return np.ascontiguousarray(image)


def _assembled(container: InputContainer, items: _Items, name: str) -> Image:
    wanted = items.tiles or [items.primary]
    by_id = {stream.id: stream for stream in container.streams.video}
    streams = [by_id[item] for item in wanted if item in by_id] or [container.streams.video[0]]
    if items.tiles and len(streams) < len(items.tiles):
        raise MediaError(f"{name} is damaged: tiles of its picture are missing; copy it again")
    decoded: dict[int, Image] = {}
    try:
        for packet in container.demux(streams):
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                decoded.setdefault(packet.stream.id, _flattened(frame, name))
    except (FFmpegError, ValueError) as error:
        raise MediaError(f"{name} is damaged: {reason(error)}; copy or export it again") from error
    if len(decoded) < len(streams):
        raise MediaError(f"{name} is damaged: it cannot be decoded; copy or export it again")
    if not items.tiles:
        return decoded[streams[0].id]
    rows, across = items.grid[2] + 1, items.grid[3] + 1
    wide = items.grid[1] & 1
    width, height = struct.unpack_from(">II" if wide else ">HH", items.grid, 4)
    tiles = [decoded[stream.id] for stream in streams]
    lines = [np.hstack(tiles[row * across : (row + 1) * across]) for row in range(rows)]
    return np.vstack(lines)[:height, :width]
