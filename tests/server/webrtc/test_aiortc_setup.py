"""What is reached for in aiortc and aioice is still there, and does what it should."""

import asyncio
import inspect
import re
import sys

import aioice.ice
import numpy as np
import pytest
from aiortc import (
    RTCCertificate,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    clock,
    rtcdtlstransport,
)
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
)
from av import VideoFrame
from OpenSSL import SSL

from lipstream.live.playout import SoundBlock
from lipstream.machine import steady_time
from lipstream_server.webrtc import aiortc_setup
from lipstream_server.webrtc.aiortc_setup import RtpStream
from lipstream_server.webrtc.encoding import RUNGS, VideoEncoding
from lipstream_server.webrtc.guards import ice
from lipstream_server.webrtc.tracks import BLOCK, PlainSoundTrack
from server.peers import until


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)
    monkeypatch.setattr(clock, "current_datetime", clock.current_datetime)


@pytest.mark.parametrize(
    ("found", "offered"),
    [
        ([], ["127.0.0.1"]),
        (["198.51.100.2", "192.0.2.1"], ["127.0.0.1", "192.0.2.1", "198.51.100.2"]),
        (["fe80::1", "169.254.0.9", "127.0.1.1"], ["127.0.0.1"]),
        ([f"10.0.{n}.1" for n in range(30)], ["127.0.0.1", "10.0.0.1", "10.0.1.1", "10.0.2.1"]),
    ],
)
def test_a_server_on_loopback_offers_a_few_addresses_of_its_machine(monkeypatch, found, offered):
    monkeypatch.setattr(aiortc_setup, "_all_host_addresses", lambda *_: found)
    aiortc_setup.listen_on("127.0.0.1", True)
    assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == offered


def test_a_server_bound_to_an_address_offers_that_address():
    aiortc_setup.listen_on("192.0.2.9", False)
    assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == ["192.0.2.9"]


def test_peers_with_a_key_of_either_kind_can_agree_on_a_cipher():
    aiortc_setup.accept_rsa_certificates()
    certificate = RTCCertificate.generateCertificate()
    context = certificate._create_ssl_context(rtcdtlstransport.SRTP_PROFILES)
    ciphers = SSL.Connection(context).get_cipher_list()
    assert {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"} <= set(ciphers)


def test_a_server_that_listens_everywhere_offers_loopback_besides_the_rest():
    aiortc_setup.listen_on("0.0.0.0", False)
    assert "127.0.0.1" in aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=False)


def test_a_connection_does_not_read_the_wall_clock():
    aiortc_setup.keep_time_when_the_clock_is_set()
    reading = [
        module
        for name, module in sys.modules.items()
        if name.startswith(("aiortc.rtc", "aiortc.rate", "aioice."))
        and re.search(r"\btime\.time\(|datetime\.now\(", inspect.getsource(module))
    ]
    assert {module.__name__ for module in reading} == {
        "aiortc.rtcdtlstransport",  # how long a certificate is valid
        *("aiortc.rtcrtpreceiver", "aiortc.rtcrtpsender", "aiortc.rtcsctptransport"),
        "aioice.turn",
    }
    timed = [module for module in reading if hasattr(module, "time")]
    assert [module.time.time for module in timed] == 4 * [steady_time]
    assert abs(clock.current_datetime().timestamp() - steady_time()) < 1


@pytest.mark.slow
def test_reports_pair_a_timestamp_with_the_moment_it_is_due():
    """The pair in every report must lie on the line ntp_of draws, whenever it was sent."""

    async def reports():
        aiortc_setup.listen_on("127.0.0.1", True)
        here, there = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
        track = PlainSoundTrack()
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
                track.put(SoundBlock(np.zeros(BLOCK, np.int16), sample, 0))
                sample += BLOCK
                await asyncio.sleep(0.005)
        await asyncio.gather(here.close(), there.close())
        return sent

    one, two = (packet.sender_info for packet in asyncio.run(reports()))
    ticks = (two.rtp_timestamp - one.rtp_timestamp) % (1 << 32)
    assert ticks > 0
    assert (two.ntp_timestamp - one.ntp_timestamp) >> 32 == ticks


class Line:
    """A peer whose pictures an `RtpStream` sends, and one that looks at them and keeps packets."""

    def __init__(self, codec: str) -> None:
        self.here, self.there = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in "ab")
        transceiver = self.here.addTransceiver("video", "sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([one for one in codecs if one.name in (codec, "rtx")])
        self.sender = transceiver.sender
        self.stream = RtpStream(self.sender, lambda ticks: (ticks + 7) << 32, playout_delay_id=9)
        self.encoding, self.sent = VideoEncoding(codec, RUNGS[0]), 0
        self.packets: list[RtpPacket] = []
        self.lost: set[int] = set()

    async def connect(self) -> None:
        await self.here.setLocalDescription(await self.here.createOffer())
        await self.there.setRemoteDescription(self.here.localDescription)
        receiver = self.there.getTransceivers()[0].receiver
        handle = receiver._handle_rtp_packet

        async def keep(packet, arrival_time_ms):
            first = [one for one in self.packets if one.ssrc == self.sender._ssrc]
            self.packets.append(packet)
            if packet.ssrc != self.sender._ssrc or len(first) not in self.lost:
                await handle(packet, arrival_time_ms)

        receiver._handle_rtp_packet = keep
        await self.there.setLocalDescription(await self.there.createAnswer())
        answer = RTCSessionDescription(self.there.localDescription.sdp, "answer")
        await self.here.setRemoteDescription(answer)
        self.track = receiver.track
        await until(lambda: self.stream.listening)

    def send(self) -> None:
        """Send a picture of a few packets, whose brightness says which it is."""
        grain = np.random.default_rng(self.sent).integers(0, 40, (128, 128, 3), np.uint8)
        picture = VideoFrame.from_ndarray(grain + np.uint8(20 + self.sent), format="bgr24")
        frame = picture.reformat(format="yuv420p")
        for one in self.encoding.encode(frame, 3600 * self.sent, key=self.sent == 0):
            assert self.stream.send(one.payloads, one.ticks)
        self.sent += 1

    async def close(self) -> None:
        await asyncio.gather(self.here.close(), self.there.close())


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_what_is_encoded_reaches_a_peer_though_packets_get_lost(codec):
    async def play():
        aiortc_setup.listen_on("127.0.0.1", True)
        line = Line(codec)
        line.lost = {3, 8}
        await line.connect()
        seen = []
        async with asyncio.timeout(20):
            for _ in range(12):
                line.send()
                await asyncio.sleep(0.02)
            while len(seen) < 11:  # aiortc shows a picture when the next one begins
                seen.append(float((await line.track.recv()).to_ndarray(format="gray").mean()))
        await line.close()
        return line, seen

    line, seen = asyncio.run(play())
    assert seen == sorted(seen)
    again = [packet for packet in line.packets if packet.ssrc != line.sender._ssrc]
    assert len(again) >= 2
    first = [packet for packet in line.packets if packet.ssrc == line.sender._ssrc]
    numbers = np.array([packet.sequence_number for packet in first])
    assert (np.diff(numbers) == 1).all()
    assert len({packet.timestamp for packet in first}) == sum(one.marker for one in first) == 12
    assert all(packet.extensions.mid == "0" for packet in line.packets)
    if codec == "VP8":
        counts = {
            packet.timestamp: VpxPayloadDescriptor.parse(packet.payload)[0] for packet in first
        }
        assert (np.diff([one.picture_id for one in counts.values()]) % (1 << 15) == 1).all()
    sender = line.sender
    assert sender._RTCRtpSender__packet_count == len(first)
    assert sender._RTCRtpSender__ntp_timestamp == (3600 * 11 + 7) << 32
    assert sender._RTCRtpSender__rtp_timestamp == first[-1].timestamp


@pytest.mark.parametrize(("name", "carried"), [(9, True), (0, False), (15, False)])
def test_packets_say_that_a_picture_may_be_shown_at_once_to_who_understands(name, carried):
    async def pack():
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        sender = connection.addTransceiver("video").sender
        bare = RtpStream(sender, lambda ticks: ticks, playout_delay_id=name)._packed_extensions()
        await connection.close()
        return bare

    header = asyncio.run(pack())
    delay = bytes((9 << 4 | 2, 0, 0, 50))  # three bytes: 0 to 500 ms
    assert header == (b"\xbe\xde\x00\x01" + delay if carried else b"")


def test_pictures_are_left_out_while_the_network_takes_none():
    async def play():
        aiortc_setup.listen_on("127.0.0.1", True)
        line = Line("VP8")
        assert not line.stream.listening
        assert line.stream.send((b"early",), 0)  # nobody is there: nothing is lost
        await line.connect()
        way = ice.way_out(line.sender.transport.transport._connection)
        way.transport._buffer_size = aiortc_setup.MOST_UNSENT + 1
        full = line.stream.send((b"late",), 3600)
        way.transport._buffer_size = 0
        await line.close()
        return full, line.stream.listening, line.stream.send((b"after",), 7200)

    assert asyncio.run(play()) == (False, False, True)


def test_sound_is_let_through_as_it_comes_and_holes_hold_nothing_up():
    buffer = aiortc_setup.PacketsAsTheyCome()
    passed = []
    for number in (65_534, 65_535, 1, 0, 0, 3):  # 2 is lost, 0 late and there twice
        packet = RtpPacket(sequence_number=number, timestamp=number * 960)
        packet._data = b"%d" % number
        _, frame = buffer.add(packet)
        passed += [] if frame is None else [frame.data]
    assert passed == [b"65534", b"65535", b"1", b"0", b"3"]


def test_timestamps_may_come_in_any_order_and_wrap():
    times = aiortc_setup.TimestampsInAnyOrder()
    sent = [(1 << 32) - 960, 960, 0, 1920]
    assert [times.map(one % (1 << 32)) for one in sent] == [0, 1920, 960, 2880]


def test_what_holds_sound_back_is_replaced():
    async def made():
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        receiver = connection.addTransceiver("audio").receiver
        names = ("_RTCRtpReceiver__jitter_buffer", "_RTCRtpReceiver__timestamp_mapper")
        there = all(hasattr(receiver, name) for name in names)
        aiortc_setup.take_sound_as_it_comes(receiver)
        await connection.close()
        return there, [type(getattr(receiver, name)) for name in names]

    there, kinds = asyncio.run(made())
    assert there
    assert kinds == [aiortc_setup.PacketsAsTheyCome, aiortc_setup.TimestampsInAnyOrder]


class Listener:
    """Notes what a receiver reports."""

    def __init__(self) -> None:
        self.estimates: list[float] = []
        self.losses: list[float] = []
        self.keys, self.asked = 0, 0

    def on_estimate(self, bits_a_second: float) -> None:
        self.estimates.append(bits_a_second)

    def on_loss(self, share: float) -> None:
        self.losses.append(share)

    def on_key_request(self) -> None:
        self.keys += 1

    def may_resend(self, bits: int) -> bool:
        self.asked += 1
        return False


def test_what_a_receiver_reports_on_ours_is_told():
    async def report():
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        sender = connection.addTransceiver("video").sender
        listener = Listener()
        aiortc_setup.watch_reports(sender, listener)
        ours = sender._ssrc
        told = RtcpReceiverInfo(
            ssrc=ours, fraction_lost=64, packets_lost=9, highest_sequence=1, jitter=0, lsr=0, dlsr=0
        )
        await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[told]))
        fci = pack_remb_fci(400_000, [ours])
        for content in (fci, b"junk"):
            packet = RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=content)
            await sender._handle_rtcp_packet(packet)
        for _ in range(20):
            await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=ours))
        lost = RtpPacket(payload_type=96, sequence_number=7)
        sender._RTCRtpSender__rtp_history[7] = lost
        await sender._handle_rtcp_packet(
            RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=ours, lost=[7, 8])
        )
        await connection.close()
        return listener

    listener = asyncio.run(report())
    assert [round(one, -3) for one in listener.estimates] == [400_000]
    assert listener.losses == [0.25]
    assert 1 <= listener.keys <= 4  # at a bounded rate
    assert listener.asked == 1
