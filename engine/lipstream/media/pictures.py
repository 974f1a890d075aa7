"""Still pictures: jpg, png, webp and whatever else PyAV reads, upright, as BGR."""

from pathlib import Path

import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from lipstream.errors import MediaError
from lipstream.media.opening import check_decodable, open_media, reason
from lipstream.types import Image

MOST_MEGAPIXELS = 64
"""Pictures above this are refused from their header alone, before anything is decoded."""
_OPTIONS = {"max_pixels": str(MOST_MEGAPIXELS * 1_000_000)}
_STILL_FORMATS = {"image2", "image2pipe", "ico", "tiff_pipe"}
_STILL_SUFFIXES = {".avif", ".heic", ".heif"}
_BACKGROUND = 200
"""Grey laid under the transparent parts of a picture."""
_ROWS = 64
"""Rows mixed at once."""


def is_picture(path: Path) -> bool:
    """Return whether a file is a still picture rather than a film."""
    with open_media(path, _OPTIONS) as container:
        return _is_still(container, path)


def read_picture(path: Path) -> Image:
    """Read a picture, turned upright as its EXIF says, transparent parts on grey.

    Raises MediaError when it is missing, damaged, cut short or larger than 64 megapixels.
    """
    with open_media(path, _OPTIONS) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None or not _is_still(container, path):
            raise MediaError(f"{path.name} is not a picture: give a jpg, png or webp file")
        check_decodable(stream, path.name)
        if stream.codec_context.width <= 0 or stream.codec_context.height <= 0:
            raise MediaError(
                f"{path.name} cannot be read: it is damaged, or larger than {MOST_MEGAPIXELS}"
                " megapixels; make it smaller first"
            )
        image = _decode_jpeg(path) if stream.codec_context.name == "mjpeg" else None
        return image if image is not None else _decode(container, path.name)


def _is_still(container: InputContainer, path: Path) -> bool:
    name = container.format.name
    return (
        name in _STILL_FORMATS or name.endswith("_pipe") or path.suffix.lower() in _STILL_SUFFIXES
    )


def _decode_jpeg(path: Path) -> Image | None:
    """Decode with OpenCV, which knows all eight EXIF orientations; None if it cannot."""
    encoded = path.read_bytes()
    if encoded.rfind(b"\xff\xd9") < encoded.rfind(b"\xff\xda"):
        raise MediaError(f"{path.name} is cut short: the picture has no end; copy it again")
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    return None if decoded is None else np.asarray(decoded, np.uint8)


def _decode(container: InputContainer, name: str) -> Image:
    """Decode with FFmpeg and lay the picture on grey where it is transparent."""
    try:
        frame = next(container.decode(video=0))
        opaque = frame.format.is_rgb and not (
            frame.format.has_palette or any(one.is_alpha for one in frame.format.components)
        )
        is_rgba = frame.format.name == "rgba"  # taken as it is: a copy is 256 MB of 64 megapixels
        packed = frame.reformat(format="bgr24" if opaque else "rgba" if is_rgba else "bgra")
    except (FFmpegError, StopIteration, ValueError) as error:
        raise MediaError(f"{name} is damaged: {reason(error)}; copy or export it again") from error
    del frame  # a large one takes a few hundred megabytes
    depth = 3 if opaque else 4
    memory: memoryview[int] = memoryview(packed.planes[0])
    lines: Image = np.frombuffer(memory, np.uint8).reshape(packed.height, -1)
    layers = lines[:, : packed.width * depth].reshape(packed.height, packed.width, depth)
    return np.ascontiguousarray(layers) if opaque else _on_background(layers, is_rgba)


def _on_background(layers: Image, is_rgba: bool) -> Image:
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
