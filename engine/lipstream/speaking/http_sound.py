"""What a speech server sends, as int16: raw PCM as asked, or WAV from servers that know no other.

Blocks may be cut anywhere, in the middle of a sample and of the WAV header too.
"""

import re
from email.message import Message

import numpy as np

from lipstream.errors import BackendUnavailable
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
