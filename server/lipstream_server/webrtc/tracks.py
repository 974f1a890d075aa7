"""The two outgoing tracks. They own no clock: the session's one schedule puts in what is due."""

import asyncio
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, Self, TypeVar

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from lipstream.live.compositor import draw
from lipstream.types import AvFrame, Planes
from lipstream_server.stage.schedule import BLOCK, RATE, AudioBlock, VideoPicture
from lipstream_server.webrtc import aiortc_setup

Item = TypeVar("Item")
NTP_UNITS = 1 << 32
"""Units a second of a 64-bit NTP timestamp (RFC 3550, 4)."""
VIDEO_TICKS = 90_000
"""Ticks a second of a picture's timestamp (RFC 7741)."""
BLOCKS_HELD = 50
"""Blocks that may wait to be sent, 1 s; when full the oldest goes."""
PICTURES_HELD = 4
"""Pictures that may wait for the encoder, 160 ms at 25 fps; when full the oldest goes."""
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


class _OutgoingTrack(MediaStreamTrack, Generic[Item]):
    """A track fed from outside; what comes before somebody listens is not kept."""

    def __init__(self, held: int) -> None:
        super().__init__()
        self._queue: deque[Item] = deque(maxlen=held)
        self._ready = asyncio.Event()
        self._listening = False
        self.first_sample: int | None = None
        """Where in the schedule the first thing sent lies."""
        self.lost = 0
        """Things that fell out because the sender did not keep up."""

    def put(self, item: Item) -> None:
        """Add the next thing that is due."""
        if self._listening:
            self.lost += len(self._queue) == self._queue.maxlen
            self._queue.append(item)
            self._ready.set()

    def stop(self) -> None:
        """End the track: who waits in ``recv`` is told."""
        super().stop()
        self._ready.set()

    async def _next(self) -> Item:
        self._listening = True
        while not self._queue:
            self._ready.clear()
            if self.readyState != "live":
                raise MediaStreamError
            await self._ready.wait()
        return self._queue.popleft()


class OutgoingAudioTrack(_OutgoingTrack[AudioBlock]):
    """20 ms blocks of 48 kHz mono, timestamped in samples."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__(BLOCKS_HELD)

    async def recv(self) -> AudioFrame:
        """Return the next block, when it is due."""
        block = await self._next()
        if self.first_sample is None:
            self.first_sample = block.sample
        frame = AudioFrame(format="s16", layout="mono", samples=BLOCK)
        frame.planes[0].update(block.pcm.tobytes())
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = block.sample - self.first_sample
        return frame

    def sample_of(self, ticks: int) -> int:
        """Return the place in the schedule of what is heard at a timestamp of this track."""
        return ticks - OPUS_LOOK_AHEAD + (self.first_sample or 0)


class OutgoingVideoTrack(_OutgoingTrack[VideoPicture]):
    """Pictures, timestamped in 90 kHz ticks of the same schedule."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__(PICTURES_HELD)

    async def recv(self) -> VideoFrame:
        """Return the next picture, when it is due."""
        picture = await self._next()
        if self.first_sample is None:
            self.first_sample = picture.sample
        frame = video_frame(picture.frame)
        frame.time_base = Fraction(1, VIDEO_TICKS)
        frame.pts = (picture.sample - self.first_sample) * VIDEO_TICKS // RATE
        return frame

    def sample_of(self, ticks: int) -> int:
        """Return the place in the schedule of the picture with a timestamp of this track."""
        return ticks * RATE // VIDEO_TICKS + (self.first_sample or 0)


def video_frame(shown: AvFrame) -> VideoFrame:
    """Return a frame's picture as encoders take it, I420; BGR where a side is odd.

    The still under it is converted once for all sessions; of each frame only what the mouth
    changed. (FFmpeg's own conversion of the whole picture takes ten times as long.)
    """
    height, width, _ = shown.shape
    if height % 2 or width % 2:
        return VideoFrame.from_ndarray(shown.image, format="bgr24")
    frame = VideoFrame(width, height, "yuv420p")
    draw(shown, Planes(*(_view(plane) for plane in frame.planes)))
    return frame


def _view(plane: VideoPlane) -> NDArray[np.uint8]:
    """Return a plane's memory as (height, width) uint8, to be written."""
    memory: memoryview[int] = memoryview(plane)
    rows: NDArray[np.uint8] = np.frombuffer(memory, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
