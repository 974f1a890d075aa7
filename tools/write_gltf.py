"""Write a binary glTF 2.0 (https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html)."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.storage import atomic_write

BYTE, UNSIGNED_BYTE, SHORT, UNSIGNED_SHORT = 5120, 5121, 5122, 5123
COMPONENTS = {BYTE: "i1", UNSIGNED_BYTE: "u1", SHORT: "<i2", UNSIGNED_SHORT: "<u2"}


@dataclass(slots=True)
class Gltf:
    """A file being written: what refers to what, and the bytes."""

    tree: dict[str, Any] = field(default_factory=dict)
    binary: bytearray = field(default_factory=bytearray)

    def add(self, table: str, **entry: Any) -> int:
        """Append an entry to a table; return its number."""
        rows = self.tree.setdefault(table, [])
        rows.append({name: value for name, value in entry.items() if value is not None})
        return len(rows) - 1

    def view(self, packed: bytes, **entry: Any) -> int:
        """Append bytes; return the number of their view."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        start = len(self.binary)
        self.binary += packed
        return self.add("bufferViews", buffer=0, byteOffset=start, byteLength=len(packed), **entry)

    def attribute(self, values: NDArray[Any], kind: int, *, normal: bool = True) -> int:
        """Append (n, k) whole numbers, one a vertex, each vertex on a boundary of 4 bytes."""
        dtype = np.dtype(COMPONENTS[kind])
        width = -(-values.shape[1] * dtype.itemsize // 4) * 4 // dtype.itemsize
        padded = np.zeros((len(values), width), dtype)
        padded[:, : values.shape[1]] = values
        view = self.view(padded.tobytes(), byteStride=width * dtype.itemsize, target=34962)
        return self.accessor(values, kind, normal=normal, bufferView=view)

    def sparse(self, rows: NDArray[np.int64], values: NDArray[Any], kind: int, count: int) -> int:
        """Append (n, 3) values of some of ``count`` vertices; the others are 0."""
        places = self.view(rows.astype("<u2").tobytes())
        packed = self.view(values.astype(COMPONENTS[kind]).tobytes())
        sparse = {
            "count": len(rows),
            "indices": {"bufferView": places, "componentType": UNSIGNED_SHORT},
            "values": {"bufferView": packed},
        }
        whole = np.concatenate([values, np.zeros((1, 3), values.dtype)])
        return self.accessor(whole, kind, normal=True, count=count, sparse=sparse)

    def accessor(self, values: NDArray[Any], kind: int, *, normal: bool, **entry: Any) -> int:
        """Append what says how values are read."""
        many = values.ndim > 1
        bounds = {"min": values.min(0).tolist(), "max": values.max(0).tolist()} if many else {}
        entry = {"count": len(values), **entry, **bounds}
        shape = f"VEC{values.shape[1]}" if many else "SCALAR"
        return self.add(
            "accessors", componentType=kind, type=shape, normalized=normal or None, **entry
        )

    def texture(self, picture: NDArray[np.uint8], quality: int, sampler: int) -> dict[str, int]:
        """Append a picture (BGR); return what refers to it."""
        return self.picture(picture, ".jpg", sampler, [cv2.IMWRITE_JPEG_QUALITY, quality])

    def picture(
        self, picture: NDArray[np.uint8], kind: str, sampler: int, options: Sequence[int] = ()
    ) -> dict[str, int]:
        """Append a picture (BGR or BGRA) as a file of a kind; return what refers to it."""
        _, packed = cv2.imencode(kind, picture, options)
        mime = {".jpg": "image/jpeg", ".png": "image/png"}[kind]
        image = self.add("images", mimeType=mime, bufferView=self.view(packed.tobytes()))
        return {"index": self.add("textures", source=image, sampler=sampler)}

    def write(self, path: Path) -> None:
        """Write the file when it is whole."""
        self.tree["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.tree, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + b"\0" * (-len(self.binary) % 4)
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(
                struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
                + struct.pack("<I4s", len(text), b"JSON")
                + text
                + struct.pack("<I4s", len(binary), b"BIN\0")
                + binary
            )


def material(
    gltf: Gltf,
    name: str,
    colour: Sequence[float] = (1, 1, 1),
    rough: float = 1.0,
    *,
    surface: Mapping[str, Any] | None = None,
    **more: Any,
) -> int:
    """Append a material that is no metal; ``colour`` is linear, ``surface`` holds its pictures."""
    plain = {"baseColorFactor": [*colour, 1.0], "metallicFactor": 0.0, "roughnessFactor": rough}
    return gltf.add(
        "materials", name=name, pbrMetallicRoughness={**plain, **(surface or {})}, **more
    )
