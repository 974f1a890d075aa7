"""A mouth model: its graphs and their manifest, opened and checked.

A model of *shapes* has one graph, ``lips``: sound to how the lips stand, a handful of floats a
frame, the same for every face. A model of *pixels* has two: ``face`` runs once
for each avatar frame when the avatar is prepared; ``mouth`` runs for each frame shown. A model
folder holds ``model.toml`` and the files it names: in fp32, and for pixels it may hold
``mouth_fp16`` and ``mouth_int8`` besides, and ``mouth_int8_plan``: int8 for our own kernels.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import BANDS
from lipstream.errors import BackendUnavailable, InputError, ModelError
from lipstream.inference.backends import (
    Backend,
    BankRow,
    Device,
    FeatureBank,
    PasteTarget,
    PastingBackend,
    available_backends,
    backend_named,
    backends_for,
    open_backend,
)
from lipstream.inference.manifest import (
    ModelManifest,
    checked_file,
    model_folder,
    parse_manifest,
    read_toml,
)
from lipstream.timing import FASTEST_FPS, SLOWEST_FPS, Timing, check_rate, exact_fps
from lipstream.types import Array, Float32, Planes

log = logging.getLogger(__name__)

_OWN_GRAPHS = ("fp16", "int8")
"""Precisions that are written into the graphs; the others are ways to compute the fp32 ones."""
_MEASURES = 17
"""Lip measures (``lips.shape``)."""
Features = dict[str, Array]
"""Feature name -> array whose first axis counts faces."""


@dataclass(frozen=True, slots=True)
class _How:
    """The backend and what it is told."""

    backend: str
    threads: int
    precision: str
    frame_threads: int

    def open(self, path: Path, name: str) -> Backend:
        return open_backend(path, name, self.threads, self.precision, self.frame_threads)


class MouthModel:
    """The graphs of a mouth model in one backend. Used by one thread."""

    def __init__(
        self,
        manifest: ModelManifest,
        open_face: Callable[[], Backend],
        mouth: Backend,
        identity: tuple[str, ...],
    ) -> None:
        """Take the mouth graph, and what opens the face graph, which waits for its first use."""
        self.manifest = manifest
        self.identity = identity
        """What its numbers depend on: checksums of its graphs, runtime, and how it computes."""
        self._open_face, self._mouth = open_face, mouth
        self._face: Backend | None = None

    @classmethod
    def open(
        cls,
        folder: Path | str | None = None,
        *,
        backend: str = "auto",
        threads: int = 0,
        precision: str = "fp32",
        frame_threads: int = 1,
    ) -> Self:
        """Open a model folder, or an embedded model by its name; by default EMBEDDED.

        ``precision`` is one of ``backends.PRECISIONS``; a lower one is faster and changes the
        picture a little. ``frame_threads`` is how many threads may run the mouth at once on a
        processor, one of them with this model, the others each with a ``clone``. The face graph is
        checked, and compiled when it is first used: an avatar that is prepared already has no need
        of it. Raises ModelError when a part is missing, fails its checksum or does not fit the
        manifest, and BackendUnavailable when the backend asked for cannot run here.
        """
        folder = model_folder(None if folder is None else Path(folder))
        table = read_toml(folder)
        manifest = parse_manifest(table, folder)
        how = _How(backend, threads, precision, frame_threads)
        if manifest.paints == "shape":
            return cls._open_shape(folder, table, how)
        _check_precision(manifest, table, precision)
        face_path = checked_file(folder, table, "face")
        with contextlib.ExitStack() as opened:
            mouth, part = _open_mouth(folder, table, how)
            opened.callback(mouth.close)
            _check_mouth(manifest, mouth)
            opened.pop_all()
        face_backend = _face_backend(mouth)

        def open_face() -> Backend:
            with contextlib.ExitStack() as opened:
                face = open_backend(face_path, face_backend, threads)
                opened.callback(face.close)
                _check_face(manifest, face)
                opened.pop_all()
            return face

        digests = [str(table["files"][one]["sha256"]) for one in ("face", part)]
        at_once = "alone" if frame_threads == 1 else "several at once"
        computed = f"{precision}, {threads} threads, {at_once}"
        return cls(manifest, open_face, mouth, (*digests, mouth.name, mouth.library, computed))

    @classmethod
    def _open_shape(cls, folder: Path, table: dict[str, Any], how: _How) -> Self:
        """Open a model of shapes; its one graph is computed as it is where it has no other."""
        manifest = parse_manifest(table, folder)
        reads_plans = how.backend != "auto" and backend_named(how.backend).form == "plan"
        if how.precision in _OWN_GRAPHS or reads_plans:  # too small to gain anything
            how = replace(how, precision="fp32", backend="auto")
        with contextlib.ExitStack() as opened:
            lips = how.open(checked_file(folder, table, "lips"), how.backend)
            opened.callback(lips.close)
            _check_lips(manifest, lips)
            opened.pop_all()
        digest = str(table["files"]["lips"]["sha256"])

        def open_face() -> Backend:
            raise ModelError(f"model '{manifest.name}' paints no face: it has no face graph")

        computed = f"{how.precision}, {how.threads} threads"
        return cls(manifest, open_face, lips, (digest, lips.name, lips.library, computed))

    def timing(self, rate: int, fps: Fraction | float | str) -> Timing:
        """Return the schedule of a session; raises InputError for a rate that cannot be used."""
        exact = exact_fps(fps)
        if not SLOWEST_FPS <= exact <= FASTEST_FPS:
            raise InputError(f"{fps} frames a second: give {SLOWEST_FPS} to {FASTEST_FPS}")
        manifest = self.manifest
        return Timing(check_rate(rate), exact, manifest.mel_columns, manifest.window_start_ms)

    def face_features(self, crops: NDArray[np.uint8]) -> Features:
        """Compute what ``mouth`` needs to know of (N, S, S, 3) uint8 BGR crops; new arrays.

        Raises ModelError when the face graph does not fit the manifest.
        """
        if self._face is None:
            self._face = self._open_face()
        features = self._face.run({"face": np.ascontiguousarray(crops)})
        return {name: features[name].copy() for name in self.manifest.features}

    def mouth(self, mel: Float32, features: Features) -> Array:
        """Paint the mouths of N frames.

        ``mel`` is (N, 1, 80, columns) float32. Returns (N, rows, S, 3) uint8 BGR: the crop's rows
        ``mouth_top`` to ``mouth_bottom``; of a model of shapes (N, n) float32: the measures of the
        lips, then the classes column by column. The array is reused by the next call.
        """
        return self._painted(self._mouth.run({"mel": mel, **features}))

    def open_bank(self, features: Features, frames: int) -> FeatureBank:
        """Take the features of ``frames`` faces to where the mouth graph reads them.

        Raises BackendUnavailable where a GPU has no room for them.
        """
        return self._mouth.open_bank(features, frames)

    def paint_rows(self, mels: Sequence[Float32], rows: Sequence[BankRow]) -> Array:
        """Paint the mouths of faces in banks: as ``mouth``, nothing copied for it on a processor.

        ``mels`` are (1, 1, 80, columns) float32, one for each row.
        """
        return self._painted(self._mouth.run_rows(mels, rows))

    @property
    def pastes(self) -> bool:
        """Whether the backend puts mouths into pictures, too: ``open_targets``, ``paste_rows``."""
        return self.manifest.paints == "pixels" and isinstance(self._mouth, PastingBackend)

    def open_targets(
        self, bank: FeatureBank, targets: Sequence[PasteTarget], feather: Float32
    ) -> None:
        """Take the pictures of a bank to where the mouth graph runs; as of PastingBackend."""
        assert isinstance(self._mouth, PastingBackend), "ask pastes"
        self._mouth.open_targets(bank, targets, feather)

    def paste_rows(
        self, mels: Sequence[Float32], rows: Sequence[BankRow], openness: Sequence[float]
    ) -> list[Planes]:
        """Paint mouths and put them into the pictures of their banks; as of PastingBackend."""
        assert isinstance(self._mouth, PastingBackend), "ask pastes"
        return self._mouth.paste_rows(mels, rows, openness)

    def _painted(self, outputs: dict[str, Array]) -> Array:
        if self.manifest.paints == "pixels":
            return outputs["mouth"]
        if "classes" not in outputs:
            return outputs["measures"]
        classes = outputs["classes"].reshape(len(outputs["measures"]), -1)
        return np.concatenate([outputs["measures"], classes], 1)

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return self._mouth.name

    @property
    def device(self) -> Device:
        """What paints: the processor, or a GPU."""
        return self._mouth.device

    @property
    def best_batch(self) -> int:
        """Frames at once beyond which one call of ``mouth`` gains nothing; 1 where none does."""
        return self._mouth.best_batch

    @property
    def frame_threads(self) -> int:
        """Threads that may paint at once; 1 on a GPU, where frames are painted together."""
        return self._mouth.frame_threads

    def clone(self) -> Self:
        """Return the same model for one other thread, its weights shared; closed by itself."""
        return type(self)(self.manifest, self._open_face, self._mouth.clone(), self.identity)

    def close(self) -> None:
        """Free both graphs, the one also where the other cannot be."""
        with contextlib.ExitStack() as freed:
            freed.callback(self._mouth.close)
            if self._face is not None:
                freed.callback(self._face.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_mouth(folder: Path, table: dict[str, Any], how: _How) -> tuple[Backend, str]:
    """Return the mouth and the part of the manifest it is: a plan, if there is one, goes first."""
    part = f"mouth_{how.precision}_plan"
    for name in backends_for(how.precision, "plan"):
        if how.backend != name and (how.backend != "auto" or part not in table["files"]):
            continue
        path = checked_file(folder, table, part)
        try:
            return how.open(path, name), part
        except BackendUnavailable as error:
            if how.backend == name:
                raise
            log.info("backend auto: not %s: %s", name, error)
    part = f"mouth_{how.precision}" if how.precision in _OWN_GRAPHS else "mouth"
    return how.open(checked_file(folder, table, part), how.backend), part


def _face_backend(mouth: Backend) -> str:
    """Return the backend of the face graph, which is ONNX: the mouth's where that reads such."""
    return mouth.name if mouth.form == "onnx" else next(iter(available_backends()), "cpu")


def _check_precision(manifest: ModelManifest, table: dict[str, Any], precision: str) -> None:
    if precision in _OWN_GRAPHS and f"mouth_{precision}" not in table.get("files", {}):
        raise ModelError(
            f"model '{manifest.name}' has no {precision} graph: open it with fp32, or export it"
            f" with --precision {precision}"
        )


def _check_mouth(manifest: ModelManifest, mouth: Backend) -> None:
    size, rows = manifest.face_size, manifest.mouth_bottom - manifest.mouth_top
    _check_tensor("mouth graph, output mouth", mouth.outputs.get("mouth"), (rows, size, 3))
    mel = (1, BANDS, manifest.mel_columns)
    _check_tensor("mouth graph, input mel", mouth.inputs.get("mel"), mel)
    _check_features(manifest, set(mouth.inputs) == {*manifest.features, "mel"})


def _check_lips(manifest: ModelManifest, lips: Backend) -> None:
    mel = (1, BANDS, manifest.mel_columns)
    _check_tensor("lips graph, input mel", lips.inputs.get("mel"), mel)
    _check_tensor("lips graph, output measures", lips.outputs.get("measures"), (_MEASURES,))
    if ("classes" in lips.outputs) != (manifest.decoder is not None):
        raise ModelError(
            f"model '{manifest.name}': a graph that tells classes of sounds needs the table"
            " [decoder] in model.toml, and the table such a graph: export the model again"
        )


def _check_face(manifest: ModelManifest, face: Backend) -> None:
    size = manifest.face_size
    _check_tensor("face graph, input face", face.inputs.get("face"), (size, size, 3))
    _check_features(manifest, set(manifest.features) <= face.outputs.keys())


def _check_features(manifest: ModelManifest, fit: bool) -> None:
    if not fit:
        raise ModelError(
            f"model '{manifest.name}': the features in model.toml are not those of its graphs"
        )


def _check_tensor(what: str, tensor: Any, wanted: tuple[int, ...]) -> None:
    shape = None if tensor is None else tensor.shape[1:]
    fits = shape is not None and len(shape) == len(wanted)
    if not fits or any(a not in (None, b) for a, b in zip(shape or (), wanted, strict=False)):
        raise ModelError(
            f"{what}: shape (N, {', '.join(map(str, wanted))}) expected, found {shape}"
        )
