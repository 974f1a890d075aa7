"""One peer: an SDP offer answered, its sound taken in, its messages read, its end noticed."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceTransport,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_to_sdp
from av import AudioFrame

from lipstream import Avatar, Worker
from lipstream.errors import AtCapacity, EngineFailed, InputError, LipstreamError
from lipstream.live.playout import SoundBlock
from lipstream.machine import usable_cores
from lipstream.speech import SpeechSettings
from lipstream_server.limits import RIGHTS, CpuLoad
from lipstream_server.metrics import MetricValue, ServerMetrics
from lipstream_server.stage.member import Member
from lipstream_server.stage.messages import Stats, clock_event, error_event, pictures_event
from lipstream_server.stage.registry import Avatars, Stages
from lipstream_server.stage.stage import RATE, Source, Stage
from lipstream_server.webrtc import aiortc_setup
from lipstream_server.webrtc.encoding import (
    DEFAULT_SIZE,
    EncoderHub,
    EncodingPool,
    LineRate,
    Rung,
)
from lipstream_server.webrtc.guards import close_within, ice
from lipstream_server.webrtc.offer import IceFragment, Offer, Role
from lipstream_server.webrtc.tracks import (
    OPUS_LOOK_AHEAD,
    AudioTrackReader,
    Encoded,
    NtpClock,
    PlainSoundTrack,
    sample_of_picture,
    sample_of_sound,
)

log = logging.getLogger(__name__)

CONNECT_SECONDS = 20.0
"""How long a peer may take from its offer to being connected."""
CLOSE_SECONDS = 3.0
"""How long a connection may take to close before its sockets are taken away."""
RESENT_BURST_SECONDS = 0.5
"""Time whose share of packets sent again may be used at once."""
MOST_UNSENT = 256 * 1024
"""Bytes of events that wait for a peer to acknowledge those before; more are dropped."""
MOST_LOAD = 0.93
"""Part of the cores' time from which nobody more is let in."""
_FAULT = "the session ended by a fault of the server: connect anew"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer takes part, and as what."""

    stage: Stage
    named: bool = False
    """Whether the stage was asked for by name, so that it is kept for a while."""
    rights: frozenset[str] = frozenset(RIGHTS)


class OutgoingMedia:
    """A stage's sound and pictures as one connection sends them, as much as its line carries."""

    def __init__(self, hub: EncoderHub, on_pictures: Callable[[str], None]) -> None:
        """``on_pictures`` is told, as the live API has it, what is sent from now on."""
        self._hub, self._on_pictures = hub, on_pictures
        self.codec: str | None = None
        """Of the pictures that are sent; None for none."""
        self.rate = LineRate()
        self.packets_resent = self.lost = 0
        """Packets sent again, and pictures for which there was no room."""
        self.sound: aiortc_setup.RtpStream | None = None
        self._plain_sound: PlainSoundTrack | None = None
        self._video: aiortc_setup.RtpStream | None = None
        self._resent_budget, self._resent_at = 0.0, time.monotonic()
        self._clock: NtpClock | None = None

    def start(self) -> None:
        """Send what falls due from now on."""
        self._hub.add(self)

    def stop(self) -> None:
        """Send nothing more. Twice is fine."""
        self._hub.remove(self)
        if self._plain_sound is not None:
            self._plain_sound.stop()

    def send_with(self, sender: RTCRtpSender, codec: str | None = None, delay_id: int = 0) -> None:
        """Have a sender send sound, or pictures; ``codec`` is None while it is agreed on.

        ``delay_id`` is the offer's name of the extension that lets pictures be shown at once.
        """
        if sender.kind == "video":
            self.codec = codec
            ntp_due = partial(self._ntp_due, sample_of_picture)
            self._video = aiortc_setup.RtpStream(sender, ntp_due, delay_id)
            aiortc_setup.watch_reports(sender, self)
        elif codec in (None, "opus"):
            self.sound = aiortc_setup.RtpStream(sender, partial(self._ntp_due, sample_of_sound))
        else:
            self._plain_sound = track = PlainSoundTrack()
            sender.replaceTrack(track)
            aiortc_setup.report_schedule(sender, partial(self._ntp_due, track.sample_of))

    @property
    def listening(self) -> bool:
        """Whether pictures can be sent."""
        return self._video is not None and self._video.listening

    def take_sound(self, block: SoundBlock, packet: Encoded) -> None:
        """Send a block of sound."""
        if self.sound is not None:
            self.sound.send(packet.payloads, packet.ticks)
        elif self._plain_sound is not None:
            self._plain_sound.put(block)

    def take_picture(self, packets: Iterable[Encoded]) -> None:
        """Send a picture."""
        assert self._video is not None, "it listens"
        for packet in packets:
            if not self._video.send(packet.payloads, packet.ticks):
                self.lost += 1
                self._hub.ask_for_key(self)

    def pictures_change(self, rung: Rung | None, step: int) -> None:
        """Tell what is sent."""
        if rung is None:
            self._on_pictures(pictures_event(0.0, 0, step))
        else:
            share, every = float(rung.share), rung.every * step
            self._on_pictures(pictures_event(share, rung.bitrate, every))

    def on_estimate(self, bits_a_second: float) -> None:
        """Take what the receiver says that its line carries."""
        self.rate.estimate(bits_a_second)

    def on_loss(self, share: float) -> None:
        """Take the part of packets that the receiver says were lost."""
        self.rate.report_loss(share)

    def on_key_request(self) -> None:
        """Make a key picture soon: the receiver cannot go on without."""
        self._hub.ask_for_key(self)

    def may_resend(self, bits: int) -> bool:
        """Return whether a lost packet may be sent again: they have a share of the line."""
        now, rate = time.monotonic(), self.rate.resent_rate
        gained = (now - self._resent_at) * rate
        self._resent_budget = min(rate * RESENT_BURST_SECONDS, self._resent_budget + gained)
        self._resent_at = now
        if self._resent_budget < bits:
            return False
        self._resent_budget -= bits
        self.packets_resent += 1
        return True

    def _ntp_due(self, sample_of: Callable[[int], int], ticks: int) -> int:
        """Return when what has a timestamp is due, as NTP time."""
        if self._clock is None:  # both tracks have one, else they would drift apart
            self._clock = NtpClock.pinned(self._hub.stage.seconds_since(0))
        return self._clock.ntp(sample_of(ticks))


class PeerSession:
    """A connection that takes part in a stage: it watches, is a source, or both."""

    def __init__(
        self, name: str, place: Place, hub: EncoderHub, on_end: Callable[["PeerSession"], None]
    ) -> None:
        self.name = name
        """Its part of the URL: hard to guess."""
        self.place, self.stage = place, place.stage
        self._on_end = on_end
        self.media = OutgoingMedia(hub, self._tell_pictures)
        self.role = Role.BOTH
        self.ice_tag = _new_tag()
        """Names the ICE session: another one after each restart."""
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel: RTCDataChannel | None = None
        self._source: Source | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._pictures: str | None = None  # the last event of what is sent
        self._member = Member(self.stage, f"peer {name[:6]}", self._send, place.rights)
        self._member.on_stage_end = self._stage_ended

    def _tell_pictures(self, event: str) -> None:
        """Tell the client what it is sent, also one whose channel opens later."""
        self._pictures = event
        self._send(event)

    async def answer(self, offer: Offer) -> str:
        """Take the peer's offer and return the SDP answer. Raises InputError."""
        self._peer.on("track", self._on_track)
        self._peer.on("datachannel", self._on_channel)
        self._peer.on("connectionstatechange", self._on_connection)
        self.role = offer.role
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
            self._add_tracks(offer)
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:  # aiortc meets a stranger's SDP with any exception
            log.info("an offer could not be answered: %r", error)
            raise InputError("the offer cannot be answered: offer VP8 or H264 and Opus") from error
        if offer.role is not Role.SEND:
            self.media.start()
        self._start("connect", self._give_up_unless_connected())
        return offer.finish(self._peer.localDescription.sdp)

    async def take_fragment(self, fragment: IceFragment) -> str | None:
        """Take a client's candidates, or its new ICE session; return the answer to the latter."""
        transports = {one.receiver.transport.transport for one in self._peer.getTransceivers()}
        transport = next(iter(transports))
        current = (transport._connection.remote_username, transport._connection.remote_password)
        restarts = current != (fragment.username, fragment.password)
        if restarts and self._peer.connectionState != "connected":
            raise InputError("the first ICE session has not begun: restart it once it has")
        if restarts:
            ice.restart(transport, fragment.username, fragment.password)
        for candidate in fragment.candidates:
            await transport.addRemoteCandidate(candidate)
        if not restarts:
            return None
        self.ice_tag = _new_tag()
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        self._reconnecting = self._start("reconnect", ice.reconnect(transport, CONNECT_SECONDS))
        return self._fragment(transport)

    def _fragment(self, transport: RTCIceTransport) -> str:
        """Return our side of an ICE session as a fragment of SDP."""
        own = transport.iceGatherer.getLocalParameters()
        answer = self._peer.localDescription.sdp.splitlines()
        first = next(place for place, line in enumerate(answer) if line.startswith("m="))
        head = [line for line in answer[:first] if line.startswith(("a=group:", "a=ice-options"))]
        mid = next(line for line in answer[first:] if line.startswith("a=mid:"))
        lines = [*head, answer[first], mid]
        lines += [f"a=ice-ufrag:{own.usernameFragment}", f"a=ice-pwd:{own.password}"]
        for candidate in transport.iceGatherer.getLocalCandidates():
            lines.append(f"a=candidate:{candidate_to_sdp(candidate)}")
        return "\r\n".join([*lines, "a=end-of-candidates"]) + "\r\n"

    async def end(self) -> None:
        """Close the connection and free the engine's session. Ending twice is fine."""
        await asyncio.shield(self._begin_end())

    def _stage_ended(self) -> None:
        self._begin_end()

    def _begin_end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name=f"end {self.name}")
        return self._ending

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self.media.stop()
        if self._source is not None:
            self._source.close()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        try:
            await close_within(self._peer, CLOSE_SECONDS)
        finally:
            self._member.close()
            self._on_end(self)

    def _add_tracks(self, offer: Offer) -> None:
        """Say what is sent and what is taken in, as the role has it; no pictures are taken in."""
        for transceiver in self._peer.getTransceivers():
            pictures, sends = transceiver.kind == "video", offer.role is not Role.SEND
            if pictures or offer.role is Role.PLAY:
                transceiver.direction = "sendonly" if sends else "inactive"
            elif sends:
                transceiver.direction = "sendrecv"
            if sends:
                codec = aiortc_setup.chosen_codec(transceiver)
                self.media.send_with(transceiver.sender, codec, offer.playout_delay_id)
        aiortc_setup.ignore_media(self._peer, offer.unread_types)

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
                aiortc_setup.take_sound_as_it_comes(transceiver.receiver)
        if self._source is None and self.place.rights & {"speak", "control"}:
            self._start("listen", self._listen(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        reader = AudioTrackReader()
        source: Source | None = None
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, AudioFrame):
                sound = reader.read(frame)
                if source is None:  # with its first sound: who sends none has no floor
                    self._source = source = self.stage.open_source(self.name[:6])
                source.hear(sound.pcm, sound.pts)

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            return  # one is enough
        self._channel = channel
        channel.on("message", self._member.receive)
        sound = self.media.sound
        clock = clock_event(sound.timestamp_of(OPUS_LOOK_AHEAD), RATE) if sound else None
        for event in filter(None, (self.stage.described(), self._pictures, clock)):
            self._send(event)

    def _send(self, event: str) -> None:
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount < MOST_UNSENT:
            channel.send(event)

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


def _new_tag() -> str:
    return f'"{secrets.token_urlsafe(6)}"'


class PeerSessions:
    """All peers of one server, and its stages. The event loop's."""

    def __init__(
        self,
        worker: Worker,
        avatar: Avatar,
        speech: SpeechSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        size: int = DEFAULT_SIZE,
    ) -> None:
        """``avatar`` is shown unless a peer names another; ``speech`` says who speaks texts.

        ``size`` is the longest side of the pictures that are sent.
        """
        self.worker = worker
        self.stages = Stages(worker, Avatars(avatar), speech or SpeechSettings())
        self.opened = 0
        """Sessions answered since the server started."""
        self.metrics = ServerMetrics()
        self.metrics.ask(self)
        self.stages.on_stats = self._observe
        self._pool = EncodingPool(self.metrics, size)
        # A hub holds its stage and lives while somebody watches: held here, neither would ever go.
        self._hubs: WeakValueDictionary[Stage, EncoderHub] = WeakValueDictionary()
        self._load = CpuLoad(usable_cores(), clock)
        self._by_name: dict[str, PeerSession] = {}
        self._answered: dict[str, float] = {}
        self._clock = clock

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[PeerSession]:
        return iter(list(self._by_name.values()))

    async def open(self, offer: Offer, place: Place) -> tuple[PeerSession, str]:
        """Answer an offer; return the session and the SDP answer.

        Raises InputError when the offer cannot be answered; the stage is released.
        """
        begun = self._clock()
        name = secrets.token_urlsafe(16)
        session = PeerSession(name, place, self.hub_of(place.stage), self._forget)
        self._by_name[session.name] = session
        try:
            answer = await session.answer(offer)
        except BaseException:
            await session.end()
            raise
        self.opened += 1
        self._answered[name] = self._clock()
        self.metrics.answer_time.observe(self._answered[name] - begun)
        return session, answer

    def hub_of(self, stage: Stage) -> EncoderHub:
        """Return what encodes for all to whom a stage is sent."""
        hub = self._hubs.get(stage)
        if hub is None:
            hub = self._hubs[stage] = EncoderHub(stage, self._pool)
        return hub

    def check_load(self) -> None:
        """Raise AtCapacity while the machine has no time for one more, whatever places are free."""
        share = self._load.measure()
        if len(self) and share > MOST_LOAD:
            self.stages.refused += 1
            raise AtCapacity(f"viewers keep the machine {share:.0%} busy: try again later")

    def find(self, name: str, role: Role) -> PeerSession | None:
        """Return the session of a name, where it was opened for a role."""
        session = self._by_name.get(name)
        return session if session is not None and session.role is role else None

    async def close_all(self) -> None:
        """End every session and every stage."""
        await asyncio.gather(*(session.end() for session in self), return_exceptions=True)
        self.stages.end_all()
        self._pool.close()

    @property
    def fault(self) -> str | None:
        """What keeps pictures from being made; None while they are."""
        if self.worker.fault is not None:
            return self.worker.fault
        stalled = sum(stage.stalled for stage in self.stages)
        return f"{stalled} of {len(self.stages)} stages get no pictures" if stalled else None

    def metric_values(self) -> Iterator[MetricValue]:
        """Yield what a monitoring system is told."""
        totals = self.stages.totals()
        delay_s = max((stage.delay_ms for stage in self.stages), default=0.0) / 1000
        step = max((stage.conversation.picture_step for stage in self.stages), default=1)
        for kind, name, about, value in (
            ("gauge", "sessions", "Peers connected now.", len(self)),
            ("gauge", "stages", "Stages open now.", len(self.stages)),
            ("gauge", "session_capacity", "Stages served at once.", self.worker.capacity),
            ("counter", "sessions_opened_total", "Sessions opened.", self.opened),
            ("counter", "sessions_refused_total", "Refused: full.", self.stages.refused),
            ("counter", "pictures_total", "Pictures shown, repeats included.", totals.pictures),
            ("counter", "pictures_repeated_total", "Pictures shown again.", totals.repeated),
            ("counter", "sound_dropped_seconds_total", "Live sound lost.", totals.dropped / RATE),
            ("gauge", "load_ratio", "Part of the cores' time taken.", self._load.measure()),
            ("gauge", "picture_step", "Every how many-th picture is made, at most.", step),
            ("gauge", "delay_seconds", "Longest delay of a stage.", delay_s),
        ):
            yield MetricValue(kind, f"lipstream_{name}", about, value)

    def _forget(self, session: PeerSession) -> None:
        if self._by_name.pop(session.name, None) is not None:
            self.metrics.packets_resent.inc(session.media.packets_resent)
        self.stages.release(session.stage, named=session.place.named)
        if (answered := self._answered.pop(session.name, None)) is not None:
            self.metrics.session_length.observe(self._clock() - answered)

    def _observe(self, stats: Stats) -> None:
        self.metrics.session_delay.observe(stats.delay_ms / 1000)
        self._load.measure()
