"""Pictures to a film file without sound, whole or not at all."""

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.media.codecs import Quality, VideoCodec, video_encoder
from lipstream.media.opening import reason
from lipstream.types import Image

_BT601, _LIMITED = 5, 1
"""FFmpeg's AVCOL_SPC_BT470BG and AVCOL_RANGE_MPEG: what OpenCV turns BGR into."""


@dataclass(frozen=True, slots=True)
class FilmFormat:
    """Shape of a film to write, and how."""

    width: int
    height: int
    fps: Fraction
    pixel_aspect: Fraction = Fraction(1)
    video: VideoCodec = "h264"
    quality: Quality = "medium"

    @property
    def part_suffix(self) -> str:
        """Ending of a file that holds pictures alone: one that keeps every picture's time."""
        return ".mov" if self.video == "prores" else ".mp4"


class PictureWriter:
    """Write pictures to a film file of its own.

    The file appears under its own name only when ``close`` has finished it; until then, and after
    any error, nothing of that name is touched. Odd widths and heights, which codecs in 4:2:0 cannot
    hold, are filled up by one repeated row or column. Used by one thread.
    """

    def __init__(self, path: Path, shape: FilmFormat) -> None:
        self._path, self._shape = path, shape
        self._encoder = video_encoder(shape.video)
        self._temporary = path.with_name(f".{path.name}.part{path.suffix}")
        self._frames = 0
        try:
            kind = "mov" if shape.video == "prores" else "mp4"
            self._container = av.open(str(self._temporary), "w", format=kind)
            self._video = self._open_video()
            self._container.start_encoding()
        except (FFmpegError, OSError, ValueError) as error:
            self._temporary.unlink(missing_ok=True)
            raise write_failure(path, error) from error
        self._open = True

    def write(self, image: Image) -> None:
        """Add one picture, (height, width, 3) uint8 BGR."""
        bottom, right = image.shape[0] % 2, image.shape[1] % 2
        if bottom or right:
            image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
        frame = self._converted(image)
        frame.pts, frame.time_base = self._frames, 1 / self._shape.fps
        self._frames += 1
        try:
            self._container.mux(self._video.encode(frame))
        except (FFmpegError, OSError) as error:
            raise write_failure(self._path, error) from error

    def close(self) -> None:
        """Finish the file and give it its name. Closing twice is fine."""
        if not self._open:
            return
        self._open = False
        try:
            self._container.mux(self._video.encode(None))
            self._container.close()
            self._temporary.replace(self._path)
        except (FFmpegError, OSError) as error:
            self._remove()
            raise write_failure(self._path, error) from error

    def abandon(self) -> None:
        """Give up: nothing is left behind. Fine after ``close``."""
        if self._open:
            self._open = False
            self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _converted(self, image: Image) -> VideoFrame:
        if self._encoder.pixels != "yuv420p":
            frame = VideoFrame.from_ndarray(image, format="bgr24")
            return frame.reformat(format=self._encoder.pixels, dst_colorspace=_BT601)
        # FFmpeg's own conversion is quick but loses up to 4 of 255 in the colours, OpenCV's 1
        planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
        return VideoFrame.from_ndarray(planes, format="yuv420p")

    def _open_video(self) -> av.VideoStream:
        shape, encoder = self._shape, self._encoder
        options = encoder.settings(shape.quality, shape.width * shape.height)
        stream = self._container.add_stream(encoder.name, rate=shape.fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width = shape.width + shape.width % 2
        stream.height = shape.height + shape.height % 2
        stream.pix_fmt = encoder.pixels
        stream.time_base = 1 / shape.fps
        stream.codec_context.sample_aspect_ratio = shape.pixel_aspect
        stream.codec_context.colorspace = _BT601
        stream.codec_context.color_range = _LIMITED
        return stream

    def _remove(self) -> None:
        # the file is thrown away: that it cannot be finished is no news
        with contextlib.suppress(FFmpegError, OSError):
            self._container.close()
        self._temporary.unlink(missing_ok=True)


def write_failure(path: Path, error: Exception) -> MediaError:
    """Return the error to raise when a film cannot be written."""
    return MediaError(f"cannot write {path}: {reason(error)}; choose another place with -o")
