"""Packs: named arrays and a header in one file, checked and memory-mapped.

Layout, little-endian: 8 bytes magic, uint32 version, uint32 header length, 32 bytes SHA-256 of all
that follows, the header (JSON, UTF-8), zero bytes up to a multiple of 64, then the sections that
the header names by offset from there. Nothing is executed on loading.
"""

import hashlib
import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lipstream.types import Array

_PREFIX = struct.Struct("<8sII32s")
_ALIGN = 64


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
        """Return the array that the header, read from ``text``, names: a view of the file.

        Raises KeyError, TypeError or ValueError when the header misstates it.
        """
        entry = header["sections"][name]
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        if dtype.hasobject:
            raise ValueError(f"section {name} has dtype {dtype}")
        count = int(np.prod(shape))
        return np.frombuffer(self.body, dtype, count, int(entry["offset"])).reshape(shape)


def read_pack(path: Path, kind: PackKind, *, writable: bool = False) -> Pack:
    """Map a pack and check it; raises PackError.

    ``writable`` maps it so that its arrays may be written to, which changes neither the file nor
    what others see of it; without it they are read-only.
    """
    access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
    try:
        with path.open("rb") as opened:
            mapped = memoryview(mmap.mmap(opened.fileno(), 0, access=access))
    except (OSError, ValueError) as error:
        reason = "it is empty" if isinstance(error, ValueError) else error.strerror
        raise PackError(f"cannot be read: {reason}") from error
    if len(mapped) < _PREFIX.size or mapped[:8] != kind.magic:
        raise PackError(f"is not {kind.what}")
    _, version, length, digest = _PREFIX.unpack(mapped[: _PREFIX.size])
    if version != kind.version:
        raise PackError(f"is version {version}, this program reads {kind.version}")
    if hashlib.sha256(mapped[_PREFIX.size :]).digest() != digest:
        raise PackError("is damaged: its checksum differs")
    text = bytes(mapped[_PREFIX.size : _PREFIX.size + length])
    return Pack(text, mapped[_aligned(_PREFIX.size + length) :])


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


def _pieces(text: bytes, sections: Mapping[str, Array]) -> Iterator[bytes | memoryview]:
    """Return all that follows the prefix, in order."""
    yield text
    yield bytes(_aligned(_PREFIX.size + len(text)) - _PREFIX.size - len(text))
    for array in sections.values():
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        yield bytes(_aligned(array.nbytes) - array.nbytes)


def _aligned(length: int) -> int:
    return -(-length // _ALIGN) * _ALIGN
