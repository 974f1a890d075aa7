"""A WHIP server that does what a test says: it takes sound and pictures, or will not."""

import asyncio
import socket
from contextlib import asynccontextmanager

import uvicorn
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


class WhipPeer:
    """Answers offers with aiortc, and keeps what comes."""

    def __init__(self, refusals=()):
        self.refusals = list(refusals)
        """What offers are answered before one is taken."""
        self.deleting = 0.0
        """Seconds that the end of a session takes."""
        self.asked, self.sessions, self.frames = [], [], {"audio": [], "video": []}
        self.url = ""

    async def offer(self, request):
        """Answer a POST."""
        self.asked.append(request)
        if self.refusals:
            return self.refusals.pop(0)
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.on("track", lambda track: asyncio.ensure_future(self._keep(track)))
        sdp = (await request.body()).decode()
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        self.sessions.append(connection)
        where = {"Location": f"session/{len(self.sessions)}"}
        return Response(connection.localDescription.sdp, 201, where, "application/sdp")

    async def delete(self, request):
        """Answer a DELETE."""
        self.asked.append(request)
        await asyncio.sleep(self.deleting)
        await self.sessions[int(request.path_params["number"]) - 1].close()
        return Response()

    async def _keep(self, track):
        try:
            while True:
                self.frames[track.kind].append(await track.recv())
        except Exception:  # noqa: BLE001  the track has ended
            return


@asynccontextmanager
async def whip_peer(*refusals):
    """Run one on a free port of this machine."""
    peer = WhipPeer(refusals)
    routes = [
        Route("/live/whip", peer.offer, methods=["POST"]),
        Route("/live/session/{number}", peer.delete, methods=["DELETE"]),
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer.url = f"http://127.0.0.1:{listener.getsockname()[1]}/live/whip"
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_config=None))
        serving = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            yield peer
        finally:
            for connection in peer.sessions:
                await connection.close()
            server.should_exit = True
            await serving


def refusal(status, text="", **headers):
    """Return an answer that takes nothing."""
    return PlainTextResponse(text, status, headers)
