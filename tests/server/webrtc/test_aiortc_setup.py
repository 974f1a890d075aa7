"""What is reached for in aiortc and aioice is still there, and does what it should."""

import asyncio

import aioice.ice
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import vpx
from aiortc.rtp import RtcpSrPacket

from lipstream_server.stage.schedule import BLOCK, AudioBlock
from lipstream_server.webrtc import aiortc_setup
from lipstream_server.webrtc.tracks import OutgoingAudioTrack


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)


@pytest.mark.parametrize(
    ("host", "loopback", "offered"),
    [("127.0.0.1", True, ["127.0.0.1"]), ("192.0.2.9", False, ["192.0.2.9"])],
)
def test_peers_are_offered_the_address_that_is_listened_on(host, loopback, offered):
    aiortc_setup.listen_on(host, loopback)
    assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == offered


def test_a_server_that_listens_everywhere_offers_loopback_besides_the_rest():
    aiortc_setup.listen_on("0.0.0.0", False)
    assert "127.0.0.1" in aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=False)


def test_encoders_start_where_they_are_told_to():
    aiortc_setup.set_bitrates()
    assert vpx.Vp8Encoder().target_bitrate == aiortc_setup.START_BITRATE


@pytest.mark.slow
def test_reports_pair_a_timestamp_with_the_moment_it_is_due():
    """The pair in every report must lie on the line ntp_of draws, whenever it was sent."""

    async def reports():
        aiortc_setup.listen_on("127.0.0.1", True)
        here, there = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
        track = OutgoingAudioTrack()
        sender = here.addTrack(track)
        asked: list[int] = []
        aiortc_setup.report_schedule(sender, lambda ticks: asked.append(ticks) or (ticks + 7) << 32)
        sent: list[RtcpSrPacket] = []
        send = sender._send_rtcp

        async def keep(packets):
            sent.extend(p for p in packets if isinstance(p, RtcpSrPacket))
            await send(packets)

        sender._send_rtcp = keep
        await here.setLocalDescription(await here.createOffer())
        await there.setRemoteDescription(here.localDescription)
        await there.setLocalDescription(await there.createAnswer())
        await here.setRemoteDescription(RTCSessionDescription(there.localDescription.sdp, "answer"))
        sample = 0
        async with asyncio.timeout(20):
            while len(sent) < 2:
                track.put(AudioBlock(np.zeros(BLOCK, np.int16), sample))
                sample += BLOCK
                await asyncio.sleep(0.005)
        await asyncio.gather(here.close(), there.close())
        return sent

    one, two = (packet.sender_info for packet in asyncio.run(reports()))
    ticks = (two.rtp_timestamp - one.rtp_timestamp) % (1 << 32)
    assert ticks > 0
    assert (two.ntp_timestamp - one.ntp_timestamp) >> 32 == ticks


def test_a_receiver_lets_sound_through_after_one_packet():
    async def made():
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        receiver = connection.addTransceiver("audio").receiver
        held = receiver._RTCRtpReceiver__jitter_buffer
        aiortc_setup.shorten_jitter_buffer(receiver)
        now = receiver._RTCRtpReceiver__jitter_buffer
        await connection.close()
        return held, now

    held, now = asyncio.run(made())
    assert type(held) is type(now)
    assert now is not held
