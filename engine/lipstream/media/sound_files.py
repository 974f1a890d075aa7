"""Sound files as mono int16 at any rate, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError, InvalidDataError
from numpy.typing import NDArray

from lipstream.errors import MediaError
from lipstream.media.opening import check_decodable, open_media, reason
from lipstream.types import Pcm

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
"""Sound rates taken, in Hz."""
MOST_CHANNELS = 8
_GUESSED_LENGTH = {"mp3", "aac", "ac3", "eac3", "mpegts", "mpeg", "ogg"}
"""Formats whose declared length is an estimate from the bit rate or from time stamps."""
_SLACK_S = 0.1
"""How much shorter than declared a sound may be before it counts as cut short, seconds."""
_PADDING = 2048
"""Samples that an encoder may have added at the end to fill its last block (two of AAC's)."""
_UNKNOWN_RIFF_SIZE = 0x7FFF0000
"""RIFF sizes from here on are what programs write into a pipe: length unknown."""


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A checked file with sound in it: wav, flac, mp3, m4a, ogg, or a film's sound track."""

    path: Path
    rate: int
    """Samples a second in the file, Hz."""
    channels: int
    samples: int
    """Samples of one channel in the whole file, at the file's own rate."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a sound file once from end to end, so that nothing in it comes as a surprise.

        Raises MediaError when the file is missing, damaged, cut short, without sound, not of
        8 to 192 kHz and 1 to 8 channels, or holds samples that are not numbers.
        """
        with open_media(path) as container:
            stream = _checked_stream(container, path.name)
            rate, channels = stream.rate, stream.channels
            samples = sum(frame.samples for frame in _frames(container, stream, path.name))
            declared = _declared_seconds(container, stream, path)
        if samples == 0:
            raise MediaError(f"{path.name} holds no sound (0 samples): record or make it again")
        if declared is None:
            return cls(path, rate, channels, samples)
        seconds = samples / rate
        if seconds < declared - _SLACK_S:
            raise MediaError(
                f"{path.name} is cut short: {seconds:.2f} s of sound are in it, its header says"
                f" {float(declared):.2f} s; copy it again"
            )
        padding = samples - round(declared * rate)
        return cls(path, rate, channels, samples - padding if 0 < padding <= _PADDING else samples)

    @property
    def seconds(self) -> Fraction:
        """Length of the sound, seconds."""
        return Fraction(self.samples, self.rate)

    def blocks(self, rate: int, samples: int) -> Iterator[Pcm]:
        """Yield the sound as mono int16 at ``rate``, ``samples`` at a time, in new arrays.

        The last block may be shorter. All channels are mixed into one as FFmpeg mixes them, which
        never clips. Memory stays bounded whatever the length.
        """
        held = np.zeros(0, np.int16)
        left = -(-self.samples * rate // self.rate)
        for mixed in self.resampled(rate, 1):
            piece = mixed[:, 0]
            held = np.concatenate([held, piece[:left]])
            left -= min(left, len(piece))
            whole = len(held) - len(held) % samples
            for at in range(0, whole, samples):
                yield held[at : at + samples].copy()
            held = held[whole:]
        if len(held):
            yield held.copy()

    def resampled(self, rate: int, channels: int) -> Iterator[NDArray[np.int16]]:
        """Yield the whole sound as (n, channels) int16 at ``rate``; ``channels`` is 1 or 2.

        Beyond ``seconds`` there may be a few samples that an encoder added.
        """
        if channels == 2 and self.channels == 1:  # FFmpeg would make both sides quieter
            for piece in self.resampled(rate, 1):
                yield np.repeat(piece, 2, 1)
            return
        layout = "mono" if channels == 1 else "stereo"
        resampler = AudioResampler(format="s16", layout=layout, rate=rate)
        with open_media(self.path) as container:
            stream = _checked_stream(container, self.path.name)
            for frame in _frames(container, stream, self.path.name):
                frame.pts = None  # else a gap in the time stamps confuses the resampler
                for out in resampler.resample(frame):
                    yield np.asarray(out.to_ndarray().reshape(-1, channels), np.int16)
        for out in resampler.resample(None):
            yield np.asarray(out.to_ndarray().reshape(-1, channels), np.int16)


def has_sound(path: Path) -> bool:
    """Return whether a file has a sound track; raises MediaError when it cannot be opened."""
    with open_media(path) as container:
        return container.streams.best("audio") is not None


def _checked_stream(container: InputContainer, name: str) -> av.AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        raise MediaError(f"{name} has no sound track: give a file with sound")
    check_decodable(stream, name)
    if not LOWEST_RATE <= stream.rate <= HIGHEST_RATE:
        raise MediaError(
            f"{name} has sound at {stream.rate} Hz: convert it to a rate from {LOWEST_RATE}"
            f" to {HIGHEST_RATE} Hz"
        )
    if not 1 <= stream.channels <= MOST_CHANNELS:
        raise MediaError(f"{name} has {stream.channels} channels: mix it down to {MOST_CHANNELS}")
    return stream


def _frames(container: InputContainer, stream: av.AudioStream, name: str) -> Iterator[AudioFrame]:
    """Decode all sound; damaged packets are left out, as players do."""
    packets = container.demux(stream)
    samples = 0
    while True:
        try:
            for frame in next(packets).decode():
                _check_finite(frame, name, samples / stream.rate)
                samples += frame.samples
                yield frame
        except StopIteration:
            return
        except (InvalidDataError, EndOfFile):  # EOF: a packet cut short
            continue
        except FFmpegError as error:
            raise MediaError(f"{name} cannot be read: {reason(error)}") from error


def _check_finite(frame: AudioFrame, name: str, seconds: float) -> None:
    if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
        raise MediaError(
            f"{name} holds samples that are not numbers (NaN or infinite) near {seconds:.2f} s:"
            " export it again from the program that made it"
        )


def _declared_seconds(
    container: InputContainer, stream: av.AudioStream, path: Path
) -> Fraction | None:
    """Return the length that the file's header states, if it states one that can be trusted."""
    if container.format.name == "wav":  # FFmpeg corrects what the header says to the file's size
        size, bits = _riff_size(path), stream.codec_context.bit_rate
        return Fraction(size * 8, bits) if size and bits else None
    if container.format.name in _GUESSED_LENGTH or not stream.duration or not stream.time_base:
        return None
    return stream.duration * stream.time_base


def _riff_size(path: Path) -> int | None:
    """Return the bytes of sound that a RIFF header promises; None when it does not know."""
    with path.open("rb") as opened:
        opened.seek(12)
        while len(head := opened.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                return size if size < _UNKNOWN_RIFF_SIZE else None
            opened.seek(size + size % 2, 1)
    return None


Sound = NDArray[np.int16]
"""(n, channels) int16."""


class SoundReader:
    """Walk through a sound once. Memory stays bounded; used by one thread."""

    def __init__(self, sound: SoundFile | None, rate: int, channels: int) -> None:
        """Begin at the first sample; a ``sound`` of None is silent throughout."""
        self._pieces: Iterator[Sound] = iter(())
        self._left = 0
        if sound is not None:
            self._pieces = sound.resampled(rate, channels)
            self._left = -(-sound.samples * rate // sound.rate)
        self._rate, self._channels = rate, channels
        self._held: Sound = np.zeros((0, channels), np.int16)
        self._silence = 0

    def wait(self, samples: int) -> Self:
        """Be silent for so many samples before the sound goes on."""
        self._silence += samples
        return self

    def skip(self, samples: int) -> Self:
        """Leave out so many samples."""
        for _ in self.blocks(samples, self._rate):
            pass
        return self

    def blocks(self, samples: int, largest: int) -> Iterator[Sound]:
        """Yield the next ``samples`` in new arrays of at most ``largest`` each."""
        while samples > 0:
            block = self._take(min(samples, largest))
            samples -= len(block)
            yield block

    def _take(self, samples: int) -> Sound:
        """Return 1 to ``samples`` samples."""
        if self._silence:
            quiet = min(samples, self._silence)
            self._silence -= quiet
            return np.zeros((quiet, self._channels), np.int16)
        if len(self._held) == 0:
            self._held = next((p for p in self._pieces if len(p)), self._held)[: self._left]
            self._left -= len(self._held)
        if len(self._held) == 0:
            return np.zeros((samples, self._channels), np.int16)
        taken, self._held = self._held[:samples].copy(), self._held[samples:]
        return taken
