"""The few calls of the CUDA runtime that a TensorRT engine needs, through NVIDIA's ``cuda-python``.

Every call is checked: what CUDA refuses becomes BackendUnavailable with its reason. Objects belong
to the thread that made them and are freed by ``close``, which may be called twice.
"""

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipstream.errors import BackendUnavailable
from lipstream.types import Array


@dataclass(frozen=True, slots=True)
class Gpu:
    """The graphics processor in use."""

    name: str
    compute_capability: str
    """As NVIDIA writes it: "9.0"."""
    driver: int
    """Newest CUDA version that the driver knows: 13000 is 13.0."""


def runtime() -> Any:
    """Return ``cuda.bindings.runtime``; raises BackendUnavailable when it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise BackendUnavailable(
            f"TensorRT needs cuda-python ({error}): pip install 'lipstream[tensorrt]'"
        ) from error


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the runtime; return its result, a tuple when there are several.

    Raises BackendUnavailable with CUDA's own words when it fails.
    """
    status, *results = function(*arguments)
    if int(status) != 0:
        raise BackendUnavailable(f"CUDA refused {function.__name__}: {_explain(status)}")
    return results[0] if len(results) == 1 else tuple(results)


def _explain(status: Any) -> str:
    name = getattr(status, "name", str(status))
    advice = {
        "cudaErrorInsufficientDriver": "there is no NVIDIA driver, or it is too old: install one",
        "cudaErrorNoDevice": "the driver sees no GPU: look at nvidia-smi",
        "cudaErrorMemoryAllocation": "the GPU's memory is full: end other programs or take fewer"
        " sessions",
    }
    return f"{name}; {advice[name]}" if name in advice else name


def find_gpu() -> Gpu:
    """Return the first GPU; raises BackendUnavailable when there is none or no driver."""
    cudart = runtime()
    if call(cudart.cudaGetDeviceCount) < 1:
        raise BackendUnavailable("the driver sees no GPU: look at nvidia-smi")
    found = call(cudart.cudaGetDeviceProperties, 0)
    name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
    driver = int(call(cudart.cudaDriverGetVersion))
    return Gpu(name.strip("\0 "), f"{found.major}.{found.minor}", driver)


class Stream:
    """A queue of work on the GPU, of one thread."""

    def __init__(self) -> None:
        self._cudart = runtime()
        self.handle: Any = call(self._cudart.cudaStreamCreateWithFlags, 1)  # not with stream 0

    def wait(self) -> None:
        """Wait until all that was queued is done."""
        call(self._cudart.cudaStreamSynchronize, self.handle)

    def capture(self, work: Callable[[], None]) -> "CudaGraph":
        """Record what ``work`` queues instead of running it."""
        cudart = self._cudart
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call(cudart.cudaStreamBeginCapture, self.handle, mode)
        try:
            work()
        finally:  # also after a failure, or the stream stays unusable
            recorded = call(cudart.cudaStreamEndCapture, self.handle)
        return CudaGraph(recorded)

    def close(self) -> None:
        """Destroy the stream."""
        if self.handle is not None:
            call(self._cudart.cudaStreamDestroy, self.handle)
            self.handle = None


class CudaGraph:
    """Recorded work, started with one call."""

    def __init__(self, recorded: Any) -> None:
        self._cudart = runtime()
        self._program: Any = call(self._cudart.cudaGraphInstantiate, recorded, 0)
        call(self._cudart.cudaGraphDestroy, recorded)

    def launch(self, stream: Stream) -> None:
        """Queue the work."""
        call(self._cudart.cudaGraphLaunch, self._program, stream.handle)

    def close(self) -> None:
        """Destroy the graph."""
        if self._program is not None:
            call(self._cudart.cudaGraphExecDestroy, self._program)
            self._program = None


class MirroredBuffer:
    """Memory on the GPU and as much page-locked memory beside it, between which copies are fast."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Reserve ``shape``; axis 0 is the largest batch."""
        self._cudart = runtime()
        self.size_bytes = max(1, int(np.prod(shape)) * dtype.itemsize)
        self._host: Any = call(self._cudart.cudaHostAlloc, self.size_bytes, 0)
        self.device: int | None = int(call(self._cudart.cudaMalloc, self.size_bytes))
        memory = (ctypes.c_uint8 * self.size_bytes).from_address(int(self._host))
        count = int(np.prod(shape))
        self.array: Array = np.frombuffer(memoryview(memory), dtype, count).reshape(shape)
        """The page-locked side."""

    def upload(self, rows: int, stream: Stream) -> None:
        """Queue a copy of the first ``rows`` to the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self.device, int(self._host), rows, kind, stream)

    def download(self, rows: int, stream: Stream) -> None:
        """Queue a copy of the first ``rows`` from the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(int(self._host), self.device, rows, kind, stream)

    def _copy(self, to: Any, source: Any, rows: int, kind: Any, stream: Stream) -> None:
        count = self.size_bytes * rows // len(self.array)
        call(self._cudart.cudaMemcpyAsync, to, source, count, kind, stream.handle)

    def close(self) -> None:
        """Free both sides; ``array`` must not be used any more."""
        if self.device is not None:
            self.array = np.empty(0)
            call(self._cudart.cudaFree, self.device)
            call(self._cudart.cudaFreeHost, self._host)
            self.device = None
