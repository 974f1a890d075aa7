"""What a peer may send inside DTLS: media, reports, and messages. Written against aiortc 1.16.

Of media, aiortc keeps a record of every source (SSRC) that it hears of, and a report on more than
31 of them ends the task that reports, for which `close` then waits for ever. It takes in as many
packets to decode as come, and joins its decoder's thread on the event loop.

Of messages, it keeps every fragment until the whole is there, however many there are, and looks
through them all for each that comes; it counts every number in the ranges that an acknowledgement
names, and opens as many streams as a peer likes. All that is done on the event loop.
"""

import logging
import queue
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from aiortc.rtcdtlstransport import RTCDtlsTransport, RtpRouter
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver, StreamStatistics
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtcsctptransport import (
    SCTP_TSN_MODULO,
    DataChunk,
    InboundStream,
    RTCSctpCapabilities,
    RTCSctpTransport,
    SackChunk,
    tsn_plus_one,
)
from aiortc.rtp import RtcpRtpfbPacket, RtpPacket

from lipstream_server.limits import TokenBucket

log = logging.getLogger(__name__)

MOST_SOURCES = 4
"""SSRCs of one media section; a microphone has one."""
MOST_UNWANTED = 500
"""Packets of media that was not answered, or of too many sources, before the peer is cut off."""
MOST_TO_DECODE = 50
"""Packets that wait for the decoder's thread, 1 s of sound; more are dropped."""
REPORTS_PER_SECOND, REPORT_BURST = 50.0, 100.0
"""RTCP packets read of one peer."""
RESENT_PER_SECOND, RESENT_BURST = 200.0, 200.0
"""Packets sent again to one peer that says it has lost them."""
MOST_LOST = 64
"""Packets of one report of loss that are looked at."""
KEY_PICTURES_PER_SECOND, KEY_PICTURE_BURST = 2.0, 3.0
"""Whole pictures made because a peer asks; each costs several times what another does."""


@dataclass(slots=True)
class _MediaAllowance:
    """What one peer may still do."""

    unwanted: int = 0
    reports: TokenBucket = field(
        default_factory=lambda: TokenBucket(REPORTS_PER_SECOND, REPORT_BURST)
    )
    resent: TokenBucket = field(
        default_factory=lambda: TokenBucket(RESENT_PER_SECOND, RESENT_BURST)
    )
    key_pictures: TokenBucket = field(
        default_factory=lambda: TokenBucket(KEY_PICTURES_PER_SECOND, KEY_PICTURE_BURST)
    )


_allowances: WeakKeyDictionary[object, _MediaAllowance] = WeakKeyDictionary()
_route_rtp = RtpRouter.route_rtp
_handle_rtcp_data = RTCDtlsTransport._handle_rtcp_data
_receive = RTCRtpReceiver.receive
_handle_report = RTCRtpSender._handle_rtcp_packet
_retransmit = RTCRtpSender._retransmit
_send_keyframe = RTCRtpSender._send_keyframe
_receiver_reports = RTCRtpReceiver._run_rtcp
_sender_reports = RTCRtpSender._run_rtcp


def install() -> None:
    """Replace aiortc's own."""
    _install_for_messages()
    RtpRouter.route_rtp = _route  # type: ignore[method-assign]
    RTCDtlsTransport._handle_rtcp_data = _read_reports  # type: ignore[method-assign]
    RTCRtpReceiver.receive = _start_receiving  # type: ignore[method-assign]
    RTCRtpReceiver._run_rtcp = _lasting(  # type: ignore[method-assign, assignment]
        _receiver_reports, "_RTCRtpReceiver__rtcp_exited"
    )
    RTCRtpSender._run_rtcp = _lasting(  # type: ignore[method-assign, assignment]
        _sender_reports, "_RTCRtpSender__rtcp_exited"
    )
    RTCRtpSender._handle_rtcp_packet = _read_report_on_ours  # type: ignore[method-assign]
    RTCRtpSender._retransmit = _send_again  # type: ignore[method-assign]
    RTCRtpSender._send_keyframe = _make_key_picture  # type: ignore[method-assign]
    StreamStatistics.jitter = property(_jitter)  # type: ignore[method-assign, assignment]


def _allowance(of: object) -> _MediaAllowance:
    allowance = _allowances.get(of)
    if allowance is None:
        allowance = _allowances[of] = _MediaAllowance()
    return allowance


def _route(self: Any, packet: RtpPacket) -> Any:
    """Route packets of few sources; a peer that sends what it was not asked for is cut off."""
    known = packet.ssrc in self.ssrc_table
    receivers = self.payload_type_table.get(packet.payload_type, set())
    crowded = not known and any(
        sum(one is receiver for one in self.ssrc_table.values()) >= MOST_SOURCES
        for receiver in receivers
    )
    receiver = None if crowded else _route_rtp(self, packet)
    if receiver is None:
        allowance = _allowance(self)
        allowance.unwanted += 1
        if allowance.unwanted > MOST_UNWANTED:
            log.info("a peer goes on sending what was not asked for, and is cut off")
            raise ConnectionError("sends what was not asked for")
    return receiver


async def _read_reports(self: Any, data: bytes) -> None:
    """Read RTCP, at a bounded rate."""
    if _allowance(self).reports.take():
        await _handle_rtcp_data(self, data)


async def _read_report_on_ours(self: Any, packet: Any) -> None:
    """Read a report on what we send; of a long one on losses the beginning."""
    if isinstance(packet, RtcpRtpfbPacket):
        packet.lost = packet.lost[:MOST_LOST]
    await _handle_report(self, packet)


async def _send_again(self: Any, sequence_number: int) -> None:
    """Send a lost packet again, at a bounded rate."""
    if _allowance(self).resent.take():
        await _retransmit(self, sequence_number)


def _make_key_picture(self: Any) -> None:
    """Make the next picture a whole one, at a bounded rate."""
    if _allowance(self).key_pictures.take():
        _send_keyframe(self)


def may_have_key_picture(sender: RTCRtpSender) -> bool:
    """Return whether a peer that asks for a key picture is heard: at a bounded rate."""
    return _allowance(sender).key_pictures.take()


def _jitter(self: StreamStatistics) -> int:
    """Return the jitter as far as its 32 bits go; more would end the task that reports it."""
    return min(max(self._jitter_q4 >> 4, 0), 0xFFFF_FFFF)


class _DecoderQueue(queue.Queue[Any]):
    """Packets for the decoder's thread; when full, and after the end, nothing is added."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add a packet; None ends the thread before those that wait are decoded."""
        if item is None:
            with self.mutex:
                self.queue.clear()
        elif self.qsize() >= MOST_TO_DECODE:
            return
        super().put(item, block, timeout)


async def _start_receiving(self: Any, parameters: RTCRtpReceiveParameters) -> None:
    """Start to receive, with a bounded queue before the decoder."""
    if not self._RTCRtpReceiver__started:
        self._RTCRtpReceiver__decoder_queue = _DecoderQueue()
    await _receive(self, parameters)


def _lasting(
    run: Callable[[Any], Coroutine[Any, Any, None]], exited: str
) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Return the task of reports, so that it goes on after a fault and always says that it ended.

    ``exited`` names the event that `stop` waits for.
    """

    async def report(self: Any) -> None:
        try:
            while True:
                try:
                    return await run(self)
                except Exception:
                    log.exception("a report to a peer could not be made")
        finally:
            getattr(self, exited).set()

    return report


MOST_CHUNKS, MOST_BYTES = 512, 512 * 1024
"""Of messages that are not whole yet, on all streams together. A message of the largest size that
aiortc announces, 256 KiB, has 226 chunks."""
MOST_OUT_OF_ORDER = 256
"""Chunks kept after one that is missing."""
RECEIVE_WINDOW = 256 * 1024
"""Bytes that a peer may send ahead."""
MOST_STREAMS = 16
"""Data channels of one peer; the page opens one."""
CHUNKS_PER_SECOND, CHUNK_BURST = 1000.0, 4000.0
"""DATA chunks of one peer: more are left for the peer to send again."""
MOST_GAPS = 64
"""Ranges of one acknowledgement that are looked at."""
OTHERS_PER_SECOND, OTHERS_BURST = 200.0, 400.0
"""Chunks of other sorts, among them acknowledgements."""


@dataclass(slots=True)
class _ChunkAllowance:
    chunks: TokenBucket = field(default_factory=lambda: TokenBucket(CHUNKS_PER_SECOND, CHUNK_BURST))
    others: TokenBucket = field(
        default_factory=lambda: TokenBucket(OTHERS_PER_SECOND, OTHERS_BURST)
    )


_chunk_allowances: WeakKeyDictionary[Any, _ChunkAllowance] = WeakKeyDictionary()
_receive_chunk = RTCSctpTransport._receive_chunk
_receive_data_chunk = RTCSctpTransport._receive_data_chunk
_receive_sack_chunk = RTCSctpTransport._receive_sack_chunk
_get_inbound_stream = RTCSctpTransport._get_inbound_stream
_start = RTCSctpTransport.start


def _install_for_messages() -> None:
    RTCSctpTransport.start = _start_with_a_small_window  # type: ignore[method-assign]
    RTCSctpTransport._receive_chunk = _take_chunk  # type: ignore[method-assign]
    RTCSctpTransport._receive_data_chunk = _take_data  # type: ignore[method-assign]
    RTCSctpTransport._receive_sack_chunk = _take_acknowledgement  # type: ignore[method-assign]
    RTCSctpTransport._get_inbound_stream = _stream  # type: ignore[method-assign]


def _cut_off(why: str) -> ConnectionError:
    log.info("a peer is cut off: it %s", why)
    return ConnectionError(why)  # which ends the transport that reads


async def _start_with_a_small_window(
    self: Any,
    remoteCaps: RTCSctpCapabilities | None,  # noqa: N803  as aiortc calls them
    remotePort: int,  # noqa: N803
) -> None:
    if not self._RTCSctpTransport__started:
        self._advertised_rwnd = RECEIVE_WINDOW
    await _start(self, remoteCaps, remotePort)


async def _take_chunk(self: Any, chunk: Any) -> None:
    """Handle a chunk of any sort, at a bounded rate."""
    allowance = _chunk_allowances.get(self)
    if allowance is None:
        allowance = _chunk_allowances[self] = _ChunkAllowance()
    bucket = allowance.chunks if isinstance(chunk, DataChunk) else allowance.others
    if bucket.take():
        await _receive_chunk(self, chunk)


async def _take_data(self: Any, chunk: DataChunk) -> None:
    """Keep a fragment where there is room.

    One that comes out of order is left to be sent again. One that comes in order completes what
    waits for it; where it does not, its message will never be of a size that is taken.
    """
    if self._last_received_tsn is None:
        raise _cut_off("sends data before it is connected")
    in_order = chunk.tsn == tsn_plus_one(self._last_received_tsn)
    full = len(self._sack_misordered) >= MOST_OUT_OF_ORDER or _is_full(self)
    if full and not in_order:
        self._sack_needed = True
        return
    await _receive_data_chunk(self, chunk)
    if in_order and _is_full(self):
        raise _cut_off("sends a message that never ends")


def _is_full(transport: Any) -> bool:
    waiting = [stream.reassembly for stream in transport._inbound_streams.values()]
    if sum(map(len, waiting)) >= MOST_CHUNKS:
        return True
    return sum(len(chunk.user_data) for chunks in waiting for chunk in chunks) >= MOST_BYTES


async def _take_acknowledgement(self: Any, chunk: SackChunk) -> None:
    """Read what an acknowledgement says of what was sent, and no further."""
    sent = (self._local_tsn - 1 - chunk.cumulative_tsn) % SCTP_TSN_MODULO
    if sent > len(self._sent_queue) + len(self._outbound_queue) + MOST_CHUNKS:
        sent = 0  # it acknowledges what was never sent
    gaps = ((first, min(last, sent)) for first, last in chunk.gaps[:MOST_GAPS])
    chunk.gaps = [gap for gap in gaps if gap[0] <= gap[1]]
    await _receive_sack_chunk(self, chunk)


def _stream(self: Any, stream_id: int) -> InboundStream:
    """Return a stream, opened where there are few."""
    if stream_id not in self._inbound_streams and len(self._inbound_streams) >= MOST_STREAMS:
        raise _cut_off("opens too many data channels")
    return _get_inbound_stream(self, stream_id)
