"""ONNX Runtime: on the CPU it runs anywhere; on CUDA with its buffers kept on the GPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort

from lipstream.errors import BackendUnavailable, ModelError
from lipstream.inference.backends import (
    RESTORE_CUDA,
    BankRow,
    Device,
    FeatureBank,
    GraphForm,
    HostFeatures,
    TensorInfo,
    host_features,
    run_one_by_one,
)
from lipstream.types import Array

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
}


class OnnxRuntimeCpu:
    """A graph in ONNX Runtime's CPU provider, computed as it is written."""

    name = "cpu"
    library = f"onnxruntime {ort.__version__}"
    device: Device = "cpu"
    form: GraphForm = "onnx"
    best_batch = 1
    _provider = "CPUExecutionProvider"
    _most_frame_threads = 1024

    def __init__(self, session: "ort.InferenceSession", frame_threads: int = 1) -> None:
        self._session: ort.InferenceSession | None = session
        self.frame_threads = frame_threads
        self.inputs = {node.name: _describe(node) for node in session.get_inputs()}
        self.outputs = {node.name: _describe(node) for node in session.get_outputs()}
        self._wanted = list(self.outputs)

    @classmethod
    def open(
        cls, graph: Path, threads: int, precision: str = "fp32", frame_threads: int = 1
    ) -> Self:
        """Load ``graph``.

        Raises ModelError when ONNX Runtime cannot read it, and BackendUnavailable when it has no
        such provider or gives another (asked for CUDA without one, it takes the CPU and only
        warns), or is asked for bf16.
        """
        if precision == "bf16":
            raise BackendUnavailable(f"backend '{cls.name}' has no bf16: choose openvino or fp32")
        if cls._provider not in ort.get_available_providers():
            raise cls._unavailable("this build of ONNX Runtime does not have it")
        options = ort.SessionOptions()
        frame_threads = min(frame_threads, cls._most_frame_threads)
        options.intra_op_num_threads = threads if frame_threads == 1 else 1
        options.inter_op_num_threads = 1
        # Spinning workers would take the core that encodes video between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(str(graph), options, providers=[cls._provider])
        except Exception as error:  # its errors share no base but Exception
            raise ModelError(
                f"{graph.name} is not a graph ONNX Runtime can load: {_line(error)}"
            ) from error
        given = session.get_providers()[0]
        if given != cls._provider:
            raise cls._unavailable(f"ONNX Runtime gave {given} instead: look at its driver")
        return cls(session, frame_threads)

    def clone(self) -> Self:
        """Return another runner of the session, for one other thread: a session takes several."""
        assert self._session is not None, "closed"
        return type(self)(self._session, self.frame_threads)

    @classmethod
    def _unavailable(cls, reason: str) -> BackendUnavailable:
        return BackendUnavailable(
            f"backend '{cls.name}' needs {cls._provider}: {reason}; {RESTORE_CUDA}"
        )

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the outputs are new arrays."""
        assert self._session is not None, "closed"
        outputs: list[Any] = list(self._session.run(self._wanted, feeds))
        return dict(zip(self._wanted, outputs, strict=True))

    def open_bank(self, features: dict[str, Array], frames: int) -> FeatureBank:
        """Keep views of the features of each frame."""
        return HostFeatures(features, frames)

    def run_rows(self, mels: Sequence[Array], rows: Sequence[BankRow]) -> dict[str, Array]:
        """Run row by row; the outputs of one row are those of ``run``."""
        return run_one_by_one(self.run, mels, rows)

    def close(self) -> None:
        """Free the session."""
        self._session = None


class OnnxRuntimeCuda(OnnxRuntimeCpu):
    """A graph in ONNX Runtime's CUDA provider, inputs and outputs bound to buffers on the GPU."""

    name = "cuda"
    device: Device = "gpu"
    best_batch = 8
    _provider = "CUDAExecutionProvider"
    _most_frame_threads = 1
    """Frames are made together there, by one thread."""

    def __init__(self, session: "ort.InferenceSession", frame_threads: int = 1) -> None:
        super().__init__(session, frame_threads)
        self._binding: Any = session.io_binding()
        self._on_gpu: dict[str, Any] = {}
        self._batch: dict[str, Array] = {}
        """What ``run_rows`` collects, kept for the next run."""

    @classmethod
    def open(
        cls, graph: Path, threads: int, precision: str = "fp32", frame_threads: int = 1
    ) -> Self:
        """Load ``graph``, as on the CPU; CUDA and cuDNN are found where pip has put them."""
        if cls._provider in ort.get_available_providers():
            ort.preload_dlls()  # the linker does not look there
        return super().open(graph, threads, precision, frame_threads)

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the outputs are new arrays, copied from the GPU."""
        assert self._session is not None, "closed"
        for name, array in feeds.items():
            self._binding.bind_ortvalue_input(name, self._uploaded(name, array))
        for name in self._wanted:
            self._binding.bind_output(name, "cuda")
        self._session.run_with_iobinding(self._binding)
        outputs: list[Any] = self._binding.copy_outputs_to_cpu()
        return dict(zip(self._wanted, outputs, strict=True))

    def run_rows(self, mels: Sequence[Array], rows: Sequence[BankRow]) -> dict[str, Array]:
        """Run once for all; the features are collected here and go up with the sound."""
        count = len(rows)
        for name, taken in self.inputs.items():
            batch = self._batch.get(name)
            if batch is None or len(batch) < count:
                shape = [size or 0 for size in taken.shape[1:]]
                size = max(count, self.best_batch)
                batch = self._batch[name] = np.empty((size, *shape), taken.dtype)
            for at, row in enumerate(rows):
                batch[at] = mels[at][0] if name == "mel" else host_features(row)[name][0]
        return self.run({name: self._batch[name][:count] for name in self.inputs})

    def clone(self) -> Self:
        """Refuse: a GPU's frames are made together, by one thread."""
        raise BackendUnavailable(f"backend '{self.name}' runs on one thread")

    def close(self) -> None:
        """Free the session and its buffers."""
        self._on_gpu.clear()
        self._binding = None
        super().close()

    def _uploaded(self, name: str, array: Array) -> Any:
        """Copy into the buffer of this input, which is kept while its shape stays."""
        array = np.ascontiguousarray(array)
        value = self._on_gpu.get(name)
        if value is None or tuple(value.shape()) != array.shape:
            value = self._on_gpu[name] = ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0)
        else:
            value.update_inplace(array)
        return value


def _describe(node: Any) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorInfo(shape, _DTYPES.get(str(node.type), str(node.type)))


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
