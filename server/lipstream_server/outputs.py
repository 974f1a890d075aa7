"""Where a stage goes besides its viewers: pushed to a streaming server, recorded in a file.

An output is a sink of its stage and takes part in it, so that the stage is kept. What falls due
goes into a bounded queue; a thread of the output encodes it (H.264 and AAC) and sends or writes it.
A push begins anew by itself when the peer refuses, vanishes or stops reading; meanwhile the stage
goes on, and pictures count as lost. A recording is written so that what is on the disk can be
played at any moment, also after a kill: MP4 in fragments of a tenth of a second (which take
13 kbit/s), or Matroska.

``camera:`` is a virtual camera, and other packages add kinds of their own by the entry points
``lipstream.sinks``: name -> a call with the whole address that returns an ``OutputWriter``. It runs
on the output's thread; OSError or a LipstreamError has it tried anew. RTMP is
``lipstream_server.rtmp``, WHIP ``webrtc.whip_push``, which encodes with those who
watch; SRT is FFmpeg's, where the installed build has it.
"""

import asyncio
import contextlib
import importlib
import itertools
import logging
import queue
import re
import secrets
import threading
from collections.abc import AsyncGenerator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import av
import numpy as np
from av.audio.stream import AudioStream
from av.error import FFmpegError, ProtocolNotFoundError
from av.video.stream import VideoStream

from lipstream.errors import BackendUnavailable, InputError, LipstreamError, MediaError
from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream.machine import load_plugin
from lipstream_server.config import (
    NO_CAMERA_PACKAGE,
    SINKS,
    OutputConfig,
    check_push,
    check_recording,
)
from lipstream_server.rtmp import RtmpPublisher, explain, masked
from lipstream_server.stage.messages import OutputState
from lipstream_server.stage.stage import RATE, Stage
from lipstream_server.webrtc.peer import PeerSessions
from lipstream_server.webrtc.tracks import scaled, sound_frame, video_frame
from lipstream_server.webrtc.whip_push import FIRST_WAIT, LONGEST_WAIT, WhipPush

log = logging.getLogger(__name__)

ITEMS_HELD = 225
"""Blocks of sound and pictures that may wait to be encoded, 3 s; when full, new ones go."""
MOST_OUTPUTS = 8
"""Outputs of one stage: each encodes for itself."""
CLOSE_SECONDS = 3.0
"""Time that outputs have to end properly when the server does, all at once."""
PUSH_BITRATE = 2_500_000
KEY_SECONDS = 2
"""Distance of key pictures, which players begin with: streaming servers ask for 2 s."""
_X264 = {"preset": "veryfast", "tune": "zerolatency", "threads": "1"}
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
FILES = {
    ".mp4": (
        "mp4",
        {"movflags": "empty_moov+default_base_moof", "frag_duration": "100000"},
    ),
    ".mkv": ("matroska", {"cluster_time_limit": "100"}),
}
"""File endings of recordings -> FFmpeg's format, and how it is written to survive a kill."""


class OutputWriter(Protocol):
    """Takes what falls due; made, called and closed on the thread of its output."""

    def write(self, item: SoundBlock | ShownPicture) -> None:
        """Take the next block of sound, or picture; it may block."""
        ...

    def close(self) -> None:
        """End it properly."""
        ...


class MediaWriter:
    """Sound and pictures, encoded and put into a container. One thread's."""

    def __init__(self, target: Any, form: str, options: dict[str, str], quality: dict[str, str]):
        """Open ``target``, a file object, path or URL, in FFmpeg's format ``form``."""
        self._container = av.open(target, "w", format=form, options=options)
        self._quality = _X264 | quality
        self._video: VideoStream | None = None
        self._audio: AudioStream | None = None
        self._first = self._next = 0

    def write(self, item: SoundBlock | ShownPicture) -> None:
        """Encode what fell due; the first picture is the beginning."""
        if isinstance(item, ShownPicture):
            self._write_picture(item)
        elif self._audio is not None and item.sample + len(item.pcm) > self._next:
            self._write_sound(item)

    def close(self) -> None:
        """Write what encoders hold, and the end of the container."""
        for stream in (self._video, self._audio):
            if stream is not None:
                self._container.mux(stream.encode(None))
        self._container.close()

    def _write_picture(self, shown: ShownPicture) -> None:
        frame = video_frame(shown.frame)
        if self._video is None:
            self._begin(shown.sample, frame.width // 2 * 2, frame.height // 2 * 2)
        assert self._video is not None
        frame = scaled(frame, self._video.width, self._video.height)
        frame.pts, frame.time_base = shown.sample - self._first, Fraction(1, RATE)
        self._container.mux(self._video.encode(frame))

    def _begin(self, sample: int, width: int, height: int) -> None:
        self._first = self._next = sample
        video = self._container.add_stream("libx264", rate=25, options=self._quality)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = Fraction(1, RATE)
        video.codec_context.gop_size = 25 * KEY_SECONDS
        audio = self._container.add_stream("aac", rate=RATE, layout="mono")
        assert isinstance(audio, AudioStream)
        audio.bit_rate = 96_000
        self._video, self._audio = video, audio

    def _write_sound(self, block: SoundBlock) -> None:
        """Encode a block; where some before it is missing, silence."""
        assert self._audio is not None
        pcm = block.pcm[max(0, self._next - block.sample) :]
        if (missing := block.sample - self._next) > 0:
            pcm = np.concatenate([np.zeros(missing, np.int16), pcm])
        frame = sound_frame(replace(block, pcm=pcm, sample=self._next - self._first))
        self._next += len(pcm)
        self._container.mux(self._audio.encode(frame))


class CameraWriter:
    """Pictures for a virtual camera: other programs take it for a real one. It has no sound."""

    def __init__(self, device: str) -> None:
        """``device`` is the camera's name for this machine; without one the first there is."""
        self._device = device or None
        self._camera: Any = None

    def write(self, item: SoundBlock | ShownPicture) -> None:
        """Show a picture; raises MediaError where there is no such camera."""
        if isinstance(item, ShownPicture):
            height, width = (side // 2 * 2 for side in item.frame.shape[:2])
            if self._camera is None:
                self._camera = self._open(width, height)
            self._camera.send(item.frame.image[:height, :width])

    def close(self) -> None:
        """Give the camera back."""
        if self._camera is not None:
            self._camera.close()

    def _open(self, width: int, height: int) -> Any:
        try:
            pyvirtualcam: Any = importlib.import_module("pyvirtualcam")
            form = pyvirtualcam.PixelFormat.BGR
            return pyvirtualcam.Camera(width, height, 25, fmt=form, device=self._device)
        except ImportError as error:
            raise BackendUnavailable(NO_CAMERA_PACKAGE) from error
        except RuntimeError as error:
            told = str(error).partition("\n")[0].rstrip(".")
            raise MediaError(
                f"no virtual camera can be opened ({told}): on Linux load one with"
                " 'modprobe v4l2loopback', elsewhere install OBS, which brings one"
            ) from error


class StageOutput:
    """A stage pushed or recorded: a sink, somebody who takes part, and a thread."""

    wants_face = False
    _numbers = itertools.count(1)

    def __init__(self, stage: Stage, target: str | Path) -> None:
        self.stage, self._target = stage, target
        name = target.name if isinstance(target, Path) else masked(target)
        self._state = OutputState(f"{next(self._numbers)}-{secrets.token_urlsafe(6)}", name)
        self.name = f"output to {name}"
        self._items: queue.Queue[SoundBlock | ShownPicture | None] = queue.Queue(ITEMS_HELD)
        self._closing = threading.Event()
        self._taking = False
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name=self.name[:15], daemon=True)

    def start(self) -> None:
        """Begin: the stage is kept for as long as this lasts."""
        self.stage.join(self)
        self.stage.attach(self)
        self._thread.start()

    def close(self) -> None:
        """End it; the thread goes on until all is written. Closing twice is fine."""
        self.stage.detach(self)
        self.stage.leave(self)
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._items.put_nowait(None)

    async def wait(self, seconds: float) -> None:
        """Wait for the thread's end."""
        await asyncio.to_thread(self._thread.join, seconds)

    @property
    def state(self) -> OutputState:
        """How it does."""
        return replace(self._state, lost=self._lost)

    @property
    def lost(self) -> int:
        """Pictures that it had no time for."""
        return self._lost

    def on_media(self, item: SoundBlock | ShownPicture) -> None:
        """Take what is due, if there is room."""
        try:
            if self._taking:
                self._items.put_nowait(item)
                return
        except queue.Full:
            pass
        self._lost += isinstance(item, ShownPicture)

    def tell(self, event: str) -> None:
        """Take an event: nobody is there to read it."""

    def interrupted(self) -> None:
        """It pushes no speech."""

    def stage_ended(self, error: LipstreamError | None) -> None:
        """End with the stage."""
        del error
        self.close()

    def _run(self) -> None:
        wait = FIRST_WAIT
        while not self._closing.is_set():
            begun, over = self._state.begun, isinstance(self._target, Path)
            try:
                self._send()
            except (OSError, LipstreamError, FFmpegError) as error:
                reason = explain(self._state.target, error)
                over = over or isinstance(error, ProtocolNotFoundError)  # nor is it there later
            except Exception:  # the root of a thread: the output alone ends
                log.exception("%s failed", self.name)
                reason, over = "a fault of the server", True
            else:
                break
            finally:
                self._taking = False
            if over:
                log.error("%s ends: %s", self.name, reason)
                self._state = replace(self._state, state="ended", error=reason)
                return
            wait = FIRST_WAIT if self._state.begun > begun else min(2 * wait, LONGEST_WAIT)
            log.warning("%s; again in %.1f s", reason, wait)
            self._state = replace(self._state, state="waiting", error=reason)
            self._closing.wait(wait)
        self._state = replace(self._state, state="ended")

    def _send(self) -> None:
        """Connect or open, and encode what falls due until closed."""
        self._state = replace(self._state, state="connecting")
        with contextlib.ExitStack() as stack:
            writer = self._open(stack)
            while not self._items.empty():
                self._items.get_nowait()
            self._taking = True
            while not self._closing.is_set() and (item := self._items.get()) is not None:
                writer.write(item)
                if self._state.state != "live" and isinstance(item, ShownPicture):
                    log.info("%s is live", self.name)
                    begun = self._state.begun + 1
                    self._state = replace(self._state, state="live", error="", begun=begun)
            while not self._items.empty():
                if (item := self._items.get_nowait()) is not None:
                    writer.write(item)
            writer.close()

    def _open(self, stack: contextlib.ExitStack) -> OutputWriter:
        rate = {"b": str(PUSH_BITRATE), "maxrate": str(PUSH_BITRATE), "bufsize": str(PUSH_BITRATE)}
        target = self._target
        if isinstance(target, Path):
            form, options = FILES[target.suffix.lower()]
            return MediaWriter(str(target), form, options | {"flush_packets": "1"}, {"crf": "20"})
        scheme, _, rest = target.partition(":")
        if scheme == "srt":
            return MediaWriter(target, "mpegts", {"flush_packets": "1"}, rate)
        if scheme == "camera":
            return CameraWriter(rest)
        if scheme not in ("rtmp", "rtmps"):
            added: OutputWriter = load_plugin(SINKS, scheme)(target)
            return added
        peer = stack.enter_context(contextlib.closing(RtmpPublisher(target)))
        options = {"flvflags": "no_duration_filesize", "flush_packets": "1"}
        return MediaWriter(peer, "flv", options, rate)


Output = TypeVar("Output", StageOutput, WhipPush)


class Outputs:
    """The outputs of a server's stages. The event loop's."""

    def __init__(self, sessions: PeerSessions, config: OutputConfig) -> None:
        self._sessions, self._config = sessions, config
        self._by_id: dict[str, StageOutput | WhipPush] = {}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Begin what the server was started with, and end all outputs with it."""
        if self._config.wanted:
            stage = await self._sessions.stages.open(self._config.stage)
            for url in self._config.push:
                token = self._config.push_token if url.startswith("http") else None
                self.push(stage, url, token)
            for path in self._config.record:
                self._record(stage, path)
        yield
        for output in self._by_id.values():
            output.close()
        await asyncio.gather(*(output.wait(CLOSE_SECONDS) for output in self._by_id.values()))

    def push(self, stage: Stage, url: str, token: str | None = None) -> StageOutput | WhipPush:
        """Send a stage to a streaming server, by WHIP with a token where it wants one.

        Raises InputError for what is no such address.
        """
        check_push(url, token)
        if urlsplit(url).scheme in ("http", "https"):
            return self._start(WhipPush(stage, self._sessions.hub_of(stage), url, token))
        return self._start(StageOutput(stage, url))

    def record(self, stage: Stage, name: str) -> StageOutput:
        """Record a stage in a file of the server's folder; raises InputError."""
        folder = self._config.recordings
        if folder is None:
            raise InputError("this server keeps no recordings: start it with --recordings DIR")
        if not _FILE_NAME.fullmatch(name):
            raise InputError(f"{name[:100]!r}: give a name of letters, digits, . _ - and no folder")
        folder.mkdir(parents=True, exist_ok=True)
        return self._record(stage, folder / name)

    def of(self, stage: Stage) -> list[OutputState]:
        """Return how a stage's outputs do, those that ended included."""
        return [one.state for one in self._by_id.values() if one.stage is stage]

    def end(self, stage: Stage, name: str) -> bool:
        """End an output, and forget it; return whether there was one of that id."""
        output = self._by_id.get(name)
        if output is None or output.stage is not stage:
            return False
        output.close()
        del self._by_id[name]
        self._sessions.stages.release(stage, named=True)
        return True

    def _record(self, stage: Stage, path: Path) -> StageOutput:
        check_recording(path)
        try:
            path.touch(exist_ok=False)
        except OSError as error:
            raise InputError(f"{path.name} cannot be begun: {error.strerror}") from error
        return self._start(StageOutput(stage, path))

    def _start(self, output: Output) -> Output:
        if sum(one.stage is output.stage for one in self._by_id.values()) >= MOST_OUTPUTS:
            raise InputError(f"a stage has {MOST_OUTPUTS} outputs at most: end one before")
        for name, one in list(self._by_id.items()):  # those of stages that are over
            if one.stage.ended:
                del self._by_id[name]
        self._by_id[output.state.id] = output
        output.start()
        return output
