"""One peer: an SDP offer answered, its sound taken in, its messages read, its end noticed."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from lipstream.errors import EngineFailed, InputError, LipstreamError
from lipstream.speech import SpeechSettings, list_voices
from lipstream_server.stage.audio_input import AudioTrackReader, SpeechResampler
from lipstream_server.stage.live_avatar import LiveAvatar
from lipstream_server.stage.messages import (
    AskVoices,
    Message,
    Speak,
    SpeakText,
    Stats,
    error_event,
    parse_sound,
    parse_text,
    state_event,
    stats_event,
    voices_event,
)
from lipstream_server.stage.schedule import AudioBlock, VideoPicture
from lipstream_server.stage.text_to_speech import TextToSpeechQueue
from lipstream_server.token_bucket import TokenBucket
from lipstream_server.webrtc import aiortc_setup
from lipstream_server.webrtc.guards.closing import close_within
from lipstream_server.webrtc.offer import Offer
from lipstream_server.webrtc.tracks import NtpClock, OutgoingAudioTrack, OutgoingVideoTrack

log = logging.getLogger(__name__)

CONNECT_SECONDS = 20.0
"""How long a peer may take from its offer to being connected."""
REPORT_SECONDS = 1.0
CLOSE_SECONDS = 3.0
"""How long a connection may take to close before its sockets are taken away."""
MESSAGES_PER_SECOND, MESSAGE_BURST = 20.0, 40.0
"""Texts that a peer may send on its data channel; more are dropped, and it is told once a second.
Sound is bounded by what waits to be spoken."""
MOST_UNSENT = 256 * 1024
"""Bytes of events that wait for a peer to acknowledge those before; more are dropped."""

_FAULT = "the session ended by a fault of the server: connect anew"


class PeerSession:
    """A connection and the live avatar it carries. The event loop's."""

    def __init__(
        self,
        name: str,
        live_avatar: LiveAvatar,
        on_end: Callable[["PeerSession"], None],
        speech: SpeechSettings,
    ) -> None:
        self.name = name
        """Its part of the URL: hard to guess."""
        self.live_avatar = live_avatar
        self.on_stats: Callable[[Stats], None] = lambda _: None
        """Called with the statistics of each second."""
        self._on_end = on_end
        self._audio, self._video = OutgoingAudioTrack(), OutgoingVideoTrack()
        self._clock: NtpClock | None = None
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel: RTCDataChannel | None = None
        self._speech: SpeechResampler | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._voices = speech
        self._listing: asyncio.Task[None] | None = None
        self._allowed = TokenBucket(MESSAGES_PER_SECOND, MESSAGE_BURST)
        self._told = TokenBucket(1.0, 1.0)
        self._texts = TextToSpeechQueue(live_avatar, speech, self._send)
        live_avatar.on_media = self._on_media
        live_avatar.on_speaking = lambda speaking: self._send(state_event(speaking))

    async def answer(self, offer: Offer) -> str:
        """Take the peer's offer and return the SDP answer. Raises InputError."""
        self._peer.on("track", self._on_track)
        self._peer.on("datachannel", self._on_channel)
        self._peer.on("connectionstatechange", self._on_connection)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
            self._add_tracks()
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:  # aiortc meets a stranger's SDP with any exception
            log.info("an offer could not be answered: %r", error)
            raise InputError("the offer cannot be answered: offer VP8 or H264 and Opus") from error
        self._start("play", self.live_avatar.run())
        self._start("report", self._report())
        self._start("connect", self._give_up_unless_connected())
        return self._peer.localDescription.sdp

    async def end(self) -> None:
        """Close the connection and free the engine's session. Ending twice is fine."""
        await asyncio.shield(self._begin_end())

    def _begin_end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name=f"end {self.name}")
        return self._ending

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self._texts.interrupt()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        self.live_avatar.close()
        self._audio.stop()
        self._video.stop()
        try:
            await close_within(self._peer, CLOSE_SECONDS)
        finally:
            self._on_end(self)

    def _add_tracks(self) -> None:
        offered = {transceiver.kind for transceiver in self._peer.getTransceivers()}
        for track in (self._audio, self._video):
            if track.kind in offered:
                sender = self._peer.addTrack(track)
                aiortc_setup.report_schedule(sender, partial(self._ntp_due, track))
        for transceiver in self._peer.getTransceivers():
            if transceiver.kind == "video":  # aiortc would decode whatever comes, for nobody
                transceiver.direction = "sendonly"

    def _on_media(self, item: AudioBlock | VideoPicture) -> None:
        if isinstance(item, AudioBlock):
            self._audio.put(item)
        else:
            self._video.put(item)

    def _ntp_due(self, track: OutgoingAudioTrack | OutgoingVideoTrack, ticks: int) -> int:
        """Return when what has a timestamp of a track is due, as NTP time."""
        if self._clock is None:  # both tracks have one, else they would drift apart
            self._clock = NtpClock.pinned(self.live_avatar.seconds_since(0))
        return self._clock.ntp(track.sample_of(ticks))

    def _on_connection(self) -> None:
        state = self._peer.connectionState
        log.info("session %s: %s", self.name[:6], state)
        if state == "connected":
            self._connected.set()
        elif state in ("failed", "closed"):
            self._begin_end()

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind != "audio":
            return
        for transceiver in self._peer.getTransceivers():
            if transceiver.receiver.track is track:
                aiortc_setup.shorten_jitter_buffer(transceiver.receiver)
        self._start("listen", self._listen(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        reader = AudioTrackReader()
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, AudioFrame):
                self.live_avatar.push_live(reader.read(frame))

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            return  # one is enough
        self._channel = channel
        channel.on("message", self._on_message)

    def _on_message(self, message: str | bytes) -> None:
        if isinstance(message, str) and not self._allowed.take():
            if self._told.take():
                told = f"too many messages: send {MESSAGES_PER_SECOND:.0f} a second at most"
                self._send(error_event(InputError(told)))
            return
        try:
            if isinstance(message, bytes):
                self._push_speech(message)
            else:
                self._handle(parse_text(message))
        except InputError as error:
            self._send(error_event(error))

    def _handle(self, message: Message) -> None:
        if isinstance(message, Speak):
            self._speech = SpeechResampler(message.rate)
        elif isinstance(message, SpeakText):
            self._add_text(message)
        elif isinstance(message, AskVoices):
            if self._listing is None or self._listing.done():
                self._listing = self._start("voices", self._list_voices())
        else:
            self._texts.interrupt()
            self.live_avatar.interrupt()

    def _add_text(self, message: SpeakText) -> None:
        try:
            self._texts.add(message)
        except InputError as error:
            self._send(error_event(error, message.name))

    def _push_speech(self, sent: bytes) -> None:
        if self._texts.speaking:
            raise InputError("a text is being spoken: send the sound later, or interrupt it")
        if self._speech is None:
            raise InputError("sound without a rate: send speak first")
        if not self.live_avatar.push_speech(self._speech.resample(parse_sound(sent))):
            raise InputError("a minute of speech waits already: send the rest later")

    async def _list_voices(self) -> None:
        try:
            voices = await asyncio.to_thread(list_voices, self._voices)
        except LipstreamError as error:
            self._send(voices_event(self._voices, [], str(error)))
        else:
            self._send(voices_event(self._voices, voices))

    def _send(self, event: str) -> None:
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount < MOST_UNSENT:
            channel.send(event)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            stats = self.live_avatar.stats(self._video.lost)
            self.on_stats(stats)
            self._send(stats_event(stats))

    async def _give_up_unless_connected(self) -> None:
        try:
            await asyncio.wait_for(self._connected.wait(), CONNECT_SECONDS)
        except TimeoutError:
            log.info("session %s: not connected in %.0f s", self.name[:6], CONNECT_SECONDS)
            self._begin_end()

    def _start(self, what: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of this session; one that fails is logged and ends the session."""
        task = asyncio.create_task(work, name=f"{what} {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session %s: %s failed", self.name[:6], task.get_name(), exc_info=error)
            told = error if isinstance(error, LipstreamError) else EngineFailed(_FAULT)
            self._send(error_event(told))
            self._begin_end()
