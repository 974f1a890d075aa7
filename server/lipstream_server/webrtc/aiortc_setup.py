"""What aiortc and aioice need to be told, in one place. Written against aiortc 1.16, aioice 0.13.

Each of these reaches past their public interface; `tests/server/webrtc/test_aiortc_setup.py` fails
when a new version moves what they reach for.
"""

import asyncio
import contextlib
import ipaddress
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from struct import Struct
from types import SimpleNamespace
from typing import Any, Protocol

import aioice.ice
import aioice.turn
from aiortc import (
    RTCCertificate,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCRtpTransceiver,
    clock,
    rtcrtpreceiver,
    rtcrtpsender,
    rtcsctptransport,
)
from aiortc.codecs.h264 import H264Encoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcdtlstransport import State
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTP_HISTORY_SIZE,
    HeaderExtensions,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpSrPacket,
    RtpPacket,
    unpack_remb_fci,
)
from OpenSSL import SSL

from lipstream.machine import steady_time
from lipstream_server.webrtc.guards import dtls, ice

ANY_ADDRESS = ("0.0.0.0", "::", "")
LOOPBACK = "127.0.0.1"

TICKS = {"audio": 48_000, "video": 90_000}
"""Ticks a second of the outgoing tracks' timestamps."""

MOST_ADDRESSES = 4
"""Addresses offered to each peer; a machine with containers can have dozens, each with a socket."""
CIPHERS = b":".join(
    b"ECDHE-%s-%s" % (key, cipher)
    for cipher in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
    for key in (b"ECDSA", b"RSA")
)
"""For DTLS with peers whose certificate has a key of either kind; aiortc takes ECDSA alone."""

MOST_PAYLOAD = 1300
"""Bytes of a packet's payload, as aiortc has it."""
_VP8_DESCRIPTOR_BYTES = 4
_RTP_HEADER = Struct("!BBHLL")
_EXTENSION_HEADER = Struct("!HH")
_ONE_BYTE_PROFILE = 0xBEDE
"""Of header extensions with a byte before each (RFC 8285, 4.2)."""
_PLAYOUT_DELAY = bytes((0, 0, 50))
"""No less than 0 and no more than 500 ms, in steps of 10: two numbers of 12 bits. Chromium then
shows a picture as soon as it is decoded, where its sound does not ask it to wait; else it holds
each for 10 ms and for what it takes for jitter."""
MOST_UNSENT = 64 * 1024
"""Bytes that may wait for the network, half a second of pictures; what follows is left out."""
_NTP_EPOCH_SECONDS = 2_208_988_800
"""From 1900 to 1970 (RFC 5905, 6)."""

_all_host_addresses = aioice.ice.get_host_addresses
_create_ssl_context = RTCCertificate._create_ssl_context


def listen_on(host: str, loopback: bool) -> None:
    """Offer peers the addresses that ``host`` stands for, for this whole process.

    aioice gathers every address of the machine except 127.0.0.1. One that listens everywhere
    offers it besides the others; one bound to an address offers that address.

    A server on loopback offers the machine's own addresses, too, since Firefox and GStreamer form
    no pair with loopback. Their sockets take and send datagrams of this machine alone, so that
    sound and pictures never leave it.
    """

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        if not loopback and host not in ANY_ADDRESS:
            return [host]
        own = _own_addresses(use_ipv4, use_ipv6)
        if loopback:
            ice.keep_to({LOOPBACK, *own})
        return [LOOPBACK, *own[: MOST_ADDRESSES - 1]] if loopback else [*own, LOOPBACK]

    ice.keep_to(None)
    aioice.ice.get_host_addresses = addresses


def _own_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Return this machine's addresses, but for loopback and those of one wire alone."""
    addresses = {str(ipaddress.ip_address(one)) for one in _all_host_addresses(use_ipv4, use_ipv6)}
    usable = [
        address
        for address in map(ipaddress.ip_address, addresses)
        if not (address.is_loopback or address.is_link_local)
    ]
    return [str(address) for address in sorted(usable, key=lambda one: (one.version, int(one)))]


def ignore_media(peer: RTCPeerConnection, payload_types: frozenset[int]) -> None:
    """Throw away RTP of some payload types that a peer sends, before anything is done with it."""
    for transceiver in peer.getTransceivers():
        ice.ignore_media(transceiver.receiver.transport.transport._connection, payload_types)


def accept_rsa_certificates() -> None:
    """Let peers connect whose certificate has an RSA key, as GStreamer's."""

    def create(self: RTCCertificate, *args: Any, **named: Any) -> SSL.Context:
        context = _create_ssl_context(self, *args, **named)
        context.set_cipher_list(CIPHERS)
        return context

    RTCCertificate._create_ssl_context = create  # type: ignore[method-assign]


def notice_vanished_peers() -> None:
    """End a connection when its peer has not answered for about 15 s, rather than 30.

    A consent check (RFC 7675) goes out every 5 s; aioice gives up after six without an answer. A
    place in the server is worth more than waiting that long for somebody who left.
    """
    aioice.ice.CONSENT_FAILURES = 3


def keep_time_when_the_clock_is_set() -> None:
    """Have reports, round-trip times and the life of a handshake not leap with the wall clock.

    aiortc takes all of them from it: a machine whose clock is set tells receivers that sound and
    pictures are a day apart, and waits up to a minute before it repeats a message that was lost.
    """
    steady: Any = SimpleNamespace(time=steady_time)
    timed: tuple[Any, ...] = (rtcrtpreceiver, rtcrtpsender, rtcsctptransport, aioice.turn)
    for module in timed:
        module.time = steady
    clock.current_datetime = lambda: datetime.fromtimestamp(steady_time(), UTC)


def ntp_now() -> int:
    """Return the time as a 64-bit NTP timestamp, of the clock that aiortc's reports use."""
    return clock.current_ntp_time()


def report_schedule(sender: RTCRtpSender, ntp_of: Callable[[int], int]) -> None:
    """Make the RTCP reports of ``sender`` say when its media is *due*, not when it was sent.

    A receiver lines two tracks up by the pairs (NTP time, RTP timestamp) of their sender reports
    (RFC 3550, 6.4.1). aiortc pairs the RTP timestamp with the moment the packet left, after
    encoding, so the picture's lag follows the load of the encoder. ``ntp_of`` maps a timestamp, in
    ticks of the track since its first, to its NTP time on the session's one schedule; PCMU, PCMA
    and G.722 have 8,000 ticks a second where the track has 48,000.

    The pair is corrected when the sender asks for its next frame, right after the last packet of
    the frame before; sending suspends nowhere in between, so no report sees the wrong pair.
    """
    encode_next = sender._next_encoded_frame
    sent: int | None = None

    async def next_encoded_frame(codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
        nonlocal sent
        if sent is not None:
            sender._RTCRtpSender__ntp_timestamp = ntp_of(sent)  # type: ignore[attr-defined]
        frame = await encode_next(codec)
        if frame is not None:
            sent = frame.timestamp * TICKS[sender.kind] // codec.clockRate
        return frame

    sender._next_encoded_frame = next_encoded_frame  # type: ignore[method-assign]


def rtp_payloads(codec: str, encoded: bytes) -> tuple[bytes, ...]:
    """Cut what an encoder gave into the payloads of RTP packets, for all who get it.

    Those of VP8 lack their descriptor, in which each viewer's pictures are counted: `RtpStream`
    puts it before them.
    """
    if codec == "VP8":
        size = MOST_PAYLOAD - _VP8_DESCRIPTOR_BYTES
        return tuple(encoded[at : at + size] for at in range(0, len(encoded), size))
    if codec == "H264":
        return tuple(H264Encoder._packetize(H264Encoder._split_bitstream(encoded)))
    return (encoded,)


class _SentPackets(dict[int, tuple[int, int, int, bytes]]):
    """What was sent lately, by number; made into packets for aiortc where one is to go again."""

    def __init__(self, stream: "RtpStream") -> None:
        self._stream = stream

    def get(self, place: int, default: Any = None) -> Any:
        """Return the packet at a place of aiortc's history."""
        sent = super().get(place)
        return default if sent is None else self._stream.packet(*sent)


class RtpStream:
    """Sends what is encoded to one peer, at once, for all packets of a picture together.

    It stands for the task that aiortc has for each track, which waits for a picture, packs it again
    for every viewer and builds each packet from objects: eight times the processor time. Lost
    packets, reports and their pairs of times stay aiortc's; the pair says when media is *due*, as
    `report_schedule` has it. The event loop's.
    """

    def __init__(
        self, sender: RTCRtpSender, ntp_of: Callable[[int], int], playout_delay_id: int = 0
    ) -> None:
        """Take the place of the task of ``sender``, which has no track.

        ``ntp_of`` maps a timestamp, before a random number is added, to the NTP time it is due;
        ``playout_delay_id`` is what the peer calls the header extension, 0 where it knows none.
        """
        inside: Any = sender
        self._sender, self._ntp_of = inside, ntp_of
        self._number = secrets.randbelow(1 << 15)  # low: one that wraps early breaks decryption
        self._first_timestamp = secrets.randbits(32)
        self._picture_id = secrets.randbelow(1 << 15)
        self._payload_type: int | None = None
        self._vp8 = False
        known = 0 < playout_delay_id < 15
        self._delay = bytes((playout_delay_id << 4 | 2, *_PLAYOUT_DELAY)) if known else b""
        self._history = inside._RTCRtpSender__rtp_history = _SentPackets(self)
        inside._run_rtp = self._run

    @property
    def listening(self) -> bool:
        """Whether the peer is connected."""
        connected = self._sender.transport._state is State.CONNECTED
        return connected and self._payload_type is not None

    def send(self, payloads: Sequence[bytes], ticks: int) -> bool:
        """Send a picture or a block of sound, as `rtp_payloads` has it, with its timestamp.

        Return False, and send nothing, where MOST_UNSENT bytes wait for the network already.
        """
        dtls, payload_type = self._sender.transport, self._payload_type
        way = ice.way_out(dtls.transport._connection)
        if payload_type is None or way is None or not self.listening:
            return True
        if way.transport.get_write_buffer_size() > MOST_UNSENT:
            return False
        sender, protect, last = self._sender, dtls._tx_srtp.protect, len(payloads) - 1
        extensions = self._packed_extensions()
        timestamp = (self._first_timestamp + ticks) % (1 << 32)
        first_byte = 0x90 if extensions else 0x80
        for place, payload in enumerate(payloads):
            number, marker = self._number, int(place == last)
            whole = self._descriptor(place) + payload if self._vp8 else payload
            header = _RTP_HEADER.pack(
                first_byte, payload_type | marker << 7, number, timestamp, sender._ssrc
            )
            way.transport.sendto(protect(header + extensions + whole), way.address)
            self._history[number % RTP_HISTORY_SIZE] = (number, marker, timestamp, whole)
            self._number = (number + 1) % (1 << 16)
        self._picture_id = (self._picture_id + 1) % (1 << 15)
        sender._RTCRtpSender__ntp_timestamp = self._ntp_of(ticks)
        sender._RTCRtpSender__rtp_timestamp = timestamp
        sender._RTCRtpSender__packet_count += len(payloads)
        sender._RTCRtpSender__octet_count += sum(map(len, payloads))
        return True

    def timestamp_of(self, ticks: int) -> int:
        """Return the RTP timestamp, 32 bits, that a timestamp is sent as."""
        return (self._first_timestamp + ticks) % (1 << 32)

    def packet(self, number: int, marker: int, timestamp: int, payload: bytes) -> RtpPacket:
        """Return what was sent as aiortc has it, to be sent again now."""
        assert self._payload_type is not None, "something was sent"
        ssrc = self._sender._ssrc
        packet = RtpPacket(self._payload_type, marker, number, timestamp, ssrc, payload)
        packet.extensions = self._extensions()
        return packet

    def _descriptor(self, place: int) -> bytes:
        """Return the descriptor of a picture's packet (RFC 7741, 4.2)."""
        begins = 0x90 if place == 0 else 0x80
        return bytes((begins, 0x80, 0x80 | self._picture_id >> 8, self._picture_id & 0xFF))

    def _packed_extensions(self) -> bytes:
        """Return the extensions of a header (RFC 8285), empty where the peer takes none."""
        known = self._sender._RTCRtpSender__rtp_header_extensions_map
        profile, packed = known.set(self._extensions())
        if self._delay and (not packed or profile == _ONE_BYTE_PROFILE):
            profile, packed = _ONE_BYTE_PROFILE, bytes(packed) + self._delay
        words: int = len(packed) >> 2
        return _EXTENSION_HEADER.pack(profile, words) + bytes(packed) if packed else b""

    def _extensions(self) -> HeaderExtensions:
        ntp = (steady_time() + _NTP_EPOCH_SECONDS) * (1 << 18)
        mid = self._sender._RTCRtpSender__mid
        return HeaderExtensions(mid=mid, abs_send_time=int(ntp) & 0xFF_FFFF)

    async def _run(self, codec: RTCRtpCodecParameters) -> None:
        """Stand for aiortc's task: from its beginning to its end media is sent."""
        self._payload_type, self._vp8 = codec.payloadType, codec.name == "VP8"
        self._sender._RTCRtpSender__rtp_started.set()
        try:
            await asyncio.Event().wait()  # until aiortc cancels it
        finally:
            self._payload_type = None
            self._sender._RTCRtpSender__rtp_exited.set()


class ReportListener(Protocol):
    """Somebody who is told what a receiver reports on our pictures."""

    def on_estimate(self, bits_a_second: float) -> None:
        """Take what the receiver says that its line carries (REMB)."""
        ...

    def on_loss(self, share: float) -> None:
        """Take the part of packets that were lost since its last report."""
        ...

    def on_key_request(self) -> None:
        """Make a key picture soon."""
        ...

    def may_resend(self, bits: int) -> bool:
        """Return whether a lost packet of some size may be sent again."""
        ...


def watch_reports(sender: RTCRtpSender, listener: ReportListener) -> None:
    """Tell somebody what the receiver of ``sender`` reports."""
    handle, resend = sender._handle_rtcp_packet, sender._retransmit

    async def handle_report(packet: Any) -> None:
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == sender._ssrc:
                    listener.on_loss(report.fraction_lost / 256)
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            with contextlib.suppress(ValueError):  # something else than an estimate
                bits_a_second, sources = unpack_remb_fci(packet.fci)
                if sender._ssrc in sources:
                    listener.on_estimate(bits_a_second)
        await handle(packet)

    async def resend_within_budget(sequence_number: int) -> None:
        history = sender._RTCRtpSender__rtp_history  # type: ignore[attr-defined]
        packet = history.get(sequence_number % RTP_HISTORY_SIZE)
        if packet is not None and listener.may_resend(8 * len(packet.payload)):
            await resend(sequence_number)

    def request_key() -> None:
        if dtls.may_have_key_picture(sender):
            listener.on_key_request()

    sender._handle_rtcp_packet = handle_report  # type: ignore[method-assign]
    sender._retransmit = resend_within_budget  # type: ignore[method-assign]
    sender._send_keyframe = request_key  # type: ignore[method-assign]


def chosen_codec(transceiver: RTCRtpTransceiver) -> str:
    """Return the name of the codec that is sent, once the offer is taken: VP8, H264, opus."""
    return transceiver._codecs[0].name


class PacketsAsTheyCome:
    """Stands for aiortc's jitter buffer: each packet of sound is let through the moment it comes.

    A codec's frame is one packet, so that there is nothing to wait for. What comes out of order, or
    is missing, is for the stage's `JitterBuffer`; a packet that came before is left out.
    """

    KEPT = 64
    """Packets that are remembered, 1.3 s."""

    def __init__(self) -> None:
        self._seen: deque[int] = deque(maxlen=self.KEPT)

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Return that no key picture is needed, and the packet's frame."""
        if packet.sequence_number in self._seen:
            return False, None
        self._seen.append(packet.sequence_number)
        depayloaded: bytes = packet._data  # type: ignore[attr-defined]  # the receiver puts it there
        return False, JitterFrame(depayloaded, packet.timestamp)


class TimestampsInAnyOrder:
    """Stands for aiortc's mapper, to which an earlier timestamp is one that wrapped."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._place = 0

    def map(self, timestamp: int) -> int:
        """Return a timestamp as a count from the first; one before that is below zero."""
        if self._last is not None:
            self._place += (timestamp - self._last + (1 << 31)) % (1 << 32) - (1 << 31)
        self._last = timestamp
        return self._place


def take_sound_as_it_comes(receiver: RTCRtpReceiver) -> None:
    """Hold no sound back: aiortc holds four packets, 80 ms, and 320 ms where one is missing."""
    inside: Any = receiver
    inside._RTCRtpReceiver__jitter_buffer = PacketsAsTheyCome()
    inside._RTCRtpReceiver__timestamp_mapper = TimestampsInAnyOrder()
