"""TensorRT and TensorRT-RTX on an NVIDIA GPU, through their one Python API and ``cuda-python``.

A run is: copy the feeds into page-locked memory, then one CUDA graph that takes them to the GPU,
runs the engine and brings the result back. One stream for each graph opened, so that the engine
threads of several workers do not wait for each other.
"""

import importlib
import logging
from pathlib import Path
from typing import Any, Self

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.backends import Device, GraphForm, TensorInfo
from lipstream.inference.backends.cuda import CudaGraph, Gpu, MirroredBuffer, Stream, find_gpu
from lipstream.inference.backends.tensorrt_engines import (
    BatchRange,
    EngineKey,
    EngineSpec,
    build_engine,
    cache_folder,
    library_of,
    load_blob,
    make_logger,
    save_blob,
)
from lipstream.storage.atomic_files import sha256_of
from lipstream.types import Array

log = logging.getLogger(__name__)


class TensorRtBackend:
    """A graph built by TensorRT for the first GPU."""

    name = "tensorrt"
    device: Device = "gpu"
    form: GraphForm = "onnx"
    best_batch = 8
    frame_threads = 1
    _module = "tensorrt"
    _records = True
    """Whether runs are recorded here as CUDA graphs; TensorRT-RTX does that by itself."""

    def __init__(self, api: Any, engine: Any) -> None:
        self.library = library_of(api)
        self._api: Any = api
        self._engine: Any = engine
        self._stream: Stream | None = Stream()
        self._context: Any = self._make_context(engine)
        if self._context is None:
            raise BackendUnavailable(
                f"backend '{self.name}': no room on the GPU to run this network: end other programs"
            )
        self.inputs: dict[str, TensorInfo] = {}
        self.outputs: dict[str, TensorInfo] = {}
        self._buffers: dict[str, MirroredBuffer] = {}
        self._graphs: dict[int, CudaGraph] = {}
        self._most = BatchRange().most
        for number in range(engine.num_io_tensors):
            self._reserve(engine.get_tensor_name(number))

    @classmethod
    def open(
        cls,
        graph: Path,
        threads: int,  # noqa: ARG003  for CPUs, as are frame_threads
        precision: str = "fp32",
        frame_threads: int = 1,  # noqa: ARG003
    ) -> Self:
        """Build or load the engine of ``graph``.

        Raises ModelError when the graph cannot be parsed, BackendUnavailable when there is no GPU,
        no driver, no memory, or when ``precision`` is one that only CPUs run.
        """
        if precision in ("bf16", "int8"):
            raise BackendUnavailable(
                f"backend '{cls.name}' runs fp32 and fp16 graphs, not {precision}: choose fp16"
            )
        gpu = find_gpu()  # first: importing TensorRT takes a second
        try:
            api = importlib.import_module(cls._module)
        except (ImportError, OSError) as error:
            raise BackendUnavailable(
                f"backend '{cls.name}' is installed but does not load ({error}): install it again"
            ) from error
        runtime = api.Runtime(make_logger(api))
        if runtime is None:
            raise BackendUnavailable(f"{library_of(api)} cannot start: is its driver too old?")
        return cls(api, _engine_of(api, runtime, gpu, (graph, precision)))

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the outputs are views that the next run overwrites."""
        assert self._stream is not None, "closed"
        rows = len(next(iter(feeds.values())))
        if not 1 <= rows <= self._most:
            raise InputError(f"a batch of {rows}: this engine takes 1 to {self._most}")
        for name in self.inputs:
            np.copyto(self._buffers[name].array[:rows], feeds[name], casting="no")
        if not self._records:
            self._shape(rows)
            self._queue(rows)
        else:
            if rows not in self._graphs:
                self._graphs[rows] = self._record(rows)
            self._graphs[rows].launch(self._stream)
        self._stream.wait()
        return {name: self._buffers[name].array[:rows] for name in self.outputs}

    def clone(self) -> Self:
        """Refuse: a GPU's frames are made together, by one thread."""
        raise BackendUnavailable(f"backend '{self.name}' runs on one thread")

    def close(self) -> None:
        """Free the engine and its memory."""
        if self._stream is None:
            return
        for graph in self._graphs.values():
            graph.close()
        for buffer in self._buffers.values():
            buffer.close()
        self._stream.close()
        self._stream = self._context = self._engine = None

    def _make_context(self, engine: Any) -> Any:
        return engine.create_execution_context()

    def _reserve(self, name: str) -> None:
        api, engine = self._api, self._engine
        shape = tuple(int(size) for size in engine.get_tensor_shape(name))
        dtype = np.dtype(api.nptype(engine.get_tensor_dtype(name)))
        described = TensorInfo(tuple(None if size < 0 else size for size in shape), dtype.name)
        takes = engine.get_tensor_mode(name) == api.TensorIOMode.INPUT
        (self.inputs if takes else self.outputs)[name] = described
        buffer = MirroredBuffer((self._most, *shape[1:]), dtype)
        self._buffers[name] = buffer
        self._context.set_tensor_address(name, buffer.device)

    def _record(self, rows: int) -> CudaGraph:
        """Record one run for a batch of ``rows``, after one plain run: it loads what is lazy."""
        assert self._stream is not None
        self._shape(rows)
        self._queue(rows)
        self._stream.wait()
        return self._stream.capture(lambda: self._queue(rows))

    def _shape(self, rows: int) -> None:
        for name, described in self.inputs.items():
            self._context.set_input_shape(name, (rows, *described.shape[1:]))

    def _queue(self, rows: int) -> None:
        assert self._stream is not None
        for name in self.inputs:
            self._buffers[name].upload(rows, self._stream)
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise BackendUnavailable(f"backend '{self.name}' failed to run a batch of {rows}")
        for name in self.outputs:
            self._buffers[name].download(rows, self._stream)


class TensorRtRtxBackend(TensorRtBackend):
    """A graph built by TensorRT-RTX, which finishes compiling for the GPU when it is opened."""

    name = "tensorrt_rtx"
    _module = "tensorrt_rtx"
    _records = False

    def _make_context(self, engine: Any) -> Any:
        config = engine.create_runtime_config()
        config.cuda_graph_strategy = self._api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return engine.create_execution_context(config)


def _engine_of(api: Any, runtime: Any, gpu: Gpu, source: tuple[Path, str]) -> Any:
    """Return the engine of (graph, precision), from the cache or built anew."""
    onnx, precision = source
    place = f"{gpu.name} {gpu.compute_capability}"
    key = EngineKey(sha256_of(onnx), library_of(api), place, precision, BatchRange())
    path = cache_folder() / key.file_name
    kept = load_blob(path)
    engine = None if kept is None else runtime.deserialize_cuda_engine(kept)
    if engine is not None:
        return engine
    if kept is not None:
        log.warning("the engine kept for %s does not load here: building it again", onnx.name)
    timings = cache_folder() / f"{key.library} {gpu.compute_capability}.timings".replace(" ", "-")
    built = build_engine(api, EngineSpec(onnx, key.batch, None, timings))
    engine = runtime.deserialize_cuda_engine(built)
    if engine is None:
        raise BackendUnavailable(f"{key.library} cannot load the engine it has just built")
    save_blob(path, built)
    return engine
