"""Runtimes for ONNX graphs, and our own for kernel plans: one protocol, one lazy table.

Each backend states what it can do: its device, the form of graph it reads, and its precisions.
Whoever has to choose asks for that, never for a name.
"""

import importlib
import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lipstream.errors import BackendUnavailable, LipstreamError, ModelError
from lipstream.machine import load_plugin, plugin_names
from lipstream.types import Array, Float32, Image, Planes

__all__ = [
    "BACKENDS",
    "PATCH_PIXELS",
    "PRECISIONS",
    "Backend",
    "BackendEntry",
    "BankRow",
    "FeatureBank",
    "HostFeatures",
    "PasteTarget",
    "PastingBackend",
    "TensorInfo",
    "available_backends",
    "backend_named",
    "backend_names",
    "backends_for",
    "open_backend",
]

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""fp16 and int8 are graphs of their own; bf16 is how OpenVINO computes an fp32 graph if told."""
Device = Literal["cpu", "gpu"]
GraphForm = Literal["onnx", "plan"]


@dataclass(frozen=True, slots=True)
class BatchRange:
    """Sizes of axis 0 an engine is built for."""

    least: int = 1
    optimal: int = 8
    """The size that is made fastest."""
    most: int = 32


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and type of one input or output."""

    shape: tuple[int | None, ...]
    """Sizes of the axes; None where any size goes."""
    dtype: str
    """numpy's name of the element type."""


class FeatureBank(Protocol):
    """Features of an avatar's frames where a backend has them at hand; opaque to all others.

    Shared by sessions and freed with the last of them.
    """

    def close(self) -> None:
        """Free it; closing twice is fine."""
        ...


@dataclass(frozen=True, slots=True)
class BankRow:
    """The features of one frame."""

    bank: FeatureBank
    index: int
    """Which of the bank's frames."""


class HostFeatures:
    """A bank in the memory of the processor: views of each frame's features."""

    __slots__ = ("frames",)

    def __init__(self, features: dict[str, Array], frames: int) -> None:
        """Take arrays of ``frames`` rows each, of which views are kept."""
        self.frames = [{n: a[k : k + 1] for n, a in features.items()} for k in range(frames)]

    def close(self) -> None:
        """Let the views go."""
        self.frames = []


PATCH_PIXELS = 1 << 17
"""Largest part of a picture that a GPU pastes into."""


@dataclass(frozen=True, slots=True)
class PasteTarget:
    """A picture as a GPU pastes a mouth into it, as far as the mouth can touch it."""

    part: Image
    """(h, w, 3) uint8 BGR, of even sides and PATCH_PIXELS at most."""
    detail: NDArray[np.int16]
    """(h, w, 3) int16: what fades where the mouth changes."""
    rest: NDArray[np.uint8]
    """(rows, S, 3) uint8 BGR: the mouth that changes nothing."""
    inverse: Float32
    """(2, 3) float32: pixels of ``part`` to pixels of the mouth."""


def host_features(row: BankRow) -> dict[str, Array]:
    """Return the views, of one row each, that a bank of the processor has of a frame."""
    assert isinstance(row.bank, HostFeatures), "the bank is of another backend"
    return row.bank.frames[row.index]


def run_one_by_one(
    run: Callable[[dict[str, Array]], dict[str, Array]],
    mels: Sequence[Array],
    rows: Sequence[BankRow],
) -> dict[str, Array]:
    """Return what ``run`` makes of each row alone, as it is for one, in new arrays for several."""
    if len(rows) == 1:
        return run({"mel": mels[0], **host_features(rows[0])})
    made: dict[str, Array] = {}
    for at, (mel, row) in enumerate(zip(mels, rows, strict=True)):
        for name, output in run({"mel": mel, **host_features(row)}).items():
            if at == 0:
                made[name] = np.empty((len(rows), *output.shape[1:]), output.dtype)
            made[name][at] = output[0]
    return made


class Backend(Protocol):
    """One graph, ready to run. Not thread-safe: the thread that opened it uses it."""

    name: str
    library: str
    """Name and version of the runtime."""
    device: Device
    """What computes: on a processor what an avatar shows is worth keeping in a file, and several
    threads may run side by side; on a GPU one thread makes the frames of all sessions together."""
    form: GraphForm
    """The graphs it reads: ONNX, or plans of our own kernels."""
    best_batch: int
    """Frames at once beyond which one call gains nothing; 1 where it never does."""
    frame_threads: int
    """Threads that may run it at the same time, each with a runner of its own (``clone``)."""
    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]

    @classmethod
    def open(
        cls, graph: Path, threads: int, precision: str = "fp32", frame_threads: int = 1
    ) -> Self:
        """Load the graph, with ``threads`` for one run, or for ``frame_threads`` runs at once.

        Runs at once have one thread each. Raises ModelError when the file is corrupt,
        BackendUnavailable when this runtime does not have ``precision``, one of PRECISIONS.
        """
        ...

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once. The outputs are valid until the next run."""
        ...

    def open_bank(self, features: dict[str, Array], frames: int) -> FeatureBank:
        """Take the features of ``frames`` frames to where they are computed with.

        Arrays are name -> (frames, ...); on a processor the bank is views of them.
        """
        ...

    def run_rows(self, mels: Sequence[Array], rows: Sequence[BankRow]) -> dict[str, Array]:
        """Run once for frames of any banks of this backend, or of HostFeatures.

        ``mels`` has (1, 1, bands, columns) float32 for each row. The outputs, a row each, are
        valid until the next run.
        """
        ...

    def clone(self) -> Self:
        """Return another runner of the same graph, for one other thread; each is closed by itself.

        Raises BackendUnavailable on a GPU, where one runner is all there is.
        """
        ...

    def close(self) -> None:
        """Free the graph; closing twice is fine."""
        ...


@runtime_checkable
class PastingBackend(Protocol):
    """What a backend has besides where it can put mouths into pictures, too: a GPU of NVIDIA's."""

    def open_targets(
        self, bank: FeatureBank, targets: Sequence[PasteTarget], feather: Float32
    ) -> None:
        """Take the pictures of all frames of a bank to where mouths are painted.

        ``feather`` is the (rows, S) float32 soft edge of a mouth, the same for all banks.
        """
        ...

    def paste_rows(
        self, mels: Sequence[Array], rows: Sequence[BankRow], openness: Sequence[float]
    ) -> list[Planes]:
        """Run once as ``run_rows``, for banks with targets, and put the mouths into them.

        Returns the (h, w) of each target as it is shown; valid until the next run.
        """
        ...


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """What is known of a backend before its runtime is imported."""

    target: str
    """``module:Class`` that implements Backend; a module of this package begins with a dot."""
    package: str
    """Import name of the runtime it needs."""
    extra: str
    """Extra of this project that installs the runtime; "" where another package does."""
    device: Device
    accelerates: frozenset[str] = frozenset()
    """Precisions in which it is faster than in fp32."""
    refuses: frozenset[str] = frozenset()
    """Precisions it does not compute."""
    form: GraphForm = "onnx"

    @property
    def installed(self) -> bool:
        """Whether the runtime is installed; it may still fail to start."""
        return importlib.util.find_spec(self.package) is not None

    def load(self) -> type[Backend]:
        """Import the runtime and return the class."""
        module, _, name = self.target.partition(":")
        backend: type[Backend] = getattr(importlib.import_module(module, __name__), name)
        return backend


BACKENDS = {
    "tensorrt": BackendEntry(
        *(".tensorrt:TensorRtBackend", "tensorrt", "tensorrt", "gpu"),
        frozenset({"fp16"}),
        frozenset({"bf16"}),
    ),
    "tensorrt_rtx": BackendEntry(
        *(".tensorrt:TensorRtRtxBackend", "tensorrt_rtx", "tensorrt-rtx", "gpu"),
        *(frozenset({"fp16"}), frozenset({"bf16"})),
    ),
    "cuda": BackendEntry(
        *(".onnxruntime:OnnxRuntimeCuda", "onnxruntime", "gpu", "gpu"),
        *(frozenset({"fp16"}), frozenset({"bf16", "int8"})),
    ),
    "cpu": BackendEntry(
        *(".onnxruntime:OnnxRuntimeCpu", "onnxruntime", "", "cpu"), refuses=frozenset({"bf16"})
    ),
    "openvino": BackendEntry(
        *(".openvino:OpenVinoBackend", "openvino", "cpu", "cpu"), frozenset({"bf16", "int8"})
    ),
    "native": BackendEntry(
        *(".native:NativeBackend", "lipstream", "cpu", "cpu"),
        accelerates=frozenset({"int8"}),
        refuses=frozenset(PRECISIONS) - {"int8"},
        form="plan",
    ),
}
"""In the order in which ``auto`` tries them: a GPU that works goes first.

On free cores ONNX Runtime and OpenVINO are alike on a small network (2.0 and 2.2 ms for the
embedded one on two cores); where an encoder or a browser shares the cores, OpenVINO's thread pool
waits for them (95th percentile of a whole frame 226 ms against 10). From int8 ONNX Runtime gains
nothing (see bench/results).
"""


RESTORE_CUDA = (
    "pip install 'lipstream[gpu]', then pip install --force-reinstall --no-deps onnxruntime-gpu:"
    " the runtime for processors, installed last, overwrites the one for CUDA"
)
"""What to do where both of ONNX Runtime's packages lie in one folder and the wrong one won."""
PLUGINS = "lipstream.backends"
"""Entry-point group of other packages' backends: name -> a BackendEntry. They are used when asked
for by name; what ``auto`` takes does not change with what is installed besides."""


def backend_names() -> tuple[str, ...]:
    """Return every name that ``open_backend`` takes, without importing anything."""
    return (*BACKENDS, *(name for name in plugin_names(PLUGINS) if name not in BACKENDS))


def backend_named(name: str) -> BackendEntry:
    """Return what is known of a backend; raises BackendUnavailable when there is none."""
    entry = BACKENDS.get(name) or load_plugin(PLUGINS, name)
    if entry is None:
        raise BackendUnavailable(f"no backend '{name}': choose auto, {', '.join(backend_names())}")
    if not isinstance(entry, BackendEntry):
        raise BackendUnavailable(f"the plug-in '{name}' gives no BackendEntry: update it")
    return entry


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that run ONNX graphs on the processor and are installed."""
    return tuple(
        name
        for name, entry in BACKENDS.items()
        if entry.device == "cpu" and entry.form == "onnx" and entry.installed
    )


def backends_for(precision: str, form: GraphForm) -> tuple[str, ...]:
    """Return what ``auto`` tries for graphs of a form: first what gains from the precision."""
    able = [n for n, one in BACKENDS.items() if one.form == form and precision not in one.refuses]
    return tuple(sorted(able, key=lambda name: precision not in BACKENDS[name].accelerates))


def open_backend(
    graph: Path,
    name: str = "auto",
    threads: int = 0,
    precision: str = "fp32",
    frame_threads: int = 1,
) -> Backend:
    """Open a graph in the backend asked for.

    ``threads`` is the number of CPU threads of one run, 0 for the runtime's own choice; with
    ``frame_threads`` above 1 a CPU backend takes that many runs at once instead, of one thread
    each. ``auto`` takes the first of ``backends_for`` that is installed and works, and logs why
    those before it did not. A backend asked for by name never falls back: BackendUnavailable says
    what is missing.
    """
    if precision not in PRECISIONS:
        raise BackendUnavailable(f"no precision '{precision}': choose {', '.join(PRECISIONS)}")
    if name == "auto":
        return _open_first(graph, threads, precision, frame_threads)
    entry = backend_named(name)
    if not entry.installed:
        wanted = f"'lipstream[{entry.extra}]'" if entry.extra else entry.package
        raise BackendUnavailable(f"backend '{name}' needs {entry.package}: pip install {wanted}")
    return entry.load().open(graph, threads, precision, frame_threads)


def _open_first(graph: Path, threads: int, precision: str, frame_threads: int) -> Backend:
    names = backends_for(precision, "onnx")
    if not any(one.installed for one in BACKENDS.values() if one.form == "onnx"):
        raise BackendUnavailable("no ONNX runtime is installed: pip install onnxruntime")
    refused: dict[str, LipstreamError] = {}
    for name in names:
        try:
            opened = open_backend(graph, name, threads, precision, frame_threads)
        except (BackendUnavailable, ModelError) as error:
            refused[name] = error
            continue
        reason = "".join(f"; not {other}: {error}" for other, error in refused.items())
        log.info("backend auto: took %s for %s%s", name, graph.name, reason)
        return opened
    for one in refused.values():
        if isinstance(one, ModelError):
            raise one
    reasons = "; ".join(str(one) for one in refused.values())
    raise BackendUnavailable(f"no backend runs {graph.name} at {precision} here: {reasons}")
