"""Frames before and after, side by side in one picture."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from lipstream.errors import MediaError
from lipstream.media import Film
from lipstream.storage.atomic_files import written_whole
from lipstream.types import Image

PAIRS = 8
"""Pairs of pictures on a sheet."""
_WIDTH, _GAP = 320, 8
_ACROSS = 2
"""Pairs in a row."""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def check_sheet_name(path: Path) -> None:
    """Raise MediaError for a place or name unfit."""
    if path.suffix.lower() not in _SUFFIXES:
        endings = ", ".join(sorted(_SUFFIXES))
        raise MediaError(f"cannot write {path.name}: a contact sheet's name ends in {endings}")
    if not path.parent.is_dir():
        raise MediaError(f"cannot write {path}: there is no folder {path.parent}; make it first")


def sheet_frames(frames: int) -> list[int]:
    """Return which frames of a film are shown: in the middles of equal parts."""
    pairs = min(PAIRS, frames)
    return [frames * (2 * k + 1) // (2 * pairs) for k in range(pairs)]


def write_sheet(path: Path, film: Path, frames: int, before: Callable[[int], Image]) -> None:
    """Write a contact sheet of a film and the pictures it was made from. Raises MediaError."""
    after = Film(film)
    pairs = []
    for frame in sheet_frames(frames):
        shown = next(after.pictures(first=frame), None)
        if shown is not None:
            pairs.append(np.hstack([_small(before(frame)), _small(shown)]))
    done, encoded = cv2.imencode(path.suffix.lower(), _arranged(pairs))
    try:
        if not done:
            raise OSError("the picture cannot be encoded")
        with written_whole(path) as unfinished:
            unfinished.write_bytes(encoded.tobytes())
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror or error}") from error


def _small(image: Image) -> Image:
    height = max(1, round(_WIDTH * image.shape[0] / image.shape[1]))
    return np.asarray(cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def _arranged(pairs: Sequence[Image]) -> Image:
    high = max(pair.shape[0] for pair in pairs) + _GAP
    wide = 2 * _WIDTH + _GAP
    rows = -(-len(pairs) // _ACROSS)
    sheet = np.full((rows * high, min(_ACROSS, len(pairs)) * wide, 3), 255, np.uint8)
    for index, pair in enumerate(pairs):
        top, left = (index // _ACROSS) * high, (index % _ACROSS) * wide
        sheet[top : top + pair.shape[0], left : left + pair.shape[1]] = pair
    return sheet
