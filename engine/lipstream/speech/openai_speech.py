"""Voices of a server that speaks OpenAI's ``/v1/audio/speech`` form, streamed as it makes them.

The form: POST ``{url}/audio/speech`` with ``{"model", "input", "voice", "response_format": "pcm"}``
answers with int16 little-endian mono (https://platform.openai.com/docs/api-reference/audio). Many
servers of other makers speak it. Redirects are not followed, so a key goes nowhere else.

A voice that is a sound file is to be imitated: it is sent with each sentence as ``voice_file`` of a
form to ``{url}/audio/speech/upload``, as servers of Chatterbox and Qwen3-TTS take it.
"""

import http.client
import ipaddress
import json
import os
import re
import secrets
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.speech.voices import SpeechChunk, SpeechSettings, VoiceCard
from lipstream.types import Pcm

_RAW = {"audio/pcm", "audio/l16", "audio/raw", "audio/x-raw", "application/octet-stream", ""}
_WAV = {"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"}
_LARGEST_HEADER = 4096
_UNKNOWN_SIZE = 0x7FFF0000
"""Sizes from here on are what programs write that stream: length unknown. So is 0."""
_PCM_FORMATS = (1, 0xFFFE)
"""WAVE_FORMAT_PCM and WAVE_FORMAT_EXTENSIBLE."""


class SoundAnswer:
    """Bytes in, samples out, for one answer of a server."""

    def __init__(self, server: str, rate: int, headers: Message) -> None:
        """Raises BackendUnavailable when the answer is no sound, or sound of another rate."""
        self._server, self._rate = server, rate
        self._held = b""
        self._in_header: bool | None = None  # None: the first bytes will tell
        self._left: int | None = None  # bytes of sound to come, where a WAV header says so
        kind = headers.get_content_type() if headers.get("Content-Type") else ""
        if kind not in _RAW | _WAV:
            raise BackendUnavailable(
                f"the speech server {server} answered with {kind} where sound was asked for:"
                " give --speech-url of a server that can send PCM"
            )
        told = re.search(r"rate=(\d+)", headers.get("Content-Type", ""))
        if told:
            self._check_rate(int(told[1]))

    @property
    def is_cut(self) -> bool:
        """Whether it ends in the middle of a sample or of its header."""
        return bool(self._held or self._left)

    def feed(self, block: bytes) -> Pcm:
        """Take bytes and return the (n,) samples that are complete, in a new array."""
        self._held += block
        if self._in_header is None and len(self._held) >= 4:
            self._in_header = self._held[:4] == b"RIFF"
        if self._in_header is None:
            return np.zeros(0, np.int16)
        if self._in_header:
            self._read_header()
        if self._in_header:
            return np.zeros(0, np.int16)
        if self._left is not None:  # after the sound a WAV may hold other things
            self._held = self._held[: self._left]
        whole = len(self._held) - len(self._held) % 2
        sound, self._held = self._held[:whole], self._held[whole:]
        if self._left is not None:
            self._left -= whole
        return np.frombuffer(sound, "<i2").astype(np.int16)

    def _read_header(self) -> None:
        """Leave the header behind once all of it is there."""
        at = 12
        while len(self._held) >= at + 8:
            name = self._held[at : at + 4]
            size = int.from_bytes(self._held[at + 4 : at + 8], "little")
            if name == b"data":
                self._left = size - size % 2 if 0 < size < _UNKNOWN_SIZE else None
                self._held, self._in_header = self._held[at + 8 :], False
                return
            if name == b"fmt " and len(self._held) >= at + 24:
                self._check_format(self._held[at + 8 : at + 24])
            at += 8 + size + size % 2
        if len(self._held) > _LARGEST_HEADER:
            raise BackendUnavailable(f"the speech server {self._server} sent a WAV without sound")

    def _check_format(self, fields: bytes) -> None:
        form, channels = np.frombuffer(fields[:4], "<u2")
        bits = int.from_bytes(fields[14:16], "little")
        if form not in _PCM_FORMATS or channels != 1 or bits != 16:
            raise BackendUnavailable(
                f"the speech server {self._server} sent WAV with {channels} channels of {bits} bits"
                f" (format {form}): have it send 16-bit mono"
            )
        self._check_rate(int.from_bytes(fields[4:8], "little"))

    def _check_rate(self, rate: int) -> None:
        if rate != self._rate:
            raise BackendUnavailable(
                f"the speech server {self._server} sends sound at {rate} Hz, not"
                f" {self._rate}: add --speech-rate {rate}"
            )


DEFAULT_VOICE = "alloy"
KEY_NAME = "LIPSTREAM_SPEECH_KEY"
"""Environment variable with the server's key, if it wants one."""
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
"""How long the server may be silent, before the answer and in the middle of it."""
LONGEST_SECONDS = 300
"""Sound of one sentence; what sends more is no voice."""
_BLOCK = 8192
"""Bytes read at most at once; less is taken as soon as it is there."""
_LONGEST_ERROR = 200
_SOUND_FILES = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".webm"}
"""What a voice ends in that is a file to be imitated."""
_LARGEST_REFERENCE = 20_000_000
"""Bytes of such a file; ten to thirty seconds of speech are what servers want."""
_ADVICE = {
    401: f"set {KEY_NAME} to the server's key",
    403: f"set {KEY_NAME} to a key that may use speech",
    404: "check --speech-url, --speech-model and --voice",
    429: "it has too much to do, or the key's limit is reached: try later",
}


@dataclass(frozen=True, slots=True)
class SpeechServer:
    """Where speech comes from."""

    host: str
    port: int
    secure: bool
    path: str
    """Begins with a slash, ends without."""
    key: str | None

    @property
    def name(self) -> str:
        """For messages: the host and port."""
        return f"{self.host}:{self.port}"


class HttpVoice:
    """A voice of a server. A connection for each sentence.

    The standard library's client, because ``stop`` must end a read that waits on another thread.
    httpx (0.28) and the openai client upon it cannot: closing a response or a client leaves the
    reader waiting until its timeout (4.4 s of 5 when tried), and before the answer begins there is
    no response to close. Here the socket is shut down, and the reader ends at once.
    """

    language = None
    """The server does not say, and many voices there speak many languages."""

    def __init__(self, server: SpeechServer, settings: SpeechSettings) -> None:
        self._server, self._settings = server, settings
        self._reference = _reference(settings.voice)
        self.name = settings.voice or DEFAULT_VOICE
        self.rate = settings.rate
        self._connection: http.client.HTTPConnection | None = None
        self._stopped = False

    def say(self, sentence: str, /) -> Iterator[SpeechChunk]:
        """Yield speech as it arrives. Raises BackendUnavailable saying what went wrong."""
        self._stopped = False
        connection = _connection(self._server)
        self._connection = connection
        try:
            yield from self._stream(connection, sentence)
        except (OSError, http.client.HTTPException) as error:
            if not self._stopped:
                raise BackendUnavailable(_reason(self._server, error)) from error
        finally:
            connection.close()

    def stop(self) -> None:
        """End ``say`` by hanging up."""
        self._stopped = True
        open_socket = None if self._connection is None else self._connection.sock
        if open_socket is not None:
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it had ended by itself

    def close(self) -> None:
        """Hang up."""
        self.stop()

    def _stream(
        self, connection: http.client.HTTPConnection, sentence: str
    ) -> Iterator[SpeechChunk]:
        _connect(connection, self._server)
        if self._stopped:
            return
        asked = self._request(sentence)
        path = f"{self._server.path}/audio/speech{asked.below}"
        connection.request("POST", path, asked.body, self._headers(asked.kind))
        answer = connection.getresponse()
        if answer.status != 200:
            raise BackendUnavailable(_refusal(self._server, answer))
        sound = SoundAnswer(self._server.name, self.rate, answer.headers)
        got = 0
        while block := answer.read1(_BLOCK):
            if self._stopped:
                return
            if len(pcm := sound.feed(block)):
                got += len(pcm)
                yield SpeechChunk(pcm)
            if got > LONGEST_SECONDS * self.rate:
                raise BackendUnavailable(
                    f"the speech server {self._server.name} sent {LONGEST_SECONDS} s of sound for"
                    f" {len(sentence)} characters and did not end: see its log"
                )
        if self._stopped:
            return
        if answer.length or sound.is_cut:  # length: bytes promised that never came
            raise BackendUnavailable(
                f"the speech server {self._server.name} hung up in mid-sentence, after"
                f" {got / self.rate:.1f} s of sound: try again, and see its log"
            )
        if got == 0:
            raise BackendUnavailable(
                f"the speech server {self._server.name} sent no sound: see its log, and whether"
                f" voice {self.name} is there"
            )

    def _request(self, sentence: str) -> "_Request":
        body: dict[str, str | float] = {
            "model": self._settings.model,
            "input": sentence,
            "response_format": "pcm" if self._reference is None else "wav",
        }
        if self._settings.speed != 1:
            body["speed"] = self._settings.speed
        if self._reference is None:
            body["voice"] = self.name
            return _Request("", "application/json", json.dumps(body).encode())
        return _form(body, self._reference)

    def _headers(self, kind: str) -> dict[str, str]:
        headers = {"Content-Type": kind, "Accept": "audio/*"}
        if self._server.key is not None:
            headers["Authorization"] = f"Bearer {self._server.key}"
        return headers


@dataclass(frozen=True, slots=True)
class _Request:
    """What is posted."""

    below: str
    """Path below ``/audio/speech``."""
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Reference:
    """Somebody's recorded voice."""

    name: str
    sound: bytes


def _reference(voice: str | None) -> _Reference | None:
    """Read the file that a voice names, if it does. Raises InputError."""
    path = Path(voice or "")
    if path.suffix.lower() not in _SOUND_FILES:
        return None
    try:
        if path.stat().st_size > _LARGEST_REFERENCE:
            raise InputError(
                f"{path} has more than {_LARGEST_REFERENCE // 1_000_000} MB: half a minute of the"
                " voice is enough"
            )
        return _Reference(path.name, path.read_bytes())
    except OSError as error:
        raise InputError(
            f"the voice {path} cannot be read: {error.strerror}; give a recording of whom to"
            " imitate, or a name that the server knows"
        ) from error


def _form(fields: Mapping[str, str | float], reference: _Reference) -> _Request:
    """Return fields and a file as ``multipart/form-data`` (RFC 7578)."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    name = re.sub(r'["\r\n\\]', "_", reference.name)
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="voice_file"; filename="{name}"'
        "\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    end = f"\r\n--{boundary}--\r\n".encode()
    body = "".join(parts).encode() + reference.sound + end
    return _Request("/upload", f"multipart/form-data; boundary={boundary}", body)


def open_voice(settings: SpeechSettings) -> HttpVoice:
    """Check the server's address; nothing is asked of it before there is something to say."""
    return HttpVoice(_server(settings.url), settings)


def list_voices(settings: SpeechSettings) -> Sequence[VoiceCard]:
    """Return the voice asked for: the form has no way to ask a server which it has."""
    return [VoiceCard(name := settings.voice or DEFAULT_VOICE, None, name)]


def _server(url: str | None) -> SpeechServer:
    if not url:
        raise InputError(
            "speech from a server needs its address: --speech-url http://127.0.0.1:8880/v1"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if host is None or parts.scheme not in ("http", "https") or parts.query or parts.username:
        raise InputError(
            f"--speech-url {url} is no address of a server: give one such as"
            " http://127.0.0.1:8880/v1"
        )
    secure = parts.scheme == "https"
    key = os.environ.get(KEY_NAME) or None
    if key is not None and not secure and not _is_local(host):
        raise InputError(f"{KEY_NAME} would travel in the open to {host}: give an https:// address")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InputError(f"{KEY_NAME} holds characters that no key has: set it again")
    return SpeechServer(host, port or (443 if secure else 80), secure, parts.path.rstrip("/"), key)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _connection(server: SpeechServer) -> http.client.HTTPConnection:
    if server.secure:
        return http.client.HTTPSConnection(server.host, server.port, timeout=CONNECT_SECONDS)
    return http.client.HTTPConnection(server.host, server.port, timeout=CONNECT_SECONDS)


def _connect(connection: http.client.HTTPConnection, server: SpeechServer) -> None:
    try:
        connection.connect()
    except (ConnectionError, socket.gaierror, TimeoutError) as error:
        raise BackendUnavailable(
            f"there is no speech server at {server.name}: start it, or correct --speech-url"
        ) from error
    connection.sock.settimeout(ANSWER_SECONDS)


def _refusal(server: SpeechServer, answer: http.client.HTTPResponse) -> str:
    try:
        message = " ".join(answer.read(4096).decode("utf-8", "replace").split())
    except (OSError, http.client.HTTPException):
        message = ""
    quoted = f" ({message[:_LONGEST_ERROR]})" if message.isprintable() and message else ""
    advice = _ADVICE.get(answer.status, "see its log")
    return f"the speech server {server.name} answered HTTP {answer.status}{quoted}: {advice}"


def _reason(server: SpeechServer, error: Exception) -> str:
    name = server.name
    if isinstance(error, TimeoutError):
        return (
            f"the speech server {name} stopped answering: nothing came for"
            f" {ANSWER_SECONDS:.0f} s; try again, and see its log"
        )
    if isinstance(error, ssl.SSLError):
        return f"the speech server {name} cannot be trusted ({error.reason}): check --speech-url"
    if isinstance(error, http.client.IncompleteRead | ConnectionError):
        return f"the speech server {name} hung up in mid-sentence: try again, and see its log"
    return f"the speech server {name} cannot be used ({error}): check --speech-url and its log"
