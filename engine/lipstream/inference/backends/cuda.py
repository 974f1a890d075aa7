"""The few calls of CUDA that a TensorRT engine needs, through NVIDIA's ``cuda-python``.

Every call is checked: what CUDA refuses becomes BackendUnavailable with its reason. Objects belong
to the thread that made them and are freed by ``close``, which may be called twice. Our own kernels
(``kernels/mouth.cu``) are compiled for the card when it is opened, in a tenth of a second.
"""

import contextlib
import ctypes
import importlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipstream.errors import BackendUnavailable
from lipstream.inference.backends import PATCH_PIXELS, BankRow, PasteTarget, TensorInfo
from lipstream.inference.kernels import compile_kernels
from lipstream.types import Array, Planes

BLOCK_THREADS = 256
ALIGNMENT = 256
"""Bytes that CUDA aligns memory to, and TensorRT wants its tensors aligned to."""
ADDRESS_BYTES = 8
PATCH_BYTES = 3 * PATCH_PIXELS // 2
"""I420. So much comes back of each frame that is pasted, whatever of it is used."""
_PASTING_BLOCKS = 64
"""Blocks of threads that paste one mouth."""
_TARGET = np.dtype(
    [
        *((name, np.uint64) for name in ("part", "detail", "rest")),
        *(("size", np.int32, 2), ("inverse", np.float32, 6)),
    ]
)
"""``Target`` of mouth.cu."""
_COPYING_BLOCKS = 16
"""Blocks of threads that copy one feature of one frame."""


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


def driver() -> Any:
    """Return ``cuda.bindings.driver``, which comes with ``runtime``."""
    return importlib.import_module("cuda.bindings.driver")


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of CUDA's; return its result, a tuple when there are several.

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
    properties = call(cudart.cudaGetDeviceProperties, 0)
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    driver = int(call(cudart.cudaDriverGetVersion))
    return Gpu(name.strip("\0 "), f"{properties.major}.{properties.minor}", driver)


@contextlib.contextmanager
def _closed_on_error(opened: Any) -> Generator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(BackendUnavailable):  # the first error tells more
            opened.close()
        raise


class Kernels:
    """Our own functions on the GPU."""

    def __init__(self, capability: str) -> None:
        """Compile and load them; raises BackendUnavailable as ``compile_kernels`` does."""
        self._driver = driver()
        self._code = compile_kernels(capability)
        self._functions: dict[str, Any] = {}
        loaded = self._driver.cuLibraryLoadData
        self._library: Any = call(loaded, self._code, [], [], 0, [], [], 0)

    def queue(
        self, name: str, grid: tuple[int, int, int], values: Sequence[Any], stream: "Stream"
    ) -> None:
        """Queue a function; ``values`` are its arguments as ctypes has them."""
        function = self._functions.get(name)
        if function is None:
            kernel = call(self._driver.cuLibraryGetKernel, self._library, name.encode())
            function = self._functions[name] = call(self._driver.cuKernelGetFunction, kernel)
        addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        arguments = ctypes.addressof(addresses)  # CUDA copies what they point at
        block, shared = (BLOCK_THREADS, 1, 1), 0
        launch, handle = self._driver.cuLaunchKernel, int(stream.handle)
        call(launch, function, *grid, *block, shared, handle, arguments, 0)

    def close(self) -> None:
        """Unload them; closing twice is fine."""
        library, self._library = self._library, None
        if library is not None:
            call(self._driver.cuLibraryUnload, library)


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
        except BaseException:  # the capture is ended all the same, or the stream stays unusable
            status, unfinished = cudart.cudaStreamEndCapture(self.handle)
            if int(status) == 0:
                cudart.cudaGraphDestroy(unfinished)
            raise
        return CudaGraph(call(cudart.cudaStreamEndCapture, self.handle))

    def close(self) -> None:
        """Destroy the stream."""
        handle, self.handle = self.handle, None
        if handle is not None:
            call(self._cudart.cudaStreamDestroy, handle)


class CudaGraph:
    """Recorded work, started with one call."""

    def __init__(self, recorded: Any) -> None:
        self._cudart = runtime()
        try:
            self._program: Any = call(self._cudart.cudaGraphInstantiate, recorded, 0)
        except BaseException:
            self._cudart.cudaGraphDestroy(recorded)
            raise
        try:
            call(self._cudart.cudaGraphDestroy, recorded)
        except BaseException:
            self._cudart.cudaGraphExecDestroy(self._program)
            raise

    def launch(self, stream: Stream) -> None:
        """Queue the work."""
        call(self._cudart.cudaGraphLaunch, self._program, stream.handle)

    def close(self) -> None:
        """Destroy the graph."""
        program, self._program = self._program, None
        if program is not None:
            call(self._cudart.cudaGraphExecDestroy, program)


@dataclass(slots=True)
class BatchRunner:
    """What runs batches of one size.

    A recording belongs to the context it was made from, whose shapes it holds: NVIDIA's guide asks
    for one context for each recorded graph. They share their working memory.
    """

    context: Any
    graph: CudaGraph | None = None
    """Uploads, network and downloads, recorded; None before that, and where TensorRT records."""


class DeviceMemory:
    """Memory on the GPU, aligned to 256 bytes."""

    def __init__(self, size_bytes: int) -> None:
        """Reserve ``size_bytes``, at least one."""
        self._cudart = runtime()
        self.size_bytes = max(1, size_bytes)
        self.address: int | None = int(call(self._cudart.cudaMalloc, self.size_bytes))

    def fill(self, array: Array) -> None:
        """Copy a contiguous array to its beginning, and wait until it is there."""
        assert array.flags.c_contiguous
        assert array.nbytes <= self.size_bytes
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(self._cudart.cudaMemcpy, self.address, array.ctypes.data, array.nbytes, kind)

    def at(self, offset_bytes: int) -> int:
        """Return the address so far behind its beginning."""
        assert self.address is not None, "closed"
        return self.address + offset_bytes

    def close(self) -> None:
        """Free it; closing twice is fine."""
        address, self.address = self.address, None
        if address is not None:
            call(self._cudart.cudaFree, address)


class MirroredBuffer:
    """Memory on the GPU and as much page-locked memory beside it, between which copies are fast."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], head_bytes: int = 0) -> None:
        """Reserve ``shape``; axis 0 is the largest batch.

        ``head_bytes`` more, rounded up to ``ALIGNMENT``, lie before it and go up with it.
        """
        self._cudart = runtime()
        self._head_bytes = -(-head_bytes // ALIGNMENT) * ALIGNMENT
        count = int(np.prod(shape))
        self.size_bytes = max(1, self._head_bytes + count * dtype.itemsize)
        self._host: Any = call(self._cudart.cudaHostAlloc, self.size_bytes, 0)
        try:
            self.memory = DeviceMemory(self.size_bytes)
        except BaseException:
            self._cudart.cudaFreeHost(self._host)
            raise
        memory = memoryview((ctypes.c_uint8 * self.size_bytes).from_address(int(self._host)))
        self.head: Array = np.frombuffer(memory, np.uint8, self._head_bytes)
        """The page-locked side of what lies before."""
        self.array: Array = np.frombuffer(memory, dtype, count, self._head_bytes).reshape(shape)
        """The page-locked side."""
        self.row_bytes = count * dtype.itemsize // shape[0]

    @property
    def address(self) -> int:
        """Where the first row is on the GPU."""
        return self.memory.at(self._head_bytes)

    def upload(self, rows: int, stream: Stream) -> None:
        """Queue a copy of the head and the first ``rows`` to the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self.memory.address, int(self._host), rows, kind, stream)

    def upload_row(self, row: int, stream: Stream) -> None:
        """Queue a copy of one row to the GPU."""
        start = self._head_bytes + row * self.row_bytes
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        to, source = self.memory.at(start), int(self._host) + start
        call(self._cudart.cudaMemcpyAsync, to, source, self.row_bytes, kind, stream.handle)

    def download(self, rows: int, stream: Stream) -> None:
        """Queue a copy of the first ``rows`` from the GPU."""
        assert self._head_bytes == 0
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(int(self._host), self.memory.address, rows, kind, stream)

    def _copy(self, to: Any, source: Any, rows: int, kind: Any, stream: Stream) -> None:
        count = self._head_bytes + self.row_bytes * rows
        call(self._cudart.cudaMemcpyAsync, to, source, count, kind, stream.handle)

    def close(self) -> None:
        """Free both sides; ``array`` must not be used any more."""
        host, self._host = self._host, None
        if host is None:
            return
        self.array = self.head = np.empty(0)
        with contextlib.ExitStack() as freed:  # the one also where CUDA complains of the other
            freed.callback(call, self._cudart.cudaFreeHost, host)
            freed.callback(self.memory.close)


class DeviceFeatures:
    """A bank in the memory of the GPU. Freed with its last user, or with its backend."""

    def __init__(self, features: dict[str, Array]) -> None:
        """Copy the arrays there; raises BackendUnavailable where there is no room for them."""
        self.memory: list[DeviceMemory] = []
        with _closed_on_error(self):
            for array in features.values():
                self.memory.append(DeviceMemory(array.nbytes))
                self.memory[-1].fill(np.ascontiguousarray(array))
        starts = [memory.at(0) for memory in self.memory]
        sizes = [array.nbytes // len(array) for array in features.values()]
        frames = np.arange(len(next(iter(features.values()))), dtype=np.uint64)[:, None]
        self.addresses = np.array(starts, np.uint64) + frames * np.array(sizes, np.uint64)
        """(frames, features) uint64: where each lies on the GPU."""
        self.targets: Array = np.zeros(len(frames), np.uint64)
        """(frames,) uint64: where on the GPU the picture is described; 0 where it is not there."""
        self.sizes: list[tuple[int, int]] = []
        """Height and width of what is pasted, of each frame."""

    def add_targets(self, targets: Sequence[PasteTarget]) -> None:
        """Copy the pictures of all frames there, too."""
        offset = len(targets) * _TARGET.itemsize
        table, arrays = np.zeros(len(targets), _TARGET), []
        for row, one in zip(table, targets, strict=True):
            for name in ("part", "detail", "rest"):
                array = np.ascontiguousarray(getattr(one, name))
                offset = -(-offset // ALIGNMENT) * ALIGNMENT
                row[name] = offset
                arrays.append((offset, array))
                offset += array.nbytes
            row["size"], row["inverse"] = one.part.shape[:2], one.inverse.reshape(6)
        packed = np.zeros(offset, np.uint8)
        for at, array in arrays:
            packed[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
        memory = DeviceMemory(packed.nbytes)
        with _closed_on_error(memory):
            for name in ("part", "detail", "rest"):
                table[name] += np.uint64(memory.at(0))
            packed[: table.nbytes] = table.view(np.uint8)
            memory.fill(packed)
        self.memory.append(memory)
        rows = np.arange(len(targets), dtype=np.uint64) * np.uint64(_TARGET.itemsize)
        self.targets = np.uint64(memory.at(0)) + rows
        self.sizes = [(one.part.shape[0], one.part.shape[1]) for one in targets]

    def close(self) -> None:
        """Free it; closing twice is fine."""
        with contextlib.ExitStack() as freed:
            for memory in self.memory:
                freed.callback(memory.close)

    def __del__(self) -> None:
        with contextlib.suppress(BackendUnavailable):  # nobody is there to be told
            self.close()


class Gather:
    """Puts the features of frames, from whatever banks, into a batch by one kernel.

    What a row needs to be told goes up with the sound, in the head of its buffer.
    """

    def __init__(self, capability: str, buffers: dict[str, MirroredBuffer], most: int) -> None:
        """Take the buffers of the network's inputs, ``mel`` and features, for ``most`` rows."""
        self._mel = buffers["mel"]
        features = [one for name, one in buffers.items() if name != "mel"]
        self.row_bytes = head_bytes(len(features))
        words = self._mel.head[: most * self.row_bytes].reshape(most, -1).view(np.uint64)
        self.sources: Array = words[:, : len(features)]
        """(most, features) uint64, page-locked: where to take each from; 0 where it is there."""
        self.targets: Array = words[:, len(features)]
        """(most,) uint64, page-locked: where the picture is; 0 where nothing is pasted."""
        self.openness: Array = words[:, len(features) + 1 :].view(np.float32)[:, 0]
        """(most,) float32, page-locked."""
        places = np.array([(one.address, one.row_bytes) for one in features], np.uint64)
        self.kernels = Kernels(capability)
        with _closed_on_error(self.kernels):
            self._places = DeviceMemory(places.nbytes)
            with _closed_on_error(self._places):
                self._places.fill(places)

    @property
    def head(self) -> tuple[ctypes.c_uint64, ctypes.c_int32]:
        """Where the heads of rows are on the GPU, and the bytes of each."""
        return ctypes.c_uint64(self._mel.memory.at(0)), ctypes.c_int32(self.row_bytes)

    def queue(self, rows: int, stream: Stream) -> None:
        """Queue the sound, the heads and the kernel for the first ``rows``."""
        self._mel.upload(rows, stream)
        grid = (_COPYING_BLOCKS, self.sources.shape[1], rows)
        places = ctypes.c_uint64(self._places.at(0))
        self.kernels.queue("gather", grid, (*self.head, places), stream)

    def close(self) -> None:
        """Free what it reserved; closing twice is fine."""
        self.sources = self.targets = self.openness = np.empty(0)
        with contextlib.ExitStack() as freed:
            freed.callback(self.kernels.close)
            freed.callback(self._places.close)


class Paste:
    """Puts painted mouths into pictures on the GPU, of which only the patches come back."""

    def __init__(self, gather: Gather, mouths: MirroredBuffer, feather: Array) -> None:
        """Take what the network paints, and the (rows, S) float32 soft edge of a mouth."""
        most, rows, side, _ = mouths.array.shape
        self._gather, self._shape = gather, (rows, side)
        with contextlib.ExitStack() as opened:
            self._patches = MirroredBuffer((most, PATCH_BYTES), np.dtype(np.uint8))
            opened.enter_context(_closed_on_error(self._patches))
            self._feather = DeviceMemory(feather.nbytes)
            opened.enter_context(_closed_on_error(self._feather))
            self._layers = DeviceMemory(most * feather.nbytes * 6)
            opened.enter_context(_closed_on_error(self._layers))
            self._feather.fill(feather)
        layers, work = self._layers.at(0), self._layers.at(most * feather.nbytes * 4)
        self._mouths = _Mouths(mouths.address, self._feather.at(0), work, layers, rows, side)

    def queue(self, rows: int, stream: Stream) -> None:
        """Queue the kernels for the first ``rows``, and the way back of their patches."""
        gather, at = self._gather, self._gather.sources.shape[1] * ADDRESS_BYTES
        told = (*gather.head, ctypes.c_int32(at), self._mouths)
        gather.kernels.queue("change", (1, 1, rows), told, stream)
        patches = ctypes.c_uint64(self._patches.address), ctypes.c_int32(PATCH_BYTES)
        gather.kernels.queue("paste", (_PASTING_BLOCKS, 1, rows), (*told, *patches), stream)
        self._patches.download(rows, stream)

    def tell(self, at: int, row: BankRow, openness: float) -> None:
        """Note into what the mouth of a row of the batch goes."""
        assert isinstance(row.bank, DeviceFeatures), "the bank is of another backend"
        self._gather.targets[at] = row.bank.targets[row.index]
        self._gather.openness[at] = openness

    def planes(self, at: int, row: BankRow) -> Planes:
        """Return views of the patch of a row of the batch, which the next run overwrites."""
        assert isinstance(row.bank, DeviceFeatures), "the bank is of another backend"
        height, width = row.bank.sizes[row.index]
        luma, colour = height * width, height * width // 4
        flat, half = self._patches.array[at], (height // 2, width // 2)
        return Planes(
            flat[:luma].reshape(height, width),
            flat[luma : luma + colour].reshape(half),
            flat[luma + colour : luma + 2 * colour].reshape(half),
        )

    def close(self) -> None:
        """Free what it reserved; closing twice is fine."""
        with contextlib.ExitStack() as freed:
            for one in (self._layers, self._feather, self._patches):
                freed.callback(one.close)


class _Mouths(ctypes.Structure):
    """``Mouths`` of mouth.cu."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("painted", "feather", "work", "layers")),
        *((name, ctypes.c_int32) for name in ("rows", "side")),
    )


def head_bytes(features: int) -> int:
    """Return the bytes of what a row is told: addresses of its features and picture, openness."""
    return (features + 2) * ADDRESS_BYTES


def feature_tensors(inputs: dict[str, TensorInfo]) -> dict[str, TensorInfo]:
    """Return the inputs that an avatar's bank holds: all beside the sound, where that is one."""
    return {name: one for name, one in inputs.items() if "mel" in inputs and name != "mel"}
