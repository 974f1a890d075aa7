"""Avatars: a prepared face in one file (``storage``)."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.errors import AvatarError, InputError
from lipstream.face.crop import FacePicture, cut_crop
from lipstream.inference.manifest import embedded_folder
from lipstream.storage import (
    MISSTATED,
    Pack,
    PackError,
    PackKind,
    atomic_write,
    read_pack,
    write_pack,
)
from lipstream.types import Array, Float32, Image

VERSION = 1
SUFFIX = ".avatar"
Codec = Literal["raw", "jpeg"]
EMBEDDED = "ada"
"""Name of the avatar that is used when none is given."""
_KIND = PackKind(b"LIPAVTR\0", VERSION, "an avatar pack")
_JPEG_QUALITY = 95
_OPEN_MOUTH, _OPEN_MOUTH_CROP = "open mouth", "open mouth crop"
_FASTEST = 1000
"""Frames a second beyond which an avatar is misstated."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Avatar:
    """The frames of a face and where its crop lies in each; they repeat for ever."""

    name: str
    licence: str
    fps: Fraction
    """Rate at which the frames were made."""
    frames: NDArray[np.uint8]
    """(F, H, W, 3) uint8 BGR, read-only."""
    crops: Float32
    """(F, 2, 3) float32: unit crop coordinates to pixels (``face.crop.fit_crop``), read-only."""
    open_mouth: FacePicture | None = None
    """The same person with an open mouth, whose teeth are shown; read-only. Packs without it open,
    and programs that do not know it open packs that have it."""

    @classmethod
    def from_frames(
        cls,
        frames: Sequence[Image] | NDArray[np.uint8],
        crops: Sequence[Float32] | Float32,
        *,
        fps: Fraction | int = 25,
        name: str = "avatar",
        licence: str = "unknown",
    ) -> Self:
        """Make an avatar of frames of one size and the crop of each; the arrays are copied."""
        pictures, affines = np.array(frames, np.uint8), np.array(crops, np.float32)
        if pictures.ndim != 4 or pictures.shape[-1] != 3 or len(pictures) == 0:
            raise InputError(f"avatar frames must be (F, H, W, 3) with F > 0, got {pictures.shape}")
        if affines.shape != (len(pictures), 2, 3) or not np.isfinite(affines).all():
            raise InputError(
                f"an avatar of {len(pictures)} frames needs as many finite (2, 3) crops,"
                f" got {affines.shape}"
            )
        return cls(name, licence, Fraction(fps), _frozen(pictures), _frozen(affines))

    def with_open_mouth(self, shown: FacePicture | None) -> Self:
        """Return the avatar with the teeth of another picture, which is copied."""
        if shown is None:
            return replace(self, open_mouth=None)
        image, crop = np.array(shown.image, np.uint8), np.array(shown.crop, np.float32)
        return replace(self, open_mouth=FacePicture(_frozen(image), _frozen(crop)))

    @classmethod
    def open(cls, path: Path | str | None = None) -> Self:
        """Open a pack, or an embedded avatar by its name; by default EMBEDDED.

        Raw frames are read whole, JPEG frames decoded. Raises AvatarError when
        the file is missing, of another version or damaged, or no avatar has this name.
        """
        path = Path(path or EMBEDDED)
        path = embedded_pack(path) or path
        try:
            pack = read_pack(path, _KIND)
        except PackError as error:
            raise AvatarError(
                f"avatar {path} {error}: copy it again, or make one with 'lipstream avatar make'"
            ) from error
        try:
            header = json.loads(pack.text)
            frames = _load_frames(header, pack)
            crops = pack.section(header, "crops")
            fps = Fraction(*header["fps"])
            fits = frames.ndim == 4 and frames.shape[3] == 3 and frames.dtype == np.uint8
            if not fits or crops.shape != (len(frames), 2, 3) or crops.dtype != np.float32:
                raise ValueError("its sections do not fit together")
            if 0 in frames.shape or not 0 < fps <= _FASTEST:
                raise ValueError("its sections do not fit together")
            if not np.isfinite(crops).all():
                raise ValueError("a crop is not a number")
            open_mouth = _load_open_mouth(header, pack)
            return cls(str(header["name"]), str(header["licence"]), fps, frames, crops, open_mouth)
        except (*MISSTATED, cv2.error) as error:
            raise AvatarError(f"{path} is not a usable avatar: {error}; make it again") from error

    def save(self, path: Path | str, codec: Codec = "raw", quality: int = _JPEG_QUALITY) -> None:
        """Write the pack, whole or not at all.

        ``quality`` is that of JPEG, 1 to 100; raw frames lose nothing.
        """
        path = Path(path)
        sections: dict[str, Array] = {"crops": self.crops}
        if codec == "raw":
            sections["frames"] = self.frames
        else:
            sections["frames"], sections["ends"] = _encode(self.frames, quality)
        if self.open_mouth is not None:
            image = self.open_mouth.image
            stored = image if codec == "raw" else _encode(image[None], quality)[0]
            sections |= {_OPEN_MOUTH: stored, _OPEN_MOUTH_CROP: self.open_mouth.crop}
        try:
            with atomic_write(path) as unfinished:
                write_pack(unfinished, _KIND, self._header(codec), sections)
        except OSError as error:
            raise AvatarError(f"{path} cannot be written: {error.strerror}") from error

    def _header(self, codec: Codec) -> dict[str, Any]:
        return {
            "name": self.name,
            "licence": self.licence,
            "fps": [self.fps.numerator, self.fps.denominator],
            "codec": codec,
        }

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    @property
    def height(self) -> int:
        """Height of a frame in pixels."""
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        """Width of a frame in pixels."""
        return int(self.frames.shape[2])

    def at(self, index: int, fps: Fraction) -> int:
        """Return which of the avatar's frames shows under output frame ``index`` at ``fps``."""
        return int(index * self.fps / fps) % len(self.frames)

    def cut_crops(self, size: int) -> NDArray[np.uint8]:
        """Cut the face out of every frame: (F, size, size, 3) uint8 BGR, new."""
        pairs = zip(self.frames, self.crops, strict=True)
        return np.stack([cut_crop(frame, crop, size) for frame, crop in pairs])


def embedded_avatars() -> dict[str, Path]:
    """Return the packs that come with the package, by name."""
    packs = sorted((embedded_folder() / "avatars").glob("*.avatar"))
    return {pack.stem: pack for pack in packs}


def embedded_pack(name: Path) -> Path | None:
    """Return the embedded pack of this name, or None when ``name`` is the path of a file.

    A name has neither folder nor suffix, and no file is called so. Raises AvatarError when nobody
    has it.
    """
    if name.suffix or name.parent != Path() or name.exists():
        return None
    packs = embedded_avatars()
    if name.name not in packs:
        raise AvatarError(
            f"there is no file and no embedded avatar {name.name!r}:"
            f" give a file, or one of {', '.join(packs)}"
        )
    return packs[name.name]


def is_avatar(face: Path) -> bool:
    """Return whether ``face`` is a pack or names an embedded avatar.

    Raises AvatarError for a name that nobody has.
    """
    return face.suffix.lower() == SUFFIX or embedded_pack(face) is not None


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array


def _load_frames(header: dict[str, Any], pack: Pack) -> NDArray[np.uint8]:
    stored: NDArray[np.uint8] = pack.section(header, "frames")
    if header["codec"] == "raw":
        return stored
    if header["codec"] != "jpeg":
        raise ValueError(f"it holds frames in codec {header['codec']}")
    jpegs = np.split(stored, pack.section(header, "ends")[:-1])
    first = _decode(jpegs[0])
    frames = np.empty((len(jpegs), *first.shape), np.uint8)

    def decode(place: int) -> None:
        frames[place] = _decode(jpegs[place])

    with ThreadPoolExecutor(2, "avatar-decode") as pool:
        list(pool.map(decode, range(len(jpegs))))
    opened: NDArray[np.uint8] = _frozen(frames)
    return opened


def _load_open_mouth(header: dict[str, Any], pack: Pack) -> FacePicture | None:
    if _OPEN_MOUTH not in header["sections"]:
        return None
    stored: NDArray[np.uint8] = pack.section(header, _OPEN_MOUTH)
    crop: Float32 = pack.section(header, _OPEN_MOUTH_CROP)
    image = stored if header["codec"] == "raw" else _frozen(_decode(stored))
    fits = image.ndim == 3 and image.shape[-1] == 3 and image.dtype == np.uint8 and image.size > 0
    if not fits or crop.shape != (2, 3) or crop.dtype != np.float32 or not np.isfinite(crop).all():
        raise ValueError("its open mouth does not fit together")
    return FacePicture(image, crop)


def _decode(jpeg: NDArray[np.uint8]) -> Image:
    picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a frame cannot be decoded")
    return np.asarray(picture, np.uint8)


def _encode(frames: NDArray[np.uint8], quality: int) -> tuple[Array, Array]:
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    blobs = [cv2.imencode(".jpg", frame, settings)[1].ravel() for frame in frames]
    return np.concatenate(blobs), np.cumsum([len(blob) for blob in blobs])
