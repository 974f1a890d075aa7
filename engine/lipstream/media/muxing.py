"""Parts of a film joined end to end, with their sound, into one file: nothing is encoded twice."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from lipstream.errors import MediaError
from lipstream.media.codecs import AudioCodec, audio_encoder, check_film_name
from lipstream.media.film_writer import write_failure
from lipstream.media.opening import open_media, reason
from lipstream.media.sound_files import Sound
from lipstream.storage.atomic_files import written_whole

_MARK = "Synthetic: the mouth was generated from the sound by lipstream (synthetic=true)"
_BITS_A_CHANNEL = {"aac": 128_000, "opus": 96_000}
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


def playable_rate(rate: int, codec: AudioCodec = "aac") -> int:
    """Return the sound rate to write for sound recorded at ``rate``: the same where players can."""
    rates = _OPUS_RATES if codec == "opus" else _AAC_RATES
    return rate if rate in rates else 48_000


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """The sound of a whole film."""

    rate: int
    channels: int
    codec: AudioCodec
    blocks: Iterable[Sound]
    """The sound from its first sample to its last, (n, channels) int16 at a time."""
    copied: Path | None = None
    """File whose packets are taken as they are when the codec is ``copy``; else unused."""


def join_parts(parts: Sequence[Path], fps: Fraction, sound: SoundTrack, output: Path) -> None:
    """Write ``output`` of parts that ``PictureWriter`` wrote alike, and their sound.

    The file appears under its own name when it is whole. Raises MediaError.
    """
    kind = check_film_name(output)
    options = {"movflags": "+faststart"} if kind in {"mp4", "mov"} else {}
    try:
        with written_whole(output) as unfinished, contextlib.ExitStack() as stack:
            container = stack.enter_context(
                av.open(str(unfinished), "w", format=kind, options=options)
            )
            container.metadata["comment"] = _MARK
            _mux(container, _Pictures(parts, fps), sound, stack)
    except (FFmpegError, OSError, ValueError) as error:
        raise write_failure(output, error) from error


class _Pictures:
    """The packets of all parts, their times counted on from part to part."""

    def __init__(self, parts: Sequence[Path], fps: Fraction) -> None:
        self._parts, self.fps = parts, fps

    def template(self, container: OutputContainer) -> av.VideoStream:
        with open_media(self._parts[0]) as first:
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
    sound: SoundTrack,
    stack: contextlib.ExitStack,
) -> None:
    video = pictures.template(container)
    if sound.codec == "copy":
        assert sound.copied is not None
        heard = _copied(container, stack.enter_context(open_media(sound.copied)), sound.copied)
    else:
        heard = _encoded(container, sound)
    until = Fraction(0)
    for packet in pictures.packets(video):
        end = (packet.pts or 0) / pictures.fps
        while until <= end and (piece := next(heard, None)) is not None:
            until = piece.until
            container.mux(piece.packets)
        container.mux(packet)
    for piece in heard:
        container.mux(piece.packets)


@dataclass(frozen=True, slots=True)
class _Heard:
    packets: Sequence["Packet[av.AudioStream]"]
    until: Fraction
    """Seconds of sound given so far."""


def _encoded(container: OutputContainer, sound: SoundTrack) -> Iterator[_Heard]:
    layout = "mono" if sound.channels == 1 else "stereo"
    stream = container.add_stream(audio_encoder(sound.codec), rate=sound.rate, layout=layout)
    assert isinstance(stream, av.AudioStream)
    if sound.codec in _BITS_A_CHANNEL:
        stream.bit_rate = _BITS_A_CHANNEL[sound.codec] * sound.channels
    container.start_encoding()
    return _encode(stream, sound, layout)


def _encode(stream: av.AudioStream, sound: SoundTrack, layout: str) -> Iterator[_Heard]:
    samples = 0
    for block in sound.blocks:
        frame = AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = sound.rate
        frame.pts, frame.time_base = samples, Fraction(1, sound.rate)
        samples += len(block)
        yield _Heard(stream.encode(frame), Fraction(samples, sound.rate))
    yield _Heard(stream.encode(None), Fraction(samples, sound.rate))


def _copied(container: OutputContainer, source: InputContainer, path: Path) -> Iterator[_Heard]:
    taken = source.streams.best("audio")
    assert isinstance(taken, av.AudioStream)
    try:
        stream = container.add_stream_from_template(taken, opaque=True)
        container.start_encoding()
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"the {taken.codec_context.name} sound of {path.name} does not fit into such a file"
            f" as it is ({reason(error)}): give --audio aac, or write a .mkv"
        ) from error
    return _copy(source, taken, stream)


def _copy(
    source: InputContainer, taken: av.AudioStream, stream: av.AudioStream
) -> Iterator[_Heard]:
    for packet in source.demux(taken):
        if packet.dts is None or packet.pts is None:
            continue
        packet.stream = stream
        yield _Heard([packet], packet.pts * packet.time_base)
