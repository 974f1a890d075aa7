"""Read an SDP offer from a stranger: say clearly what is wrong with it, or make it fit to use."""

import logging
from dataclasses import dataclass
from enum import Enum

from aiortc.sdp import SessionDescription

from lipstream.errors import InputError

log = logging.getLogger(__name__)

SENDING, RECEIVING = ("sendrecv", "sendonly"), ("sendrecv", "recvonly")
"""Directions of a media section in which the peer sends, or receives."""


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
    lines = [line for line in text.splitlines() if line and _is_kept(line, keep_candidates)]
    sdp = "\r\n".join(lines) + "\r\n"
    try:
        _check_media(SessionDescription.parse(sdp), role)
    except InputError:
        raise
    except Exception as error:  # the parser meets anything a stranger writes with any exception
        log.info("an offer could not be parsed: %r", error)
        raise InputError("the offer is not valid SDP: send what createOffer() gave") from error
    return Offer(sdp, role)


def _is_kept(line: str, keep_candidates: bool) -> bool:
    if line.startswith("a=end-of-candidates"):
        return False  # else a peer whose first check is still on its way counts as out of reach
    if line.startswith("a=candidate:"):
        return keep_candidates and ".local " not in line
    return True


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
    for media in description.media:
        secured = media.dtls is not None and media.dtls.fingerprints
        if not secured or media.ice is None or not media.ice.usernameFragment:
            raise InputError("the offer lacks a fingerprint or ICE credentials: use WebRTC")
