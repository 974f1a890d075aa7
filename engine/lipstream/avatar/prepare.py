"""What a model finds in the faces of an avatar before any sound; computed once, kept in a file.

Computing takes 25 ms a face for Wav2Lip, and one frame for the mouth at rest: seconds for an
avatar. What is kept is mapped, so several programs share it in memory. It is the same numbers, to
the bit: everything they depend on is in the key, and a file that is damaged or has another key is
made anew. On a GPU computing is faster than reading, and nothing is kept.
"""

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import BANDS, SILENCE
from lipstream.inference.model import Features, MouthModel
from lipstream.storage import (
    MISSTATED,
    PackError,
    PackKind,
    atomic_write,
    read_pack,
    unique_writer,
    user_cache,
    write_pack,
)

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""Of all that is kept; beyond it, what was not used for longest is deleted. A face of Wav2Lip-96
takes 0.73 MB, one of the embedded model 0.36 MB."""
_KIND = PackKind(b"LIPFACE\0", 1, "a file of prepared faces")
_LEAST_FACES = 8
"""Fewer are computed faster than they are worth keeping."""
_BATCH = 16


@dataclass(frozen=True, slots=True)
class PreparedFaces:
    """What a model knows of F faces; shared by sessions, never written."""

    features: Features
    """Name -> (F, ...) array."""
    silent: NDArray[np.uint8]
    """(F, rows, S, 3) uint8 BGR: what the model paints in silence."""


def prepare_faces(model: MouthModel, faces: NDArray[np.uint8]) -> PreparedFaces:
    """Return what was kept of (F, S, S, 3) uint8 BGR faces, or compute it and keep it."""
    key = _key(model, faces)
    if key is None:
        return _compute(model, faces)
    path = _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.faces"
    cached = _load(path, key)
    if cached is not None and _fits(cached, model, len(faces)):
        return cached
    computed = _compute(model, faces)
    _keep(path, key, computed)
    return computed


def _folder() -> Path:
    return user_cache() / "faces"


def _key(model: MouthModel, faces: NDArray[np.uint8]) -> str | None:
    """Return all that the numbers depend on, or None where they are not kept."""
    if len(faces) < _LEAST_FACES or model.device != "cpu":
        return None
    digest = hashlib.sha256(np.ascontiguousarray(faces).data).hexdigest()
    # runtimes choose their kernels, and so the order of sums, by what the processor can do
    return json.dumps([*model.identity, faces.shape, digest, cv2.getCPUFeaturesLine()])


def _compute(model: MouthModel, faces: NDArray[np.uint8]) -> PreparedFaces:
    parts = [model.face_features(faces[at : at + _BATCH]) for at in range(0, len(faces), _BATCH)]
    silent = np.concatenate([_silent_mouths(model, part) for part in parts])
    names = model.manifest.features
    return PreparedFaces({n: np.concatenate([part[n] for part in parts]) for n in names}, silent)


def _silent_mouths(model: MouthModel, features: Features) -> NDArray[np.uint8]:
    count = len(next(iter(features.values())))
    mel = np.full((count, 1, BANDS, model.manifest.mel_columns), SILENCE, np.float32)
    return model.mouth(mel, features).copy()


def _load(path: Path, key: str) -> PreparedFaces | None:
    """Return what ``_keep`` wrote for this key, or None."""
    if not path.exists():
        return None
    try:
        # writable, though nobody writes: OpenVINO copies what is read-only at every run
        pack = read_pack(path, _KIND, writable=True)
        header: Any = json.loads(pack.text)
        if header["key"] != key:
            raise PackError("is of another model or avatar")
        features = {name: pack.section(header, name) for name in header["features"]}
        faces = PreparedFaces(features, pack.section(header, "silent mouths"))
    except (PackError, *MISSTATED) as error:
        log.warning("%s %s: the faces are prepared again", path, error)
        return None
    with contextlib.suppress(OSError):  # a folder that cannot be written may still be read
        os.utime(path)
    return faces


def _fits(cached: PreparedFaces, model: MouthModel, count: int) -> bool:
    arrays = [*cached.features.values(), cached.silent]
    rows = model.manifest.mouth_bottom - model.manifest.mouth_top
    size = model.manifest.face_size
    return (
        tuple(cached.features) == model.manifest.features
        and all(len(array) == count for array in arrays)
        and cached.silent.shape[1:] == (rows, size, 3)
        and cached.silent.dtype == np.dtype(np.uint8)
    )


def _keep(path: Path, key: str, faces: PreparedFaces) -> None:
    """Write what was computed; a folder that cannot be written costs only time later."""
    sections = {**faces.features, "silent mouths": faces.silent}
    needed = sum(array.nbytes for array in sections.values())
    if needed > MOST_BYTES:
        log.info("prepared faces of %d MB are not kept: more than all may take", needed >> 20)
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_room(path.parent, needed)
        with atomic_write(path, unique_writer()) as unfinished:
            write_pack(unfinished, _KIND, {"key": key, "features": [*faces.features]}, sections)
        log.info("keeps the prepared faces, %d MB, in %s", needed >> 20, path)
    except OSError as error:
        log.warning("cannot keep %s (%s): prepared again next time", path, error.strerror)


def _make_room(folder: Path, needed: int) -> None:
    """Delete what was not used for longest, until ``needed`` bytes more are not too many."""
    files = sorted((path.stat().st_mtime, path) for path in folder.glob("*.faces"))
    files = [one for one in files if one[1].is_file()]
    room = MOST_BYTES - needed - sum(path.stat().st_size for _, path in files)
    for _, path in files:
        if room >= 0:
            return
        room += path.stat().st_size
        path.unlink(missing_ok=True)
