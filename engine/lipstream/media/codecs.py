"""Which codecs a film can be written with, and how well; and what encodes for those who watch."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import av
from av import VideoFrame
from av.error import FFmpegError

from lipstream.errors import MediaError

VideoCodec = Literal["h264", "vp9", "av1", "prores"]
Quality = Literal["low", "medium", "high"]
AudioCodec = Literal["aac", "opus", "flac", "pcm", "copy"]
"""``copy`` takes the packets of the sound file as they are."""

ONE_THREAD_PIXELS = 1_000_000
"""Smaller pictures are decoded, and encoded by x264, in one thread beside all else: that takes a
sixth to a quarter less of the processor, and x264's film is smaller and closer to the picture.
"""
LARGE_PIXELS = 4_000_000
"""Pictures from this size on are held sparingly: one of 3840 x 2160 takes 25 MB."""
_SPARING = {"threads": "3", "x264-params": "rc-lookahead=2:mbtree=1:bframes=0"}
"""x264 holds 570 MB at 3840 x 2160 to look 10 pictures ahead with 3 between, and so 230 MB: on any
number of cores, each thread has pictures of its own.
"""
SUFFIXES = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}
"""File endings that can be written -> FFmpeg's name of the format."""
_HOLDS: dict[str, tuple[set[str], set[str]]] = {
    "mp4": ({"h264", "vp9", "av1"}, {"aac", "opus", "flac", "copy"}),
    "mov": ({"h264", "prores"}, {"aac", "pcm", "copy"}),
    "matroska": (set(get_args(VideoCodec)), set(get_args(AudioCodec))),
    "webm": ({"vp9", "av1"}, {"opus", "copy"}),
}
"""Format -> what of picture and sound players take in it."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """One of FFmpeg's encoders and its settings."""

    name: str
    pixels: str
    """FFmpeg's name of the pixel format."""
    options: dict[str, str]
    qualities: tuple[dict[str, str], dict[str, str], dict[str, str]]
    """Settings for low, medium and high quality."""

    def settings(self, quality: Quality, size: int) -> dict[str, str]:
        """Return the options for a quality, and for pictures of ``size`` pixels."""
        chosen = self.options | self.qualities[get_args(Quality).index(quality)]
        if self.name != "libx264":
            return chosen
        if size < ONE_THREAD_PIXELS:
            return chosen | {"threads": "1"}
        return chosen | (_SPARING if size >= LARGE_PIXELS else {})


def _crf(*values: float) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    low, medium, high = ({"crf": f"{value:g}"} for value in values)
    return low, medium, high


_X264 = {"preset": "superfast", "x264-params": "rc-lookahead=10:mbtree=1"}
"""Half the time of ``veryfast`` half a step of crf lower, a tenth more bytes at the same PSNR.
What it leaves out is the long search; the look ahead, which decides where bytes go, stays.
"""
_ENCODERS: dict[VideoCodec, tuple[Encoder, ...]] = {
    "h264": (
        Encoder("libx264", "yuv420p", _X264, _crf(25.5, 17.5, 12.5)),
        Encoder("mpeg4", "yuv420p", {}, ({"qscale": "8"}, {"qscale": "3"}, {"qscale": "1"})),
    ),
    "vp9": (
        Encoder(
            "libvpx-vp9",
            "yuv420p",
            {"b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
            _crf(38, 28, 18),
        ),
    ),
    "av1": (
        Encoder("libsvtav1", "yuv420p", {"preset": "9"}, _crf(42, 30, 20)),
        Encoder("libaom-av1", "yuv420p", {"cpu-used": "8", "b": "0"}, _crf(42, 30, 20)),
    ),
    "prores": (
        Encoder(
            "prores_ks",
            "yuv422p10le",
            {"vendor": "apl0"},
            ({"profile": "1"}, {"profile": "2"}, {"profile": "3"}),
        ),
    ),
}
"""The first that FFmpeg was built with is taken."""
_FOR_SOUND = {"aac": "aac", "opus": "libopus", "flac": "flac", "pcm": "pcm_s16le"}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a film is written; None leaves the choice to the file's ending."""

    video: VideoCodec | None = None
    audio: AudioCodec | None = None
    quality: Quality = "medium"


DEFAULT_ENCODING = Encoding()
"""All as the file's ending says."""


def check_film_name(path: Path) -> str:
    """Return FFmpeg's name of the format to write; raises MediaError for a place or name unfit."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        endings = ", ".join(SUFFIXES)
        raise MediaError(f"cannot write {path.name}: its name must end in one of {endings}")
    if not path.parent.is_dir():
        raise MediaError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    return kind


def resolve_encoding(encoding: Encoding, path: Path) -> Encoding:
    """Fill in what the file's ending decides; raises MediaError for what it cannot hold."""
    kind = check_film_name(path)
    web = kind == "webm"
    video = encoding.video or ("vp9" if web else "h264")
    pcm = video == "prores" and kind == "mov"
    audio = encoding.audio or ("opus" if web else "pcm" if pcm else "aac")
    holds_video, holds_audio = _HOLDS[kind]
    for what, wanted, fits in (("codec", video, holds_video), ("audio", audio, holds_audio)):
        if wanted not in fits:
            others = " or ".join(sorted(fits))
            raise MediaError(
                f"players do not take {wanted} in {path.suffix} files: give --{what} {others},"
                " or another ending, such as .mkv, which holds them all"
            )
    return Encoding(video, audio, encoding.quality)


def video_encoder(codec: VideoCodec) -> Encoder:
    """Return the encoder to use; raises MediaError when FFmpeg was built without any."""
    for encoder in _ENCODERS[codec]:
        if encoder.name in av.codecs_available:
            return encoder
    raise MediaError(f"this FFmpeg has no encoder for {codec}: choose another --codec, as h264")


def audio_encoder(codec: AudioCodec) -> str:
    """Return FFmpeg's name of the encoder for sound; raises MediaError when it is not there."""
    name = _FOR_SOUND[codec]
    if name not in av.codecs_available:
        raise MediaError(f"this FFmpeg has no encoder for {codec}: choose another --audio, as aac")
    return name


LiveCodec = Literal["VP8", "H264"]


@dataclass(frozen=True, slots=True)
class LiveEncoder:
    """One of FFmpeg's encoders and its options for a face that is sent as it is made."""

    name: str
    options: dict[str, str]
    on_gpu: bool = False
    """Whether it may turn out not to be there: a card has a limited number, or none."""


LIVE_ENCODERS = {
    "VP8": LiveEncoder(
        "libvpx",
        {
            "deadline": "realtime",
            "cpu-used": "-8",
            "lag-in-frames": "0",
            "noise-sensitivity": "0",  # it costs a fifth of the time, and 3 dB of a still face
            "static-thresh": "400",  # a quarter of the time, for what nobody sees
            "overshoot-pct": "15",
            "undershoot-pct": "100",
            "error-resilient": "default",
            "max-intra-rate": "600",
        },
    ),
    "H264": LiveEncoder(
        "libx264",
        {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "level": "31",
            "forced-idr": "1",
        },
    ),
}
"""On the processor, for each codec that browsers take."""
NVENC = LiveEncoder(
    "h264_nvenc",
    {
        **{"preset": "p3", "tune": "ull", "rc": "cbr", "zerolatency": "1", "delay": "0"},
        **{"bf": "0", "profile": "baseline", "forced-idr": "1"},
    },
    on_gpu=True,
)
"""H.264 on NVIDIA's cards but H100, H200 and others for computing alone, which have no encoder."""


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """What encodes a codec for those who watch, and why."""

    encoder: LiveEncoder
    reason: str


@functools.cache
def live_encoder(codec: LiveCodec) -> EncoderChoice:
    """Return what encodes for those who watch; tries a card's encoder once, with one picture."""
    return choose_live_encoder(codec, try_encoder)


def choose_live_encoder(codec: LiveCodec, attempt: Callable[[LiveEncoder], None]) -> EncoderChoice:
    """Return the card's encoder where ``attempt``, which may raise FFmpegError, works with it."""
    here = LIVE_ENCODERS[codec]
    if codec != "H264":
        return EncoderChoice(here, f"no card of NVIDIA's encodes {codec}")
    if NVENC.name not in av.codecs_available:
        return EncoderChoice(here, "this FFmpeg was built without NVENC")
    try:
        attempt(NVENC)
    except FFmpegError:
        return EncoderChoice(here, "NVENC does not start: no NVIDIA driver, or a card without it")
    return EncoderChoice(NVENC, "a picture was encoded with it; the processor's stands behind it")


def try_encoder(encoder: LiveEncoder) -> None:
    """Encode one grey picture; raises FFmpegError where that cannot be done."""
    context: Any = av.CodecContext.create(encoder.name, "w")
    context.width = context.height = 256
    context.pix_fmt, context.framerate, context.time_base = "yuv420p", Fraction(25), Fraction(1, 25)
    context.options = encoder.options
    context.encode(VideoFrame(256, 256, "yuv420p"))
