"""Runtimes for ONNX graphs: one protocol, one lazy table, chosen by name or by what is there."""

import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from lipstream.errors import BackendUnavailable
from lipstream.types import Array

__all__ = ["AUTO_ORDER", "BACKENDS", "Backend", "TensorInfo", "available_backends", "open_backend"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and type of one input or output."""

    shape: tuple[int | None, ...]
    """Sizes of the axes; None where any size goes."""
    dtype: str
    """numpy's name of the element type."""


class Backend(Protocol):
    """One ONNX graph, ready to run. Not thread-safe: the thread that opened it uses it."""

    name: str
    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]

    @classmethod
    def open(cls, onnx: Path, threads: int) -> Self:
        """Load the graph. Raises ModelError when the file is corrupt."""
        ...

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once. The outputs are valid until the next run."""
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
    "cpu": _Entry("lipstream.backends.ort:OnnxRuntimeCpu", "onnxruntime", "cpu"),
    "cuda": _Entry("lipstream.backends.ort:OnnxRuntimeCuda", "onnxruntime", "gpu"),
    "openvino": _Entry("lipstream.backends.openvino:OpenVinoBackend", "openvino", "cpu"),
}
AUTO_ORDER = ("cpu", "openvino")
"""What ``auto`` tries; CUDA is taken only when asked for by name.

On free cores the two are alike on a small network (2.0 and 2.2 ms for the embedded one on two
cores); where an encoder or a browser shares the cores, OpenVINO's thread pool waits for them (95th
percentile of a whole frame 226 ms against 10).
"""


def available_backends() -> tuple[str, ...]:
    """Return the names of the CPU backends whose runtime is installed."""
    return tuple(n for n in AUTO_ORDER if importlib.util.find_spec(BACKENDS[n].package))


def open_backend(onnx: Path, name: str = "auto", threads: int = 0) -> Backend:
    """Open a graph in the backend asked for.

    ``threads`` is the number of CPU threads, 0 for the runtime's own choice. ``auto`` takes the
    first installed one of AUTO_ORDER and logs which. A backend asked for by name never falls back:
    BackendUnavailable names the extra to install.
    """
    if name == "auto":
        name = _choose()
    if name not in BACKENDS:
        raise BackendUnavailable(f"no backend '{name}': choose auto, {', '.join(BACKENDS)}")
    entry = BACKENDS[name]
    if importlib.util.find_spec(entry.package) is None:
        raise BackendUnavailable(
            f"backend '{name}' needs {entry.package}: pip install 'lipstream[{entry.extra}]'"
        )
    module, _, cls = entry.target.partition(":")
    backend: type[Backend] = getattr(importlib.import_module(module), cls)
    return backend.open(onnx, threads)


def _choose() -> str:
    installed = available_backends()
    for name in AUTO_ORDER:
        if name in installed:
            log.info(
                "backend auto: took %s, the first installed of %s", name, ", ".join(AUTO_ORDER)
            )
            return name
    raise BackendUnavailable("no ONNX runtime is installed: pip install 'lipstream[cpu]'")
