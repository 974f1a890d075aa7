"""Minutes or hours of `lipstream serve` with real peers: what drifts, is lost, or grows.

python -m lipstream_bench.soak --minutes 20 --viewers 1

python -m lipstream_bench.soak --load 8,24,40 --seconds 60 [--stages] [--codec H264]

The server is a process of its own; each viewer is a WebRTC peer that talks and looks. A line a
minute says how far the tracks have drifted since the first, how many pictures came late or never,
and what memory and file descriptors the server holds; the last says what they grew by.

With ``--load`` so many viewers watch one stage (``--stages``: each its own), while one of them
talks; nothing is decoded, and a line tells what came to each and the processor time of either side.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket
from av import AudioFrame
from rich.console import Console

_RATE, _BLOCK = 48_000, 960
_SERVE = "import sys; from lipstream.cli import main; sys.exit(main())"


class SpokenNoise(MediaStreamTrack):
    """A second of noise, a second of silence, and so on: 20 ms blocks when they are due."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._begun, self._sample = time.monotonic(), 0
        self._noise = np.random.default_rng(7).normal(0, 4000, _BLOCK).astype(np.int16)

    async def recv(self) -> AudioFrame:
        """Return the next block, when it is due."""
        await asyncio.sleep(self._begun + self._sample / _RATE - time.monotonic())
        speaking = self._sample // _RATE % 2 == 0
        pcm = self._noise if speaking else np.zeros(_BLOCK, np.int16)
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = _RATE, Fraction(1, _RATE)
        frame.pts = self._sample
        self._sample += _BLOCK
        return frame


@dataclass(slots=True)
class TrackTimes:
    """How late the frames of one incoming track come, beside their timestamps."""

    frames: int = 0
    least_s: float = float("inf")
    """Least (arrival - timestamp) since the last line: what no queue has added to."""
    first_s: float | None = None
    """The same of the first line."""

    def add(self, late_s: float) -> None:
        """Take one frame in."""
        self.frames += 1
        self.least_s = min(self.least_s, late_s)

    def drift_ms(self) -> float:
        """Return the drift since the first line, and begin the next; nan where nothing came."""
        least, self.least_s = self.least_s, float("inf")
        if least == float("inf"):
            return float("nan")
        if self.first_s is None:
            self.first_s = least
        return (least - self.first_s) * 1000


@dataclass(slots=True)
class Viewer:
    """One peer, and what it saw."""

    peer: RTCPeerConnection = field(
        default_factory=lambda: RTCPeerConnection(RTCConfiguration(iceServers=[]))
    )
    sound: TrackTimes = field(default_factory=TrackTimes)
    pictures: TrackTimes = field(default_factory=TrackTimes)
    stats: dict[str, float] = field(default_factory=dict)
    """What the server last said of the session."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def join(self, url: str) -> None:
        """Connect, and count what comes from then on."""
        channel = self.peer.createDataChannel("lipstream")
        channel.on("message", self._hear)
        self.peer.addTrack(SpokenNoise())
        self.peer.addTransceiver("video", "recvonly")
        self.peer.on("track", self._watch)
        await self.peer.setLocalDescription(await self.peer.createOffer())
        answer = await asyncio.to_thread(_offer, f"{url}/session", self.peer.localDescription.sdp)
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    def _hear(self, text: str) -> None:
        event = json.loads(text)
        if event["type"] == "stats":
            self.stats = event

    def _watch(self, track: MediaStreamTrack) -> None:
        times = self.sound if track.kind == "audio" else self.pictures
        self.tasks.append(asyncio.create_task(self._count(track, times)))

    async def _count(self, track: MediaStreamTrack, times: TrackTimes) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if frame.pts is not None and frame.time_base is not None:
                times.add(time.monotonic() - float(frame.pts * frame.time_base))


@dataclass(frozen=True, slots=True)
class ServerSize:
    """What the server holds."""

    memory_mb: float
    files: int

    @classmethod
    def of(cls, pid: int) -> "ServerSize":
        """Read it from /proc."""
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, files)


def _offer(url: str, sdp: str) -> str:
    headers = {"Content-Type": "application/sdp"}
    request = urllib.request.Request(url, sdp.encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


async def soak(minutes: float, viewers: int, serve: list[str], console: Console) -> bool:
    """Run a server and its viewers; return whether all viewers stayed to the end."""
    command = [sys.executable, "-c", _SERVE, "serve", "--port", "0"]
    command += ["--sessions", str(viewers), *serve]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = (await asyncio.to_thread(process.stdout.readline)).decode()
            match = re.search(r"http://\S+:\d+", line)
            if match is None:
                return False
            peers = [Viewer() for _ in range(viewers)]
            for one in peers:
                await one.join(match.group())
            sizes = await _watch_all(minutes, peers, process.pid, console)
            _conclude(sizes, console)
            stayed = all(one.peer.connectionState == "connected" for one in peers)
            await asyncio.gather(*(one.peer.close() for one in peers))
            return stayed
        finally:
            process.terminate()
            process.wait(20)


async def _watch_all(
    minutes: float, peers: list[Viewer], pid: int, console: Console
) -> list[ServerSize]:
    """Print a line a minute, or ten in all where that is shorter."""
    console.print("minute  drift: sound  picture   fps   late  lost   memory  files")
    step, sizes = min(60.0, minutes * 6), [ServerSize.of(pid)]
    begun, counted = time.monotonic(), 0
    for number in range(1, int(minutes * 60 / step) + 1):
        await asyncio.sleep(begun + number * step - time.monotonic())
        sizes.append(ServerSize.of(pid))
        pictures = sum(one.pictures.frames for one in peers)
        sound = max((one.sound.drift_ms() for one in peers), key=abs)
        seen = max((one.pictures.drift_ms() for one in peers), key=abs)
        late = sum(one.stats.get("repeated", 0) for one in peers)
        lost = sum(one.stats.get("lost", 0) for one in peers)
        fps = (pictures - counted) / step / len(peers)
        counted = pictures
        console.print(
            f"{number * step / 60:6.1f} {sound:10.1f} ms {seen:6.1f} ms {fps:5.1f} {late:6.0f}"
            f" {lost:5.0f} {sizes[-1].memory_mb:6.1f} MB {sizes[-1].files:5}"
        )
    return sizes


def _conclude(sizes: list[ServerSize], console: Console) -> None:
    """Say what grew after the first quarter, when everything is warm."""
    warm = sizes[len(sizes) // 4 :]
    slope = float(np.polyfit(range(len(warm)), [size.memory_mb for size in warm], 1)[0])
    files = warm[-1].files - warm[0].files
    console.print(f"memory {slope:+.2f} MB a line, {files:+} files after the first quarter")


class PacketCounter:
    """A viewer that counts packets and decodes none, so that a machine holds many."""

    def __init__(self, codec: str, *, talks: bool) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.packets, self.pictures = 0, 0
        if talks:
            self.peer.addTrack(SpokenNoise())
        else:
            self.peer.addTransceiver("audio", "recvonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        video = self.peer.addTransceiver("video", "recvonly")
        video.setCodecPreferences([one for one in codecs if one.name == codec])

    async def join(self, url: str) -> None:
        """Connect to where offers are posted."""
        for transceiver in self.peer.getTransceivers():
            receiver: Any = transceiver.receiver
            receiver._handle_rtp_packet = self._count_picture
            if transceiver.kind == "audio":
                receiver._handle_rtp_packet = self._count_sound
        await self.peer.setLocalDescription(await self.peer.createOffer())
        answer = await asyncio.to_thread(_offer, url, self.peer.localDescription.sdp)
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def _count_sound(self, packet: RtpPacket, arrival_time_ms: int) -> None:  # noqa: ARG002
        self.packets += 1

    async def _count_picture(self, packet: RtpPacket, arrival_time_ms: int) -> None:  # noqa: ARG002
        self.pictures += packet.marker


@dataclass(frozen=True, slots=True)
class ViewerLoad:
    """One trial."""

    viewers: int
    seconds: float
    stages: bool
    codec: str


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(order: ViewerLoad, serve: list[str], console: Console) -> None:
    """Let many watch, and print what came to them and what it cost."""
    command = [sys.executable, "-c", _SERVE, "serve", "--port", "0"]
    command += ["--sessions", str(order.viewers if order.stages else 1), *serve]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = (await asyncio.to_thread(process.stdout.readline)).decode()
            match = re.search(r"http://\S+:\d+", line)
            assert match is not None, "the server did not start"
            where = "" if order.stages else "?stage=load"
            places = [
                f"{match.group()}/{'whep' if number else 'session'}{where}"
                for number in range(order.viewers)
            ]
            peers = [PacketCounter(order.codec, talks=n == 0) for n in range(order.viewers)]
            for one, place in zip(peers, places, strict=True):
                await one.join(place)
            await asyncio.sleep(3.0)  # until all have had their first picture
            await _count_received(order, peers, process.pid, console)
            await asyncio.gather(*(one.peer.close() for one in peers))
        finally:
            process.terminate()
            process.wait(20)


async def _count_received(
    order: ViewerLoad, peers: list[PacketCounter], pid: int, console: Console
) -> None:
    before = [(one.pictures, one.packets) for one in peers]
    used, own, begun = _processor_seconds(pid), time.process_time(), time.monotonic()
    await asyncio.sleep(order.seconds)
    took = time.monotonic() - begun
    fps = [(one.pictures - was[0]) / took for one, was in zip(peers, before, strict=True)]
    sound = [(one.packets - was[1]) / took for one, was in zip(peers, before, strict=True)]
    there = sum(one.peer.connectionState == "connected" for one in peers)
    console.print(
        f"{there:3} of {order.viewers} viewers, {order.codec}: pictures a second"
        f" {np.mean(fps):5.1f} (least {min(fps):5.1f}), packets of sound {np.mean(sound):5.1f}"
        f" (least {min(sound):5.1f}); cores: server {(_processor_seconds(pid) - used) / took:.2f},"
        f" viewers {(time.process_time() - own) / took:.2f}"
    )


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--viewers", type=int, default=1)
    parser.add_argument("serve", nargs="*", help="arguments of `lipstream serve`, after --")
    parser.add_argument("--load", help="numbers of viewers to try, 8,24,40")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they watch")
    parser.add_argument("--stages", action="store_true", help="each viewer has a stage of its own")
    parser.add_argument("--codec", choices=["VP8", "H264"], default="VP8")
    asked = parser.parse_args()
    if asked.load is not None:
        for count in map(int, asked.load.split(",")):
            order = ViewerLoad(count, asked.seconds, asked.stages, asked.codec)
            asyncio.run(load(order, asked.serve, Console(width=200)))
        return 0
    stayed = asyncio.run(soak(asked.minutes, asked.viewers, asked.serve, Console()))
    return 0 if stayed else 1


if __name__ == "__main__":
    sys.exit(main())
