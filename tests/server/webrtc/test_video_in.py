"""A peer that offers video, as OBS does: none is taken in."""

import asyncio
import re
import threading

import pytest
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from aiortc.rtp import RtpPacket

from server.apart import apart, show
from server.peers import Answer, peer, running, until


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


def test_video_is_answered_as_inactive_and_the_sound_beside_it_is_heard(worker, toy_avatar):
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
    assert "a=inactive" in answered["video"]
    assert "a=recvonly" in answered["audio"]
    assert decoders == ["audio-decoder"]


async def flood(client, sent: list[int]) -> None:
    """Send what looks like 720p, 300 packets a second, though nobody asked; count them."""
    [video] = [t for t in client.connection.getTransceivers() if t.kind == "video"]
    transport = video.sender.transport
    while transport.state == "connected":
        packet = RtpPacket(payload_type=97, sequence_number=sent[0], timestamp=sent[0] // 12 * 3600)
        packet.ssrc, packet.payload = 77, b"\x10" + bytes(1100)
        await transport._send_rtp(packet.serialize())
        sent[0] += 1
        if sent[0] % 3 == 0:
            await asyncio.sleep(0.01)


@pytest.mark.slow
def test_a_peer_that_sends_video_all_the_same_is_cut_off(toy_folder, toy_pack, tmp_path):
    async def attack():
        async with apart(toy_folder, toy_pack, tmp_path / "log") as server:
            grown = []
            for _ in range(4):
                async with peer() as client:
                    answer = await server.offer("/whip", await offer_of(client))
                    ignored = answer.body.replace("a=inactive", "a=recvonly")
                    await client.accept(Answer(201, answer.headers, ignored))
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
    assert grown[-1] < 1
