"""What viewers of a stage receive, and when: a server of its own process, WebRTC clients here.

Delays are measured and told (``pytest -m slow -rA``); they are judged with room for a busy machine,
``LIPSTREAM_MEASURE=1`` judges them by what is promised.
"""

import asyncio
import json
import statistics
import time
from contextlib import AsyncExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from lipstream_clients.stage_client import StageClient
from lipstream_server.webrtc import aiortc_setup
from server.apart import apart, show
from server.peers import Peer, peer, until
from timing import limit

pytestmark = pytest.mark.slow

ROOM = limit(1.0, 4.0)
"""By how much a delay may be longer where others use the machine."""
LOUD = 1500
RATE = 48_000


class Received:
    """Everything a viewer gets, with the time at which it came.

    Sound is noted as it is handed over: each packet at once. A picture aiortc hands over when the
    next one begins to come, so each is noted with the time at which the one before was handed over.
    """

    def __init__(self, client: Peer) -> None:
        for transceiver in client.connection.getTransceivers():
            if transceiver.kind == "audio":  # at once, where aiortc would wait for four packets
                aiortc_setup.take_sound_as_it_comes(transceiver.receiver)
        self.sound: list[tuple[float, np.ndarray]] = []
        self.pictures: list[tuple[float, float]] = []
        self.tasks = [
            asyncio.create_task(self._listen(client.track("audio"))),
            asyncio.create_task(self._look(client.track("video"))),
        ]

    async def _listen(self, track) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            pcm = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1)
            self.sound.append((time.monotonic(), pcm))

    async def _look(self, track) -> None:
        came = time.monotonic()
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            luma = frame.to_ndarray(format="gray")
            half = luma.shape[0] // 2
            self.pictures.append((came, float(luma[half:].mean() - luma[:half].mean())))
            came = time.monotonic()

    def last_loud(self, after: float) -> float:
        """Return when the last loud sound came, or ``after``."""
        loud = [at for at, pcm in self.sound if at > after and np.abs(pcm).max() > LOUD]
        return max(loud, default=after)

    def closed_from(self, after: float) -> float:
        """Return when the first picture came from which on the toy's mouth is shut."""
        later = [(at, light) for at, light in self.pictures if at > after]
        moving = [at for at, light in later if light > 3.0]
        return next(at for at, _ in later if not moving or at > moving[-1])

    def onsets(self) -> list[float]:
        """Return when sound became loud after being quiet for a while."""
        found, quiet = [], 100
        for at, pcm in self.sound:
            loud = np.abs(pcm).max() > LOUD
            if loud and quiet > 10:
                found.append(at)
            quiet = 0 if loud else quiet + 1
        return found


def noise(seconds: float, rate: int = 24_000) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(int(seconds * rate)) * 8000
    return np.clip(samples, -30_000, 30_000).astype(np.int16)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def watch(stack: AsyncExitStack, server, path: str) -> Received:
    client = await stack.enter_async_context(peer())
    answer = await server.offer(path, await client.offer("recvonly"))
    assert answer.status == 201, answer.body
    await client.accept(answer)
    received = Received(client)
    await until(lambda: len(received.pictures) > 5 and len(received.sound) > 5)
    return received


def test_an_interruption_is_silent_and_shut_at_the_receiver(toy_folder, toy_pack, tmp_path):
    times = 50

    async def interrupt_often():
        silent, shut, gaps = [], [], []
        async with (
            apart(toy_folder, toy_pack, tmp_path / "log") as server,
            StageClient(server.url, "hall") as stage,
            AsyncExitStack() as stack,
        ):
            received = await watch(stack, server, "/whep?stage=hall")
            reading = asyncio.create_task(drain(stage))
            for number in range(times):
                await stage.say(noise(3.0), 24_000, number)
                begun = time.monotonic()
                await until(lambda: received.last_loud(begun) > begun)  # noqa: B023
                await asyncio.sleep(0.4 + 0.013 * number % 0.2)
                cut = time.monotonic()
                await stage.interrupt()
                await asyncio.sleep(0.45)
                silent.append((received.last_loud(cut) - cut) * 1000)
                shut.append((received.closed_from(cut) - cut) * 1000)
                came = [at for at, _ in received.pictures if begun < at < cut + 0.4]
                gaps.append(float(np.diff(came).max()) * 1000)
            reading.cancel()
        return silent, shut, gaps

    silent, shut, gaps = asyncio.run(interrupt_often())
    for what, values in (("silence", silent), ("closed mouth", shut), ("longest gap", gaps)):
        p50, p95 = statistics.median(values), percentile(values, 0.95)
        show(f"interrupt to {what} at the receiver, of {times}: p50 {p50:.0f}, p95 {p95:.0f} ms")
    assert percentile(silent, 0.95) <= 60 * ROOM
    assert percentile(shut, 0.95) <= 80 * ROOM


async def drain(stage: StageClient) -> None:
    async for _ in stage:
        pass


class Bursts(MediaStreamTrack):
    """A microphone that is loud for 0.3 s of each second; notes when each burst was captured."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.block, self.begun = 0, 0.0
        self.captured: list[float] = []

    async def recv(self) -> AudioFrame:
        self.begun = self.begun or time.monotonic()
        await asyncio.sleep(self.begun + (self.block + 1) * 0.02 - time.monotonic())
        loud = self.block % 50 in range(20, 35)
        if self.block % 50 == 20:
            self.captured.append(self.begun + self.block * 0.02)
        tone = 9000 * np.sin(np.arange(960) * 2 * np.pi * 300 / RATE) if loud else np.zeros(960)
        frame = AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = self.block * 960
        self.block += 1
        return frame


def test_what_one_sends_by_whip_three_see_and_hear_by_whep(toy_pack, tmp_path):
    async def perform():
        async with (
            apart(Path("low-delay"), toy_pack, tmp_path / "log") as server,
            peer() as source,
            AsyncExitStack() as stack,
        ):
            microphone = Bursts()
            source.connection.addTrack(microphone)
            [sender] = source.connection.getTransceivers()
            sender.direction = "sendonly"
            await source.connection.setLocalDescription(await source.connection.createOffer())
            sdp = source.connection.localDescription.sdp
            await source.accept(await server.offer("/whip?stage=hall", sdp))
            viewers = [await watch(stack, server, "/whep?stage=hall") for _ in range(3)]
            await asyncio.sleep(12)
            told = json.loads((await server.ask("GET", "/stages/hall")).body)
            return microphone.captured, viewers, told

    captured, viewers, told = asyncio.run(perform())
    show(f"the stage: {told['stats']}")
    for number, viewer in enumerate(viewers):
        onsets = viewer.onsets()
        delays = [
            min((onset - at for onset in onsets if 0 < onset - at < 0.9), default=None)
            for at in captured
        ]
        heard = [delay * 1000 for delay in delays if delay is not None][-10:]
        pictures = [at for at, _ in viewer.pictures]
        rate = (len(pictures) - 1) / (pictures[-1] - pictures[0])
        show(
            f"WHIP to WHEP viewer {number}: {len(heard)} bursts, sound in to sound out"
            f" p50 {statistics.median(heard):.0f}, most {max(heard):.0f} ms, {rate:.1f} fps"
        )
        assert len(heard) >= 8
        assert statistics.median(heard) <= 150 * ROOM
        assert rate >= limit(24.5, 12)
    assert told["sources"], "the source has the floor"


def test_a_stage_that_idles_costs_hardly_any_processor_time(tmp_path):
    async def idle():
        async with (
            apart(Path("low-delay"), Path("ada"), tmp_path / "log") as server,
            StageClient(server.url, "hall") as stage,
        ):
            reading = asyncio.create_task(drain(stage))
            await asyncio.sleep(3)
            begun, before = time.monotonic(), server.cpu_seconds()
            await asyncio.sleep(10)
            used = (server.cpu_seconds() - before) / (time.monotonic() - begun)
            reading.cancel()
            return used

    used = asyncio.run(idle())
    show(f"an idle stage without viewers: {used:.3f} of a core")
    assert used <= 0.05 * ROOM
