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
from lipstream_server.limits import TokenBucket
from lipstream_server.webrtc import guards
from lipstream_server.webrtc.guards import dtls, ice
from server.peers import until


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    guards.install()
    ice.keep_to(None)


def test_guards_refuse_a_version_they_were_not_written_for(monkeypatch):
    monkeypatch.setattr(guards, "version", lambda library: "1.17.0")
    with pytest.raises(ServerError, match=r"1\.17\.0 is installed.*pip install 'aioice==0\.13"):
        guards.install()


def test_guards_replace_names_that_are_there():
    assert RTCSctpTransport._receive_data_chunk.__module__ == guards.dtls.__name__
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


def test_a_server_of_this_machine_alone_sends_to_it_alone():
    ice.keep_to({"127.0.0.1", "192.0.2.1"})
    connection = aioice.ice.Connection(ice_controlling=False)
    ours = SimpleNamespace(host="192.0.2.1")
    protocol = SimpleNamespace(local_candidate=ours, receiver=connection)
    assert ice._may_be_sent_to("192.0.2.1", protocol)
    assert not ice._may_be_sent_to("192.0.2.2", protocol)
    ice.trust_any_address(SimpleNamespace(_connection=connection))  # it goes to a WHIP server
    assert ice._may_be_sent_to("192.0.2.2", protocol)
    assert not ice._may_be_sent_to("169.254.169.254", protocol)


def test_a_datagram_from_elsewhere_is_dropped_before_it_is_read():
    async def read(source: str, *, trusted: bool = False) -> int:
        connection = aioice.ice.Connection(ice_controlling=False)
        if trusted:
            ice.trust_any_address(SimpleNamespace(_connection=connection))
        protocol = aioice.ice.StunProtocol(connection)
        protocol.local_candidate = candidate("192.0.2.1", 5000)
        ice._gate(connection).proven.add((protocol.id, (source, 9)))
        protocol.datagram_received(b"\x80\x60 sound", (source, 9))
        return connection._queue.qsize()

    ice.keep_to({"127.0.0.1", "192.0.2.1"})
    assert asyncio.run(read("192.0.2.1")) == 1
    assert asyncio.run(read("198.51.100.1")) == 0
    assert asyncio.run(read("198.51.100.1", trusted=True)) == 1


@pytest.mark.parametrize(
    ("datagram", "thrown"),
    [
        (b"\x80\x61", True),
        (b"\x80\xe1", True),  # with the marker
        (b"\x80\x6f", False),  # sound
        (b"\x80\xc8", False),  # RTCP
        (b"\x16\xfe", False),  # DTLS
        (b"\x80", False),
    ],
)
def test_pictures_that_nobody_reads_are_told_from_the_rest(datagram, thrown):
    assert ice._is_ignored(datagram, frozenset({97, 72})) is thrown


def gathered(ports, public_address) -> list[Candidate]:
    async def gather() -> list[Candidate]:
        connection = aioice.ice.Connection(ice_controlling=False)
        await connection.gather_candidates()
        found = connection.local_candidates
        await connection.close()
        return found

    ice.bind_to(ports, public_address)
    try:
        return asyncio.run(gather())
    finally:
        ice.bind_to(None, None)


def test_sockets_are_bound_to_the_ports_that_firewalls_let_through():
    ports = (45_100, 45_103)
    for _ in range(8):
        [only] = gathered(ports, None)
        assert ports[0] <= only.port <= ports[1]


def test_when_all_ports_are_taken_there_is_no_candidate():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert gathered((port, port), None) == []


def test_a_routers_address_is_offered_beside_the_machines_own(monkeypatch):
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.2", "127.0.0.1"])
    monkeypatch.setattr(ice, "_is_routable", lambda address: address == "127.0.0.2")
    own, shown, other = gathered(None, "203.0.113.7")
    assert (shown.host, shown.port, shown.type) == ("203.0.113.7", own.port, "srflx")
    assert (own.host, other.host) == ("127.0.0.2", "127.0.0.1")


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
    router, receiver = dtls.RtpRouter(), object()
    router.register_receiver(receiver, ssrcs=[], payload_types=[111])

    def packet(ssrc: int) -> RtpPacket:
        made = RtpPacket(payload_type=111)
        made.ssrc = ssrc
        return made

    routed = [router.route_rtp(packet(ssrc)) is receiver for ssrc in range(1, 10)]
    assert routed == [True] * 4 + [False] * 5
    assert router.route_rtp(packet(2)) is receiver
    for ssrc in range(10, 5 + dtls.MOST_UNWANTED):
        assert router.route_rtp(packet(ssrc)) is None
    with pytest.raises(ConnectionError):
        router.route_rtp(packet(1000))


def test_packets_that_wait_for_the_decoder_are_bounded_and_forgotten_at_the_end():
    waiting = dtls._DecoderQueue()
    for place in range(10 * dtls.MOST_TO_DECODE):
        waiting.put(place)
    assert waiting.qsize() == dtls.MOST_TO_DECODE
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
