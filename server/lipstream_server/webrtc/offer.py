"""Read an SDP offer from a stranger: say clearly what is wrong with it, or make it fit to use."""

import contextlib
import ipaddress
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from aiortc import RTCIceCandidate
from aiortc.sdp import SessionDescription, candidate_from_sdp

from lipstream.errors import InputError

log = logging.getLogger(__name__)

SENDING, RECEIVING = ("sendrecv", "sendonly"), ("sendrecv", "recvonly")
"""Directions of a media section in which the peer sends, or receives."""


MOST_LINES = 1000
"""Of an offer; a browser's has up to 400."""
MOST_CANDIDATES = 32
"""Addresses of an offer that are looked at."""
PACKET_MS = 10
"""Sound in a packet that a peer is asked for (RFC 8866, 6.4): a packet leaves when it is full."""
_KINDS = {"audio", "video", "application"}
_CODEC_LINES = (
    "a=rtpmap:",
    "a=fmtp:",
    "a=rtcp-fb:",
    "a=rid:",
    "a=simulcast:",
    "a=ssrc-group:",
    "a=extmap:",
)
"""Beginnings of lines that tell of codecs and layers."""
_PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
"""A header extension of pictures: how long they may be held."""
_USERNAME, _PASSWORD = re.compile(r"[A-Za-z0-9+/]{4,256}"), re.compile(r"[A-Za-z0-9+/]{22,256}")
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
    unread_types: frozenset[int] = frozenset()
    """Payload types of the pictures that the peer would send: nobody reads them."""
    picture_lines: tuple[str, ...] = ()
    """What the offer said of the codec that stands first for its pictures, where WHIP offers some:
    none of them is decoded, so that any codec will do, AV1 and HEVC in several layers included."""
    playout_delay_id: int = 0
    """What it calls the header extension for how long pictures may be held; 0 where it has none."""

    def finish(self, answer: str) -> str:
        """Return aiortc's answer as the protocol of the role wants it.

        Under WHIP and WHEP every section says that RTCP comes on the port of RTP alone (RFC 8858).
        WHIP answers pictures as received (RFC 9725, 4.2), with the codec that was offered, and asks
        for as few bits as there can be.
        """
        if self.role is not Role.SEND and self.playout_delay_id:
            line = f"a=extmap:{self.playout_delay_id} {_PLAYOUT_DELAY}"
            answer = _with_line(answer, "video", line)
        if self.role is not Role.PLAY:
            answer = _with_line(answer, "audio", f"a=ptime:{PACKET_MS}")
        if self.role is Role.BOTH:
            return answer
        lines, in_pictures = [], False
        for line in answer.splitlines():
            if line.startswith("m="):
                in_pictures = self.role is Role.SEND and line.startswith("m=video")
            if in_pictures and line.startswith(_CODEC_LINES):
                continue
            lines.append("a=recvonly" if in_pictures and line == "a=inactive" else line)
            if in_pictures and line.startswith("c="):
                lines.append("b=AS:1")
            if line == "a=rtcp-mux":
                lines.append("a=rtcp-mux-only")
                lines += self.picture_lines if in_pictures else ()
        return "\r\n".join(lines) + "\r\n"


def _with_line(answer: str, kind: str, line: str) -> str:
    """Return an answer with a line more in its section of a kind: aiortc knows nothing of it."""
    before, section, rest = answer.partition(f"m={kind} ")
    mid = re.search(r"a=mid:.*\r\n", rest)
    if mid is None:
        return answer
    return f"{before}{section}{rest[: mid.end()]}{line}\r\n{rest[mid.end() :]}"


def _playout_delay_id(lines: Iterable[str]) -> int:
    """Return what the offer calls the extension, 0 where it lacks it."""
    wanted = re.compile(rf"a=extmap:(\d{{1,3}})(/\w+)? {re.escape(_PLAYOUT_DELAY)}\s*")
    found = filter(None, map(wanted.fullmatch, lines))
    return next((int(one[1]) for one in found), 0)


def read_offer(body: bytes, role: Role, *, keep_candidates: bool) -> Offer:
    """Check an offer and return it without the addresses that are of no use.

    A browser's mDNS names (``.local``) are always left out: its own first check tells us its
    address sooner than asking the network could; so is loopback, where a stranger has no business
    and a browser of this machine is the first to check. ``keep_candidates`` keeps the rest; on
    loopback none is needed, and none is tried. Raises InputError.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("the offer is not text: send SDP as application/sdp") from None
    if not text.startswith("v=0"):
        raise InputError("the offer is not SDP: it must start with v=0")
    lines = _useful_lines(text, keep_candidates)
    first_codec: tuple[str, ...] = ()
    if role is Role.SEND:
        lines, first_codec = _with_any_codec(lines)
    sdp = "\r\n".join(lines) + "\r\n"
    try:
        description = SessionDescription.parse(sdp)
        _check_media(description, role)
        unread = _unread_types(text, description)
    except InputError:
        raise
    except Exception as error:  # the parser meets anything a stranger writes with any exception
        log.info("an offer could not be parsed: %r", error)
        raise InputError("the offer is not valid SDP: send what createOffer() gave") from error
    return Offer(sdp, role, unread, first_codec, _playout_delay_id(lines))


def _with_any_codec(lines: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return lines whose pictures are of a codec that aiortc knows, and what told of the first."""
    changed: list[str] = []
    told: list[str] = []
    first = ""
    for line in lines:
        if line.startswith("m="):
            words = line.split()
            first = words[3] if line.startswith("m=video ") and len(words) > 3 else ""
            changed.append(" ".join(words[:4]) if first else line)
            if first:
                changed.append(f"a=rtpmap:{first} VP8/90000")
        elif first and line.startswith(_CODEC_LINES):
            if line.startswith((f"a=rtpmap:{first} ", f"a=fmtp:{first} ")):
                told.append(line)
        else:
            changed.append(line)
    return changed, tuple(told)


def _unread_types(text: str, description: SessionDescription) -> frozenset[int]:
    """Return the payload types of pictures that the peer may send, but for those of its sound."""
    sending = {media.kind for media in description.media if media.direction in SENDING}
    types: dict[str, set[int]] = {}
    for line in text.splitlines():
        if line.startswith("m="):
            words = line.split()
            types[words[0][2:]] = {
                int(word) for word in words[3:] if word.isascii() and word.isdecimal()
            }
    pictures = types.get("video", set()) if "video" in sending else set()
    return frozenset(pictures - types.get("audio", set()))


def _useful_lines(text: str, keep_candidates: bool) -> list[str]:
    """Return the lines that are of use. Raises InputError when there are too many to read."""
    lines, candidates = [], 0
    for line in text.splitlines():
        if line.startswith("a=candidate:"):
            candidates += 1
            many = candidates > MOST_CANDIDATES
            if not keep_candidates or many or not _reaches_another_machine(line):
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


def _reaches_another_machine(line: str) -> bool:
    """Return whether a candidate names an address (RFC 8839, 5.1), and not one of loopback."""
    words = line.split()
    try:
        address = ipaddress.ip_address(words[4])
    except (IndexError, ValueError):
        return False
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


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


@dataclass(frozen=True, slots=True)
class IceFragment:
    """What a client tells of its ICE session after its offer (RFC 8840)."""

    username: str
    password: str
    candidates: tuple[RTCIceCandidate, ...]


def read_fragment(body: bytes, *, keep_candidates: bool) -> IceFragment:
    """Check a fragment of SDP. Candidates that are of no use are left out. Raises InputError."""
    try:
        lines = body.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise InputError("the fragment is not text: send SDP lines") from None
    values: dict[str, str] = {}
    candidates: list[RTCIceCandidate] = []
    for line in filter(None, lines):
        if line[1:2] != "=":
            raise InputError(f"the fragment has a line that is not SDP: {line[:40]}")
        name, _, value = line.removeprefix("a=").partition(":")
        if line.startswith("a=candidate:") and keep_candidates:
            with contextlib.suppress(Exception):  # one that cannot be read is of no use
                candidates.append(candidate_from_sdp(value))
        elif (
            line.startswith(("a=ice-ufrag:", "a=ice-pwd:"))
            and values.setdefault(name, value) != value
        ):
            raise InputError("the fragment names two ICE sessions: send one")
    username, password = values.get("ice-ufrag", ""), values.get("ice-pwd", "")
    if not (_USERNAME.fullmatch(username) and _PASSWORD.fullmatch(password)):
        raise InputError("the fragment lacks ice-ufrag and ice-pwd: send those of the ICE session")
    return IceFragment(username, password, tuple(candidates[:MOST_CANDIDATES]))
