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
OFFER = (HEAD + NAMED + NUMBERED + "a=end-of-candidates\n").encode()


@pytest.mark.parametrize(("keep", "kept"), [(True, True), (False, False)])
def test_addresses_that_are_of_no_use_are_left_out(keep, kept):
    sdp = read_offer(OFFER, Role.BOTH, keep_candidates=keep).sdp
    assert ".local" not in sdp
    assert ("192.0.2.7" in sdp) is kept
    assert "end-of-candidates" not in sdp


@pytest.mark.parametrize("line", ["a=fingerprint", "a=ice-ufrag"])
def test_an_offer_without_credentials_is_refused(line):
    text = "\n".join(kept for kept in HEAD.splitlines() if not kept.startswith(line)) + "\n"
    with pytest.raises(InputError):
        read_offer(text.encode(), Role.BOTH, keep_candidates=False)
