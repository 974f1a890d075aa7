"""Films out: pictures encoded to parts, and parts joined with their sound. Whole or not at all.

Joining encodes no picture twice.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.media.codecs import (
    AudioCodec,
    Quality,
    VideoCodec,
    audio_encoder,
    check_film_name,
    video_encoder,
)
from lipstream.media.colour import Colours, matrix_of, yuv_of
from lipstream.media.opening import open_media, reason, sound_start
from lipstream.media.sound_files import Sound
from lipstream.storage import atomic_write
from lipstream.types import Image

if TYPE_CHECKING:
    from av.container.core import Chapter

_LIMITED = 1
"""FFmpeg's AVCOL_RANGE_MPEG."""


@dataclass(frozen=True, slots=True)
class FilmFormat:
    """Shape of a film to write, and how."""

    width: int
    height: int
    fps: Fraction
    pixel_aspect: Fraction = Fraction(1)
    video: VideoCodec = "h264"
    quality: Quality = "medium"
    colours: Colours = field(default_factory=Colours)
    """Primaries and transfer of the pictures; the matrix is what players take this height for."""

    @property
    def tags(self) -> Colours:
        """How the film's numbers stand for colours."""
        return replace(self.colours, matrix=matrix_of(self.height))

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
            self._container = av.open(f"file:{self._temporary}", "w", format=kind)
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
        tags = self._shape.tags
        if self._encoder.pixels == "yuv420p":
            frame = VideoFrame.from_ndarray(yuv_of(image, bt709=tags.is_bt709), format="yuv420p")
        else:
            packed = VideoFrame.from_ndarray(image, format="bgr24")
            frame = packed.reformat(format=self._encoder.pixels, dst_colorspace=tags.matrix)
        frame.colorspace, frame.color_range = tags.matrix, _LIMITED
        frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
        return frame

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
        tags = shape.tags
        stream.codec_context.colorspace = tags.matrix
        stream.codec_context.color_primaries = tags.primaries
        stream.codec_context.color_trc = tags.transfer
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


_MARK = "Synthetic: the mouth was generated from the sound by lipstream (synthetic=true)"
_BITS_A_CHANNEL = {"aac": 128_000, "opus": 96_000}
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


def playable_rate(rate: int, codec: AudioCodec = "aac") -> int:
    """Return the sound rate to write for sound recorded at ``rate``: the same where players can."""
    rates = _OPUS_RATES if codec == "opus" else _AAC_RATES
    return rate if rate in rates else 48_000


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """The sound of a whole film."""

    rate: int
    channels: int
    codec: AudioCodec
    blocks: Iterable[Sound]
    """The sound from its first sample to its last, (n, channels) int16 at a time."""
    copied: Path | None = None
    """File whose packets are taken as they are when the codec is ``copy``; else unused."""


_TITLES = ("title", "artist", "author", "album", "date", "genre", "copyright", "description")
_FITTING_SOUND = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_"),
    "matroska": ("",),
    "webm": ("opus", "vorbis"),
}
_FITTING_TEXT = {
    "mp4": ("mov_text",),
    "mov": ("mov_text",),
    "matroska": ("subrip", "ass", "ssa", "webvtt", "hdmv_pgs", "dvd_subtitle"),
    "webm": ("webvtt",),
}
"""Format -> beginnings of FFmpeg's names of the codecs that are copied into it."""


@dataclass(frozen=True, slots=True)
class FilmExtras:
    """What else is in a film: further sounds, subtitles, chapters and its title."""

    film: Path
    start: Fraction
    """Time in the film that is the output's start, seconds by its own time stamps."""
    seconds: Fraction
    """Length of the output."""

    def left_out(self, output: Path) -> list[str]:
        """Name what ``output`` cannot hold."""
        kind = check_film_name(output)
        with open_media(self.film) as opened:
            held = {stream.index for stream in _held(opened, kind)}
            others = [stream for stream in _others(opened) if stream.index not in held]
            return [f"{stream.type} {_called(stream)}" for stream in others]


def _others(container: InputContainer) -> "list[Stream]":
    """Return the streams beside the picture and the voice that is replaced."""
    main = (container.streams.best("video"), container.streams.best("audio"))
    wanted = ("audio", "subtitle", "attachment")
    return [one for one in container.streams if one not in main and one.type in wanted]


def _held(container: InputContainer, kind: str) -> "list[Stream]":
    fitting = {"audio": _FITTING_SOUND[kind], "subtitle": _FITTING_TEXT[kind]}
    return [one for one in _others(container) if _codec(one).startswith(fitting.get(one.type, ()))]


def _codec(stream: "Stream") -> str:
    context: CodecContext | None = stream.codec_context  # None for what nothing decodes
    return "" if context is None else context.name  # pyright: ignore[reportUnnecessaryComparison]


def _called(stream: "Stream") -> str:
    named = (stream.metadata.get("language"), stream.metadata.get("title"), _codec(stream))
    told = f"{stream.index} ({', '.join(name for name in named if name)})"
    return told.encode("utf-8", "replace").decode()  # of tags that are no UTF-8


def join_parts(
    parts: Sequence[Path],
    fps: Fraction,
    sound: AudioTrack,
    output: Path,
    extras: FilmExtras | None = None,
) -> None:
    """Write ``output`` of parts that ``PictureWriter`` wrote alike, their sound, and extras.

    The file appears under its own name when it is whole; a link stays one, to the new film. Raises
    MediaError.
    """
    output = output.resolve() if output.is_symlink() else output
    kind = check_film_name(output)
    options = {"movflags": "+faststart"} if kind in {"mp4", "mov"} else {}
    try:
        with atomic_write(output) as unfinished, contextlib.ExitStack() as stack:
            container = stack.enter_context(
                av.open(f"file:{unfinished}", "w", format=kind, options=options)
            )
            container.metadata["comment"] = _MARK
            further = None
            if extras is not None:
                further = _Further(stack.enter_context(open_media(extras.film)), extras, kind)
            _mux(container, _Pictures(parts, fps), sound, stack, further)
    except (FFmpegError, OSError, ValueError) as error:
        raise write_failure(output, error) from error


_FRAGMENT_US = 400_000
_GROWING = {
    "movflags": "+empty_moov+default_base_moof+frag_keyframe",
    "frag_duration": str(_FRAGMENT_US),
    "flush_packets": "1",
}


def write_growing(parts: Iterable[Path], fps: Fraction, sound: AudioTrack, output: Path) -> None:
    """Write an MP4 that plays while it grows: each part is there as soon as ``parts`` gives it.

    Raises MediaError, and what ``parts`` raises; the file is left as far as it came.
    """
    try:
        with (
            contextlib.ExitStack() as stack,
            av.open(f"file:{output}", "w", format="mp4", options=_GROWING) as container,
        ):
            container.metadata["comment"] = _MARK
            _mux(container, _Pictures(parts, fps), sound, stack, None)
    except (FFmpegError, OSError, ValueError) as error:
        raise write_failure(output, error) from error


class _Pictures:
    """The packets of all parts, their times counted on from part to part."""

    def __init__(self, parts: Iterable[Path], fps: Fraction) -> None:
        self._parts, self.fps = iter(parts), fps

    def template(self, container: OutputContainer) -> av.VideoStream:
        path = next(self._parts)
        self._parts = itertools.chain([path], self._parts)
        with open_media(path) as first:
            source = first.streams.video[0]
            stream = container.add_stream_from_template(source, opaque=True)
            stream.sample_aspect_ratio = source.sample_aspect_ratio
        stream.time_base = 1 / self.fps
        return stream

    def packets(self, stream: av.VideoStream) -> Iterator["Packet[av.VideoStream]"]:
        base = 0
        for part in self._parts:
            count = 0
            with open_media(part) as opened:
                for packet in opened.demux(opened.streams.video[0]):
                    if packet.pts is None or packet.dts is None:
                        continue
                    scale = (packet.time_base or Fraction(0)) * self.fps
                    packet.pts, packet.dts = (
                        base + round(at * scale) for at in (packet.pts, packet.dts)
                    )
                    packet.duration, packet.time_base = 1, 1 / self.fps
                    packet.stream = stream
                    count += 1
                    yield packet
            base += count


def _mux(
    container: OutputContainer,
    pictures: _Pictures,
    sound: AudioTrack,
    stack: contextlib.ExitStack,
    further: "_Further | None",
) -> None:
    video = pictures.template(container)

    def begin() -> None:
        if further is not None:
            further.declare(container)
        container.start_encoding()

    if sound.codec == "copy":
        assert sound.copied is not None
        source = stack.enter_context(open_media(sound.copied))
        with open_media(sound.copied) as opened:
            begins = sound_start(opened)
        audio = _copied(container, source, sound.copied, begin, begins)
    else:
        audio = _encoded(container, sound, begin)
    until = Fraction(0)
    for packet in pictures.packets(video):
        end = (packet.pts or 0) / pictures.fps
        while until <= end and (piece := next(audio, None)) is not None:
            until = piece.until
            container.mux(piece.packets)
        if further is not None:
            container.mux(further.packets(end))
        container.mux(packet)
    for piece in audio:
        container.mux(piece.packets)
    if further is not None:
        container.mux(further.packets(further.seconds))


class _Further:
    """Copies the extras of a film into another, in the order of their times."""

    def __init__(self, source: InputContainer, extras: FilmExtras, kind: str) -> None:
        self._source, self._start, self.seconds = source, extras.start, extras.seconds
        self._taken = _held(source, kind)
        self._streams: dict[int, Stream] = {}
        self._packets = self._walk()
        self._next: Packet[Stream] | None = None

    def declare(self, container: OutputContainer) -> None:
        """Add the streams, the titles and the chapters, before anything is written."""
        for name in _TITLES:
            if name in self._source.metadata:
                container.metadata[name] = self._source.metadata[name]
        chapters = [self._moved(chapter) for chapter in self._source.chapters()]
        container.set_chapters([one for one in chapters if one["start"] < one["end"]])
        for stream in self._taken:
            added = container.add_stream_from_template(stream, opaque=True)
            added.metadata.update(stream.metadata)
            self._streams[stream.index] = added

    def packets(self, until: Fraction) -> "list[Packet[Stream]]":
        """Return the packets up to a time of the output, seconds."""
        given: list[Packet[Stream]] = []
        while True:
            packet = self._next or next(self._packets, None)
            if packet is None or (packet.pts or 0) * (packet.time_base or 0) > until:
                self._next = packet
                return given
            self._next = None
            given.append(packet)

    def _walk(self) -> "Iterator[Packet[Stream]]":
        if not self._taken:
            return
        for packet in self._source.demux(self._taken):
            if packet.pts is None or packet.dts is None:
                continue
            shift = round(self._start / packet.time_base)
            time = packet.pts * packet.time_base - self._start
            if 0 <= time < self.seconds:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = self._streams[packet.stream.index]
                yield packet

    def _moved(self, chapter: "Chapter") -> "Chapter":
        tick = chapter["time_base"] or Fraction(1, 1000)
        first, last = round(self._start / tick), round((self._start + self.seconds) / tick)
        start = min(max(chapter["start"], first), last) - first
        end = min(max(chapter["end"], first), last) - first
        return {**chapter, "start": start, "end": end, "time_base": tick}


@dataclass(frozen=True, slots=True)
class _AudioPackets:
    packets: Sequence["Packet[av.AudioStream]"]
    until: Fraction
    """Seconds of sound given so far."""


def _encoded(
    container: OutputContainer, sound: AudioTrack, begin: Callable[[], None]
) -> Iterator[_AudioPackets]:
    layout = "mono" if sound.channels == 1 else "stereo"
    stream = container.add_stream(audio_encoder(sound.codec), rate=sound.rate, layout=layout)
    assert isinstance(stream, av.AudioStream)
    if sound.codec in _BITS_A_CHANNEL:
        stream.bit_rate = _BITS_A_CHANNEL[sound.codec] * sound.channels
    begin()
    return _encode(stream, sound, layout)


def _encode(stream: av.AudioStream, sound: AudioTrack, layout: str) -> Iterator[_AudioPackets]:
    samples = 0
    for block in sound.blocks:
        frame = AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = sound.rate
        frame.pts, frame.time_base = samples, Fraction(1, sound.rate)
        samples += len(block)
        yield _AudioPackets(stream.encode(frame), Fraction(samples, sound.rate))
    yield _AudioPackets(stream.encode(None), Fraction(samples, sound.rate))


def _copied(
    container: OutputContainer,
    source: InputContainer,
    path: Path,
    begin: Callable[[], None],
    begins: Fraction,
) -> Iterator[_AudioPackets]:
    taken = source.streams.best("audio")
    assert isinstance(taken, av.AudioStream)
    try:
        stream = container.add_stream_from_template(taken, opaque=True)
        begin()
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"the {taken.codec_context.name} sound of {path.name} does not fit into such a file"
            f" as it is ({reason(error)}): give --audio aac, or write a .mkv"
        ) from error
    return _copy(source, taken, stream, begins)


def _copy(
    source: InputContainer, taken: av.AudioStream, stream: av.AudioStream, begins: Fraction
) -> Iterator[_AudioPackets]:
    """Give the packets, their first sound that is heard at the film's start."""
    for packet in source.demux(taken):
        if packet.dts is None or packet.pts is None:
            continue
        shift = round(begins / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = stream
        yield _AudioPackets([packet], packet.pts * packet.time_base)
