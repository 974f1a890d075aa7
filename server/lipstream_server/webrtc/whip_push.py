"""A stage pushed to a WHIP server (RFC 9725): offered, sent as to a viewer, ended with DELETE.

It shares the encoders of those who watch over WebRTC: what it sends follows what the line to the
server carries, and a key picture comes when the server asks for one. It begins anew by itself when
the server refuses, ends the session or vanishes.

Of the protocol a publisher's part is here but for what few servers ask: candidates are whole in the
offer, and STUN or TURN servers that a Link header names are not used.
"""

import asyncio
import contextlib
import functools
import http.client
import itertools
import logging
import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin, urlsplit

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from lipstream.errors import LipstreamError, MediaError
from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream_server.rtmp import PEER_SECONDS, explain, masked
from lipstream_server.stage.messages import OutputState
from lipstream_server.stage.stage import Stage
from lipstream_server.webrtc import aiortc_setup
from lipstream_server.webrtc.encoding import EncoderHub
from lipstream_server.webrtc.guards import close_within, ice
from lipstream_server.webrtc.peer import CONNECT_SECONDS, OutgoingMedia

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0
"""Seconds before a push begins anew: doubled each time, from the first to the longest."""
DELETE_SECONDS, CLOSE_SECONDS = 1.5, 1.0
"""Time that a server has to take the end of a session, and the connection then to close.

Together less than an output is waited for: one that answers late keeps nobody.
"""
MOST_REDIRECTS = 3
LARGEST_ANSWER = 64 * 1024
_CODECS = {"audio": ("audio/opus",), "video": ("video/H264", "video/VP8", "video/rtx")}
"""Kind -> what is offered of it."""


@dataclass(frozen=True, slots=True)
class WhipSession:
    """What a WHIP server answered."""

    url: str
    """Where the session is ended."""
    token: str | None
    """What is sent there; None where the offer was sent on to somebody else."""
    sdp: str


class WhipPush:
    """A stage pushed to a WHIP server: somebody who takes part, and a task. The event loop's."""

    wants_face = False
    _numbers = itertools.count(1)

    def __init__(self, stage: Stage, hub: EncoderHub, url: str, token: str | None) -> None:
        self.stage, self._hub, self._url, self._token = stage, hub, url, token
        address = masked(url)
        self._state = OutputState(f"w{next(self._numbers)}-{secrets.token_urlsafe(6)}", address)
        self.name = f"output to {address}"
        self._media: OutgoingMedia | None = None
        self._lost = 0
        self._closing = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin: the stage is kept for as long as this lasts."""
        self.stage.join(self)
        self.stage.attach(self)
        self._task = asyncio.create_task(self._run(), name=self.name)

    def close(self) -> None:
        """End it: the server is told. Closing twice is fine."""
        self.stage.detach(self)
        self.stage.leave(self)
        self._closing = True
        self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Wait for its end."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)

    @property
    def state(self) -> OutputState:
        """How it does."""
        return replace(self._state, lost=self.lost)

    @property
    def lost(self) -> int:
        """Pictures that did not go out: it was not connected, or the line was too slow."""
        return self._lost + (0 if self._media is None else self._media.lost)

    def on_media(self, item: SoundBlock | ShownPicture) -> None:
        """Count pictures that nobody takes; what is sent comes from the stage's encoders."""
        self._lost += isinstance(item, ShownPicture) and self._media is None

    def tell(self, event: str) -> None:
        """Take an event: nobody is there to read it."""

    def interrupted(self) -> None:
        """It pushes no speech."""

    def stage_ended(self, error: LipstreamError | None) -> None:
        """End with the stage."""
        del error
        self.close()

    async def _run(self) -> None:
        wait = FIRST_WAIT
        while not self._closing:
            begun = self._state.begun
            self._state = replace(self._state, state="connecting")
            try:
                await self._send()
                break
            except (OSError, LipstreamError) as error:
                reason = explain(self._state.target, error)
            except Exception:  # the root of a task: the output alone ends
                log.exception("%s failed", self.name)
                self._state = replace(self._state, state="ended", error="a fault of the server")
                return
            wait = FIRST_WAIT if self._state.begun > begun else min(2 * wait, LONGEST_WAIT)
            log.warning("%s; again in %.1f s", reason, wait)
            self._state = replace(self._state, state="waiting", error=reason)
            await self._until(lambda: False, wait)
        self._state = replace(self._state, state="ended")

    async def _send(self) -> None:
        """Publish until closed; raises OSError, MediaError when that is not the end."""
        media = OutgoingMedia(self._hub, on_pictures=lambda _: None)
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.on("connectionstatechange", self._changed.set)
        session: WhipSession | None = None
        try:
            offer = await _offer(peer, media)
            session = await asyncio.to_thread(publish, self._url, self._token, offer)
            await self._connect(peer, media, session)
            log.info("%s is live", self.name)
            begun = self._state.begun + 1
            self._state = replace(self._state, state="live", error="", begun=begun)
            self._media = media
            media.start()
            await self._until(lambda: peer.connectionState != "connected")
            if not self._closing:
                raise MediaError(f"{self._state.target} has ended the session, or vanished")
        finally:
            self._lost, self._media = self.lost, None
            media.stop()
            if session is not None:
                with contextlib.suppress(OSError, MediaError):  # it may have ended it itself
                    async with asyncio.timeout(DELETE_SECONDS):
                        await asyncio.to_thread(_end, session)
            await close_within(peer, CLOSE_SECONDS)

    async def _connect(
        self, peer: RTCPeerConnection, media: OutgoingMedia, session: WhipSession
    ) -> None:
        where = self._state.target
        try:
            await peer.setRemoteDescription(RTCSessionDescription(session.sdp, "answer"))
            video = next(one for one in peer.getTransceivers() if one.kind == "video")
            media.codec = aiortc_setup.chosen_codec(video)
        except Exception as error:  # aiortc meets a stranger's SDP with any exception
            log.info("an answer cannot be used: %r", error)
            raise MediaError(
                f"{where} answers with SDP that cannot be used: it must take Opus and VP8 or H264"
            ) from error
        await self._until(
            lambda: peer.connectionState not in ("new", "connecting"), CONNECT_SECONDS
        )
        if peer.connectionState != "connected" and not self._closing:
            raise MediaError(
                f"{where} took the offer, and no connection came of it in {CONNECT_SECONDS:.0f} s:"
                " are the UDP ports that it names open?"
            )

    async def _until(self, true: Any, seconds: float | None = None) -> None:
        """Wait until something holds, it is closed, or so much time has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self._closing or true()):
                    self._changed.clear()
                    await self._changed.wait()


async def _offer(peer: RTCPeerConnection, media: OutgoingMedia) -> str:
    """Return what is offered: sound and pictures to send, over one connection."""
    for kind, names in _CODECS.items():
        transceiver = peer.addTransceiver(kind, "sendonly")
        media.send_with(transceiver.sender)
        known = RTCRtpSender.getCapabilities(kind).codecs
        transceiver.setCodecPreferences([one for one in known if one.mimeType in names])
    for transceiver in peer.getTransceivers():
        ice.trust_any_address(transceiver.sender.transport.transport)
    await peer.setLocalDescription(await peer.createOffer())
    return peer.localDescription.sdp


def publish(url: str, token: str | None, offer: str) -> WhipSession:
    """Post an offer and return the answer; blocks. Raises OSError, MediaError.

    Redirections are followed, with the token to the same origin alone.
    """
    answer = _ask("POST", url, token, offer)
    if answer.status != 201 or not answer.body.startswith("v=0"):
        raise MediaError(
            f"{masked(url)} answers {answer.status} where WHIP has 201 and SDP: is it an address"
            " to publish at?"
        )
    if not answer.location:
        raise MediaError(f"{masked(url)} names no session in Location, as WHIP has it")
    return WhipSession(urljoin(answer.url, answer.location), answer.token, answer.body)


def _end(session: WhipSession) -> None:
    _ask("DELETE", session.url, session.token, seconds=DELETE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Answer:
    url: str
    token: str | None
    """What it was asked with."""
    status: int
    location: str
    body: str


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """Return what speaks HTTP alone, and follows no redirections.

    RFC 9725, 4.5 has the same request sent again, with its body.
    """
    opener = urllib.request.OpenerDirector()
    for kind in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(kind())
    return opener


def _ask(
    method: str,
    url: str,
    token: str | None,
    offer: str | None = None,
    seconds: float = PEER_SECONDS,
) -> _Answer:
    first = urlsplit(url)
    for _ in range(MOST_REDIRECTS + 1):
        headers = {} if offer is None else {"Content-Type": "application/sdp"}
        token = token if urlsplit(url)[:2] == first[:2] else None
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        sent = None if offer is None else offer.encode()
        request = urllib.request.Request(url, sent, headers, method=method)
        try:
            with _opener().open(request, timeout=seconds) as answer:
                return _read(url, token, answer)
        except urllib.error.HTTPError as error:
            with error:
                refused = _read(url, token, error)
        except urllib.error.URLError as error:
            raise error.reason if isinstance(error.reason, OSError) else error from error
        except http.client.HTTPException as error:
            raise MediaError(f"{masked(url)} does not speak HTTP: {error!r}") from error
        if refused.status not in (307, 308) or not refused.location:
            raise MediaError(_refusal(refused))
        url = urljoin(url, refused.location)
        if urlsplit(url).scheme not in ("http", "https"):
            break
    raise MediaError(f"{masked(first.geturl())} sends on to others, and never to a WHIP server")


def _read(url: str, token: str | None, answer: Any) -> _Answer:
    body = answer.read(LARGEST_ANSWER).decode("utf-8", "replace")
    return _Answer(url, token, answer.status, answer.headers.get("Location") or "", body)


def _refusal(answer: _Answer) -> str:
    where = masked(answer.url)
    if answer.status in (401, 403):
        if answer.token is None:
            return f"{where} asks for a token: give it with --push-token, or as token by HTTP"
        return f"{where} refuses the token: give the one that it knows"
    if answer.status in (404, 405):
        return f"{where} takes no WHIP at this path ({answer.status}): is the address right?"
    told = " ".join(answer.body.split())[:200]
    return f"{where} refuses the stream with {answer.status}: {told or 'no reason given'}"
