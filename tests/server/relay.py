"""A UDP relay that is a bad line: it loses, delays, reorders, and carries so many bits a second."""

import asyncio
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

QUEUE_SECONDS = 0.3
"""What waits longer on a thin line is lost, as in a router."""


@dataclass(slots=True)
class Line:
    """How bad it is, in each direction; may be changed while it runs."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    down_bits: float | None = None
    """Bits a second towards the client."""
    dead: bool = False


class Relay:
    """Stands before one address of a server, on 127.0.0.1, in a thread of its own."""

    def __init__(self, line: Line, seed: int = 1) -> None:
        self.line = line
        self._random = random.Random(seed)
        self._free_at = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    def stand_before(self, answer: str) -> str:
        """Return an SDP answer whose only candidate is the relay."""
        host, port = re.search(r"a=candidate:\S+ \d+ udp \d+ (127\.\S+) (\d+)", answer).groups()
        opening = asyncio.run_coroutine_threadsafe(self._open((host, int(port))), self._loop)
        own = opening.result(10)
        candidates = re.compile(r"(a=candidate:\S+ \d+ udp \d+) (\S+) \d+")
        lines = [
            candidates.sub(rf"\1 \2 {own}", line)
            for line in answer.splitlines()
            if not line.startswith("a=candidate:") or f" {host} " in line
        ]
        return "\r\n".join(lines) + "\r\n"

    def close(self) -> None:
        """Carry nothing more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _open(self, server: tuple[str, int]) -> int:
        relay, clients = self, {}

        class Back(asyncio.DatagramProtocol):
            def __init__(self, client) -> None:
                self.client, self.waiting = client, []

            def connection_made(self, transport) -> None:
                self.transport = transport

            def datagram_received(self, datagram, _) -> None:
                relay._carry(lambda: front.sendto(datagram, self.client), len(datagram))

        class Front(asyncio.DatagramProtocol):
            def datagram_received(self, datagram, client) -> None:
                if client not in clients:
                    clients[client] = asyncio.ensure_future(
                        relay._loop.create_datagram_endpoint(
                            lambda: Back(client), remote_addr=server
                        )
                    )
                clients[client].add_done_callback(
                    lambda made: relay._carry(lambda: made.result()[0].sendto(datagram), None)
                )

        front, _ = await self._loop.create_datagram_endpoint(Front, local_addr=("127.0.0.1", 0))
        return front.get_extra_info("sockname")[1]

    def _carry(self, send: Callable[[], None], down_size: int | None) -> None:
        line = self.line
        if line.dead or self._random.random() < line.loss:
            return
        wait_s = line.delay_s + self._random.random() * line.jitter_s
        if down_size is not None and line.down_bits:
            now = self._loop.time()
            begin = max(now, self._free_at)
            if begin - now > QUEUE_SECONDS:
                return
            self._free_at = begin + (down_size + 28) * 8 / line.down_bits
            wait_s += self._free_at - now
        self._loop.call_later(wait_s, send)
