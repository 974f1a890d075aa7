"""A server on a free port and WebRTC peers that come to it, all in one event loop."""

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from lipstream_server.command import bind, listen, make_server
from lipstream_server.config import ServerConfig
from lipstream_server.webrtc.peer import PeerSessions

SDP = {"Content-Type": "application/sdp"}
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def error(self) -> str:
        return json.loads(self.body)["error"]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs."""

    url: str
    sessions: PeerSessions

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request."""
        request = urllib.request.Request(self.url + path, body, headers or {}, method=method)
        return await asyncio.to_thread(_ask, request)

    async def offer(self, path: str, sdp: str, **headers: str) -> Answer:
        """Post an offer."""
        answer = await self.ask("POST", path, sdp.encode(), SDP | headers)
        if "location" in answer.headers:  # which is relative to what was asked for
            answer.headers["location"] = urljoin(path, answer.headers["location"])
        return answer


def _ask(request: urllib.request.Request) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, dict(error.headers), error.read().decode())


@asynccontextmanager
async def running(worker, avatar, **settings: Any) -> AsyncGenerator[Running]:
    """Serve ``worker`` on a free port of 127.0.0.1."""
    config = ServerConfig(port=0, **settings)
    sessions = PeerSessions(worker, avatar)
    with closing(bind(config.host, config.port)) as listener:
        server = make_server(config, sessions)
        listen(listener)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Running(f"http://127.0.0.1:{port_of(listener)}", sessions)
        finally:
            server.stop()
            await task


def port_of(listener: socket.socket) -> int:
    """Return the port a socket is bound to."""
    return listener.getsockname()[1]


class Peer:
    """A client: an offer, and what came of it."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.channel = self.connection.createDataChannel("lipstream")
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.channel.on("message", lambda text: self.events.put_nowait(json.loads(text)))
        self.location = ""

    async def offer(self, audio: str = "sendrecv", video: str = "recvonly") -> str:
        """Return an offer with the directions given."""
        self.connection.addTransceiver("audio", audio)
        self.connection.addTransceiver("video", video)
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def join(self, server: Running, path: str = "/session") -> Answer:
        """Offer, and take the answer when there is one."""
        answer = await server.offer(path, await self.offer())
        if answer.status == 201:
            await self.accept(answer)
        return answer

    async def accept(self, answer: Answer) -> None:
        """Take an answer."""
        self.location = answer.headers["location"]
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.body, "answer"))

    async def connected(self) -> None:
        """Wait until media can flow."""
        await until(lambda: self.connection.connectionState == "connected")

    async def pictures_a_second(self, seconds: float) -> float:
        """Return how many pictures came a second, counted from the first on."""
        track, count = self.track("video"), 0
        await asyncio.wait_for(track.recv(), PATIENCE_SECONDS)
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            try:
                await asyncio.wait_for(track.recv(), 1.0)
            except TimeoutError:
                continue
            count += 1
        return count / (time.monotonic() - begun)

    def track(self, kind: str):
        """Return the track of one kind that comes in."""
        receivers = [r for r in self.connection.getReceivers() if r.track and r.track.kind == kind]
        return receivers[0].track

    async def event(self, kind: str) -> dict[str, Any]:
        """Return the next event of one kind."""
        while (event := await asyncio.wait_for(self.events.get(), PATIENCE_SECONDS))[
            "type"
        ] != kind:
            pass
        return event

    async def ready(self) -> None:
        """Wait until messages can be sent."""
        await until(lambda: self.channel.readyState == "open")

    def vanish(self) -> None:
        """Go without a word, as a machine does that loses power."""
        for transceiver in self.connection.getTransceivers():
            ice = transceiver.receiver.transport.transport._connection
            if ice._query_consent_task is not None:
                ice._query_consent_task.cancel()
            for protocol in ice._protocols:
                protocol.transport.abort()


@asynccontextmanager
async def peer() -> AsyncGenerator[Peer]:
    """Give a peer and close it."""
    client = Peer()
    try:
        yield client
    finally:
        await client.connection.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():
            await asyncio.sleep(0.005)
