"""uvicorn, with bounds on its connections: how many there are, and how long each may be silent.

uvicorn 0.54 closes nothing before a first request has come, nor while a body does not come, and
accepts as many connections as there are file descriptors; then asyncio's accept loop fails 2,000
times a second, with a line of log each.
"""

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""From connecting, or from the answer before, to the end of a request's headers."""
BODY_IDLE_SECONDS = 30.0
"""How long nothing of a body that is awaited may come, and nothing of an answer be read."""
BODY_SECONDS = 3600.0
"""How long a body may take in all: the largest film over a slow line."""
MOST_CONNECTIONS, FEWEST_CONNECTIONS = 1000, 16
MOST_OF_ADDRESS = 128
"""Connections from one address, but for loopback: a proxy on this machine brings everybody."""
RESERVED_FILES, FILES_OF_SESSION = 64, 16
"""File descriptors kept for all else, and for each peer: its sockets."""
ACCEPTED_AT_ONCE = 16
"""Connections accepted before those that are too many are closed."""
BACKLOG = 128
_SWEEP_TICKS = 5
"""Ticks of uvicorn, ten a second, between two looks for connections that are silent."""


class ConnectionTable:
    """The open connections of a server, oldest first. The event loop's."""

    def __init__(
        self,
        most: int,
        most_of_address: int = MOST_OF_ADDRESS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.clock = most, clock
        self._most_of_address = most_of_address
        self._open: dict[BoundedHttpProtocol, None] = {}
        self._of_address: Counter[str] = Counter()
        self.dropped = 0
        """Connections closed because they were silent or too many."""

    def __len__(self) -> int:
        return len(self._open)

    def add(self, one: "BoundedHttpProtocol") -> None:
        """Take a new connection in; where there are too many, one that asks nothing goes for it."""
        address = one.address
        self._open[one] = None
        self._of_address[address] += 1
        from_here = address.startswith("127.") or address == "::1"
        if not from_here and self._of_address[address] > self._most_of_address:
            self._make_room(one, address)
        elif len(self._open) > self.most:
            self._make_room(one, None)

    def remove(self, one: "BoundedHttpProtocol") -> None:
        """Forget a connection that is closed."""
        if self._open.pop(one, self) is None:
            self._of_address[one.address] -= 1
            if not self._of_address[one.address]:
                del self._of_address[one.address]

    def sweep(self) -> None:
        """Close connections that were silent for too long."""
        now = self.clock()
        for one in [one for one in self._open if one.is_overdue(now)]:
            self._drop(one)

    def _make_room(self, newest: "BoundedHttpProtocol", address: str | None) -> None:
        idle = (one for one in self._open if one.is_idle and address in (None, one.address))
        self._drop(next(idle, newest))

    def _drop(self, one: "BoundedHttpProtocol") -> None:
        self.dropped += 1
        self.remove(one)
        one.transport.abort()


class BoundedHttpProtocol(H11Protocol):
    """One connection, which knows since when it has been silent."""

    def __init__(self, *args: Any, table: ConnectionTable, **named: Any) -> None:
        super().__init__(*args, **named)
        self._table = table
        self._silent_since = table.clock()
        self._asked_at: float | None = None  # since when a request is under way
        self._unread = 0

    @property
    def address(self) -> str:
        """Whence it comes."""
        return self.client[0] if self.client else ""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request
        return cycle is None or cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection."""
        super().connection_made(transport)
        self._table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        self._table.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came; a head that comes byte by byte is as silent as none."""
        if not self.is_idle:
            self._silent_since = self._table.clock()
        super().data_received(data)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over: its silence is no concern of ours any more, pings find it."""
        self._table.remove(self)
        super().handle_websocket_upgrade(event)

    def is_overdue(self, now: float) -> bool:
        """Return whether it has been silent for too long. Called now and then."""
        if self.is_idle:
            if self._asked_at is not None:  # an answer has ended since the last look
                self._asked_at, self._silent_since = None, now
            return now - self._silent_since > HEAD_SECONDS
        if self._asked_at is None:
            self._asked_at = self._silent_since = now
        unread, before = self.transport.get_write_buffer_size(), self._unread
        self._unread = unread
        if unread:
            if unread != before:
                self._silent_since = now
            return now - self._silent_since > BODY_IDLE_SECONDS
        if not self.cycle.more_body or self.flow.read_paused:
            self._silent_since = now  # it is our turn
            return False
        too_long = now - self._asked_at > BODY_SECONDS
        return too_long or now - self._silent_since > BODY_IDLE_SECONDS


class _ShutdownMiddleware:
    """Answers a request that the end of the server cuts off: 503, and a line of log.

    uvicorn would answer 500 and log a traceback, as of a fault; of the lifespan it logs one, too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer."""
        begun = False

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = True
            task = asyncio.current_task()
            if scope["type"] == "lifespan" and task is not None and task.cancelling():
                return  # Starlette's word that the lifespan failed, with a trace
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except asyncio.CancelledError:
            if scope["type"] == "lifespan":  # the end does not wait for it: no fault
                return
            if scope["type"] != "http":
                raise
            log.info("%s %s is cut off by the end of the server", scope["method"], scope["path"])
            if not begun:
                message = "the server is stopping: ask again when it is back"
                answer = JSONResponse({"error": message}, 503, {"Retry-After": "5"})
                await answer(scope, receive, send)


class HttpServer(uvicorn.Server):
    """uvicorn, stopped by ``stop`` alone, its connections bounded.

    Its own handlers raise the signal anew once it has stopped, which would leave the engine open.
    """

    def __init__(self, config: uvicorn.Config, sessions: int) -> None:
        """``config`` says what is served; ``sessions`` peers need file descriptors, too."""
        self.table = ConnectionTable(most_connections(sessions))
        config.http = config.http_protocol_class = partial(BoundedHttpProtocol, table=self.table)  # type: ignore[assignment]
        config.backlog = ACCEPTED_AT_ONCE
        config.app = _ShutdownMiddleware(cast("ASGIApp", config.app))
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to whoever runs the server."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen: few connections are accepted at once, more may wait."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)

    async def on_tick(self, counter: int) -> bool:
        """Look for silent connections now and then."""
        if counter % _SWEEP_TICKS == 0:
            self.table.sweep()
        return await super().on_tick(counter)

    def stop(self) -> None:
        """End the server; a second call does not wait for requests under way."""
        self.force_exit = self.should_exit
        self.should_exit = True


def most_connections(sessions: int) -> int:
    """Return how many connections leave file descriptors for ``sessions`` peers and all else."""
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource  # noqa: PLC0415  not on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = limit - RESERVED_FILES - FILES_OF_SESSION * sessions
    return max(FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, room))
