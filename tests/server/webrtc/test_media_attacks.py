"""Peers that are connected and send what nobody should: the others do not notice."""

import asyncio
import time

import pytest
from aiortc.rtcsctptransport import (
    SCTP_DATA_FIRST_FRAG,
    SCTP_DATA_UNORDERED,
    DataChunk,
    SackChunk,
    tsn_plus_one,
)
from aiortc.rtp import RTCP_RTPFB_NACK, RtcpRtpfbPacket, RtpPacket

from server.apart import apart, show
from server.peers import peer, until
from timing import LEAST_RATE

pytestmark = pytest.mark.slow
OPUS_SILENCE = b"\xf8\xff\xfe"


async def send_sources(attacker, sources: int) -> None:
    """Send one packet of sound under each of many SSRCs."""
    [audio] = [t for t in attacker.connection.getTransceivers() if t.kind == "audio"]
    transport = audio.receiver.transport
    for ssrc in range(1, sources + 1):
        packet = RtpPacket(payload_type=audio._codecs[0].payloadType, sequence_number=ssrc)
        packet.ssrc, packet.payload = ssrc, OPUS_SILENCE
        if transport.state == "connected":
            await transport._send_rtp(packet.serialize())
        if ssrc % 20 == 0:
            await asyncio.sleep(0.01)


async def join(server, attacker) -> None:
    assert (await attacker.join(server)).status == 201
    await attacker.ready()


def test_sound_under_600_sources_delays_no_end(toy_folder, toy_pack, tmp_path):
    async def attack():
        async with (
            apart(toy_folder, toy_pack, tmp_path / "log") as server,
            peer() as one,
            peer() as two,
            peer() as three,
            peer() as four,
        ):
            for attacker in (one, two, three, four):
                await join(server, attacker)
                await send_sources(attacker, 600)
            await asyncio.sleep(1.6)  # a report is due every 1.5 s at least
            begun = time.monotonic()
            await server.ask("DELETE", one.location)
            ended = time.monotonic() - begun
            return ended, await asyncio.to_thread(server.stop), server.log.read_text()

    ended, stopped, log = asyncio.run(attack())
    show(f"one ended in {ended:.2f} s, the server in {stopped:.2f} s")
    assert ended < 5
    assert stopped < 10
    assert "Traceback" not in log


async def never_ending(sctp, *, ordered: bool, gap: int) -> None:
    """Send fragments of one message without an end, 54 kB a second; ``gap`` leaves numbers out."""
    tsn, first = sctp._local_tsn, True
    while sctp.transport.state == "connected":
        for _ in range(27):
            chunk = DataChunk(SCTP_DATA_FIRST_FRAG if first else 0)
            chunk.flags |= 0 if ordered else SCTP_DATA_UNORDERED
            chunk.tsn, chunk.stream_id, chunk.protocol = tsn, 1, 53
            chunk.user_data, first = b"x" * 20, False
            await sctp._send_chunk(chunk)
            for _ in range(1 + gap):
                tsn = tsn_plus_one(tsn)
        await asyncio.sleep(0.01)


async def wide_acknowledgements(sctp) -> None:
    """Acknowledge ranges of 65,535 chunks that were never sent, 280 in one packet."""
    while sctp.transport.state == "connected":
        sack = SackChunk()
        sack.cumulative_tsn, sack.advertised_rwnd = sctp._last_received_tsn, 1 << 20
        sack.gaps = [(1, 0xFFFF)] * 280
        await sctp._send_chunk(sack)
        await asyncio.sleep(0.02)


async def lists_of_losses(connection) -> None:
    """Ask for 4,500 packets again, 100 times a second."""
    [video] = [t for t in connection.getTransceivers() if t.kind == "video"]
    ssrcs = lambda: list(video.receiver._RTCRtpReceiver__remote_streams)  # noqa: E731
    await until(lambda: bool(ssrcs()))
    transport = video.receiver.transport
    while transport.state == "connected":
        streams = video.receiver._RTCRtpReceiver__remote_streams
        newest = streams[ssrcs()[0]].max_seq
        packet = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=ssrcs()[0])
        packet.lost = [(newest - k) % 65536 for k in range(120)] * 2
        await transport._send_rtp(bytes(packet))
        await asyncio.sleep(0.01)


ATTACKS = {
    "a message without an end": lambda c: never_ending(c.sctp, ordered=True, gap=0),
    "an unordered message without an end": lambda c: never_ending(c.sctp, ordered=False, gap=0),
    "fragments with gaps": lambda c: never_ending(c.sctp, ordered=True, gap=1),
    "wide acknowledgements": lambda c: wide_acknowledgements(c.sctp),
    "lists of losses": lists_of_losses,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_others_see_24_pictures_a_second_meanwhile(name, toy_folder, toy_pack, tmp_path):
    async def attack():
        async with (
            apart(toy_folder, toy_pack, tmp_path / "log") as server,
            peer() as viewer,
            peer() as attacker,
        ):
            await viewer.join(server, "/whep")
            await viewer.connected()
            await join(server, attacker)
            attacking = asyncio.create_task(ATTACKS[name](attacker.connection))
            await viewer.pictures_a_second(4)  # encoders are warm then, and what piles up has
            memory = server.memory_mb()
            rate = max([await viewer.pictures_a_second(2) for _ in range(3)])
            grown = server.memory_mb() - memory
            attacking.cancel()
            await asyncio.gather(attacking, return_exceptions=True)
            return rate, grown

    rate, grown = asyncio.run(attack())
    show(f"{rate:.1f} pictures a second, {grown:.1f} MB more")
    assert rate >= LEAST_RATE
    assert grown < 5
