"""A peer that offers video, as OBS does: none is taken in."""

import asyncio
import os
import re
import threading

import numpy as np
import pytest
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from aiortc.rtp import RtpPacket
from av import VideoFrame

from server.apart import apart, show
from server.peers import peer, running, until


def sections(sdp: str) -> dict[str, str]:
    """Return the text of each media section by its kind."""
    return {part.split(" ")[0]: part for part in re.split(r"^m=", sdp, flags=re.M)[1:]}


async def offer_of(client) -> str:
    """Offer sound and video to be sent, nothing to be received."""
    client.connection.addTrack(AudioStreamTrack())
    client.connection.addTrack(VideoStreamTrack())
    for transceiver in client.connection.getTransceivers():
        transceiver.direction = "sendonly"
    await client.connection.setLocalDescription(await client.connection.createOffer())
    return client.connection.localDescription.sdp


def test_pictures_are_asked_for_with_one_kilobit_and_the_sound_beside_them_is_heard(
    worker, toy_avatar
):
    async def send():
        async with running(worker, toy_avatar) as server, peer() as client:
            answer = await server.offer("/whip", await offer_of(client))
            await client.accept(answer)
            await client.connected()
            [session] = server.sessions
            [audio] = [t for t in session._peer.getTransceivers() if t.kind == "audio"]
            await until(lambda: bool(audio.receiver.getSynchronizationSources()))
            decoders = [one.name for one in threading.enumerate() if "decoder" in one.name]
            return sections(answer.body), decoders

    answered, decoders = asyncio.run(send())
    assert "a=recvonly" in answered["video"]
    assert "b=AS:1\r\n" in answered["video"]
    assert "a=recvonly" in answered["audio"]
    assert decoders == ["audio-decoder"]


async def flood(client, sent: list[int], payload_type: int = 120) -> None:
    """Send what looks like 720p, 300 packets a second, though nobody asked; count them."""
    [video] = [t for t in client.connection.getTransceivers() if t.kind == "video"]
    transport = video.sender.transport
    while transport.state == "connected":
        packet = RtpPacket(payload_type=payload_type, sequence_number=sent[0] & 0xFFFF)
        packet.ssrc, packet.payload = 77, b"\x10" + bytes(1100)
        await transport._send_rtp(packet.serialize())
        sent[0] += 1
        if sent[0] % 3 == 0:
            await asyncio.sleep(0.01)


@pytest.mark.slow
def test_a_peer_that_sends_what_it_did_not_offer_is_cut_off(toy_folder, toy_pack, tmp_path):
    async def attack():
        async with apart(toy_folder, toy_pack, tmp_path / "log") as server:
            grown = []
            for _ in range(4):
                async with peer() as client:
                    answer = await server.offer("/whip", await offer_of(client))
                    await client.accept(answer)
                    await client.connected()
                    before, sent = server.memory_mb(), [0]
                    flooding = asyncio.create_task(flood(client, sent))
                    while '"sessions":0' not in (await server.ask("GET", "/healthz")).body:
                        await asyncio.sleep(0.05)
                    flooding.cancel()
                    grown.append(server.memory_mb() - before)
            return sent[0], grown

    sent, grown = asyncio.run(attack())
    show(f"cut off after {sent} packets; memory grew by {[round(g, 1) for g in grown]} MB")
    assert sent < 1500
    assert grown[-1] < 2


class Camera720p(VideoStreamTrack):
    """Noise of 1280 x 720, which no encoder makes small, 30 a second."""

    def __init__(self) -> None:
        super().__init__()
        noise = np.random.default_rng(3).integers(0, 256, (4, 720, 1280, 3), np.uint8)
        self._pictures = [VideoFrame.from_ndarray(one, format="bgr24") for one in noise]
        self._place = 0

    async def recv(self) -> VideoFrame:
        self._place += 1
        picture = self._pictures[self._place % len(self._pictures)]
        picture.pts, picture.time_base = await self.next_timestamp()
        return picture


async def send_for(server, seconds: float) -> int:
    """Send 720p to a server, which reads none of it; return how many packets of it were sent."""
    async with peer() as client:
        client.connection.addTrack(AudioStreamTrack())
        sender = client.connection.addTrack(Camera720p())
        for transceiver in client.connection.getTransceivers():
            transceiver.direction = "sendonly"
        await client.connection.setLocalDescription(await client.connection.createOffer())
        await client.accept(await server.offer("/whip", client.connection.localDescription.sdp))
        await client.connected()
        await asyncio.sleep(seconds)
        assert '"sessions":1' in (await server.ask("GET", "/healthz")).body
        stats = await sender.getStats()
        return sum(getattr(one, "packetsSent", 0) for one in stats.values())


@pytest.mark.slow
def test_720p_sent_by_a_real_peer_is_never_decoded_and_fills_no_memory(
    toy_folder, toy_pack, tmp_path
):
    """LIPSTREAM_VIDEO_SECONDS=120 for longer."""
    seconds = float(os.environ.get("LIPSTREAM_VIDEO_SECONDS", "20"))

    async def send():
        log = tmp_path / "log"
        async with apart(toy_folder, toy_pack, log, logs_decoders=True) as server:
            await send_for(server, 5)  # until all that a session needs is loaded
            before = server.memory_mb()
            packets = await send_for(server, seconds)
            return packets, server.memory_mb() - before, log.read_text()

    packets, grown, log = asyncio.run(send())
    show(f"{packets} packets in {seconds:.0f} s: {grown:+.2f} MB")
    assert packets > 20 * seconds
    assert "a decoder of audio/opus" in log
    assert "a decoder of video" not in log
    assert grown < max(2.0, seconds / 60)


@pytest.mark.slow
def test_a_peer_may_send_the_pictures_it_offered_and_they_cost_nothing(
    toy_folder, toy_pack, tmp_path
):
    async def send():
        async with apart(toy_folder, toy_pack, tmp_path / "log") as server, peer() as client:
            await client.accept(await server.offer("/whip", await offer_of(client)))
            await client.connected()
            await asyncio.sleep(1)
            before, sent = server.memory_mb(), [0]
            flooding = asyncio.create_task(flood(client, sent, payload_type=97))
            async with asyncio.timeout(60):
                while sent[0] < 3000:
                    await asyncio.sleep(0.05)
            flooding.cancel()
            health = (await server.ask("GET", "/healthz")).body
            return '"sessions":1' in health, server.memory_mb() - before

    still_there, grown = asyncio.run(send())
    assert still_there
    assert grown < 2
