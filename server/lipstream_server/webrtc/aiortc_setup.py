"""What aiortc and aioice need to be told, in one place. Written against aiortc 1.16, aioice 0.13.

Each of these reaches past their public interface; `tests/server/webrtc/test_aiortc_setup.py` fails
when a new version moves what they reach for.
"""

from collections.abc import Callable

import aioice.ice
from aiortc import RTCRtpReceiver, RTCRtpSender, clock
from aiortc.codecs import h264, vpx
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpsender import RTCEncodedFrame

START_BITRATE = HIGHEST_BITRATE = 1_500_000
LOWEST_BITRATE = 500_000
"""Bits a second of a 512 x 512 picture. The receiver's estimate (REMB) can lower it. Start and
limit are the same, since aiortc makes a new encoder, and a key picture, for each step up."""
ANY_ADDRESS = ("0.0.0.0", "::", "")
LOOPBACK = "127.0.0.1"

TICKS = {"audio": 48_000, "video": 90_000}
"""Ticks a second of the outgoing tracks' timestamps."""

_all_host_addresses = aioice.ice.get_host_addresses


def listen_on(host: str, loopback: bool) -> None:
    """Offer peers the addresses that ``host`` stands for, for this whole process.

    aioice gathers every address of the machine except 127.0.0.1. A server on loopback must offer
    just that one, so that sound and pictures never leave the machine; one that listens everywhere
    offers it besides the others; one bound to an address offers that address.
    """

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        if loopback:
            return [LOOPBACK]
        if host in ANY_ADDRESS:
            return [*_all_host_addresses(use_ipv4, use_ipv6), LOOPBACK]
        return [host]

    aioice.ice.get_host_addresses = addresses


def notice_vanished_peers() -> None:
    """End a connection when its peer has not answered for about 15 s, rather than 30.

    A consent check (RFC 7675) goes out every 5 s; aioice gives up after six without an answer. A
    place in the server is worth more than waiting that long for somebody who left.
    """
    aioice.ice.CONSENT_FAILURES = 3


def set_bitrates() -> None:
    """Raise the encoders' limits: aiortc starts a talking head at 500 kbit/s, which is blurred."""
    vpx.DEFAULT_BITRATE = h264.DEFAULT_BITRATE = START_BITRATE
    vpx.MIN_BITRATE = h264.MIN_BITRATE = LOWEST_BITRATE
    vpx.MAX_BITRATE = h264.MAX_BITRATE = HIGHEST_BITRATE


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


def shorten_jitter_buffer(receiver: RTCRtpReceiver) -> None:
    """Let sound through as it comes: aiortc holds back four packets, 80 ms.

    Packets out of order by up to three are still put right. A lost packet holds up the sound for
    80 ms rather than 320 ms; `AudioInputBuffer` evens out what is left.
    """
    buffer = JitterBuffer(capacity=4, prefetch=1)
    receiver._RTCRtpReceiver__jitter_buffer = buffer  # type: ignore[attr-defined]
