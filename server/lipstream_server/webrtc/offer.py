"""Read an SDP offer from a stranger: say clearly what is wrong with it, or make it fit to use."""

import logging
from dataclasses import dataclass
from enum import Enum

from aiortc.sdp import SessionDescription

from lipstream.errors import InputError

log = logging.getLogger(__name__)

SENDING, RECEIVING = ("sendrecv", "sendonly"), ("sendrecv", "recvonly")
"""Directions of a media section in which the peer sends, or receives."""


MOST_LINES = 1000
"""Of an offer; a browser's has up to 400."""
MOST_CANDIDATES = 32
"""Addresses of an offer that are looked at."""
_KINDS = {"audio", "video", "application"}
_LEFT_OUT = (
    "a=end-of-candidates",  # with it a peer whose first check is under way counts as out of reach
    "a=ssrc",  # sources are learnt from what is sent; the parser compares each with all others
)
"""Beginnings of lines that are of no use."""


class Role(Enum):
    """What a peer came for."""

    BOTH = "session"
    SEND = "whip"
    PLAY = "whep"


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that can be answered."""

    sdp: str
    role: Role


def read_offer(body: bytes, role: Role, *, keep_candidates: bool) -> Offer:
    """Check an offer and return it without the addresses that are of no use.

    A browser's mDNS names (``.local``) are always left out: its own first check tells us its
    address sooner than asking the network could. ``keep_candidates`` keeps the rest; on loopback
    none is needed, and none is tried. Raises InputError.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("the offer is not text: send SDP as application/sdp") from None
    if not text.startswith("v=0"):
        raise InputError("the offer is not SDP: it must start with v=0")
    sdp = "\r\n".join(_kept_lines(text, keep_candidates)) + "\r\n"
    try:
        _check_media(SessionDescription.parse(sdp), role)
    except InputError:
        raise
    except Exception as error:  # the parser meets anything a stranger writes with any exception
        log.info("an offer could not be parsed: %r", error)
        raise InputError("the offer is not valid SDP: send what createOffer() gave") from error
    return Offer(sdp, role)


def _kept_lines(text: str, keep_candidates: bool) -> list[str]:
    """Return the lines that are of use. Raises InputError when there are too many to read."""
    lines, candidates = [], 0
    for line in text.splitlines():
        if line.startswith("a=candidate:"):
            candidates += 1
            if not keep_candidates or candidates > MOST_CANDIDATES or ".local" in line:
                continue
        if line and not line.startswith(_LEFT_OUT):
            lines.append(line)
    if len(lines) > MOST_LINES:
        raise InputError(f"the offer has {len(lines)} lines: send {MOST_LINES} at most")
    kinds = [line[2:].partition(" ")[0] for line in lines if line.startswith("m=") and " " in line]
    if len(set(kinds)) < len(kinds):
        raise InputError("the offer has two sections of a kind: send one audio and one video")
    if strange := sorted(set(kinds) - _KINDS):
        raise InputError(f"the offer has a section of kind {strange[0][:20]}: send audio and video")
    return lines


def _check_media(description: SessionDescription, role: Role) -> None:
    sections = {media.kind: media for media in reversed(description.media)}
    if not sections.keys() & {"audio", "video"}:
        raise InputError("the offer has no audio and no video section: add a transceiver")
    sound = sections.get("audio")
    if role is not Role.PLAY and (sound is None or sound.direction not in SENDING):
        raise InputError("the offer sends no sound: add a sendrecv or sendonly audio transceiver")
    receives = any(media.direction in RECEIVING for media in sections.values())
    if role is not Role.SEND and not receives:
        raise InputError("the offer receives nothing: add a recvonly video transceiver")
    mids = [media.rtp.muxId for media in description.media]
    bundled = [mid for group in description.group for mid in group.items]
    if len(set(mids)) < len(mids) or not set(bundled) <= set(mids):
        raise InputError("the offer's sections and its BUNDLE group name different mids")
    for media in description.media:
        secured = media.dtls is not None and media.dtls.fingerprints
        if not secured or media.ice is None or not media.ice.usernameFragment:
            raise InputError("the offer lacks a fingerprint or ICE credentials: use WebRTC")
