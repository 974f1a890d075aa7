"""Still pictures: whatever PyAV reads, known by what is in the file, upright, as BGR.

Phones and cameras store a picture as the sensor saw it and say how to turn it: EXIF in JPEG, PNG,
WebP and TIFF, boxes in HEIC and AVIF (ISO/IEC 23008-12), which also cut large pictures into tiles.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.Image
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.media.colour import (
    bgr_of_numbers,
    encoded_light,
    flattened,
    mean_of_floats,
    on_background,
    srgb_of,
)
from lipstream.media.opening import (
    check_decodable,
    check_gif,
    check_readable,
    is_animated_webp,
    open_media,
    reason,
    riff_chunks,
)
from lipstream.types import Image

MOST_MEGAPIXELS = 64
"""Pictures above this are refused from their header alone, before anything is decoded."""
_OPTIONS = {"max_pixels": str(MOST_MEGAPIXELS * 1_000_000)}
_STILL_FORMATS = {"image2", "image2pipe", "ico", "tiff_pipe"}
_STILL_BRANDS = {b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"miaf"}
"""Major brands of ISO files whose picture is an item, not a track."""
_ANIMATIONS = {"gif", "apng"}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_START = b"\xff\xd8"
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION = 256, 257, 258, 259, 274
_PHOTOMETRIC, _TILE_WIDTH, _SAMPLE_FORMAT, _ICC_PROFILE = 262, 322, 339, 34675
"""Fields of TIFF (TIFF 6.0, sections 8, 15 and 19; ICC.1:2022, annex B)."""
_NUMBER_SIZES = {3: 2, 4: 4, 16: 8}
_FLOATS, _YCBCR = 3, 6
_PILLOWS = (7, 34925, 50000)
"""Compressions that are left to Pillow: JPEG, LZMA2 and Zstandard."""
_UNREAD = "{name} is damaged, or of a kind that is not read here: save it as PNG"
_APP2, _START_OF_SCAN = 0xE2, 0xDA
_ICON_SIDE = 256
_LONGEST_META = 16_000_000
_LONGEST_HEAD = 4096
_SHOWN = re.compile(rb"\nGAMMA= *0?\.|writer\0string\0....lavc", re.DOTALL)
"""What pictures of light tell when their numbers are those to be shown: FFmpeg's and others'."""
_GREY_TARGA = (3, 11)
_ALPHAS = (b":auxiliary:alpha", b":auxid:1")
_ICC_KINDS = (b"prof", b"rICC")


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
        encoded = path.read_bytes()
        image = _decode_tiff(encoded, path.name)
        if image is None:
            _check_size(stream.codec_context.width, stream.codec_context.height, path.name)
        if container.format.name.startswith("mov"):
            return _read_items(container, encoded, path)
        if container.format.name == "gif":
            check_gif(encoded, path.name)
        icc = _icc_of(encoded)
        if image is None and stream.codec_context.name == "mjpeg":
            image = _decode_jpeg(encoded, path.name)
        if image is not None:
            return srgb_of(image, icc)
        image = srgb_of(_decode(container, stream, path.name, encoded), icc)
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


def _decode_tiff(encoded: bytes, name: str) -> Image | None:
    """Decode what FFmpeg makes black, pale or refuses: tiles, JPEG, YCbCr, floats, BigTIFF.

    8 bits with Pillow, which tells CMYK and alpha apart; more with OpenCV. None for the others.
    """
    bits, compression = _tiff_number(encoded, _BITS), _tiff_number(encoded, _COMPRESSION)
    is_float = _tiff_number(encoded, _SAMPLE_FORMAT) == _FLOATS
    is_big, is_tiled = encoded[:4] in _TIFF_STARTS[2:], _tiff_number(encoded, _TILE_WIDTH)
    is_ycbcr = _tiff_number(encoded, _PHOTOMETRIC) == _YCBCR
    if not (compression in _PILLOWS or is_big or is_tiled or is_float or is_ycbcr or bits > 16):
        return None
    _check_size(_tiff_number(encoded, _WIDTH), _tiff_number(encoded, _HEIGHT), name)
    if bits <= 8 or compression in _PILLOWS:
        return _decode_with_pillow(encoded, "TIFF", name)
    try:
        is_half = is_float and bits == 16  # of which OpenCV tells in five lines of its own
        numbers = np.frombuffer(encoded, np.uint8)
        decoded = None if is_half else cv2.imdecode(numbers, cv2.IMREAD_UNCHANGED)
        if decoded is None or (is_float and float(np.nanmean(decoded)) > 1):
            raise ValueError("not read, or nothing tells which number is white")
        return bgr_of_numbers(decoded)
    except (cv2.error, ValueError) as error:
        raise MediaError(_UNREAD.format(name=name)) from error


def _check_size(width: int, height: int, name: str) -> None:
    if not 0 < width * height <= MOST_MEGAPIXELS * 1_000_000:
        raise MediaError(
            f"{name} cannot be read: it is damaged, of a kind that is not read here, or larger than"
            f" {MOST_MEGAPIXELS} megapixels; save it as PNG, and smaller"
        )


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


def _decode(container: InputContainer, stream: av.VideoStream, name: str, encoded: bytes) -> Image:
    """Decode with FFmpeg and lay the picture on grey where it is transparent."""
    codec = stream.codec_context.name
    if codec == "targa" and encoded[2] in _GREY_TARGA and encoded[16] == 16:
        return _decode_with_pillow(encoded, "TGA", name)  # FFmpeg takes grey and alpha for colours
    try:
        frame = next(container.decode(stream))
    except (FFmpegError, StopIteration, ValueError) as error:
        if codec == "psd":
            return _decode_with_pillow(encoded, "PSD", name)
        raise MediaError(f"{name} is damaged: {reason(error)}; copy or export it again") from error
    if codec in ("pfm", "phm") and mean_of_floats(frame) > 1:
        raise MediaError(f"{name} does not tell which number is white, 1 or 255: save it as PNG")
    is_light = codec in ("hdr", "exr") and not _SHOWN.search(encoded, 0, _LONGEST_HEAD)
    return encoded_light(frame) if is_light else _flattened(frame, name)


def _decode_with_pillow(encoded: bytes, kind: str, name: str) -> Image:
    try:
        with PIL.Image.open(io.BytesIO(encoded), formats=[kind]) as opened:
            if opened.mode == "LAB":
                raise ValueError("Pillow brings these colours to RGB 86 levels off")
            return on_background(np.asarray(opened.convert("RGBA"), np.uint8), is_rgba=True)
    except (OSError, ValueError, LookupError, TypeError, SyntaxError, struct.error) as error:
        raise MediaError(_UNREAD.format(name=name)) from error


def _flattened(frame: VideoFrame, name: str) -> Image:
    """Return a frame as (H, W, 3) BGR, transparent parts on grey."""
    try:
        return flattened(frame)
    except (FFmpegError, ValueError) as error:
        raise MediaError(f"{name} is damaged: {reason(error)}; copy or export it again") from error


def _orientation_of(encoded: bytes) -> int:
    """Return the EXIF orientation of a PNG, WebP or TIFF file; 0 where there is none."""
    exif = _chunk_of(encoded, b"eXIf", b"EXIF")
    return _tiff_number(exif.removeprefix(b"Exif\0\0") or encoded, _ORIENTATION)


def _tiff_number(tiff: bytes, wanted: int) -> int:
    """Return the first number of a field of a TIFF structure, 0 where there is none."""
    kind, content = _tiff_field(tiff, wanted)
    number = content[: _NUMBER_SIZES.get(kind, 1)]
    return int.from_bytes(number, "little" if tiff[:2] == b"II" else "big")


def _tiff_field(tiff: bytes, wanted: int) -> tuple[int, bytes]:
    """Return the type and the content of a field of the first directory of a TIFF structure."""
    if tiff[:4] not in _TIFF_STARTS:
        return 0, b""
    order = "<" if tiff[:2] == b"II" else ">"
    is_big = b"+" in tiff[:4]
    number, count_form, room = ("Q", "Q", 8) if is_big else ("I", "H", 4)
    with suppress(struct.error, OverflowError):
        (at,) = struct.unpack_from(order + number, tiff, 8 if is_big else 4)
        (count,) = struct.unpack_from(order + count_form, tiff, at)
        at += room if is_big else 2
        for entry in range(at, min(at + (4 + 2 * room) * count, len(tiff)), 4 + 2 * room):
            tag, kind, many = struct.unpack_from(order + "HH" + number, tiff, entry)
            if tag == wanted:
                size = many * _NUMBER_SIZES.get(kind, 1)
                start = entry + 4 + room
                if size > room:
                    (start,) = struct.unpack_from(order + number, tiff, start)
                return kind, tiff[start : start + size]
    return 0, b""


def _icc_of(encoded: bytes) -> bytes:
    """Return the ICC profile in a JPEG, PNG, WebP or TIFF file; empty where there is none."""
    if encoded[:2] == _JPEG_START:
        parts = [body[12:] for body in _jpeg_segments(encoded) if body[:12] == b"ICC_PROFILE\0"]
        return b"".join(part[2:] for part in sorted(parts, key=lambda part: part[:1]))
    if encoded[:4] in _TIFF_STARTS:
        return _tiff_field(encoded, _ICC_PROFILE)[1]
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


@dataclass(slots=True)
class _Items:
    """What an ISO file says of its picture."""

    primary: int = 0
    alpha: int = 0
    """The item that tells what is opaque; 0 where there is none."""
    tiles: dict[int, list[int]] = field(default_factory=dict)
    """By item, those that it is made of."""
    grids: dict[int, bytes] = field(default_factory=dict)
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


def _items_of(encoded: bytes) -> _Items:
    """Read the ``meta`` box. Raises struct.error, KeyError or IndexError for one that is none."""
    meta = next(body for kind, body in _boxes(encoded) if kind == b"meta")[4:_LONGEST_META]
    boxes = dict(_boxes(meta))
    properties = dict(_boxes(boxes.get(b"iprp", b"")))
    listed = list(_boxes(properties.get(b"ipco", b"")))

    def own(item: int) -> list[tuple[bytes, bytes]]:
        return [listed[number - 1] for number in _associated(properties.get(b"ipma", b""), item)]

    wide = boxes[b"pitm"][0] > 0
    items = _Items(int.from_bytes(boxes[b"pitm"][4 : 8 if wide else 6], "big"))
    for kind, body in _boxes(boxes.get(b"iref", b""), 4):
        size = 4 if boxes[b"iref"][0] else 2
        source = int.from_bytes(body[:size], "big")
        many = int.from_bytes(body[size : size + 2], "big")
        starts = range(size + 2, size + 2 + many * size, size)
        others = [int.from_bytes(body[at : at + size], "big") for at in starts]
        if kind == b"dimg":
            items.tiles[source] = others
        elif kind == b"auxl" and items.primary in others:
            kinds = [body[4:].rstrip(b"\0") for kind, body in own(source) if kind == b"auxC"]
            items.alpha = source if kinds and kinds[0].endswith(_ALPHAS) else items.alpha
    for item in items.tiles:
        items.grids[item] = _item_content(boxes, item, encoded)
    for kind, body in own(items.primary):
        if kind in (b"irot", b"imir"):
            items.turns.append((kind, body[0] & (3 if kind == b"irot" else 1)))
    for item in (items.primary, *items.tiles.get(items.primary, ())[:1]):
        profiles = [
            body[4:] for kind, body in own(item) if kind == b"colr" and body[:4] in _ICC_KINDS
        ]
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


def _read_items(container: InputContainer, encoded: bytes, path: Path) -> Image:
    """Decode the picture of a HEIC or AVIF file: its one item, or all of its tiles."""
    try:
        items = _items_of(encoded)
    except (struct.error, LookupError, StopIteration):
        return _decode(container, container.streams.video[0], path.name, encoded)
    image = srgb_of(_assembled(container, items, items.primary, path.name), items.icc)
    if items.alpha:
        with open_media(path, _OPTIONS) as again:
            alpha = _assembled(again, items, items.alpha, path.name)[..., :1]
        if alpha.shape[:2] == image.shape[:2]:
            image = on_background(np.concatenate([image, alpha], 2))
    for kind, value in items.turns:
        if kind == b"irot":
            image = np.rot90(image, value)
        else:  # axis 0 is vertical in the standard's words: it exchanges top and bottom
            image = image[::-1] if value == 0 else image[:, ::-1]
    return np.ascontiguousarray(image)


def _assembled(container: InputContainer, items: _Items, item: int, name: str) -> Image:
    tiles = items.tiles.get(item, [])
    by_id = {stream.id: stream for stream in container.streams.video}
    streams = [by_id[one] for one in tiles or [item] if one in by_id]
    if len(streams) < len(tiles):
        raise MediaError(f"{name} is damaged: tiles of its picture are missing; copy it again")
    streams = streams or [container.streams.video[0]]
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
    parts = [decoded[stream.id] for stream in streams]
    if not tiles:
        return parts[0]
    grid = items.grids[item]
    rows, across = grid[2] + 1, grid[3] + 1
    width, height = struct.unpack_from(">II" if grid[1] & 1 else ">HH", grid, 4)
    lines = [np.hstack(parts[row * across : (row + 1) * across]) for row in range(rows)]
    return np.vstack(lines)[:height, :width]
