"""Films as upright BGR pictures at a constant rate."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

from lipstream.errors import MediaError
from lipstream.media.codecs import LARGE_PIXELS, ONE_THREAD_PIXELS
from lipstream.media.opening import check_decodable, open_media, reason
from lipstream.types import Image

MOST_MEGAPIXELS = 36
"""Films with larger pictures are refused: 8K is 33 megapixels."""
LOWEST_FPS, HIGHEST_FPS = 1, 120
DEFAULT_FPS = Fraction(25)
_JITTER = Fraction(1, 4)
"""How late a time stamp may be and still count for its slot, slots: files round their times."""
_WORTH_SEEKING_S = 1
"""Nearer to the start than this, a film is read from its start."""
_UNSPECIFIED, _HD_HEIGHT = 2, 720
_VARIES = Fraction(2, 100)
"""Difference of the mean rate and the least common one above which a film's rate varies."""
_QUICK_SHARE = 0.1
"""Of the gaps between the pictures of a varying film, this share may be shorter than a slot."""
_COMMON_RATES = tuple(
    Fraction(rate)
    for rate in (
        "12",
        "15",
        "24000/1001",
        "24",
        "25",
        "30000/1001",
        "30",
        "48",
        "50",
        "60000/1001",
        "60",
    )
)


class FilmReader:
    """The pictures of a film file. Memory stays bounded whatever its length.

    Raises MediaError for what cannot be used. Every walk over ``pictures`` opens the file anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as container:
            stream = self._stream(container)
            self.fps = _usable_fps(_own_rate(container, stream))
            """Pictures a second: the film's own, exact; of a varying rate, its quickest."""
            aspect = stream.codec_context.sample_aspect_ratio
        with self._open() as container:
            stream = self._stream(container)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise MediaError(f"{path.name} has no picture that can be decoded: copy it again")
            self._start = _time_of(first)
            self.sound_start = _sound_start(container) - (self._start or 0)
            """When the film's own sound begins, seconds after its first picture."""
        turned = first.rotation % 180 == 90
        self.width, self.height = (
            (first.height, first.width) if turned else (first.width, first.height)
        )
        aspect = aspect or Fraction(1)
        self.pixel_aspect = 1 / aspect if turned else aspect
        """Width of a pixel over its height."""

    def count(self, fps: Fraction | None = None) -> int:
        """Return how many pictures ``pictures(fps)`` gives, by the time stamps alone: quick.

        A film damaged at its end may give fewer.
        """
        fps = fps or self.fps
        start = self._start or Fraction(0)
        last = end = packets = 0
        with self._open() as container:
            stream = self._stream(container)
            assert stream.time_base is not None
            # All times in whole numbers of one unit: two hours have 200 000 packets, and fractions
            # take four times as long over each as reading it does.
            unit = math.lcm(stream.time_base.denominator, self.fps.numerator, start.denominator)
            tick, begin, default = int(stream.time_base * unit), int(start * unit), unit // self.fps
            for packet in self._packets(container, stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                time = packets * default
                packets += 1
                if packet.pts is not None and self._start is not None:
                    time = packet.pts * tick - begin
                last = max(last, time)
                known = (packet.duration or 0) * tick  # as in _duration
                end = max(end, time + (known if default < 2 * known < 2 * default else default))
        return max(1, _slot(Fraction(last, unit), fps), round(Fraction(end, unit) * fps))

    def pictures(self, fps: Fraction | None = None, first: int = 0) -> Iterator[Image]:
        """Yield (H, W, 3) uint8 BGR pictures at a constant rate, by default the film's own.

        A film of another or a varying rate is laid on that grid: each slot shows the newest
        picture that is due by then. ``first`` is the slot to begin with, reached without decoding
        all before it where the file allows. Each array is owned by the receiver.
        """
        fps = fps or self.fps
        held: VideoFrame | None = None
        yielded, end = first, Fraction(0)
        for time, frame in self._timed_from((first - 1) / fps):
            slot = _slot(time, fps)
            while held is not None and yielded < slot:
                yield self._upright(held)
                yielded += 1
            held, end = frame, time + self._duration(frame)
        while held is not None and (yielded == 0 or yielded < round(end * fps)):
            yield self._upright(held)
            yielded += 1

    def _timed_from(self, at: Fraction) -> Iterator[tuple[Fraction, VideoFrame]]:
        """Yield pictures and their times since the first, beginning with one due by ``at``."""
        if at > _WORTH_SEEKING_S and self._start is not None:
            with self._open() as container:
                timed = self._sought(container, at)
                begin = next(timed, None)
                if begin is not None and begin[0] <= at:
                    yield begin
                    yield from timed
                    return
        with self._open() as container:
            yield from self._timed(container, self._stream(container))

    def _sought(
        self, container: InputContainer, at: Fraction
    ) -> Iterator[tuple[Fraction, VideoFrame]]:
        stream = self._stream(container)
        assert self._start is not None
        assert stream.time_base is not None
        try:
            container.seek(int((at + self._start) / stream.time_base), stream=stream)
        except FFmpegError:
            return
        yield from self._timed(container, stream)

    def _timed(
        self, container: InputContainer, stream: av.VideoStream
    ) -> Iterator[tuple[Fraction, VideoFrame]]:
        for count, frame in enumerate(self._decoded(container, stream)):
            stamp = _time_of(frame)
            if stamp is None or self._start is None:
                yield Fraction(count) / self.fps, frame
            else:
                yield stamp - self._start, frame

    def _duration(self, frame: VideoFrame) -> Fraction:
        known = (frame.duration or 0) * (frame.time_base or Fraction(0))
        default = 1 / self.fps
        return known if default / 2 < known < default else default

    def _open(self) -> InputContainer:
        return open_media(self.path, {"max_pixels": str(MOST_MEGAPIXELS * 1_000_000)})

    def _stream(self, container: InputContainer) -> av.VideoStream:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise MediaError(f"{self.path.name} has no picture: give a picture or a film")
        check_decodable(stream, self.path.name)
        if stream.codec_context.width <= 0:
            raise MediaError(
                f"{self.path.name} cannot be read: it is damaged, or its pictures are larger than"
                f" {MOST_MEGAPIXELS} megapixels; make them smaller first"
            )
        stream.thread_type = "AUTO"
        size = stream.codec_context.width * stream.codec_context.height
        if size < ONE_THREAD_PIXELS:
            stream.codec_context.thread_count = 1
        elif size >= LARGE_PIXELS:  # each thread holds pictures of its own
            stream.codec_context.thread_count = 2
        return stream

    def _decoded(self, container: InputContainer, stream: av.VideoStream) -> Iterator[VideoFrame]:
        """Decode all pictures; damaged packets are left out, as players do."""
        for packet in self._packets(container, stream):
            try:
                yield from packet.decode()
            except InvalidDataError:
                continue
            except FFmpegError as error:
                raise MediaError(f"{self.path.name} cannot be read: {reason(error)}") from error

    def _packets(
        self, container: InputContainer, stream: av.VideoStream
    ) -> Iterator["Packet[av.VideoStream]"]:
        packets = container.demux(stream)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except InvalidDataError:
                continue
            except FFmpegError as error:
                raise MediaError(f"{self.path.name} cannot be read: {reason(error)}") from error

    def _upright(self, frame: VideoFrame) -> Image:
        if frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT:
            frame.colorspace = Colorspace.ITU709  # as players take films that do not say
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


def _own_rate(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    mean, common = stream.average_rate, stream.guessed_rate
    if mean is None or common is None or abs(common - mean) <= _VARIES * mean:
        return mean or common
    stamps = sorted({packet.pts for packet in container.demux(stream) if packet.pts is not None})
    gaps = np.diff(np.array(stamps, np.float64)) * float(stream.time_base or 1)
    if len(gaps) == 0:
        return mean
    quick = 1.0 / float(np.quantile(gaps, _QUICK_SHARE))
    nearest = min(_COMMON_RATES, key=lambda rate: abs(float(rate) - quick))
    near = abs(float(nearest) - quick) <= 0.05 * quick
    return nearest if near else min(max(mean, Fraction(round(quick))), _COMMON_RATES[-1])


def _slot(time: Fraction, fps: Fraction) -> int:
    return math.ceil(time * fps - _JITTER)


def _time_of(frame: VideoFrame) -> Fraction | None:
    return None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def _sound_start(container: InputContainer) -> Fraction:
    stream = container.streams.best("audio")
    if stream is None or stream.start_time is None or stream.time_base is None:
        return Fraction(0)
    return stream.start_time * stream.time_base
