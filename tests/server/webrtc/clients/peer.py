"""aiortc as a WHEP client or a full session: URL ROLE CODEC SECONDS; prints JSON."""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
import urllib.parse
import urllib.request

from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, MediaStreamTrack

HEADERS = {"Content-Type": "application/sdp"}
if token := os.environ.get("TOKEN"):
    HEADERS["Authorization"] = f"Bearer {token}"


def ask(method: str, url: str, body: bytes | None = None) -> tuple[str, str]:
    request = urllib.request.Request(url, body, HEADERS, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.headers.get("Location", ""), answer.read().decode()


def configuration(url: str, role: str) -> RTCConfiguration:
    """Return how to connect: with ICE=relay through the TURN server alone that is linked."""
    if os.environ.get("ICE") != "relay":
        return RTCConfiguration(iceServers=[])
    request = urllib.request.Request(f"{url}/{role}", None, HEADERS, method="OPTIONS")
    with urllib.request.urlopen(request) as answer:
        link = answer.headers["Link"]
    words = dict(re.findall(r'(username|credential)="([^"]*)"', link))
    server = RTCIceServer(re.search(r"<(turn:[^>]*)>", link)[1], **words)
    policy = RTCIceTransportPolicy.RELAY
    return RTCConfiguration(iceServers=[server], iceTransportPolicy=policy)


async def count(track: MediaStreamTrack, times: list[float]) -> None:
    with contextlib.suppress(MediaStreamError):
        while True:
            await track.recv()
            times.append(time.monotonic())


async def main(url: str, role: str, codec: str, seconds: float) -> None:
    connection = RTCPeerConnection(configuration(url, role))
    times: dict[str, list[float]] = {"audio": [], "video": []}
    tasks = []
    connection.on(
        "track", lambda track: tasks.append(asyncio.create_task(count(track, times[track.kind])))
    )
    if role == "whep":
        connection.addTransceiver("audio", "recvonly")
    else:
        connection.addTransceiver(AudioStreamTrack(), "sendrecv")
    if role != "whip":
        video = connection.addTransceiver("video", "recvonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        video.setCodecPreferences([one for one in codecs if one.name.upper() == codec])
    begun = time.monotonic()
    await connection.setLocalDescription(await connection.createOffer())
    sdp = connection.localDescription.sdp.encode()
    place, answer = await asyncio.to_thread(ask, "POST", f"{url}/{role}", sdp)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    while connection.connectionState in ("new", "connecting") and time.monotonic() < begun + 20:
        await asyncio.sleep(0.01)
    state = connection.connectionState
    ice = connection.getTransceivers()[0].receiver.transport.transport._connection
    pair = ice._nominated.get(1)
    pair_types = [pair.local_candidate.type, pair.remote_candidate.type] if pair else []
    await asyncio.sleep(seconds)
    await asyncio.to_thread(ask, "DELETE", urllib.parse.urljoin(f"{url}/{role}", place))
    await connection.close()
    pictures = times["video"]
    result = {
        "state": state,
        "pair": pair_types,
        "first_s": None,
        "fps": 0.0,
        "sound": len(times["audio"]),
    }
    if len(pictures) > 1:
        result["first_s"] = pictures[0] - begun
        result["fps"] = (len(pictures) - 1) / (pictures[-1] - pictures[0])
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
