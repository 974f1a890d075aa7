"""What the guards let through, one by one."""

import asyncio
import socket
from types import SimpleNamespace

import aioice.ice
import pytest
from aioice import stun
from aioice.candidate import Candidate
from aiortc.rtcsctptransport import RTCSctpTransport
from aiortc.rtp import RtpPacket

from lipstream.errors import ServerError
from lipstream_server.token_bucket import TokenBucket
from lipstream_server.webrtc import guards
from lipstream_server.webrtc.guards import ice, rtp
from server.peers import until


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    guards.install()


def test_guards_refuse_a_version_they_were_not_written_for(monkeypatch):
    monkeypatch.setattr(guards, "version", lambda library: "1.17.0")
    with pytest.raises(ServerError, match=r"1\.17\.0 is installed.*pip install 'aioice==0\.13"):
        guards.install()


def test_guards_replace_names_that_are_there():
    assert RTCSctpTransport._receive_data_chunk.__module__ == guards.sctp.__name__
    assert aioice.ice.StunProtocol.datagram_received.__module__ == ice.__name__


@pytest.mark.parametrize(
    ("host", "ours", "may"),
    [
        ("192.0.2.7", "192.0.2.1", True),
        ("10.1.2.3", "10.1.2.4", True),
        ("2001:db8::7", "2001:db8::1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "192.0.2.1", False),
        ("::1", "2001:db8::1", False),
        ("::ffff:127.0.0.1", "192.0.2.1", False),
        ("169.254.169.254", "192.0.2.1", False),
        ("::ffff:169.254.169.254", "192.0.2.1", False),
        ("fe80::1", "2001:db8::1", False),
        ("100.100.100.200", "192.0.2.1", False),
        ("fd00:ec2::254", "2001:db8::1", False),
        ("224.0.0.251", "192.0.2.1", False),
        ("255.255.255.255", "192.0.2.1", False),
        ("0.0.0.0", "192.0.2.1", False),
    ],
)
def test_nothing_is_sent_where_only_this_machine_reaches(host, ours, may):
    protocol = SimpleNamespace(local_candidate=SimpleNamespace(host=ours))
    assert ice._may_be_sent_to(host, protocol) is may


def candidate(host: str, port: int) -> Candidate:
    return Candidate("1", 1, "udp", 2113937151, host, port, "host")


def test_an_offer_with_800_candidates_leads_to_ten_checks_at_most():
    sinks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
    for sink in sinks:
        sink.bind(("127.0.0.1", 0))
        sink.setblocking(False)

    def asked() -> int:
        count = 0
        for sink in sinks:
            try:
                count += len(sink.recv(2048, socket.MSG_PEEK)) > 0
            except BlockingIOError:
                continue
        return count

    async def check() -> int:
        connection = aioice.ice.Connection(ice_controlling=False)
        connection.remote_username, connection.remote_password = "abcd", "e" * 22
        for place in range(800):
            port = sinks[place % 100].getsockname()[1] if place < 100 else 20_000 + place
            await connection.add_remote_candidate(candidate("127.0.0.1", port))
        await connection.add_remote_candidate(candidate("stranger.local", 9))
        await connection.gather_candidates()
        checking = asyncio.create_task(connection.connect())
        await until(lambda: asked() >= ice.MOST_SIGNALLED)
        await until(lambda: not any(p.state == p.State.WAITING for p in connection._check_list))
        pairs = len(connection._check_list)
        await connection.close()
        await asyncio.gather(checking, return_exceptions=True)
        return pairs

    pairs, reached = asyncio.run(check()), asked()
    for sink in sinks:
        sink.close()
    assert pairs <= 10
    assert reached == ice.MOST_SIGNALLED


def test_who_does_not_know_the_password_gets_no_answer_and_no_place():
    async def ask():
        connection = aioice.ice.Connection(ice_controlling=False)
        await connection.gather_candidates()
        [protocol] = connection._protocols
        sent = []
        protocol.send_stun = lambda message, addr: sent.append(message)
        for user in ("nobody:x", f"{connection.local_username}:x"):
            request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
            request.attributes |= {"USERNAME": user, "PRIORITY": 1, "ICE-CONTROLLING": 1}
            request.add_message_integrity(b"guessed")
            protocol.datagram_received(bytes(request), ("192.0.2.7", 50_000))
        protocol.datagram_received(b"\x80anything", ("192.0.2.7", 50_000))
        waiting = connection._queue.qsize()
        await connection.close()
        return sent, waiting

    assert asyncio.run(ask()) == ([], 0)


def test_a_section_has_four_sources_at_most_and_a_flood_of_others_ends_the_peer():
    router, receiver = rtp.RtpRouter(), object()
    router.register_receiver(receiver, ssrcs=[], payload_types=[111])

    def packet(ssrc: int) -> RtpPacket:
        made = RtpPacket(payload_type=111)
        made.ssrc = ssrc
        return made

    routed = [router.route_rtp(packet(ssrc)) is receiver for ssrc in range(1, 10)]
    assert routed == [True] * 4 + [False] * 5
    assert router.route_rtp(packet(2)) is receiver
    for ssrc in range(10, 5 + rtp.MOST_UNWANTED):
        assert router.route_rtp(packet(ssrc)) is None
    with pytest.raises(ConnectionError):
        router.route_rtp(packet(1000))


def test_packets_that_wait_for_the_decoder_are_bounded_and_forgotten_at_the_end():
    waiting = rtp._DecoderQueue()
    for place in range(10 * rtp.MOST_TO_DECODE):
        waiting.put(place)
    assert waiting.qsize() == rtp.MOST_TO_DECODE
    waiting.put(None)
    assert waiting.get() is None


def test_a_bucket_gives_a_burst_and_then_its_rate():
    now = 0.0
    bucket = TokenBucket(2.0, 3.0, lambda: now)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now = 1.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now = 100.0
    assert not bucket.take(4)
    assert bucket.take(3)
