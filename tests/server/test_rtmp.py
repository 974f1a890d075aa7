"""RTMP of one who publishes: bytes by themselves, and in front of peers that misbehave."""

import random
import socket
import threading

import pytest

from lipstream.errors import MediaError
from lipstream_server import rtmp
from lipstream_server.rtmp import RtmpProtocol, RtmpPublisher, amf, explain, masked, read_amf
from server.rtmp_peers import Peer, TlsProxy, exactly, make_certificate


def tag(kind, body, timestamp):
    """A tag of an FLV file, with the length that follows it."""
    head = bytes([kind]) + len(body).to_bytes(3, "big") + (timestamp & 0xFFFFFF).to_bytes(3, "big")
    whole = head + bytes([timestamp >> 24]) + bytes(3) + body
    return whole + len(whole).to_bytes(4, "big")


FLV = b"FLV\x01\x05\x00\x00\x00\x09" + bytes(4)


def test_values_of_amf_come_back_as_they_went():
    values = ["connect", 1.0, {"app": "live", "inner": {"a": 2.5}}, None, "é"]
    assert read_amf(amf(*values)) == values


def test_messages_come_back_whole_however_they_are_cut():
    chance = random.Random(4)
    sent = [(9, chance.randbytes(200_000)), (8, b"sound"), (18, b""), (9, chance.randbytes(65_536))]
    wire = RtmpProtocol.message(1, (65_536).to_bytes(4, "big"))
    for number, (kind, body) in enumerate(sent):
        wire += RtmpProtocol.message(kind, body, 0xFFFFF0 + 20 * number, 1)  # some are extended
    protocol, got = RtmpProtocol(), []
    while wire:
        size = chance.randrange(1, 40_000)
        got += protocol.receive(wire[:size])
        wire = wire[size:]
    assert got[1:] == sent


def test_messages_of_several_channels_may_be_interleaved():
    body = amf("onStatus", 0, None, {"code": "x" * 300})
    one = RtmpProtocol.message(20, body)  # in one chunk, which is cut here as smaller ones are
    head, rest = one[:140], one[140:]
    further = [b"\xc3" + rest[at : at + 128] for at in range(0, len(rest), 128)]
    protocol = RtmpProtocol()
    pieces = [head, RtmpProtocol.message(4, b"\x00\x06abcd"), *further]
    got = [message for piece in pieces for message in protocol.receive(piece)]
    assert got == [(4, b"\x00\x06abcd"), (20, body)]


def test_flv_is_sent_as_messages_and_pings_are_answered():
    with Peer() as peer:
        publisher = RtmpPublisher(peer.url)
        written = FLV + tag(18, amf("onMetaData", {"width": 8}), 0) + tag(9, b"picture", 40)
        for at in range(0, len(written), 7):
            publisher.write(written[at : at + 7])
        publisher.close()
        publisher.close()
        assert peer.served.wait(5)
    kinds = [kind for kind, _ in peer.messages]
    assert kinds == [1, 20, 4, 20, 20, 20, 20, 18, 9, 20, 20]
    assert (4, b"\x00\x07\x00\x00\x00\x07") in peer.messages
    assert (18, amf("@setDataFrame", "onMetaData", {"width": 8})) in peer.messages
    assert (9, b"picture") in peer.messages


def test_a_stream_that_is_refused_says_why():
    refusal = pytest.raises(MediaError, match=r"refuses the stream: NetStream\.Publish\.BadName")
    with Peer(verdict="NetStream.Publish.BadName") as peer, refusal:
        RtmpPublisher(peer.url)


@pytest.mark.slow
def test_a_peer_that_stops_reading_is_given_up(monkeypatch):
    monkeypatch.setattr(rtmp, "PEER_SECONDS", 0.3)
    with Peer(reads=False) as peer:
        publisher = RtmpPublisher(peer.url)
        with pytest.raises(TimeoutError):
            publisher.write(FLV + tag(9, bytes(10_000_000), 40))
        publisher.close()


def test_what_does_not_speak_rtmp_is_told_from_it():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            exactly(connection, 1537)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(2000))
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(MediaError, match="does not speak RTMP"):
            RtmpPublisher(f"rtmp://127.0.0.1:{listener.getsockname()[1]}/live/key")


@pytest.fixture
def refused_over_tls(tmp_path):
    """Return what a person is told of a push over TLS to somebody with a certificate for a host."""

    def push(host):
        with Peer() as peer, TlsProxy(*make_certificate(tmp_path, host), peer.port) as proxy:
            try:
                RtmpPublisher(f"rtmps://127.0.0.1:{proxy.port}/live/key").close()
            except OSError as error:
                socket.create_connection(("127.0.0.1", peer.port)).close()  # it need not wait
                return explain("there", error)
            return ""

    return push


def test_over_tls_a_trusted_certificate_is_taken(refused_over_tls, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "IP:127.0.0.1.pem"))
    assert refused_over_tls("IP:127.0.0.1") == ""


def test_over_tls_a_strange_certificate_is_refused_and_told_what_to_do(refused_over_tls):
    told = refused_over_tls("IP:127.0.0.1")
    assert "there shows a certificate that is not trusted, self-signed certificate" in told
    assert "SSL_CERT_FILE" in told


def test_over_tls_a_certificate_for_another_host_is_refused(
    refused_over_tls, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "DNS:live.example.org.pem"))
    assert "IP address mismatch" in refused_over_tls("DNS:live.example.org")


def test_a_server_without_tls_is_told_from_one_with():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(MediaError, match="does not answer in TLS"):
            RtmpPublisher(f"rtmps://127.0.0.1:{listener.getsockname()[1]}/live/key")


def test_stream_keys_are_never_shown():
    assert masked("rtmp://a.example:1936/live2/abcd-efgh?x=1") == "rtmp://a.example:1936/live2/..."
    assert masked("camera:/dev/video2") == "camera:/dev/video2"
    assert masked("other:secret") == "other:..."
    assert masked("https://a.example/live/whip?key=1") == "https://a.example/live/..."
    assert masked("srt://a.example:9000?streamid=secret") == "srt://a.example:9000/..."
