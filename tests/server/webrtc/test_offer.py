"""Offers are made fit to use."""

import pytest

from lipstream.errors import InputError
from lipstream_server.webrtc.offer import Role, read_offer

HEAD = """v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 00:11
a=setup:actpass
a=mid:0
a=sendrecv
a=rtcp-mux
a=rtpmap:111 opus/48000/2
"""
NAMED = "a=candidate:1 1 udp 2113937151 0b5e.local 50000 typ host generation 0\n"
NUMBERED = "a=candidate:2 1 udp 2113937151 192.0.2.7 50001 typ host generation 0\n"
LOOPBACK = "".join(
    f"a=candidate:{k} 1 udp 2113937151 {host} 22 typ host\n"
    for k, host in enumerate(("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"))
)
OFFER = (HEAD + NAMED + LOOPBACK + NUMBERED + "a=candidate:\n" + "a=end-of-candidates\n").encode()


@pytest.mark.parametrize(("keep", "kept"), [(True, True), (False, False)])
def test_addresses_that_are_of_no_use_are_left_out(keep, kept):
    sdp = read_offer(OFFER, Role.BOTH, keep_candidates=keep).sdp
    assert sdp.count("a=candidate") == kept
    assert ("192.0.2.7" in sdp) is kept
    assert "end-of-candidates" not in sdp


@pytest.mark.parametrize("line", ["a=fingerprint", "a=ice-ufrag"])
def test_an_offer_without_credentials_is_refused(line):
    text = "\n".join(kept for kept in HEAD.splitlines() if not kept.startswith(line)) + "\n"
    with pytest.raises(InputError):
        read_offer(text.encode(), Role.BOTH, keep_candidates=False)


LAYERED = (
    HEAD.replace("BUNDLE 0", "BUNDLE 0 1").replace("sendrecv", "sendonly")
    + """m=video 9 UDP/TLS/RTP/SAVPF 45 46
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 00:11
a=setup:actpass
a=mid:1
a=sendonly
a=rtcp-mux
a=rtpmap:45 AV1/90000
a=fmtp:45 profile=0;level-idx=8;tier=0
a=rtpmap:46 H265/90000
a=rid:low send
a=rid:high send
a=simulcast:send low;high
"""
)
"""As OBS offers: pictures of a codec that is not known here, in two layers."""


def test_pictures_of_any_codec_in_layers_are_answered_with_what_was_offered_first():
    offer = read_offer(LAYERED.encode(), Role.SEND, keep_candidates=False)
    assert offer.unread_types == {45, 46}
    assert "VP8" in offer.sdp
    assert "simulcast" not in offer.sdp
    sections = "m=video 9 UDP/TLS/RTP/SAVPF 45\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n"
    answer = offer.finish(sections + "a=rtcp-mux\r\na=rtpmap:45 VP8/90000\r\n")
    lines = answer.splitlines()
    assert "a=recvonly" in lines
    assert "a=rtpmap:45 AV1/90000" in lines
    assert "a=rtcp-mux-only" in lines
    assert not any("VP8" in line or "H265" in line for line in lines)


def test_a_viewer_of_a_codec_that_is_not_known_is_not_fooled():
    offered = LAYERED.replace("sendonly", "recvonly").encode()
    assert "AV1" in read_offer(offered, Role.PLAY, keep_candidates=False).sdp


@pytest.mark.parametrize(("role", "taken"), [(Role.BOTH, 1), (Role.PLAY, 1), (Role.SEND, 0)])
def test_a_viewer_that_can_show_pictures_at_once_is_told_that_it_may(role, taken):
    named = "a=extmap:9 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
    direction = "sendonly" if role is Role.SEND else "sendrecv"
    text = LAYERED.replace("sendonly", direction).replace("a=rid:low", f"{named}\na=rid:low")
    offer = read_offer(text.encode(), role, keep_candidates=False)
    assert offer.playout_delay_id == (9 if taken else 0)
    answer = "m=audio 9\r\na=mid:0\r\nm=video 9\r\na=mid:1\r\na=sendonly\r\n"
    lines = offer.finish(answer).splitlines()
    assert lines.count(named) == taken
    if taken:
        assert lines.index(named) > lines.index("m=video 9")
    without = read_offer(
        LAYERED.replace("sendonly", direction).encode(), role, keep_candidates=False
    )
    assert "playout-delay" not in without.finish(answer)


@pytest.mark.parametrize(("role", "asked"), [(Role.BOTH, 1), (Role.SEND, 1), (Role.PLAY, 0)])
def test_who_speaks_is_asked_for_short_packets(role, asked):
    direction = "recvonly" if role is Role.PLAY else "sendrecv"
    text = LAYERED.replace("sendonly", direction)
    offer = read_offer(text.encode(), role, keep_candidates=False)
    lines = offer.finish("m=audio 9\r\na=mid:0\r\nm=video 9\r\na=mid:1\r\n").splitlines()
    assert lines.count("a=ptime:10") == asked
    if asked:
        assert lines.index("a=ptime:10") < lines.index("m=video 9")
