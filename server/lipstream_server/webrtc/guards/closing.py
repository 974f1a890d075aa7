"""The end of a connection, within bounds. Written against aiortc 1.16.

`RTCPeerConnection.close` waits for each task of its own to say that it ended, one after the other:
where one has died it waits for ever, and where an offer was refused half-way it raises.
"""

import asyncio
import logging
from typing import Any

from aiortc import RTCPeerConnection

log = logging.getLogger(__name__)


async def close_within(peer: RTCPeerConnection, seconds: float) -> None:
    """Close a connection; where that fails or takes longer, take its sockets and threads away."""
    closing = asyncio.create_task(peer.close(), name="close a connection")
    await asyncio.wait([closing], timeout=seconds)
    if not closing.done():
        log.warning("a connection did not close in %.0f s: its sockets are taken away", seconds)
        closing.cancel()
    elif not closing.cancelled() and (error := closing.exception()) is not None:
        log.info("a connection could not be closed in order: %r", error)
    else:
        return
    _abandon(peer)


def _abandon(peer: Any) -> None:
    for transceiver in peer.getTransceivers():
        transceiver.receiver._handle_disconnect()  # ends the decoder's thread
    for transport in list(peer._RTCPeerConnection__iceTransports):
        connection = transport._connection
        connection._closing = True
        tasks = [connection._query_consent_task, *(pair.task for pair in connection._check_list)]
        for task in tasks:
            if task is not None:
                task.cancel()
        for protocol in connection._protocols:
            protocol.transport.abort()
