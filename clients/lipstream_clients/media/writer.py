"""Film files out: H.264 and AAC in one file, whole or not at all."""

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.types import Image, Pcm
from lipstream_clients.media.opening import reason

SUFFIXES = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""File endings that can be written -> FFmpeg's name of the format."""
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_SOUND_BITS = 128_000
_CRF = "18"
_MARK = "Synthetic: the mouth was generated from the sound by lipstream (synthetic=true)"
_BT601, _LIMITED = 5, 1
"""FFmpeg's AVCOL_SPC_BT470BG and AVCOL_RANGE_MPEG: what OpenCV turns BGR into."""


def playable_rate(rate: int) -> int:
    """Return the sound rate to write for sound recorded at ``rate``: the same where players can."""
    return rate if rate in _AAC_RATES else 48_000


def check_film_name(path: Path) -> str:
    """Return FFmpeg's name of the format to write; raises MediaError for a place or name unfit."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        endings = ", ".join(SUFFIXES)
        raise MediaError(f"cannot write {path.name}: its name must end in one of {endings}")
    if not path.parent.is_dir():
        raise MediaError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    return kind


@dataclass(frozen=True, slots=True)
class FilmFormat:
    """Shape of a film to write."""

    width: int
    height: int
    fps: Fraction
    rate: int
    """Samples a second of its mono sound."""
    pixel_aspect: Fraction = Fraction(1)


class FilmWriter:
    """Write pictures and their sound to a film file.

    The file appears under its own name only when ``close`` has finished it; until then, and after
    any error, nothing of that name is touched. Odd widths and heights, which H.264 in 4:2:0 cannot
    hold, are filled up by one repeated row or column. Used by one thread.
    """

    def __init__(self, path: Path, shape: FilmFormat) -> None:
        self._path, self._shape = path, shape
        self._temporary = path.with_name(f".{path.name}.part{path.suffix}")
        self._frames = self._samples = 0
        kind = check_film_name(path)
        options = {} if kind == "matroska" else {"movflags": "+faststart"}
        try:
            self._container = av.open(str(self._temporary), "w", format=kind, options=options)
            self._container.metadata["comment"] = _MARK
            self._video = self._open_video()
            self._audio = self._container.add_stream("aac", rate=shape.rate, layout="mono")
            self._audio.bit_rate = _SOUND_BITS
            self._container.start_encoding()
        except (FFmpegError, OSError, ValueError) as error:
            self._temporary.unlink(missing_ok=True)
            raise self._failure(error) from error
        self._open = True

    def write(self, image: Image, pcm: Pcm) -> None:
        """Add one picture, (height, width, 3) uint8 BGR, and the (n,) int16 sound it comes with."""
        bottom, right = image.shape[0] % 2, image.shape[1] % 2
        if bottom or right:
            image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
        # FFmpeg's own conversion is quick but loses up to 4 of 255 in the colours, OpenCV's 1
        planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
        frame = VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = self._frames, 1 / self._shape.fps
        self._frames += 1
        try:
            self._container.mux(self._video.encode(frame))
            if len(pcm):
                self._container.mux(self._audio.encode(self._sound(pcm)))
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Finish the file and give it its name. Closing twice is fine."""
        if not self._open:
            return
        self._open = False
        try:
            self._container.mux(self._video.encode(None))
            self._container.mux(self._audio.encode(None))
            self._container.close()
            self._temporary.replace(self._path)
        except (FFmpegError, OSError) as error:
            self._remove()
            raise self._failure(error) from error

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

    def _open_video(self) -> av.VideoStream:
        shape = self._shape
        if "libx264" in av.codecs_available:
            options = {"crf": _CRF, "preset": "veryfast"}
            stream = self._container.add_stream("libx264", rate=shape.fps, options=options)
        else:
            stream = self._container.add_stream("mpeg4", rate=shape.fps, options={"qscale": "3"})
        stream.width = shape.width + shape.width % 2
        stream.height = shape.height + shape.height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = 1 / shape.fps
        stream.codec_context.sample_aspect_ratio = shape.pixel_aspect
        stream.codec_context.colorspace = _BT601
        stream.codec_context.color_range = _LIMITED
        return stream

    def _sound(self, pcm: Pcm) -> AudioFrame:
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm)[None], format="s16", layout="mono"
        )
        frame.sample_rate = self._shape.rate
        frame.pts, frame.time_base = self._samples, Fraction(1, self._shape.rate)
        self._samples += len(pcm)
        return frame

    def _remove(self) -> None:
        # the file is thrown away: that it cannot be finished is no news
        with contextlib.suppress(FFmpegError, OSError):
            self._container.close()
        self._temporary.unlink(missing_ok=True)

    def _failure(self, error: Exception) -> MediaError:
        return MediaError(
            f"cannot write {self._path}: {reason(error)}; choose another place with -o"
        )
