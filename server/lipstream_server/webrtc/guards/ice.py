"""Whose datagrams reach a session, and to whom checks are sent. Written against aioice 0.13.

aioice hands everything that is not STUN to whoever reads, from any address (as in CVE-2023-49786
and CVE-2023-51443), answers whoever asks, and checks as many addresses as an offer names.
"""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from aioice import stun
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, Connection, StunProtocol
from aioice.utils import random_string

from lipstream_server.limits import TokenBucket

log = logging.getLogger(__name__)

MOST_SIGNALLED = 6
"""Pairs that are checked because an offer names their address."""
MOST_PROVEN = 4
"""Addresses whose own checks are answered, and checked in turn: with the signalled ones ten."""
MOST_REMEMBERED = 32
"""Candidates of an offer that are looked at; the rest is not."""
MOST_WAITING = 512
"""Datagrams that may wait for a session to read them; more are dropped."""
DATAGRAMS_PER_SECOND, DATAGRAM_BURST = 1000.0, 2000.0
"""Of one peer: sound takes 50 a second, a minute of speech sent at once 2,500 in all."""
METADATA = frozenset({"100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"})
"""Where clouds keep secrets of their machines, besides link-local addresses."""

_Address = tuple[str, int]
_STUN_COOKIE = stun.COOKIE.to_bytes(4, "big")


@dataclass(slots=True)
class _Gate:
    """What one connection lets in."""

    proven: set[tuple[int, _Address]] = field(default_factory=set)
    """Sockets of ours, and addresses that sent a check there with our password."""
    budget: TokenBucket = field(
        default_factory=lambda: TokenBucket(DATAGRAMS_PER_SECOND, DATAGRAM_BURST)
    )
    ignored_types: frozenset[int] = frozenset()
    """Payload types of RTP that is thrown away unread."""
    trusted: bool = False
    """Whether its peer was named by who runs the server, and may be anywhere."""
    before_restart: CandidatePair | None = None
    """The pair over which media goes on while another is looked for."""


_gates: WeakKeyDictionary[Any, _Gate] = WeakKeyDictionary()
_allowed: Collection[str] | None = None
_request_received = Connection.request_received
_add_remote_candidate = Connection.add_remote_candidate
_pair_remote_candidate = Connection._pair_remote_candidate
_get_component_candidates = Connection.get_component_candidates


def keep_to(addresses: Collection[str] | None) -> None:
    """Take datagrams from these addresses alone, and send to no other; None is from everywhere."""
    global _allowed  # noqa: PLW0603  sockets of the whole process
    _allowed = addresses


def bind_to(ports: tuple[int, int] | None, public_address: str | None) -> None:
    """Have sockets at ports of a range, and offer them under a router's address, too."""
    connection: Any = Connection
    if ports is None and public_address is None:
        connection.get_component_candidates = _get_component_candidates
        return

    async def gather(self: Any, component: int, addresses: list[str]) -> list[Candidate]:
        candidates: list[Candidate] = []
        for address in addresses:
            try:
                protocol = await _bind(self, address, ports)
            except OSError as error:
                log.warning("no socket at %s, ports %s: %s", address, ports, error)
                continue
            own = Candidate(
                foundation=candidate_foundation("host", "udp", address),
                component=component,
                transport="udp",
                priority=candidate_priority(component, "host"),
                host=address,
                port=protocol.transport.get_extra_info("sockname")[1],
                type="host",
            )
            protocol.local_candidate = own
            self._protocols.append(protocol)
            candidates.append(own)
            if public_address is not None and _is_routable(address):
                candidates.append(_as_seen_by_peers(own, public_address))
        return candidates

    connection.get_component_candidates = gather


async def _bind(connection: Any, address: str, ports: tuple[int, int] | None) -> Any:
    """Return a socket at a port of a range; raises OSError where all are taken."""
    loop = asyncio.get_running_loop()
    first, last = ports or (0, 0)
    count = last - first + 1
    begin = secrets.randbelow(count)
    for step in range(count):
        address_and_port = (address, first + (begin + step) % count)
        with contextlib.suppress(OSError):  # taken: the next one then
            _, protocol = await loop.create_datagram_endpoint(
                lambda: StunProtocol(connection), local_addr=address_and_port
            )
            return protocol
    raise OSError("no port is free")


def _is_routable(address: str) -> bool:
    """Return whether a router may show an address to the world."""
    return not ipaddress.ip_address(address).is_loopback


def _as_seen_by_peers(own: Candidate, public_address: str) -> Candidate:
    """Return a candidate as a router shows it to the world."""
    return Candidate(
        foundation=candidate_foundation("srflx", "udp", public_address),
        component=own.component,
        transport="udp",
        priority=candidate_priority(own.component, "srflx"),
        host=public_address,
        port=own.port,
        type="srflx",
        related_address=own.host,
        related_port=own.port,
    )


def restart(transport: Any, username: str, password: str) -> None:
    """Begin ICE anew with a peer's new credentials, on the sockets there are (RFC 8445, 9).

    Until a pair is found media goes on over the old one. ``transport`` is an RTCIceTransport;
    ``reconnect`` then finds the pair.
    """
    connection = transport._connection
    old, gate = connection._nominated.get(1), _gate(connection)
    tasks = [connection._query_consent_task, *(pair.task for pair in connection._check_list)]
    for task in tasks:
        if task is not None:
            task.cancel()
    connection._local_username, connection._local_password = random_string(4), random_string(22)
    connection.remote_username, connection.remote_password = username, password
    connection._check_list, connection._remote_candidates = [], []
    connection._check_list_done = connection._remote_candidates_end = False
    transport.iceGatherer._remote_candidates_end = False
    connection._check_list_state = asyncio.Queue()
    connection._nominated, connection._nominating = {}, set()
    connection._early_checks.clear()
    connection._early_checks_done = False
    gate.proven = set() if old is None else {(old.protocol.id, old.remote_addr)}
    gate.before_restart = old

    async def receive() -> bytes:
        received = await connection._queue.get()
        if received is None:
            raise ConnectionError("the connection was lost")
        return bytes(received[0])

    async def send(datagram: bytes) -> None:
        way = way_out(connection)
        if way is None:
            raise ConnectionError("there is no pair to send over")
        way.transport.sendto(datagram, way.address)

    transport._recv, transport._send = receive, send


@dataclass(frozen=True, slots=True)
class WayOut:
    """A socket of ours, and the address of the peer."""

    transport: Any
    """asyncio's DatagramTransport, of selectors."""
    address: _Address


def way_out(connection: Any) -> WayOut | None:
    """Return where media goes now; None where no pair was found, or the connection ends."""
    pair = connection._nominated.get(1) or _gate(connection).before_restart
    if pair is None or connection._closing:
        return None
    return WayOut(pair.protocol.transport, pair.remote_addr)


async def reconnect(transport: Any, seconds: float) -> None:
    """Find a pair after a restart; where there is none in time the connection ends."""
    connection = transport._connection
    try:
        await asyncio.wait_for(connection.connect(), seconds)
    except (ConnectionError, TimeoutError):
        log.info("ICE found no pair after its restart")
        await connection.close()


def ignore_media(connection: Connection, payload_types: frozenset[int]) -> None:
    """Throw away RTP of some payload types as it comes: what a peer offered, and nobody reads.

    OBS and GStreamer go on sending pictures whatever the answer says.
    """
    _gate(connection).ignored_types = payload_types


def trust_any_address(transport: Any) -> None:
    """Let a connection reach what ``keep_to`` keeps others from: we went to its peer ourselves.

    ``transport`` is an RTCIceTransport.
    """
    _gate(transport._connection).trusted = True


def install() -> None:
    """Replace aioice's own."""
    protocol: Any = StunProtocol
    connection: Any = Connection
    protocol.datagram_received = _receive_datagram
    connection.request_received = _receive_request
    connection.add_remote_candidate = _add_candidate
    connection._pair_remote_candidate = _pair_candidate


def _gate(connection: Any) -> _Gate:
    gate = _gates.get(connection)
    if gate is None:
        gate = _gates[connection] = _Gate()
    return gate


def _receive_datagram(self: Any, data: bytes, addr: tuple[Any, ...]) -> None:
    """Take STUN from anybody, and the rest from the peer alone."""
    address, connection = (addr[0], addr[1]), self.receiver
    gate = _gate(connection)
    if _allowed is not None and address[0] not in _allowed and not gate.trusted:
        return
    is_peer = _is_peer(connection, self, address)
    if not data or _is_ignored(data, gate.ignored_types):
        return
    if is_peer and not gate.budget.take():
        return
    if not _is_stun(data):
        if is_peer and connection._queue.qsize() < MOST_WAITING:
            connection.data_received(data, self.local_candidate.component)
        return
    try:
        message = stun.parse_message(data)
    except Exception:  # noqa: BLE001  struct.error among them: anything a stranger writes
        return
    if message.message_class == stun.Class.REQUEST:
        connection.request_received(message, address, self)
    elif message.message_class != stun.Class.INDICATION:
        transaction = self.transactions.get(message.transaction_id)
        if transaction is not None:
            transaction.response_received(message, address)


def _is_ignored(data: bytes, payload_types: frozenset[int]) -> bool:
    """Return whether a datagram is RTP (RFC 7983) of one of the payload types, and no RTCP."""
    if not payload_types or len(data) < 2 or data[0] >> 6 != 2:
        return False
    return not 192 <= data[1] <= 223 and data[1] & 0x7F in payload_types


def _is_stun(data: bytes) -> bool:
    """Return whether a datagram is STUN by its first bits and its cookie (RFC 7983, 8489)."""
    return len(data) >= stun.HEADER_LENGTH and data[0] < 4 and data[4:8] == _STUN_COOKIE


def _is_peer(connection: Any, protocol: Any, address: _Address) -> bool:
    """Return whether an address has shown that it is the peer's."""
    if (protocol.id, address) in _gate(connection).proven:
        return True
    return any(
        pair.protocol is protocol
        and pair.remote_addr == address
        and (pair.nominated or pair.state == CandidatePair.State.SUCCEEDED)
        for pair in connection._check_list
    )


def _receive_request(self: Any, message: Any, addr: _Address, protocol: Any) -> None:
    """Answer a check that was made with our password; others get no answer to bounce off."""
    wanted = {"MESSAGE-INTEGRITY", "USERNAME", "PRIORITY"}
    if self._closing or not wanted <= message.attributes.keys():
        return
    key = self.local_password.encode()
    if not self._valid_username(message.attributes["USERNAME"]):
        return
    if not message.check_message_integrity(key) or not _may_be_sent_to(addr[0], protocol):
        return
    proven = _gate(self).proven
    if (protocol.id, addr) not in proven:
        if len(proven) >= MOST_PROVEN:
            return
        proven.add((protocol.id, addr))
    _request_received(self, message, addr, protocol)


async def _add_candidate(self: Any, candidate: Any) -> None:
    """Take the first few candidates of an offer, and no names: they would be looked up."""
    if candidate is not None:
        usable = candidate.component == 1 and candidate.transport.lower() == "udp"
        usable = usable and 0 < candidate.port < 1 << 16  # another closes the socket it is sent on
        many = len(self._remote_candidates) >= MOST_REMEMBERED
        if many or not usable or not _is_address(candidate.host):
            return
    await _add_remote_candidate(self, candidate)


def _pair_candidate(self: Any, candidate: Candidate) -> None:
    """Check few addresses, and none that only this machine or its neighbours have."""
    before = len(self._check_list)
    if before < MOST_SIGNALLED and any(
        _may_be_sent_to(candidate.host, protocol) for protocol in self._protocols
    ):
        _pair_remote_candidate(self, candidate)
        self._check_list[before:] = [
            pair
            for pair in self._check_list[before:MOST_SIGNALLED]
            if _may_be_sent_to(candidate.host, pair.protocol)
        ]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _may_be_sent_to(host: str, protocol: Any) -> bool:
    """Return whether a socket of ours may send there.

    Loopback only from loopback; what is no machine of its own, or tells secrets, never.
    """
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    kept_in = _allowed is not None and str(address) not in _allowed
    if kept_in and not _gate(protocol.receiver).trusted:
        return False
    if address.is_loopback:
        return ipaddress.ip_address(protocol.local_candidate.host).is_loopback
    unreachable = address.is_multicast or address.is_unspecified or address.is_reserved
    return not (unreachable or address.is_link_local or str(address) in METADATA)
