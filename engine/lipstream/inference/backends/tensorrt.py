"""TensorRT and TensorRT-RTX on an NVIDIA GPU, through their one Python API and ``cuda-python``.

A run is: copy the sound and where its features lie into page-locked memory, then one CUDA graph
that takes them to the GPU, gathers the features, runs the engine and brings the result back. One
stream for each graph opened, so that the engine threads of several workers do not wait for each
other.

An engine fits one version of TensorRT, one kind of GPU and one range of batches, so all of that is
in its key; what has another key is built anew, and what cannot be read is thrown away.
"""

import contextlib
import hashlib
import importlib
import json
import logging
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from lipstream.errors import BackendUnavailable, InputError, ModelError
from lipstream.inference.backends import (
    BankRow,
    BatchRange,
    Device,
    FeatureBank,
    GraphForm,
    HostFeatures,
    PasteTarget,
    TensorInfo,
    host_features,
)
from lipstream.inference.backends.cuda import (
    BatchRunner,
    DeviceFeatures,
    DeviceMemory,
    Gather,
    Gpu,
    MirroredBuffer,
    Paste,
    Stream,
    feature_tensors,
    find_gpu,
    head_bytes,
)
from lipstream.storage import load_blob, save_blob, sha256_of, user_cache
from lipstream.types import Array, Float32, Planes

log = logging.getLogger(__name__)

_WORKSPACE_BYTES = 2 << 30
_Course = Literal["feeds", "banks", "pasted"]
"""What a batch goes through: features handed over, or gathered, or mouths pasted as well."""


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an engine depends on."""

    onnx_sha256: str
    library: str
    """Package and version, as "tensorrt_rtx 1.7.1"."""
    gpu: str
    """Name and compute capability."""
    precision: str
    batch: BatchRange

    @property
    def file_name(self) -> str:
        """Name of the cached file."""
        encoded = json.dumps(asdict(self), sort_keys=True).encode()
        return f"{hashlib.sha256(encoded).hexdigest()[:32]}.engine"


def cache_folder() -> Path:
    """Return where engines are kept; any of it may be deleted."""
    return user_cache() / "engines"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What to build, and for what."""

    onnx: Path
    batch: BatchRange = field(default_factory=BatchRange)
    gpu: Gpu | None = None
    """None for the GPU at hand; TensorRT-RTX alone can build for another, without any GPU."""
    timing_cache: Path | None = None
    """Where measured timings of kernels are kept between builds; TensorRT-RTX measures none."""


def build_engine(api: Any, spec: EngineSpec) -> bytes:
    """Return the engine of an ONNX graph, serialised. ``api`` is tensorrt or tensorrt_rtx.

    Raises ModelError when the graph cannot be parsed, BackendUnavailable when it cannot be built.
    """
    logger = make_logger(api)
    builder = api.Builder(logger)
    network = _parse(api, builder, logger, spec.onnx)
    config = builder.create_builder_config()
    _configure(api, config, spec)
    config.add_optimization_profile(_profile(builder, network, spec.batch))
    begun = time.monotonic()
    log.info("building the engine of %s with %s", spec.onnx.name, library_of(api))
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BackendUnavailable(
            f"{library_of(api)} cannot build {spec.onnx.name}: {logger.last or 'no reason given'}"
        )
    log.info("built %s in %.1f s", spec.onnx.name, time.monotonic() - begun)
    if spec.timing_cache is not None and api.__name__ == "tensorrt":
        save_blob(spec.timing_cache, bytes(memoryview(config.get_timing_cache().serialize())))
    return bytes(memoryview(engine))


def library_of(api: Any) -> str:
    """Return the name and version of the library in use."""
    return f"{api.__name__} {api.__version__}"


def make_logger(api: Any) -> Any:
    """Return a TensorRT logger that writes to this module's, and remembers the last error."""

    class ErrorLogger(api.ILogger):  # type: ignore[misc]
        last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= api.ILogger.Severity.ERROR:
                self.last = message.strip()[:300]
            log.debug("%s", message)

    return ErrorLogger()


def _parse(api: Any, builder: Any, logger: Any, onnx: Path) -> Any:
    # TensorRT 11 and RTX know no other kind: the graph says the precision of every layer.
    typed = getattr(api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = api.OnnxParser(network, logger)
    if not parser.parse(onnx.read_bytes()):
        errors = [parser.get_error(k) for k in range(parser.num_errors)]
        reason = "; ".join(f"{error.node_name()}: {error.desc()}" for error in errors)[:300]
        raise ModelError(f"{onnx.name} is not a graph {library_of(api)} can read: {reason}")
    return network


def _configure(api: Any, config: Any, spec: EngineSpec) -> None:
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.clear_flag(api.BuilderFlag.TF32)  # fp32 is to mean fp32: TF32 keeps 10 bits
    config.progress_monitor = _make_progress(api, spec.onnx.name)
    if spec.gpu is not None:
        config.num_compute_capabilities = 1
        name = f"SM{spec.gpu.compute_capability.replace('.', '')}"
        config.set_compute_capability(getattr(api.ComputeCapability, name), 0)
    if spec.timing_cache is not None and api.__name__ == "tensorrt":
        timings = load_blob(spec.timing_cache) or b""
        config.set_timing_cache(config.create_timing_cache(timings), False)


def _profile(builder: Any, network: Any, batch: BatchRange) -> Any:
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        shape = tuple(tensor.shape)
        if -1 in shape:
            sizes = (batch.least, batch.optimal, batch.most)
            profile.set_shape(tensor.name, *[(size, *shape[1:]) for size in sizes])
    return profile


def _make_progress(api: Any, what: str) -> Any:
    class ProgressLogger(api.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, _parent: str | None, steps: int) -> None:
            self._steps[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            log.debug("%s: %s, %d of %d", what, phase, step + 1, self._steps.get(phase, 0))
            return True

        def phase_finish(self, phase: str) -> None:
            log.info("%s: %s done", what, phase)

    return ProgressLogger()


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

    def __init__(self, api: Any, engine: Any, capability: str) -> None:
        self.library = library_of(api)
        self._api: Any = api
        self._engine: Any = engine
        self.inputs: dict[str, TensorInfo] = {}
        self.outputs: dict[str, TensorInfo] = {}
        self._buffers: dict[str, MirroredBuffer] = {}
        self._batches: dict[tuple[int, _Course], BatchRunner] = {}
        """By size and course."""
        self._banks: weakref.WeakSet[DeviceFeatures] = weakref.WeakSet()
        self._most = BatchRange().most
        self._working_memory: DeviceMemory | None = None
        self._gather: Gather | None = None
        """None where there are no features."""
        self._paste: Paste | None = None
        self._stream: Stream | None = Stream()
        try:
            self._working_memory = DeviceMemory(int(engine.device_memory_size_v2))
            self._reserve(capability)
            self._launch(1)  # what cannot run is found out before it is chosen
        except BaseException:
            with contextlib.suppress(BackendUnavailable):  # the first error tells more
                self.close()
            raise

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
        no driver, no memory, or when ``precision`` is bf16, which is a way of CPUs to compute.
        """
        if precision == "bf16":
            raise BackendUnavailable(
                f"backend '{cls.name}' runs fp32, fp16 and int8 graphs, not bf16: choose fp16"
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
        engine = _engine_of(api, runtime, gpu, (graph, precision))
        return cls(api, engine, gpu.compute_capability)

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the outputs are views that the next run overwrites."""
        rows = len(next(iter(feeds.values())))
        self._check(rows)
        for name in self.inputs:
            np.copyto(self._buffers[name].array[:rows], feeds[name], casting="no")
        self._launch(rows)
        return self._outputs(rows)

    def open_bank(self, features: dict[str, Array], frames: int) -> FeatureBank:
        """Copy the features to the GPU, where ``run_rows`` reads them."""
        assert self._stream is not None, "closed"
        if not features:
            return HostFeatures(features, frames)
        for name, array in features.items():
            assert array.dtype == self.inputs[name].dtype, name
        bank = DeviceFeatures({name: features[name] for name in feature_tensors(self.inputs)})
        self._banks.add(bank)
        return bank

    def run_rows(self, mels: Sequence[Array], rows: Sequence[BankRow]) -> dict[str, Array]:
        """Run once; the outputs are views that the next run overwrites.

        Only the sound goes up, and where its features lie on the GPU.
        """
        self._run(mels, rows, "banks")
        return self._outputs(len(rows))

    def _run(self, mels: Sequence[Array], rows: Sequence[BankRow], course: _Course) -> None:
        self._check(len(rows))
        sound = self._buffers["mel"].array
        for at, mel in enumerate(mels):
            np.copyto(sound[at : at + 1], mel, casting="no")
        if self._gather is not None:
            for at, row in enumerate(rows):
                self._find(at, row, self._gather.sources)
        self._launch(len(rows), course)

    def open_targets(
        self, bank: FeatureBank, targets: Sequence[PasteTarget], feather: Float32
    ) -> None:
        """Copy the pictures of a bank to the GPU, where ``paste_rows`` reads them."""
        assert self._gather is not None, "a network without features paints no mouth"
        assert isinstance(bank, DeviceFeatures), "the bank is of another backend"
        if self._paste is None:
            self._paste = Paste(self._gather, self._buffers["mouth"], feather)
        bank.add_targets(targets)

    def paste_rows(
        self, mels: Sequence[Array], rows: Sequence[BankRow], openness: Sequence[float]
    ) -> list[Planes]:
        """Run once and paste; the planes are views that the next run overwrites."""
        assert self._paste is not None, "no targets are open"
        for at, row in enumerate(rows):
            self._paste.tell(at, row, openness[at])
        self._run(mels, rows, "pasted")
        return [self._paste.planes(at, row) for at, row in enumerate(rows)]

    def _find(self, at: int, row: BankRow, sources: Array) -> None:
        """Note where a row's features lie; those of a bank of the processor go up here."""
        assert self._stream is not None, "closed"
        if isinstance(row.bank, DeviceFeatures):
            sources[at] = row.bank.addresses[row.index]
            return
        for name, array in host_features(row).items():
            np.copyto(self._buffers[name].array[at : at + 1], array, casting="no")
            self._buffers[name].upload_row(at, self._stream)
        sources[at] = 0  # they are there

    def _check(self, rows: int) -> None:
        assert self._stream is not None, "closed"
        if not 1 <= rows <= self._most:
            raise InputError(f"a batch of {rows}: this engine takes 1 to {self._most}")

    def _outputs(self, rows: int) -> dict[str, Array]:
        return {name: self._buffers[name].array[:rows] for name in self.outputs}

    def clone(self) -> Self:
        """Refuse: a GPU's frames are made together, by one thread."""
        raise BackendUnavailable(f"backend '{self.name}' runs on one thread")

    def close(self) -> None:
        """Free the engine and its memory; all of it, also where CUDA refuses a part."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        with contextlib.ExitStack() as freed:  # the last named goes first
            freed.callback(stream.close)
            for buffer in self._buffers.values():
                freed.callback(buffer.close)
            if self._working_memory is not None:
                freed.callback(self._working_memory.close)
            for bank in self._banks:
                freed.callback(bank.close)
            for part in (self._gather, self._paste):
                if part is not None:
                    freed.callback(part.close)
            freed.callback(self._forget_engine)
            for batch in self._batches.values():
                if batch.graph is not None:
                    freed.callback(batch.graph.close)
            freed.callback(stream.wait)  # what a failed run has queued still uses it all

    def _forget_engine(self) -> None:
        self._batches = {}
        self._engine = None

    def _reserve(self, capability: str) -> None:
        names = [self._engine.get_tensor_name(k) for k in range(self._engine.num_io_tensors)]
        for name in names:
            self._describe(name)
        features = feature_tensors(self.inputs)
        table = self._most * head_bytes(len(features)) if features else 0
        for name, tensor in (self.inputs | self.outputs).items():
            shape = (self._most, *(size or 0 for size in tensor.shape[1:]))
            head = table if name == "mel" else 0
            self._buffers[name] = MirroredBuffer(shape, np.dtype(tensor.dtype), head)
        if features:
            taken = {name: self._buffers[name] for name in ("mel", *features)}
            self._gather = Gather(capability, taken, self._most)

    def _describe(self, name: str) -> None:
        api, engine = self._api, self._engine
        shape = tuple(int(size) for size in engine.get_tensor_shape(name))
        if min(shape[1:], default=0) < 0:
            raise BackendUnavailable(
                f"backend '{self.name}': {name} is {shape}: only the batch may be of any size"
            )
        dtype = np.dtype(api.nptype(engine.get_tensor_dtype(name))).name
        described = TensorInfo(tuple(None if size < 0 else size for size in shape), dtype)
        takes = engine.get_tensor_mode(name) == api.TensorIOMode.INPUT
        (self.inputs if takes else self.outputs)[name] = described

    def _launch(self, rows: int, course: _Course = "feeds") -> None:
        """Run the first ``rows`` of the buffers and wait; the first time it is recorded as well."""
        assert self._stream is not None, "closed"
        key = (rows, course)
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = self._open_batch(rows)
        if batch.graph is not None:
            batch.graph.launch(self._stream)
        else:
            self._queue(batch.context, key)  # the first run loads what is lazy
        self._stream.wait()
        if self._records and batch.graph is None:
            batch.graph = self._stream.capture(lambda: self._queue(batch.context, key))

    def _open_batch(self, rows: int) -> BatchRunner:
        if not self._records and self._batches:  # TensorRT-RTX has one context for all sizes
            context = next(iter(self._batches.values())).context
        else:
            context = self._make_context(self._engine)
        if context is None:
            raise BackendUnavailable(
                f"backend '{self.name}': no room on the GPU to run this network: end other programs"
            )
        memory = self._working_memory
        assert memory is not None, "closed"
        context.set_device_memory(memory.address, memory.size_bytes)
        for name, buffer in self._buffers.items():
            if not context.set_tensor_address(name, buffer.address):
                raise BackendUnavailable(f"backend '{self.name}' refused the memory of {name}")
        if self._records:
            self._shape(context, rows)
        return BatchRunner(context)

    def _make_context(self, engine: Any) -> Any:
        return engine.create_execution_context(
            self._api.ExecutionContextAllocationStrategy.USER_MANAGED
        )

    def _shape(self, context: Any, rows: int) -> None:
        for name, described in self.inputs.items():
            if not context.set_input_shape(name, (rows, *described.shape[1:])):
                raise BackendUnavailable(f"backend '{self.name}' refused a batch of {rows}")

    def _queue(self, context: Any, key: tuple[int, _Course]) -> None:
        assert self._stream is not None
        rows, course = key
        if not self._records:
            self._shape(context, rows)
        if course != "feeds" and self._gather is not None:
            self._gather.queue(rows, self._stream)
        else:
            for name in self.inputs:
                self._buffers[name].upload(rows, self._stream)
        if not context.execute_async_v3(int(self._stream.handle)):
            raise BackendUnavailable(f"backend '{self.name}' failed to run a batch of {rows}")
        if course == "pasted" and self._paste is not None:
            self._paste.queue(rows, self._stream)
            return
        for name in self.outputs:
            self._buffers[name].download(rows, self._stream)


class TensorRtRtxBackend(TensorRtBackend):
    """A graph built by TensorRT-RTX, which finishes compiling for the GPU when it is opened."""

    name = "tensorrt_rtx"
    _module = "tensorrt_rtx"
    _records = False

    def _make_context(self, engine: Any) -> Any:
        api, config = self._api, engine.create_runtime_config()
        config.cuda_graph_strategy = api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        config.set_execution_context_allocation_strategy(
            api.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        return engine.create_execution_context(config)


def _engine_of(api: Any, runtime: Any, gpu: Gpu, source: tuple[Path, str]) -> Any:
    """Return the engine of (graph, precision), from the cache or built anew."""
    onnx, precision = source
    place = f"{gpu.name} {gpu.compute_capability}"
    key = EngineKey(sha256_of(onnx), library_of(api), place, precision, BatchRange())
    path = cache_folder() / key.file_name
    blob = load_blob(path)
    engine = None if blob is None else runtime.deserialize_cuda_engine(blob)
    if engine is not None:
        return engine
    if blob is not None:
        log.warning("the engine kept for %s does not load here: building it again", onnx.name)
    timings = cache_folder() / f"{key.library} {gpu.compute_capability}.timings".replace(" ", "-")
    built = build_engine(api, EngineSpec(onnx, key.batch, None, timings))
    engine = runtime.deserialize_cuda_engine(built)
    if engine is None:
        raise BackendUnavailable(f"{key.library} cannot load the engine it has just built")
    save_blob(path, built)
    return engine
