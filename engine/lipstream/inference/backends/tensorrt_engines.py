"""Build TensorRT engines from ONNX graphs, and keep them: building takes seconds to minutes.

An engine fits one version of TensorRT, one kind of GPU and one range of batches, so all of that is
in its key; what has another key is built anew, and what cannot be read is thrown away.
"""

import hashlib
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lipstream.errors import BackendUnavailable, ModelError
from lipstream.inference.backends.cuda import Gpu
from lipstream.storage.atomic_files import unique_writer, user_cache, written_whole

log = logging.getLogger(__name__)

_MARK = b"lipstream engine 1\n"
_WORKSPACE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class BatchRange:
    """Sizes of axis 0 an engine is built for."""

    least: int = 1
    optimal: int = 8
    """The size that is made fastest."""
    most: int = 32


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
        written = json.dumps(asdict(self), sort_keys=True).encode()
        return f"{hashlib.sha256(written).hexdigest()[:32]}.engine"


def cache_folder() -> Path:
    """Return where engines are kept; any of it may be deleted."""
    return user_cache() / "engines"


def load_blob(path: Path) -> bytes | None:
    """Return what ``save_blob`` wrote, or None when it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head = len(_MARK)
    digest, body = content[head : head + 32], content[head + 32 :]
    if content[:head] != _MARK or hashlib.sha256(body).digest() != digest:
        log.warning("%s is damaged and will be built again", path)
        return None
    return body


def save_blob(path: Path, body: bytes) -> None:
    """Keep ``body`` with its checksum; a folder that cannot be written costs only time later."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_whole(path, unique_writer()) as unfinished:
            unfinished.write_bytes(_MARK + hashlib.sha256(body).digest() + body)
    except OSError as error:
        log.warning("cannot keep %s (%s): it is built again next time", path, error.strerror)


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What to build, and for what."""

    onnx: Path
    batch: BatchRange = BatchRange()
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
    if spec.timing_cache is not None and _measures(api):
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
    if spec.timing_cache is not None and _measures(api):
        kept = load_blob(spec.timing_cache) or b""
        config.set_timing_cache(config.create_timing_cache(kept), False)


def _measures(api: Any) -> bool:
    return bool(api.__name__ == "tensorrt")


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
