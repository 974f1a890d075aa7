"""RTMP of one who publishes: the protocol without a socket, and a connection for FFmpeg's FLV.

After Adobe's specification 1.0 (2012), with AMF 0 and FLV 10.1. FFmpeg's own has no end to its
waiting for a peer that stops reading, and does not tell a wrong key from a line that is down.
"""

import contextlib
import io
import secrets
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from av.error import ProtocolNotFoundError

from lipstream.errors import MediaError

PEER_SECONDS = 10.0
"""Time in which a peer must answer, or take what is sent."""
SEND_BUFFER = 256 * 1024
"""Bytes that the system holds of what was sent, a second or two: more would be shown late."""
_REASONS: dict[type[Exception], str] = {
    TimeoutError: f"has taken and said nothing for {PEER_SECONDS:.0f} s",
    ConnectionRefusedError: "refuses connections: is the server up, and the port right?",
    ConnectionError: "hung up",
    ssl.SSLEOFError: "hung up",
    socket.gaierror: "cannot be found: there is no host of that name",
    ProtocolNotFoundError: "needs an FFmpeg with SRT, which that of the package av has not",
}
_AMF_END = b"\x00\x00\x09"
_FLV_HEADER = 13
"""Bytes of an FLV file's header, and of the length of the tag before the first."""
_CHUNK = 65_536
"""Bytes of the chunks that are sent."""
_SET_CHUNK, _CONTROL, _AUDIO, _VIDEO, _DATA, _COMMAND = 1, 4, 8, 9, 18, 20
_CHANNELS = {_SET_CHUNK: 2, _CONTROL: 2, _COMMAND: 3, _AUDIO: 4, _DATA: 5, _VIDEO: 6}


def amf(*values: Any) -> bytes:
    """Return values in AMF 0 (Adobe's specification of it, 2)."""
    parts = []
    for value in values:
        if value is None:
            parts.append(b"\x05")
        elif isinstance(value, str):
            text = value.encode()
            parts.append(b"\x02" + struct.pack(">H", len(text)) + text)
        elif isinstance(value, dict):
            pairs = (amf(key)[1:] + amf(one) for key, one in value.items())
            parts.append(b"\x03" + b"".join(pairs) + _AMF_END)
        else:
            parts.append(b"\x00" + struct.pack(">d", value))
    return b"".join(parts)


def read_amf(sent: bytes) -> list[Any]:
    """Return the values of a command; raises ValueError or struct.error for what is none."""
    stream, values = io.BytesIO(sent), []
    while (kind := stream.read(1)) != b"":
        values.append(_read_value(stream, kind[0]))
    return values


def _read_value(stream: io.BytesIO, kind: int) -> Any:
    if kind == 0:
        return struct.unpack(">d", stream.read(8))[0]
    if kind == 1:
        return stream.read(1) != b"\x00"
    if kind == 2:
        return _read_text(stream)
    if kind in (5, 6):
        return None
    if kind in (3, 8):
        stream.read(4 if kind == 8 else 0)
        pairs: dict[str, Any] = {}
        while True:
            key = _read_text(stream)
            mark = stream.read(1)
            if mark in (b"\x09", b""):
                return pairs
            pairs[key] = _read_value(stream, mark[0])
    raise ValueError(f"AMF of kind {kind} is not read")


def _read_text(stream: io.BytesIO) -> str:
    (length,) = struct.unpack(">H", stream.read(2))
    return stream.read(length).decode("utf-8", "replace")


@dataclass(slots=True)
class _Message:
    """A message that is being put together from its chunks."""

    kind: int = 0
    length: int = 0
    body: bytes = b""


class RtmpProtocol:
    """The bytes of a publisher, without a socket: what to send, and what the peer's say."""

    def __init__(self) -> None:
        self._received = b""
        self._chunk = 128
        self._messages: dict[int, _Message] = {}

    @staticmethod
    def message(kind: int, body: bytes, timestamp: int = 0, stream: int = 0) -> bytes:
        """Return a message in chunks (RTMP 1.0, 5.3); ``timestamp`` is in milliseconds."""
        channel, extended = _CHANNELS[kind], b""
        if timestamp >= 0xFFFFFF:
            extended = struct.pack(">I", timestamp & 0xFFFFFFFF)
        short = min(timestamp, 0xFFFFFF).to_bytes(3, "big")
        head = short + len(body).to_bytes(3, "big") + bytes([kind]) + struct.pack("<I", stream)
        pieces = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)] or [b""]
        first = bytes([channel]) + head + extended + pieces[0]
        return first + b"".join(bytes([0xC0 | channel]) + extended + one for one in pieces[1:])

    def receive(self, sent: bytes) -> Iterator[tuple[int, bytes]]:
        """Take what has come, and yield kind and body of each message that is complete."""
        self._received += sent
        while (size := self._take_chunk()) is not None:
            self._received, message = self._received[size[0] :], size[1]
            if message is None:
                continue
            if message.kind == _SET_CHUNK:
                self._chunk = max(1, struct.unpack(">I", message.body[:4])[0] & 0x7FFFFFFF)
            yield message.kind, message.body

    def _take_chunk(self) -> tuple[int, _Message | None] | None:
        """Return the first chunk's size, and the message it completes; None when it is not all."""
        have = self._received
        if not have:
            return None
        form, channel, at = have[0] >> 6, have[0] & 0x3F, 1
        at += 1 if channel == 0 else 2 if channel == 1 else 0
        head = have[at : at + (11, 7, 3, 0)[form]]
        message = self._messages.setdefault(channel, _Message())
        kind, length = message.kind, message.length
        if len(head) < (11, 7, 3, 0)[form]:
            return None
        if form < 2:
            length, kind = int.from_bytes(head[3:6], "big"), head[6]
        at += len(head) + (4 if form < 3 and head[:3] == b"\xff\xff\xff" else 0)
        size = min(length - len(message.body), self._chunk)
        if len(have) < at + size:
            return None
        message.kind, message.length = kind, length
        message.body += have[at : at + size]
        if len(message.body) < length:
            return at + size, None
        self._messages[channel] = _Message(kind, length)
        return at + size, message


class RtmpPublisher:
    """A connection that publishes: a file for FFmpeg, which writes FLV into it. One thread's."""

    def __init__(self, url: str) -> None:
        """Connect and begin to publish; raises OSError, or MediaError when the peer refuses."""
        self.name = masked(url)
        parts = urlsplit(url)
        self._app, _, key = parts.path.lstrip("/").rpartition("/")
        self._key = f"{key}?{parts.query}" if parts.query else key
        self._protocol, self._flv = RtmpProtocol(), b""
        self._header = True
        secure = parts.scheme == "rtmps"
        address = (str(parts.hostname), parts.port or (443 if secure else 1935))
        self._socket = socket.create_connection(address, PEER_SECONDS)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            if secure:
                self._begin_tls(str(parts.hostname))
            self._shake_hands()
            self._publish(f"{parts.scheme}://{parts.netloc}/{self._app}")
        except BaseException:
            self._socket.close()
            raise

    def write(self, sent: bytes) -> int:
        """Send the FLV tags that are complete; raises OSError, MediaError."""
        self._flv += bytes(sent)
        if self._header and len(self._flv) >= _FLV_HEADER:
            self._flv, self._header = self._flv[_FLV_HEADER:], False
        while not self._header and len(self._flv) >= 11:
            size = int.from_bytes(self._flv[1:4], "big")
            if len(self._flv) < size + 15:
                break
            tag, self._flv = self._flv[: size + 11], self._flv[size + 15 :]
            timestamp = int.from_bytes(tag[7:8] + tag[4:7], "big")
            body = tag[11:]
            if tag[0] == _DATA:
                body = amf("@setDataFrame") + body
            self._send(tag[0], body, timestamp, self._stream)
        self._listen()
        return len(sent)

    def close(self) -> None:
        """Say that the stream has ended, and hang up. Closing twice is fine."""
        with contextlib.suppress(OSError):
            self._send(_COMMAND, amf("FCUnpublish", 6, None, self._key))
            self._send(_COMMAND, amf("deleteStream", 7, None, self._stream))
        self._socket.close()

    def _begin_tls(self, host: str) -> None:
        context = ssl.create_default_context()
        try:
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
        except ssl.SSLCertVerificationError:
            raise
        except OSError as error:
            raise MediaError(
                f"{self.name} does not answer in TLS: is that on another port, or is it rtmp://?"
            ) from error

    def _shake_hands(self) -> None:
        self._socket.sendall(b"\x03" + bytes(8) + secrets.token_bytes(1528))
        answer = self._read_exactly(1 + 1536)
        if answer[0] != 3:
            raise MediaError(f"{self.name}: what listens there does not speak RTMP")
        self._socket.sendall(answer[1:])
        self._read_exactly(1536)

    def _publish(self, where: str) -> None:
        self._send(_SET_CHUNK, struct.pack(">I", _CHUNK))
        about = {"app": self._app, "type": "nonprivate", "tcUrl": where, "flashVer": "FMLE/3.0"}
        self._send(_COMMAND, amf("connect", 1, about))
        self._await("connect", lambda words: words[:2] == ["_result", 1.0])
        self._send(_COMMAND, amf("releaseStream", 2, None, self._key))
        self._send(_COMMAND, amf("FCPublish", 3, None, self._key))
        self._send(_COMMAND, amf("createStream", 4, None))
        answer = self._await("createStream", lambda words: words[:2] == ["_result", 4.0])
        self._stream = int(answer[3])
        self._send(_COMMAND, amf("publish", 5, None, self._key, "live"), 0, self._stream)
        self._await("publish", lambda words: words[0] == "onStatus")

    def _send(self, kind: int, body: bytes, timestamp: int = 0, stream: int = 0) -> None:
        self._socket.sendall(self._protocol.message(kind, body, timestamp, stream))

    def _await(self, what: str, is_answer: Callable[[list[Any]], bool]) -> list[Any]:
        """Read until a command is answered, in bounded time."""
        end = time.monotonic() + PEER_SECONDS
        while time.monotonic() < end:
            try:
                sent = self._socket.recv(65_536)
            except ConnectionResetError:
                sent = b""
            if not sent:
                raise MediaError(f"{self.name} hung up at {what!r}: are path and stream key right?")
            for words in self._commands(sent):
                if is_answer(words):
                    return words
        raise TimeoutError

    def _listen(self) -> None:
        """Read what the peer has to say while it is sent to."""
        while select.select([self._socket], [], [], 0)[0]:
            try:
                sent = self._socket.recv(65_536)
            except ssl.SSLWantReadError:
                return
            if not sent:
                raise ConnectionResetError
            for _ in self._commands(sent):
                pass

    def _commands(self, sent: bytes) -> Iterator[list[Any]]:
        """Answer pings, and yield the commands; raises MediaError for one that refuses."""
        for kind, body in self._protocol.receive(sent):
            if kind == _CONTROL and body[:2] == b"\x00\x06":
                self._send(_CONTROL, b"\x00\x07" + body[2:6])
            if kind != _COMMAND:
                continue
            words = read_amf(body)
            told = next((one for one in words[2:] if isinstance(one, dict) and "code" in one), {})
            if words[0] == "_error" and words[1] in (2.0, 3.0):
                continue  # who does not know these commands does not need them
            if words[0] == "_error" or told.get("level") == "error":
                reason = told.get("description") or told.get("code") or "no reason given"
                raise MediaError(f"{self.name} refuses the stream: {reason}")
            yield words

    def _read_exactly(self, count: int) -> bytes:
        have = b""
        while len(have) < count:
            sent = self._socket.recv(count - len(have))
            if not sent:
                raise MediaError(f"{self.name} hung up at once: is it an RTMP server?")
            have += sent
        return have


def explain(where: str, error: Exception) -> str:
    """Return what a person is told when a peer cannot be pushed to."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{where} shows a certificate that is not trusted, {error.verify_message}: where it is"
            " of an authority of your own, name that one's file in SSL_CERT_FILE"
        )
    for kind, words in _REASONS.items():
        if isinstance(error, kind):
            return f"{where} {words}"
    if isinstance(error, OSError) and error.strerror:
        return f"{where}: {error.strerror}"
    return str(error)


def masked(url: str) -> str:
    """Return a URL without what is secret in it: the stream key, the query, a password."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return url if parts.scheme == "camera" else f"{parts.scheme}:..."
    port = f":{parts.port}" if parts.port else ""
    app = parts.path.lstrip("/").rpartition("/")[0]
    return f"{parts.scheme}://{parts.hostname}{port}/{app + '/' if app else ''}..."
