"""What a peer may send on data channels. Written against aiortc 1.16.

aiortc keeps every fragment until its message is whole, however many there are, and looks through
them all for each that comes; it counts every number in the ranges that an acknowledgement names,
and opens as many streams as a peer likes. All that is done on the event loop, which all share.
"""

import logging
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from aiortc.rtcsctptransport import (
    SCTP_TSN_MODULO,
    DataChunk,
    InboundStream,
    RTCSctpCapabilities,
    RTCSctpTransport,
    SackChunk,
    tsn_plus_one,
)

from lipstream_server.token_bucket import TokenBucket

log = logging.getLogger(__name__)

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


_allowances: WeakKeyDictionary[Any, _ChunkAllowance] = WeakKeyDictionary()
_receive_chunk = RTCSctpTransport._receive_chunk
_receive_data_chunk = RTCSctpTransport._receive_data_chunk
_receive_sack_chunk = RTCSctpTransport._receive_sack_chunk
_get_inbound_stream = RTCSctpTransport._get_inbound_stream
_start = RTCSctpTransport.start


def install() -> None:
    """Replace aiortc's own."""
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
    allowance = _allowances.get(self)
    if allowance is None:
        allowance = _allowances[self] = _ChunkAllowance()
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
