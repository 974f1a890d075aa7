"""Whose datagrams reach a session, and to whom checks are sent. Written against aioice 0.13.

aioice hands everything that is not STUN to whoever reads, from any address (as in CVE-2023-49786
and CVE-2023-51443), answers whoever asks, and checks as many addresses as an offer names.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from aioice import stun
from aioice.candidate import Candidate
from aioice.ice import CandidatePair, Connection, StunProtocol

from lipstream_server.token_bucket import TokenBucket

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


_gates: WeakKeyDictionary[Any, _Gate] = WeakKeyDictionary()
_request_received = Connection.request_received
_add_remote_candidate = Connection.add_remote_candidate
_pair_remote_candidate = Connection._pair_remote_candidate


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
    is_peer = _is_peer(connection, self, address)
    if not data or (is_peer and not gate.budget.take()):
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
    if address.is_loopback:
        return ipaddress.ip_address(protocol.local_candidate.host).is_loopback
    unreachable = address.is_multicast or address.is_unspecified or address.is_reserved
    return not (unreachable or address.is_link_local or str(address) in METADATA)
