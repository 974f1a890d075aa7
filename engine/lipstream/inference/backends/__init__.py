"""Runtimes for ONNX graphs, and our own for kernel plans: one protocol, one lazy table.

Each backend states what it can do: its device, the form of graph it reads, and its precisions.
Whoever has to choose asks for that, never for a name.
"""

import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from lipstream.errors import BackendUnavailable, LipstreamError, ModelError
from lipstream.types import Array

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Backend",
    "TensorInfo",
    "available_backends",
    "backends_for",
    "open_backend",
]

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""fp16 and int8 are graphs of their own; bf16 is how OpenVINO computes an fp32 graph if told."""
Device = Literal["cpu", "gpu"]
GraphForm = Literal["onnx", "plan"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and type of one input or output."""

    shape: tuple[int | None, ...]
    """Sizes of the axes; None where any size goes."""
    dtype: str
    """numpy's name of the element type."""


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

    def clone(self) -> Self:
        """Return another runner of the same graph, for one other thread; each is closed by itself.

        Raises BackendUnavailable on a GPU, where one runner is all there is.
        """
        ...

    def close(self) -> None:
        """Free the graph; closing twice is fine."""
        ...


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """What is known of a backend before its runtime is imported."""

    target: str
    """``module:Class`` below this package that implements Backend."""
    package: str
    """Import name of the runtime it needs."""
    extra: str
    """Extra of this project that installs the runtime."""
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
        backend: type[Backend] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return backend


_GPU_LACKS = frozenset({"bf16", "int8"})
BACKENDS = {
    "tensorrt": BackendEntry(
        *("tensorrt:TensorRtBackend", "tensorrt", "tensorrt", "gpu"),
        frozenset({"fp16"}),
        _GPU_LACKS,
    ),
    "tensorrt_rtx": BackendEntry(
        *("tensorrt:TensorRtRtxBackend", "tensorrt_rtx", "tensorrt-rtx", "gpu"),
        *(frozenset({"fp16"}), _GPU_LACKS),
    ),
    "cuda": BackendEntry(
        *("onnxruntime:OnnxRuntimeCuda", "onnxruntime", "gpu", "gpu"),
        *(frozenset({"fp16"}), _GPU_LACKS),
    ),
    "cpu": BackendEntry(
        *("onnxruntime:OnnxRuntimeCpu", "onnxruntime", "cpu", "cpu"), refuses=frozenset({"bf16"})
    ),
    "openvino": BackendEntry(
        *("openvino:OpenVinoBackend", "openvino", "cpu", "cpu"), frozenset({"bf16", "int8"})
    ),
    "native": BackendEntry(
        *("native:NativeBackend", "lipstream", "cpu", "cpu"),
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
    if name not in BACKENDS:
        raise BackendUnavailable(f"no backend '{name}': choose auto, {', '.join(BACKENDS)}")
    entry = BACKENDS[name]
    if not entry.installed:
        raise BackendUnavailable(
            f"backend '{name}' needs {entry.package}: pip install 'lipstream[{entry.extra}]'"
        )
    return entry.load().open(graph, threads, precision, frame_threads)


def _open_first(graph: Path, threads: int, precision: str, frame_threads: int) -> Backend:
    names = backends_for(precision, "onnx")
    if not any(one.installed for one in BACKENDS.values() if one.form == "onnx"):
        raise BackendUnavailable("no ONNX runtime is installed: pip install 'lipstream[cpu]'")
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
