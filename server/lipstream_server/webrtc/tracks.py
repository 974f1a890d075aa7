"""A peer's tracks. Those going out own no clock: the stage's one schedule puts in what is due."""

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

import cv2
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, CodecContext, Packet, VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from lipstream.live.compositor import draw
from lipstream.live.playout import SoundBlock
from lipstream.live.speech_input import StreamResampler
from lipstream.types import AvFrame, Pcm, Planes
from lipstream_server.stage.stage import RATE
from lipstream_server.webrtc import aiortc_setup

BLOCK = RATE // 50
"""Samples of one block of sound: 20 ms, one Opus packet."""
NTP_UNITS = 1 << 32
"""Units a second of a 64-bit NTP timestamp (RFC 3550, 4)."""
SOUND_BITRATE = 32_000
PACKET_LOSS_PERCENT = 10
"""Loss for which Opus carries each frame again in the next (RFC 6716, 2.1.7)."""
VIDEO_TICKS = 90_000
"""Ticks a second of a picture's timestamp (RFC 7741)."""
SETTLED_BLOCKS = 50
"""Blocks of digital silence after which an encoder of them has nothing new to say."""
BLOCKS_HELD = 50
"""Blocks that may wait to be sent, 1 s; when full the oldest goes."""
OPUS_LOOK_AHEAD = 312
"""Samples by which what an Opus decoder gives lags its timestamp at 48 kHz (RFC 7845, 4.2)."""


@dataclass(frozen=True, slots=True)
class NtpClock:
    """The session's samples as NTP time."""

    origin: int
    """NTP time of sample 0."""

    @classmethod
    def pinned(cls, seconds_ago: float) -> Self:
        """Return the clock on which sample 0 was due so many seconds ago."""
        return cls(aiortc_setup.ntp_now() - int(seconds_ago * NTP_UNITS))

    def ntp(self, sample: int) -> int:
        """Return when a sample is due."""
        return self.origin + sample * NTP_UNITS // RATE


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture or a block of sound, encoded once for all who get it."""

    payloads: tuple[bytes, ...]
    """Of its RTP packets, as `aiortc_setup.rtp_payloads` cuts them."""
    ticks: int
    """Its timestamp."""
    is_keyframe: bool
    size: int
    """Bytes in all."""

    @classmethod
    def of(cls, packet: "Packet[Any]", codec: str, ticks: int) -> Self:
        """Take what an encoder gave."""
        payloads = aiortc_setup.rtp_payloads(codec, bytes(packet))
        return cls(payloads, ticks, packet.is_keyframe, packet.size)


def sample_of_sound(ticks: int) -> int:
    """Return the place in the schedule of what is heard at a timestamp of Opus."""
    return ticks - OPUS_LOOK_AHEAD


def sample_of_picture(ticks: int) -> int:
    """Return the place in the schedule of the picture with a timestamp."""
    return ticks * RATE // VIDEO_TICKS


class PlainSoundTrack(MediaStreamTrack):
    """20 ms of mono at 48 kHz each, as samples: for a codec that few peers choose.

    Fed from outside; what comes before somebody listens is not kept.
    """

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._queue: deque[SoundBlock] = deque()
        self._ready = asyncio.Event()
        self._listening = False  # the sender has asked for something: it is connected
        self._first_sample: int | None = None

    def stop(self) -> None:
        """End the track: who waits in ``recv`` is told."""
        super().stop()
        self._ready.set()

    def put(self, block: SoundBlock) -> None:
        """Add the next block; when BLOCKS_HELD wait the oldest goes."""
        if self._listening:
            if len(self._queue) >= BLOCKS_HELD:
                self._queue.popleft()
            self._queue.append(block)
            self._ready.set()

    async def recv(self) -> AudioFrame:
        """Return the next block, when it is due."""
        self._listening = True
        while not self._queue:
            self._ready.clear()
            if self.readyState != "live":
                raise MediaStreamError
            await self._ready.wait()
        block = self._queue.popleft()
        if self._first_sample is None:
            self._first_sample = block.sample
        frame = sound_frame(block)
        frame.pts = block.sample - self._first_sample
        return frame

    def sample_of(self, ticks: int) -> int:
        """Return the place in the schedule of what is heard at a timestamp of this track."""
        return ticks - OPUS_LOOK_AHEAD + (self._first_sample or 0)


def sound_frame(block: SoundBlock) -> AudioFrame:
    """Return a block as encoders take it."""
    frame = AudioFrame(format="s16", layout="mono", samples=len(block.pcm))
    frame.planes[0].update(block.pcm.tobytes())
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), block.sample
    return frame


class SoundEncoder:
    """Opus, mono, which carries each frame again in the next. The event loop's: 0.3 ms a block.

    While nobody speaks the last packet is given again, for nothing. Each frame of Opus must follow
    any other, since packets get lost: the encoder goes on where the silence began.
    """

    def __init__(self) -> None:
        context: Any = CodecContext.create("libopus", "w")
        context.bit_rate, context.sample_rate = SOUND_BITRATE, RATE
        context.format, context.layout, context.time_base = "s16", "mono", Fraction(1, RATE)
        context.options = {
            "application": "voip",
            "fec": "1",
            "packet_loss": str(PACKET_LOSS_PERCENT),
        }
        self._context = context
        self._silent_blocks = 0
        self._last: list[Encoded] = []

    def encode(self, block: SoundBlock) -> list[Encoded]:
        """Return the packets of a block of 20 ms, timestamped with its sample."""
        self._silent_blocks = 0 if block.pcm.any() else self._silent_blocks + 1
        if self._silent_blocks <= SETTLED_BLOCKS:
            packets = self._context.encode(sound_frame(block))
            self._last = [Encoded.of(packet, "opus", block.sample) for packet in packets]
            return self._last
        return [replace(packet, ticks=block.sample) for packet in self._last]


def video_frame(av_frame: AvFrame) -> VideoFrame:
    """Return a frame's picture as encoders take it, I420; BGR where a side is odd.

    The still under it is converted once for all stages; of each frame only what the mouth changed.
    (FFmpeg's own conversion of the whole picture takes ten times as long.)
    """
    height, width, _ = av_frame.shape
    if height % 2 or width % 2:
        return VideoFrame.from_ndarray(av_frame.image, format="bgr24")
    frame = VideoFrame(width, height, "yuv420p")
    draw(av_frame, Planes(*(_view(plane) for plane in frame.planes)))
    return frame


def scaled(frame: VideoFrame, width: int, height: int) -> VideoFrame:
    """Return a picture in another size, I420; the same one where that is its own."""
    if (frame.width, frame.height, frame.format.name) == (width, height, "yuv420p"):
        return frame
    if frame.format.name != "yuv420p":
        return frame.reformat(width, height, format="yuv420p")
    smaller = VideoFrame(width, height, "yuv420p")
    for source, plane in zip(frame.planes, smaller.planes, strict=True):
        target = _view(plane)
        sides = (plane.width, plane.height)
        target[:] = cv2.resize(_view(source), sides, interpolation=cv2.INTER_AREA)
    return smaller


def _view(plane: VideoPlane) -> NDArray[np.uint8]:
    """Return a plane's memory as (height, width) uint8, to be written."""
    memory: memoryview[int] = memoryview(plane)
    rows: NDArray[np.uint8] = np.frombuffer(memory, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


@dataclass(frozen=True, slots=True)
class IncomingSound:
    """A decoded block as a stage takes it."""

    pcm: Pcm
    """(n,) int16 mono, 48 kHz."""
    pts: int | None
    """Place of its first sample in the sender's count, at 48 kHz."""


class AudioTrackReader:
    """Decoded blocks of an incoming track, of any rate and channels, with their place in time."""

    def __init__(self) -> None:
        self._resampler = StreamResampler(RATE, RATE)
        self._expected: int | None = None
        self._next_pts = 0

    def read(self, frame: AudioFrame) -> IncomingSound:
        """Return a frame whose timestamps count its own samples, as those of aiortc's codecs do."""
        if frame.sample_rate != self._resampler.rate:
            self._resampler = StreamResampler(frame.sample_rate, RATE)
        interleaved = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
        mono: Pcm = interleaved.astype(np.int32).mean(axis=1).astype(np.int16)
        pcm = self._resampler.feed(mono)
        if frame.pts is None:
            return IncomingSound(pcm, None)
        if frame.pts != self._expected:
            self._next_pts = frame.pts * RATE // frame.sample_rate
        self._expected = frame.pts + frame.samples
        self._next_pts += len(pcm)
        return IncomingSound(pcm, self._next_pts - len(pcm))
