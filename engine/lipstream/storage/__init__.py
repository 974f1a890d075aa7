"""Files that are whole or absent, their checksums, and named arrays in one mapped file.

A pack's layout, little-endian: 8 bytes magic, uint32 version, uint32 header length, 32 bytes
SHA-256 of all that follows, the header (JSON, UTF-8), zero bytes up to a multiple of 64, then the
sections that the header names by offset from there. Nothing is executed on loading.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import struct
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lipstream.types import Array

log = logging.getLogger(__name__)
_BLOB_MARK = b"lipstream engine 1\n"


@contextlib.contextmanager
def atomic_write(path: Path, writer: str = "") -> Generator[Path]:
    """Yield a place to write to, which gets the name ``path`` when the block ends well.

    It lies in the same folder, hidden, and has the same suffix. Whatever goes wrong, nothing is
    left of it, and an older file of that name is not touched. Several may write the same path at
    once if each gives a name of its own as ``writer``: the last one stays. Raises OSError.
    """
    unfinished = path.with_name(f".{path.name}{writer}.part{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it has its name, or it never was
            unfinished.unlink()


def unique_writer() -> str:
    """Return a name for ``atomic_write`` that no other thread or program uses."""
    return f".{os.getpid()}.{threading.get_ident()}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits. Raises OSError."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def user_cache() -> Path:
    """Return the folder of what can be made again; any of it may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lipstream"


def load_blob(path: Path) -> bytes | None:
    """Return what ``save_blob`` wrote, or None when it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head = len(_BLOB_MARK)
    digest, body = content[head : head + 32], content[head + 32 :]
    if content[:head] != _BLOB_MARK or hashlib.sha256(body).digest() != digest:
        log.warning("%s is damaged and will be built again", path)
        return None
    return body


def save_blob(path: Path, body: bytes) -> None:
    """Keep ``body`` with its checksum; a folder that cannot be written costs only time later."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(path, unique_writer()) as unfinished:
            unfinished.write_bytes(_BLOB_MARK + hashlib.sha256(body).digest() + body)
    except OSError as error:
        log.warning("cannot keep %s (%s): it is built again next time", path, error.strerror)


_PREFIX = struct.Struct("<8sII32s")
_ALIGN = 64


MISSTATED = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(MemoryError, RecursionError),
)
"""What reading a header that a stranger wrote may raise."""


class PackError(Exception):
    """What is wrong with a file that should be a pack: the rest of a sentence on it."""


@dataclass(frozen=True, slots=True)
class PackKind:
    """One sort of packs."""

    magic: bytes
    """The 8 bytes that its files begin with."""
    version: int
    what: str
    """What a file of this sort is, with its article."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that was read: its checksum holds."""

    text: bytes
    """The header, JSON in UTF-8."""
    body: memoryview

    def section(self, header: Mapping[str, Any], name: str) -> Any:
        """Return the array that the header, read from ``text``, names: a view of what was read.

        Raises one of MISSTATED when the header misstates it.
        """
        entry = header["sections"][name]
        dtype, shape, offset = np.dtype(entry["dtype"]), tuple(entry["shape"]), entry["offset"]
        if dtype.kind not in "biuf" or dtype.itemsize == 0:
            raise ValueError(f"section {name} has dtype {dtype}")
        if any(type(number) is not int or number < 0 for number in (*shape, offset)):
            raise ValueError(f"section {name} has no whole shape and offset")
        count = math.prod(shape)
        if offset + count * dtype.itemsize > len(self.body):
            raise ValueError(f"section {name} ends after the file")
        return np.frombuffer(self.body, dtype, count, offset).reshape(shape)


def read_pack(path: Path, kind: PackKind, *, writable: bool = False) -> Pack:
    """Read a pack into memory and check it; raises PackError.

    It is not mapped: a file that its owner overwrites in place while it is mapped ends the whole
    process by a signal (SIGBUS). The arrays are read-only, but for ``writable``.
    """
    try:
        held = np.fromfile(path, np.uint8).data
    except OSError as error:
        raise PackError(f"cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise PackError("cannot be read: there is not enough memory") from error
    if not held:
        raise PackError("cannot be read: it is empty")
    if len(held) < _PREFIX.size or bytes(held[:8]) != kind.magic:
        raise PackError(f"is not {kind.what}")
    _, version, length, digest = _PREFIX.unpack(held[: _PREFIX.size])
    if version != kind.version:
        raise PackError(f"is version {version}, this program reads {kind.version}")
    if hashlib.sha256(held[_PREFIX.size :]).digest() != digest:
        raise PackError("is damaged: its checksum differs")
    text = bytes(held[_PREFIX.size : _PREFIX.size + length])
    body = held[_aligned(_PREFIX.size + length) :]
    return Pack(text, body if writable else body.toreadonly())


def write_pack(
    path: Path, kind: PackKind, header: Mapping[str, Any], sections: Mapping[str, Array]
) -> None:
    """Write a pack, array by array: none is copied as a whole. Raises OSError."""
    offset = 0
    table: dict[str, Any] = {}
    for name, array in sections.items():
        table[name] = {"offset": offset, "dtype": array.dtype.str, "shape": array.shape}
        offset += _aligned(array.nbytes)
    text = json.dumps({**header, "sections": table}).encode()
    digest = hashlib.sha256()
    with path.open("wb") as opened:
        opened.seek(_PREFIX.size)
        for piece in _pieces(text, sections):
            digest.update(piece)
            opened.write(piece)
        opened.seek(0)
        opened.write(_PREFIX.pack(kind.magic, kind.version, len(text), digest.digest()))


def _pieces(text: bytes, sections: Mapping[str, Array]) -> Generator[bytes | memoryview]:
    """Return all that follows the prefix, in order."""
    yield text
    yield bytes(_aligned(_PREFIX.size + len(text)) - _PREFIX.size - len(text))
    for array in sections.values():
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        yield bytes(_aligned(array.nbytes) - array.nbytes)


def _aligned(length: int) -> int:
    return -(-length // _ALIGN) * _ALIGN
