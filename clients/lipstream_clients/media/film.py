"""Films as upright BGR pictures at a constant rate."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.types import Image
from lipstream_clients.media.opening import open_media, reason

MOST_MEGAPIXELS = 36
"""Films with larger pictures are refused: 8K is 33 megapixels."""
LOWEST_FPS, HIGHEST_FPS = 1, 120
DEFAULT_FPS = Fraction(25)
_JITTER = Fraction(1, 4)
"""How late a time stamp may be and still count for its slot, slots: files round their times."""


class Film:
    """The pictures of a film file. Memory stays bounded whatever its length.

    Raises MediaError for what cannot be used. Every walk over ``pictures`` opens the file anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as container:
            stream = self._stream(container)
            self.fps = _usable_fps(stream.average_rate or stream.guessed_rate)
            """Pictures a second: the film's own, exact."""
            aspect = stream.codec_context.sample_aspect_ratio
            first = next(self._decoded(container, stream), None)
            self.seconds = _seconds(container, stream)
            """Length the header states, seconds; 0 when it states none."""
        if first is None:
            raise MediaError(f"{path.name} has no picture that can be decoded: copy it again")
        turned = first.rotation % 180 == 90
        self.width, self.height = (
            (first.height, first.width) if turned else (first.width, first.height)
        )
        aspect = aspect or Fraction(1)
        self.pixel_aspect = 1 / aspect if turned else aspect
        """Width of a pixel over its height."""

    def pictures(self, fps: Fraction | None = None) -> Iterator[Image]:
        """Yield (H, W, 3) uint8 BGR pictures at a constant rate, by default the film's own.

        A film of another or a varying rate is laid on that grid: each slot shows the newest
        picture that is due by then. Each array is owned by the receiver.
        """
        fps = fps or self.fps
        held: VideoFrame | None = None
        shown, end = 0, Fraction(0)
        with self._open() as container:
            stream = self._stream(container)
            start: Fraction | None = None
            for count, frame in enumerate(self._decoded(container, stream)):
                time = Fraction(count) / self.fps
                if frame.pts is not None and frame.time_base is not None:
                    time = frame.pts * frame.time_base
                start = time if start is None else start
                slot = math.ceil((time - start) * fps - _JITTER)
                while held is not None and shown < slot:
                    yield self._upright(held)
                    shown += 1
                held, end = frame, time - start + self._duration(frame)
            while held is not None and (shown == 0 or shown < round(end * fps)):
                yield self._upright(held)
                shown += 1

    def _duration(self, frame: VideoFrame) -> Fraction:
        known = (frame.duration or 0) * (frame.time_base or Fraction(0))
        return min(known, 1 / self.fps) if known > 0 else 1 / self.fps

    def _open(self) -> InputContainer:
        return open_media(self.path, {"max_pixels": str(MOST_MEGAPIXELS * 1_000_000)})

    def _stream(self, container: InputContainer) -> av.VideoStream:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise MediaError(f"{self.path.name} has no picture: give a picture or a film")
        if stream.codec_context.width <= 0:
            raise MediaError(
                f"{self.path.name} cannot be read: it is damaged, or its pictures are larger than"
                f" {MOST_MEGAPIXELS} megapixels; make them smaller first"
            )
        stream.thread_type = "AUTO"
        return stream

    def _decoded(self, container: InputContainer, stream: av.VideoStream) -> Iterator[VideoFrame]:
        """Decode all pictures; damaged packets are left out, as players do."""
        packets = container.demux(stream)
        while True:
            try:
                yield from next(packets).decode()
            except StopIteration:
                return
            except InvalidDataError:
                continue
            except FFmpegError as error:
                raise MediaError(f"{self.path.name} cannot be read: {reason(error)}") from error

    def _upright(self, frame: VideoFrame) -> Image:
        image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
        quarter_turns = round(frame.rotation / 90) % 4
        turned = np.ascontiguousarray(np.rot90(image, quarter_turns))
        if turned.shape[:2] == (self.height, self.width):
            return turned
        raise MediaError(
            f"{self.path.name} changes its picture size midway, from {self.width}x{self.height} to"
            f" {turned.shape[1]}x{turned.shape[0]}: convert it to one size first"
        )


def _usable_fps(fps: Fraction | None) -> Fraction:
    if fps is None or not LOWEST_FPS <= fps <= HIGHEST_FPS:
        return DEFAULT_FPS
    return fps.limit_denominator(1001)


def _seconds(container: InputContainer, stream: av.VideoStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0
