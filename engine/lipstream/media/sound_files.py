"""Sound files as int16 at any rate, block by block: as they are written, and as a mouth hears them.

Time stamps rule where a container has them: what is missing is silent, so that the rest stays in
step. A sound may change its rate and its channels on the way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
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
from lipstream.media.opening import (
    check_decodable,
    open_chains,
    open_media,
    reason,
    sound_lead,
    without_delay,
)
from lipstream.timing import HIGHEST_RATE, LOWEST_RATE
from lipstream.types import Float32, Float64, Pcm

MOST_CHANNELS = 8
_TOLD_LENGTH = ("mov", "matroska", "avi", "asf", "flac", "aiff", "caf", "w64", "au", "wv", "tta")
"""Formats whose header tells the length. Of others it is an estimate, from the bit rate or from
time stamps."""
_TIMED = ("matroska", "mov", "mpegts", "flv", "asf", "nut")
"""Formats whose packets say when they are heard."""
_GAP_S, _LONGEST_GAP_S, _MOST_BACK_S = 0.03, 3600.0, 1.0
"""A hole shorter than the first is rounding, a jump longer than the others, on or back, another
clock."""
_SLACK_S = 0.1
"""How much shorter than declared a sound may be before it counts as cut short, seconds."""
_PADDING = 2048
"""Samples that an encoder may have added at the end to fill its last block (two of AAC's); an MP4
tells how many are meant."""
_UNKNOWN_RIFF_SIZE = 0x7FFF0000
"""RIFF sizes from here on are what programs write into a pipe: length unknown."""
_PLAIN_RIFF = {1, 3, 6, 7, 0xFFFE}
"""RIFF's kinds of samples that each take the same room (PCM, float, A-law, mu-law, extensible). The
byte rates that programs write for the others, ADPCM among them, are often wrong."""
_HOPS_A_SECOND = 10
"""Levels are measured so often."""
_CANCELLED = 0.1
"""A mix this much weaker than its stronger side, in power, has lost the speech in it: -10 dB."""
_QUIET, _WANTED, _MOST_GAIN = -36.0, -26.0, 40.0
"""Speech below the first level is brought to the second for the mouth, dB of full scale and dB."""
_SPEECH_OVER_NOISE = 12.0
"""Sound that rises less above its own floor is no speech, and is not made louder, dB."""
_DEFAULT_CHANNELS: dict[int, tuple[str, ...]] = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "LFE"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""FFmpeg's order of channels that have no names."""
_HALF = float(np.sqrt(0.5))


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A checked file with sound in it: wav, flac, mp3, m4a, ogg, or a film's sound track."""

    path: Path
    rate: int
    """Samples a second in the file, Hz."""
    channels: int
    samples: int
    """Samples of one channel in the whole file, at the file's own rate."""
    scale: float = 1.0
    """What more than two channels are multiplied by to be written as two without clipping."""
    gain: float = 1.0
    """What the mouth hears it multiplied by: more than 1 for quiet speech."""
    sides: bytes = b""
    """By tenths of a second, what the mouth hears: 0 the mix, 1 the left, 2 the right side, where
    the mix has lost what is in them; empty where it never has."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a sound file once from end to end, so that nothing in it comes as a surprise.

        Raises MediaError when the file is missing, damaged, cut short, without sound, not of
        8 to 192 kHz and 1 to 8 channels, or holds samples that are not numbers.
        """
        with open_media(path) as container:
            stream = _checked_stream(container, path.name)
            rate, channels = stream.rate, stream.channels
            declared = _declared_seconds(container, stream, path)
            is_padded = container.format.name.startswith("mov")
        levels = _Levels(rate)
        for names, piece in _pieces(path, rate):
            channels = max(channels, len(names))
            levels.add(names, piece)
        if levels.samples == 0:
            raise MediaError(f"{path.name} holds no sound (0 samples): record or make it again")
        samples, seconds = levels.samples, levels.samples / rate
        if declared is not None and seconds < declared - _SLACK_S:
            raise MediaError(
                f"{path.name} is cut short: {seconds:.2f} s of sound are in it, its header says"
                f" {float(declared):.2f} s; copy it again"
            )
        padding = samples - round(declared * rate) if declared is not None and is_padded else 0
        samples -= padding if 0 < padding <= _PADDING else 0
        return cls(path, rate, channels, samples, levels.scale, levels.gain, levels.sides)

    @property
    def seconds(self) -> Fraction:
        """Length of the sound, seconds."""
        return Fraction(self.samples, self.rate)

    def blocks(self, rate: int, samples: int) -> Iterator[Pcm]:
        """Yield the sound as mono int16 at ``rate``, ``samples`` at a time, in new arrays.

        The last block may be shorter. Memory stays bounded whatever the length.
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

        The centre of more channels keeps its level, and nothing clips. Beyond ``seconds`` there may
        be a few samples that an encoder added.
        """
        for names, piece in _pieces(self.path, rate):
            if channels == 1:
                yield _int16(_mix(names, 1) @ piece)
            else:
                yield _int16(_mix(names, 2) @ piece * self.scale)

    def heard(self, rate: int) -> Iterator[NDArray[np.int16]]:
        """Yield the whole sound as a mouth hears it: (n, 1) int16 at ``rate``.

        Channels that cancel each other out are not mixed, and quiet speech is made louder.
        """
        at = 0
        for names, piece in _pieces(self.path, rate):
            mixed = (_mix(names, 1) @ piece)[0]
            if self.sides and len(names) > 1:
                mixed = self._with_sides(mixed, _mix(names, 2) @ piece, at, rate)
            at += piece.shape[1]
            yield _int16(mixed[None] * self.gain)

    def _with_sides(self, mixed: Float32, both: Float32, at: int, rate: int) -> Float32:
        """Return the mix, and a side in its place where the mix has lost it; blended between."""
        sides = np.frombuffer(self.sides, np.uint8)
        hops = (np.arange(at, at + len(mixed)) / rate) * _HOPS_A_SECOND - 0.5
        for number, side in enumerate(both, 1):
            weight = np.interp(hops, np.arange(len(sides)), sides == number).astype(np.float32)
            mixed = mixed + weight * (side - mixed)
        return mixed


def _int16(sound: Float32) -> NDArray[np.int16]:
    """Return (n, channels) int16 of (channels, n) float32."""
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16).T


def has_sound(path: Path) -> bool:
    """Return whether a file has a sound track; raises MediaError when it cannot be opened."""
    with open_media(path) as container:
        return container.streams.best("audio") is not None


def _checked_stream(container: InputContainer, name: str) -> av.AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        raise MediaError(f"{name} has no sound track: give a file with sound")
    check_decodable(stream, name)
    _check_form(stream.rate, stream.channels, name)
    return stream


def _check_form(rate: int, channels: int, name: str) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise MediaError(
            f"{name} has sound at {rate} Hz: convert it to a rate from {LOWEST_RATE}"
            f" to {HIGHEST_RATE} Hz"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise MediaError(f"{name} has {channels} channels: mix it down to {MOST_CHANNELS}")


def _frames(container: InputContainer, stream: av.AudioStream, name: str) -> Iterator[AudioFrame]:
    """Decode all sound; damaged packets are left out, as players do."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            if packet.size or packet.pts is None:  # FLAC's last in NUT is empty; after all, none
                yield from packet.decode()
        except StopIteration:
            return
        except (InvalidDataError, EndOfFile):  # EOF: a packet cut short
            continue
        except (FFmpegError, ValueError) as error:  # PyAV's own, of a codec that it has not
            raise MediaError(f"{name} cannot be read: {reason(error)}") from error


@dataclass(frozen=True, slots=True)
class _Heard:
    """A decoded block, and the silence before it."""

    frame: AudioFrame
    gap_s: float


def _in_time(path: Path) -> Iterator[_Heard]:
    """Decode a file block by block; holes become gaps, and what is told twice is left out."""
    for container in open_chains(path):
        with container:
            stream = _checked_stream(container, path.name)
            timed = container.format.name.startswith(_TIMED)
            expected: float | None = None
            lead = float(sound_lead(container))
            decoded = _frames(container, stream, path.name)
            for frame in without_delay(decoded, container, stream.codec_context.name):
                if not timed or frame.pts is None or frame.time_base is None:
                    yield _Heard(frame, 0.0)
                    continue
                time = float(frame.pts * frame.time_base)
                off = 0.0 if expected is None else time - expected
                gap = off if _GAP_S < off < _LONGEST_GAP_S else 0.0
                if expected is None or not -_MOST_BACK_S < off <= _LONGEST_GAP_S:
                    expected, gap = time, lead if expected is None else 0.0
                elif off < -_GAP_S:
                    continue
                else:
                    expected += gap
                expected += frame.samples / frame.sample_rate
                yield _Heard(frame, gap)


def _pieces(path: Path, rate: int) -> Iterator[tuple[tuple[str, ...], Float32]]:
    """Yield the sound's channels by name and (channels, n) float32 at ``rate``, gaps silent."""
    resampler: AudioResampler | None = None
    form: tuple[int, str, str] | None = None
    given, due_s = 0, 0.0
    names: tuple[str, ...] = ("FC",)
    for heard in _in_time(path):
        frame = heard.frame
        new = (frame.sample_rate, frame.layout.name, frame.format.name)
        if resampler is None or heard.gap_s or new != form:
            for piece in _resampled(resampler, None):
                given += piece.shape[1]
                yield names, piece
            if heard.gap_s:
                due_s += heard.gap_s
                silence = max(0, round(due_s * rate) - given)
                given += silence
                yield ("FC",), np.zeros((1, silence), np.float32)
            _check_form(frame.sample_rate, len(frame.layout.channels), path.name)
            resampler = AudioResampler(format="flt", layout=frame.layout, rate=rate)
            form, names = new, _names_of(frame)
        due_s += frame.samples / frame.sample_rate
        for piece in _resampled(resampler, frame):
            # not the frame: PyAV 18 looks for nine channels in one of eight that lie apart
            _check_finite(piece, path.name, given / rate)
            given += piece.shape[1]
            yield names, piece
    for piece in _resampled(resampler, None):
        yield names, piece


def _resampled(resampler: AudioResampler | None, frame: AudioFrame | None) -> Iterator[Float32]:
    if resampler is None:
        return
    if frame is not None:
        frame.pts = None  # else a gap in the time stamps confuses the resampler
    for out in resampler.resample(frame):
        packed = np.asarray(out.to_ndarray(), np.float32)
        yield packed.reshape(out.samples, -1).T


def _names_of(frame: AudioFrame) -> tuple[str, ...]:
    names = tuple(channel.name for channel in frame.layout.channels)
    known = len(set(names)) == len(names) and "NONE" not in names
    return names if known else _DEFAULT_CHANNELS[len(names)]


@cache
def _mix(names: Sequence[str], channels: int) -> Float32:
    """Return the (channels, len(names)) matrix that mixes channels into one or two.

    Two are those of ITU-R BS.775: the centre and the surrounds 3 dB down on both sides. One is
    their mean, of more than two channels so much louder that the centre keeps its level.
    """
    if len(names) == 1:
        return np.ones((channels, 1), np.float32)
    left, right = [], []
    for name in names:
        shared = name in ("FC", "BC", "TC") or name not in _LEFT + _RIGHT + ("LFE",)
        side = 1.0 if name in ("FL", "FR") or len(names) == 2 else _HALF
        left.append(_HALF if shared else side if name in _LEFT else 0.0)
        right.append(_HALF if shared else side if name in _RIGHT else 0.0)
    both = np.array([left, right], np.float32)
    if channels == 2:
        return both
    mean = both.mean(0, keepdims=True)
    return np.asarray(mean / (_HALF if len(names) > 2 else 1.0), np.float32)


_LEFT = ("FL", "BL", "SL", "FLC", "WL", "TFL", "TBL")
_RIGHT = ("FR", "BR", "SR", "FRC", "WR", "TFR", "TBR")


class _Levels:
    """Measures a sound as it goes by, and says how it is to be mixed."""

    def __init__(self, rate: int) -> None:
        self.samples = 0
        self._hop = rate // _HOPS_A_SECOND
        self._peak = 1.0
        self._held: Float32 = np.zeros((3, 0), np.float32)
        self._powers: list[Float64] = []

    def add(self, names: tuple[str, ...], piece: Float32) -> None:
        """Take the next (channels, n) samples."""
        self.samples += piece.shape[1]
        both = _mix(names, 2) @ piece
        if len(names) > 2 and piece.size:
            self._peak = max(self._peak, float(np.abs(both).max()))
        three = np.concatenate([_mix(names, 1) @ piece, both])
        self._held = np.concatenate([self._held, three], 1)
        hops = self._held.shape[1] // self._hop
        if hops:
            whole = self._held[:, : hops * self._hop].reshape(3, hops, self._hop)
            self._powers.append(np.square(whole, dtype=np.float64).mean(2))
            self._held = self._held[:, hops * self._hop :]

    @property
    def scale(self) -> float:
        """What two channels mixed of more are multiplied by."""
        return 1.0 / self._peak

    @property
    def sides(self) -> bytes:
        """Which hops are heard from a side, as ``SoundFile.sides``."""
        if not self._powers:
            return b""
        window = np.ones(_HOPS_A_SECOND)
        powers = [np.convolve(row, window, "same") for row in np.concatenate(self._powers, 1)]
        mixed, left, right = powers[0], powers[1], powers[2]
        stronger = 1 if left.sum() >= right.sum() else 2
        lost = mixed < _CANCELLED * np.maximum(left, right)
        return bytes((lost * stronger).astype(np.uint8)) if lost.any() else b""

    @property
    def gain(self) -> float:
        """What quiet speech is multiplied by for the mouth."""
        if not self._powers:
            return 1.0
        powers = np.concatenate(self._powers, 1).max(0)
        levels = 10 * np.log10(powers[powers > 0] + 1e-12)
        if len(levels) == 0:
            return 1.0
        floor, speech = np.percentile(levels, [10, 95])
        if speech >= _QUIET or speech - floor < _SPEECH_OVER_NOISE:
            return 1.0
        return float(10 ** (min(_MOST_GAIN, _WANTED - speech) / 20))


def _check_finite(piece: Float32, name: str, seconds: float) -> None:
    if not np.isfinite(piece).all():
        raise MediaError(
            f"{name} holds samples that are not numbers (NaN or infinite) near {seconds:.2f} s:"
            " export it again from the program that made it"
        )


def _declared_seconds(
    container: InputContainer, stream: av.AudioStream, path: Path
) -> Fraction | None:
    """Return the length that the file's header states, if it states one that can be trusted."""
    if container.format.name == "wav":  # FFmpeg corrects what the header says to the file's size
        return _riff_seconds(path)
    if container.format.name == "mp3":
        return _mp3_seconds(path, stream.rate)
    told = container.format.name.startswith(_TOLD_LENGTH)
    if not told or not stream.duration or not stream.time_base:
        return None
    return stream.duration * stream.time_base + sound_lead(container)


def _mp3_seconds(path: Path, rate: int) -> Fraction | None:
    """Return the length that the first frame of a mp3 file tells (Xing's and LAME's header)."""
    with path.open("rb") as opened:
        head = opened.read(10)
        tag = 0  # ID3v2: four bytes of seven bits
        if head[:3] == b"ID3":
            for byte in head[6:10]:
                tag = tag << 7 | byte & 127
            tag += 10
        opened.seek(tag)
        first = opened.read(256)
    at = max(first.find(b"Xing"), first.find(b"Info"))
    if at < 0 or not int.from_bytes(first[at + 4 : at + 8], "big") & 1:
        return None
    frames = int.from_bytes(first[at + 8 : at + 12], "big")
    samples = 1152 if rate >= 32_000 else 576  # a frame of MPEG-1, of MPEG-2
    return Fraction(frames * samples - _PADDING, rate)


def _riff_seconds(path: Path) -> Fraction | None:
    """Return the length that a RIFF header promises; None when it does not know."""
    bytes_a_second = 0
    with path.open("rb") as opened:
        opened.seek(12)
        while len(head := opened.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                known = 0 < size < _UNKNOWN_RIFF_SIZE and bytes_a_second
                return Fraction(size, bytes_a_second) if known else None
            body = opened.read(12) if head[:4] == b"fmt " else b""
            if int.from_bytes(body[:2], "little") in _PLAIN_RIFF:
                bytes_a_second = int.from_bytes(body[8:], "little")
            opened.seek(size + size % 2 - len(body), 1)
    return None


Sound = NDArray[np.int16]
"""(n, channels) int16."""


class SoundReader:
    """Walk through a sound once. Memory stays bounded; used by one thread."""

    def __init__(
        self, sound: SoundFile | None, rate: int, channels: int, *, heard: bool = False
    ) -> None:
        """Begin at the first sample; a ``sound`` of None is silent throughout.

        ``heard`` is for a mouth: one channel.
        """
        self._pieces: Iterator[Sound] = iter(())
        self._left = 0
        if sound is not None:
            self._pieces = sound.heard(rate) if heard else sound.resampled(rate, channels)
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
