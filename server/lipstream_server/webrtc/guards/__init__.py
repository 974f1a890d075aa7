"""What aiortc and aioice let a stranger do, prevented. `docs/upstream-faults.md` shows each fault.

Each guard replaces a private method of theirs, so it holds for the versions it was written against
alone: `install` refuses to serve with others. A guard goes when the fault that it names is mended
in the version that is required.

`RTCPeerConnection.close` waits for each task of its own to say that it ended, one after the other:
where one has died it waits for ever, and where an offer was refused half-way it raises.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from aiortc import RTCPeerConnection

from lipstream.errors import ServerError
from lipstream_server.webrtc.guards import dtls, ice


@dataclass(frozen=True, slots=True)
class Guard:
    """Faults of one library, mended in this process."""

    library: str
    written_for: str
    """First two numbers of the version whose private names it replaces. No later version is known
    that lacks the faults."""
    install: Callable[[], None]


GUARDS = (
    Guard("aioice", "0.13", ice.install),
    Guard("aiortc", "1.16", dtls.install),
)


def install() -> None:
    """Put every guard in place, once for the whole process.

    Raises ServerError for a version of a library that the guards were not written for.
    """
    for guard in GUARDS:
        installed = version(guard.library)
        if installed.split(".")[:2] != guard.written_for.split("."):
            raise ServerError(
                f"{guard.library} {installed} is installed, and strangers are kept out for"
                f" {guard.written_for} alone: pip install '{guard.library}=={guard.written_for}.*'"
            )
        guard.install()


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
