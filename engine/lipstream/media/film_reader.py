"""Films as upright BGR pictures at a constant rate, each picture whole and in SDR."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError, InvalidDataError
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.media.codecs import LARGE_PIXELS, ONE_THREAD_PIXELS
from lipstream.media.colour import Colours, bgr_of, colours_of, on_background
from lipstream.media.opening import (
    check_decodable,
    check_readable,
    is_animated_webp,
    open_media,
    reason,
    sound_start,
    webp_film,
)
from lipstream.types import Float64, Image

MOST_MEGAPIXELS = 36
"""Films with larger pictures are refused: 8K is 33 megapixels."""
LOWEST_FPS, HIGHEST_FPS = 1, 240
FASTEST_UNASKED = 120
"""A quicker film is rendered at a whole part of its rate unless its own is asked for."""
DEFAULT_FPS = Fraction(25)
_JITTER = Fraction(1, 4)
"""How late a time stamp may be and still count for its slot, slots: files round their times."""
_MOST_BACK_S, _LONGEST_STILL_S = 1, 3600
"""From one picture in the file to the next time may go back so far and on so far."""
_WORTH_SEEKING_S = 1
"""Nearer to the start than this, a film is read from its start."""
_QUICK_SHARE = 0.1
"""Of the gaps between the pictures of a varying film, this share may be shorter than a slot."""
_ON_GRID = 0.12
"""How far time stamps may be off a constant rate, slots, besides the rounding of the file."""
_KEPT_SHARE = 0.75
"""Of the slots of a constant rate, this share at least has a picture: some sources drop one."""
_COMMON_RATES = tuple(
    Fraction(rate)
    for rate in (
        *("10", "12", "25/2", "15", "20", "24000/1001", "24", "25", "30000/1001", "30", "48"),
        *("50", "60000/1001", "60", "100", "120000/1001", "120", "240000/1001", "240"),
    )
)
_FASTEST_VARYING = Fraction(60)
_STAMPED_IN_FILE_ORDER = {"avi", "asf", "mxf"}
"""Formats that do not tell when pictures are shown: what FFmpeg guesses of H.264's is out of order.
"""
_NUMBERED = {"avi", "asf"}
"""Those of them whose pictures are only counted, in the order of the file, as AVI's chunks are."""
_MOST_REORDERED = 16
"""Pictures by which a stamp of these formats may be displaced: H.264's largest buffer."""


class FilmReader:
    """The pictures of a film file. Memory stays bounded whatever its length.

    Raises MediaError for what cannot be used. Every walk over ``pictures`` opens the file anew.
    """

    def __init__(self, path: Path) -> None:
        check_readable(path)
        self.path = path
        self._unpacked = webp_film(path, MOST_MEGAPIXELS) if _is_webp(path) else None
        with self._open() as container:
            stream = self._stream(container)
            declared = _declared_rate(stream)
            aspect = stream.codec_context.sample_aspect_ratio
            codec, kind = stream.codec_context.name, container.format.name
        self.own_fps = _usable_fps(declared or self._stamps.rate)
        """Pictures a second as the source means them, exact; of a varying rate, its quickest."""
        self.fps = self.own_fps / math.ceil(self.own_fps / FASTEST_UNASKED)
        """Pictures a second unless another rate is asked for."""
        with self._open() as container:
            stream = self._stream(container)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise MediaError(f"{path.name} has no picture that can be decoded: copy it again")
            self._start = _time_of(first)
        with self._open() as container:
            self.sound_start = sound_start(container) - (self._start or 0) - _held_back(first, kind)
            """When the film's own sound begins, seconds after its first picture."""
            self.start = self._start or Fraction(0)
            """Time stamp of its first picture, seconds."""
        self._turn = _turn_of(first, codec)
        self.width, self.height = (
            (first.height, first.width) if self._turn.across else (first.width, first.height)
        )
        aspect = aspect or Fraction(1)
        self.pixel_aspect = 1 / aspect if self._turn.across else aspect
        """Width of a pixel over its height."""
        self.colours: Colours = colours_of(first)
        """How a film of such pictures is tagged, but for the matrix of another height."""
        self.has_alpha = _has_alpha(first)
        """Whether pictures have an alpha channel: transparent parts lie on grey."""
        self.has_transparency = self.has_alpha and _shows_through(first)
        """Whether the first picture has transparent parts."""

    def count(self, fps: Fraction | None = None) -> int:
        """Return how many pictures ``pictures(fps)`` gives, by the time stamps alone: quick.

        A film damaged at its end may give fewer.
        """
        fps = fps or self.fps
        stamps, start = self._stamps, self._start or Fraction(0)
        # All times in whole numbers of one unit: two hours have 200 000 packets.
        unit = math.lcm(stamps.tick.denominator, self.own_fps.numerator, start.denominator)
        tick, begin, default = int(stamps.tick * unit), int(start * unit), int(unit / self.own_fps)
        last = end = 0
        for number, (at, duration) in enumerate(zip(stamps.times, stamps.durations, strict=True)):
            time = number * default if at is None or self._start is None else at * tick - begin
            known = duration * tick  # as in _duration
            last = max(last, time)
            end = max(end, time + (known if default < 2 * known < 2 * default else default))
        return max(1, _slot(Fraction(last, unit), fps), round(Fraction(end, unit) * fps))

    @cached_property
    def _stamps(self) -> "_Stamps":
        """Read the times of all pictures, which takes no decoding."""
        times: list[int | None] = []
        durations: list[int] = []
        with self._open() as container:
            stream = self._stream(container)
            assert stream.time_base is not None
            last: int | None = None
            second = float(1 / stream.time_base)
            for packet in self._packets(container, stream):
                if last is not None and packet.dts is not None:
                    self._check_clock((packet.dts - last) / second, len(times))
                last = packet.dts if packet.dts is not None else last
                if packet.size and not packet.is_discard:
                    times.append(packet.pts)
                    durations.append(packet.duration or 0)
            return _Stamps(times, durations, Fraction(stream.time_base), _rates(stream))

    def _check_clock(self, step_s: float, pictures: int) -> None:
        """Raise MediaError where another clock begins: pieces put together without a program."""
        if not -_MOST_BACK_S < step_s < _LONGEST_STILL_S:
            raise MediaError(
                f"{self.path.name} is several films in one file: after {pictures} pictures their"
                " times begin anew; join them with an editor, or with FFmpeg's concat protocol"
            )

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
            if container.format.name in _STAMPED_IN_FILE_ORDER:  # B-frames before it come with it
                at -= _MOST_REORDERED / self.own_fps
            container.seek(int((at + self._start) / stream.time_base), stream=stream)
        except FFmpegError:
            return
        yield from self._timed(container, stream)

    def _timed(
        self, container: InputContainer, stream: av.VideoStream
    ) -> Iterator[tuple[Fraction, VideoFrame]]:
        frames = self._decoded(container, stream)
        if container.format.name in _STAMPED_IN_FILE_ORDER:
            frames = _stamped_in_order(frames)
        for count, frame in enumerate(frames):
            stamp = _time_of(frame)
            if stamp is None or self._start is None:
                yield Fraction(count) / self.own_fps, frame
            else:
                yield stamp - self._start, frame

    def _duration(self, frame: VideoFrame) -> Fraction:
        known = (frame.duration or 0) * (frame.time_base or Fraction(0))
        default = 1 / self.own_fps
        return known if default / 2 < known < default else default

    def _open(self) -> InputContainer:
        path = self.path if self._unpacked is None else Path(self._unpacked.name)
        return open_media(path, {"max_pixels": str(MOST_MEGAPIXELS * 1_000_000)})

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
        """Decode all pictures, of two fields each made whole; damaged packets are left out."""
        whole: Graph | None = None
        for packet in self._packets(container, stream):
            try:
                frames = packet.decode()
            except InvalidDataError:
                continue
            except (FFmpegError, ValueError) as error:  # PyAV's own, of a codec that it has not
                raise MediaError(f"{self.path.name} cannot be read: {reason(error)}") from error
            for frame in frames:
                if whole is None and frame.interlaced_frame:
                    whole = _deinterlacer(stream)
                if whole is None:
                    yield frame
                else:
                    yield from self._through(whole, frame)
        if whole is not None:
            yield from self._through(whole, None)

    def _through(self, graph: Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
        try:
            graph.vpush(frame)
            while True:
                yield graph.vpull()
        except (BlockingIOError, EndOfFile):
            return
        except FFmpegError as error:
            raise MediaError(f"{self.path.name} cannot be read: {reason(error)}") from error

    def _packets(
        self, container: InputContainer, stream: av.VideoStream
    ) -> Iterator["Packet[av.VideoStream]"]:
        packets = container.demux(stream)
        is_numbered = container.format.name in _NUMBERED
        while True:
            try:
                packet = next(packets)
                if is_numbered:
                    packet.pts = packet.dts
                yield packet
            except StopIteration:
                return
            except InvalidDataError:
                continue
            except FFmpegError as error:
                raise MediaError(f"{self.path.name} cannot be read: {reason(error)}") from error

    def _upright(self, frame: VideoFrame) -> Image:
        if self.has_alpha:
            image = on_background(np.asarray(frame.to_ndarray(format="bgra"), np.uint8))
        else:
            image = bgr_of(frame)
        turned = self._turn.of(image)
        if turned.shape[:2] == (self.height, self.width):
            return turned
        raise MediaError(
            f"{self.path.name} changes its picture size midway, from {self.width}x{self.height} to"
            f" {turned.shape[1]}x{turned.shape[0]}: convert it to one size first"
        )


@dataclass(frozen=True, slots=True)
class _Turn:
    """How stored pictures are turned and mirrored to be upright."""

    across: bool = False
    """Whether rows become columns; first of all."""
    flip_x: bool = False
    flip_y: bool = False

    def of(self, image: Image) -> Image:
        if self.across:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(image)


def _turn_of(frame: VideoFrame, codec: str) -> _Turn:
    """Read the display matrix (ISO/IEC 14496-12, 8.2.2.3): x' = a x + c y, y' = b x + d y.

    Not of PNG: PyAV 18 frees the name of its colour profile twice, which ends the process.
    """
    matrix: Any = None
    if codec not in ("png", "apng"):
        with suppress(ValueError):  # PyAV knows not all kinds of what may stand beside it
            matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return _Turn(across=True, flip_x=c < 0, flip_y=b < 0)
        return _Turn(flip_x=a < 0, flip_y=d < 0)
    turns = round(frame.rotation / 90) % 4  # against the clock
    return _Turn(turns % 2 == 1, flip_x=turns in (2, 3), flip_y=turns in (1, 2))


def _has_alpha(frame: VideoFrame) -> bool:
    return frame.format.has_palette or any(one.is_alpha for one in frame.format.components)


def _shows_through(frame: VideoFrame) -> bool:
    return int(np.asarray(frame.to_ndarray(format="bgra"), np.uint8)[..., 3].min()) < 255


def _deinterlacer(stream: av.VideoStream) -> Graph:
    """Return FFmpeg's bwdif: one picture for two fields, those of one field as they are."""
    graph = Graph()
    source = graph.add_buffer(template=stream)
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _is_webp(path: Path) -> bool:
    with path.open("rb") as opened:
        return opened.read(12)[8:] == b"WEBP" and is_animated_webp(path)


def _usable_fps(fps: Fraction | None) -> Fraction:
    if fps is None or not LOWEST_FPS <= fps <= HIGHEST_FPS:
        return DEFAULT_FPS
    return fps.limit_denominator(1001)


def _rates(stream: av.VideoStream) -> tuple[Fraction | None, Fraction | None]:
    """Return the container's mean and its guess, as fractions: PyAV 19 has a type of its own."""
    mean, guess = stream.average_rate, stream.guessed_rate
    return None if mean is None else Fraction(mean), None if guess is None else Fraction(guess)


def _declared_rate(stream: av.VideoStream) -> Fraction | None:
    """Return the rate on which the container's two answers agree, None when stamps must tell."""
    mean, common = _rates(stream)
    return common if mean == common and common in _COMMON_RATES else None


@dataclass(frozen=True, slots=True)
class _Stamps:
    """When the pictures of a film are shown."""

    times: list[int | None]
    """Ticks, in the order of the file."""
    durations: list[int]
    tick: Fraction
    """Seconds."""
    hints: tuple[Fraction | None, ...]
    """Rates that the container believes in."""

    @property
    def rate(self) -> Fraction | None:
        """The constant rate on whose grid the pictures lie; of a varying film, its quickest."""
        known = sorted({time for time in self.times if time is not None})
        hints = [rate for rate in self.hints if rate]
        if len(known) < 3:
            return hints[0] if hints else None
        times = (np.array(known, np.float64) - known[0]) * float(self.tick)
        candidates = dict.fromkeys((*hints, *_COMMON_RATES))
        fits = {rate: self._off(times, rate) for rate in candidates if rate <= HIGHEST_FPS}
        on_grid = {rate: off for rate, off in fits.items() if off is not None}
        if on_grid:
            least = min(on_grid.values()) + float(self.tick) / 10
            close = [rate for rate, off in on_grid.items() if off <= least]
            return min(close, key=lambda rate: (rate not in _COMMON_RATES, on_grid[rate]))
        return _quickest(np.diff(times), hints)

    def _off(self, times: Float64, rate: Fraction) -> float | None:
        """Return how far times are off a rate's grid, seconds (RMS), or None when too far."""
        slots = np.round(times * float(rate))
        off = times - slots / float(rate)
        off -= np.median(off)
        filled = len(times) / (slots[-1] + 1)
        most = _ON_GRID / float(rate) + float(self.tick)
        if filled < _KEPT_SHARE or np.quantile(np.abs(off), 0.99) > most:
            return None
        if np.mean(np.diff(slots) == 0) > 0:
            return None
        return float(np.sqrt(np.mean(np.square(off))))


def _quickest(gaps: Float64, hints: list[Fraction]) -> Fraction:
    """Return the rate of a film that keeps none: that of its shortest gaps, but for a few."""
    mean = Fraction(len(gaps) / float(gaps.sum())).limit_denominator(1001)
    if np.ptp(gaps) <= 0.02 * float(gaps.mean()):  # constant, and of no common rate
        return mean
    quick = 1.0 / float(np.quantile(gaps, _QUICK_SHARE))
    rates = [rate for rate in (*hints, *_COMMON_RATES) if rate <= _FASTEST_VARYING]
    nearest = min(rates, key=lambda rate: abs(float(rate) - quick))
    near = abs(float(nearest) - quick) <= 0.05 * quick
    return nearest if near else min(max(mean, Fraction(round(quick))), _FASTEST_VARYING)


def _slot(time: Fraction, fps: Fraction) -> int:
    return math.ceil(time * fps - _JITTER)


def _stamped_in_order(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Give each picture the next time stamp there is: they come as they are shown."""
    waiting: deque[VideoFrame] = deque()
    stamps: list[int] = []

    def next_one() -> VideoFrame:
        frame = waiting.popleft()
        if frame.pts is not None:
            frame.pts = heappop(stamps)
        return frame

    for frame in frames:
        waiting.append(frame)
        if frame.pts is not None:
            heappush(stamps, frame.pts)
        if len(waiting) > _MOST_REORDERED:
            yield next_one()
    while waiting:
        yield next_one()


def _held_back(first: VideoFrame, kind: str) -> Fraction:
    """Return how long after its stamp a film's first picture is shown, seconds.

    ASF stamps say when pictures are decoded, and those of its sound when they are heard.
    """
    if kind != "asf" or first.dts is None or first.pts is None or first.time_base is None:
        return Fraction(0)
    return (first.dts - first.pts) * first.time_base


def _time_of(frame: VideoFrame) -> Fraction | None:
    return None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
