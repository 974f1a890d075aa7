"""Runtimes for ONNX graphs, and our own for plans: one protocol, one lazy table.

They are chosen by name or by what is there.
"""

import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from lipstream.errors import BackendUnavailable, LipstreamError, ModelError
from lipstream.types import Array

__all__ = [
    "AUTO_ORDER",
    "BACKENDS",
    "ON_PROCESSORS",
    "PRECISIONS",
    "Backend",
    "TensorInfo",
    "available_backends",
    "open_backend",
]

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""fp16 and int8 are graphs of their own; bf16 is how OpenVINO computes an fp32 graph if told."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and type of one input or output."""

    shape: tuple[int | None, ...]
    """Sizes of the axes; None where any size goes."""
    dtype: str
    """numpy's name of the element type."""


class Backend(Protocol):
    """One graph, ready to run: ONNX, or for ``native`` a plan.

    Not thread-safe: the thread that opened it uses it.
    """

    name: str
    library: str
    """Name and version of the runtime."""
    best_batch: int
    """Frames at once beyond which one call gains nothing; 1 where it never does."""
    lanes: int
    """Threads that may run it at the same time, each with a runner of its own (``beside``)."""
    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]

    @classmethod
    def open(cls, graph: Path, threads: int, precision: str = "fp32", lanes: int = 1) -> Self:
        """Load the graph, with ``threads`` for one run, or ``lanes`` runs of one thread each.

        Raises ModelError when the file is corrupt, BackendUnavailable when this runtime does not
        have ``precision``, one of PRECISIONS.
        """
        ...

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once. The outputs are valid until the next run."""
        ...

    def beside(self) -> Self:
        """Return another runner of the same graph, for one other thread; each is closed by itself.

        Raises BackendUnavailable on a GPU, where one runner is all there is.
        """
        ...

    def close(self) -> None:
        """Free the graph; closing twice is fine."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    target: str
    """``module:Class`` that implements Backend."""
    package: str
    """Import name of the runtime it needs."""
    extra: str
    """Extra of this project that installs the runtime."""


BACKENDS = {
    "cpu": _Entry("lipstream.inference.backends.onnxruntime:OnnxRuntimeCpu", "onnxruntime", "cpu"),
    "cuda": _Entry(
        "lipstream.inference.backends.onnxruntime:OnnxRuntimeCuda", "onnxruntime", "gpu"
    ),
    "native": _Entry("lipstream.inference.backends.native:NativeBackend", "lipstream", "cpu"),
    "openvino": _Entry("lipstream.inference.backends.openvino:OpenVinoBackend", "openvino", "cpu"),
    "tensorrt": _Entry(
        "lipstream.inference.backends.tensorrt:TensorRtBackend", "tensorrt", "tensorrt"
    ),
    "tensorrt_rtx": _Entry(
        "lipstream.inference.backends.tensorrt:TensorRtRtxBackend", "tensorrt_rtx", "tensorrt-rtx"
    ),
}
CPU_ORDER = ("cpu", "openvino")
"""What ``auto`` tries on a processor, for fp32.

On free cores the two are alike on a small network (2.0 and 2.2 ms for the embedded one on two
cores); where an encoder or a browser shares the cores, OpenVINO's thread pool waits for them (95th
percentile of a whole frame 226 ms against 10).
"""
ON_PROCESSORS = (*CPU_ORDER, "native")
"""Backends that compute on the processor."""
AUTO_ORDER = ("tensorrt", "tensorrt_rtx", "cuda", *CPU_ORDER)
"""What ``auto`` tries, by capability: a GPU that works goes first."""
_LOW_PRECISION_ORDER = ("openvino", "cpu")
"""bf16 and int8: ONNX Runtime has no bf16, and gains nothing from int8 (see bench/results)."""


def available_backends() -> tuple[str, ...]:
    """Return the names of the CPU backends whose runtime is installed."""
    return tuple(n for n in CPU_ORDER if importlib.util.find_spec(BACKENDS[n].package))


def open_backend(
    graph: Path, name: str = "auto", threads: int = 0, precision: str = "fp32", lanes: int = 1
) -> Backend:
    """Open a graph in the backend asked for.

    ``threads`` is the number of CPU threads of one run, 0 for the runtime's own choice; with
    ``lanes`` above 1 a CPU backend takes that many runs at once instead, of one thread each.
    ``auto`` takes the
    first of AUTO_ORDER that is installed and works, and logs why those before it did not. A backend
    asked for by name never falls back: BackendUnavailable says what is missing.
    """
    if precision not in PRECISIONS:
        raise BackendUnavailable(f"no precision '{precision}': choose {', '.join(PRECISIONS)}")
    if name == "auto":
        return _open_first(graph, threads, precision, lanes)
    if name not in BACKENDS:
        raise BackendUnavailable(f"no backend '{name}': choose auto, {', '.join(BACKENDS)}")
    entry = BACKENDS[name]
    if importlib.util.find_spec(entry.package) is None:
        raise BackendUnavailable(
            f"backend '{name}' needs {entry.package}: pip install 'lipstream[{entry.extra}]'"
        )
    module, _, cls = entry.target.partition(":")
    backend: type[Backend] = getattr(importlib.import_module(module), cls)
    return backend.open(graph, threads, precision, lanes)


def _open_first(graph: Path, threads: int, precision: str, lanes: int) -> Backend:
    order = _LOW_PRECISION_ORDER if precision in ("bf16", "int8") else AUTO_ORDER
    if not any(importlib.util.find_spec(BACKENDS[name].package) for name in order):
        raise BackendUnavailable("no ONNX runtime is installed: pip install 'lipstream[cpu]'")
    refused: dict[str, LipstreamError] = {}
    for name in order:
        try:
            opened = open_backend(graph, name, threads, precision, lanes)
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
