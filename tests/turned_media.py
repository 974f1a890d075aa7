"""Pictures as phones store them: turned, mirrored, and AVIF files with boxes and tiles."""

import struct
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

RED, BLUE, GREEN = (0, 0, 255), (255, 0, 0), (0, 255, 0)


def quartered() -> np.ndarray:
    """Red above left, blue above right, green below: shows how a picture lies."""
    picture = np.full((64, 96, 3), GREEN, np.uint8)
    picture[:32, :48] = RED
    picture[:32, 48:] = BLUE
    return picture


def stored(orientation: int) -> np.ndarray:
    """Return what a camera held so stores of ``quartered`` (EXIF 2.3, tag 0x0112)."""
    picture = quartered()
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    turned = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (-1, 1), 7: (-1, -1)}
    down, across = turned.get(orientation, (1, -1))
    return np.ascontiguousarray(picture[::down, ::across])


def is_upright(picture: np.ndarray) -> bool:
    corners = ((16, 24, RED), (16, 72, BLUE), (48, 24, GREEN), (48, 72, GREEN))
    return picture.shape == (64, 96, 3) and all(
        np.abs(picture[row, column].astype(int) - colour).max() < 90
        for row, column, colour in corners
    )


def coded(folder: Path, picture: np.ndarray) -> tuple[bytes, bytes]:
    """Return the AV1 configuration and the coded picture."""
    path = folder / "coded.avif"
    with av.open(str(path), "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=1, options={"preset": "10", "crf": "10"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packet = next(one for one in container.demux(stream) if one.size)
        return bytes(stream.codec_context.extradata), bytes(packet)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def full(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *parts)


def write_avif(path: Path, tiles: list[np.ndarray], *, turns: list[bytes] = (), grid=None) -> Path:
    """Write tiles of one size; ``grid`` is rows, columns, width and height of the whole.

    The primary item is 1; tiles are 2, 3 and so on where there is a grid.
    """
    made = [coded(path.parent, tile) for tile in tiles]
    ids = [1] if grid is None else list(range(2, len(tiles) + 2))
    height, width = tiles[0].shape[:2]
    properties = [
        box(b"av1C", made[0][0]),
        full(b"ispe", struct.pack(">II", width, height)),
        full(b"pixi", bytes([3, 8, 8, 8])),
    ]
    associations = {item: [1, 2, 3] for item in ids}
    if grid is not None:
        properties.append(full(b"ispe", struct.pack(">II", *grid[2:])))
        associations[1] = [4]
    for turn in turns:
        properties.append(turn)
        associations[1].append(len(properties))
    infos = [
        full(b"infe", struct.pack(">HH4s", item, 0, b"av01"), b"\0", version=2) for item in ids
    ]
    boxes = []
    if grid is not None:
        infos.insert(0, full(b"infe", struct.pack(">HH4s", 1, 0, b"grid"), b"\0", version=2))
        listed = struct.pack(f">HH{len(ids)}H", 1, len(ids), *ids)
        boxes.append(full(b"iref", box(b"dimg", listed)))
        boxes.append(
            box(b"idat", struct.pack(">BBBBHH", 0, 0, grid[0] - 1, grid[1] - 1, *grid[2:]))
        )
    told = b"".join(
        struct.pack(">HB", item, len(numbers)) + bytes(numbers)
        for item, numbers in sorted(associations.items())
    )
    ipma = full(b"ipma", struct.pack(">I", len(associations)), told)

    def meta(start: int) -> bytes:
        places, at = [], start
        if grid is not None:
            places.append(struct.pack(">HHHHII", 1, 1, 0, 1, 0, 8))
        for item, (_, content) in zip(ids, made, strict=True):
            places.append(struct.pack(">HHHHII", item, 0, 0, 1, at, len(content)))
            at += len(content)
        iloc = full(b"iloc", b"\x44\0", struct.pack(">H", len(places)), b"".join(places), version=1)
        return full(
            b"meta",
            full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            full(b"pitm", struct.pack(">H", 1)),
            iloc,
            full(b"iinf", struct.pack(">H", len(infos)), *infos),
            box(b"iprp", box(b"ipco", *properties), ipma),
            *boxes,
        )

    ftyp = box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    start = len(ftyp) + len(meta(0)) + 8
    content = b"".join(content for _, content in made)
    path.write_bytes(ftyp + meta(start) + box(b"mdat", content))
    return path
