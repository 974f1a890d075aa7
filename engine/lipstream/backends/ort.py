"""ONNX Runtime: on the CPU it runs anywhere; on CUDA when asked for by name."""

from pathlib import Path
from typing import Any, Self

import onnxruntime as ort

from lipstream.backends import TensorInfo
from lipstream.errors import BackendUnavailable, ModelError
from lipstream.types import Array

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}


class OnnxRuntimeCpu:
    """A graph in ONNX Runtime's CPU provider, fp32."""

    name = "cpu"
    _provider = "CPUExecutionProvider"
    _extra = "cpu"

    def __init__(self, session: "ort.InferenceSession") -> None:
        self._session: ort.InferenceSession | None = session
        self.inputs = {node.name: _describe(node) for node in session.get_inputs()}
        self.outputs = {node.name: _describe(node) for node in session.get_outputs()}
        self._wanted = list(self.outputs)

    @classmethod
    def open(cls, onnx: Path, threads: int) -> Self:
        """Load ``onnx``.

        Raises ModelError when ONNX Runtime cannot read it, and BackendUnavailable when it has no
        such provider or gives another: asked for CUDA without one, it takes the CPU and only warns.
        """
        if cls._provider not in ort.get_available_providers():
            raise cls._unavailable("this build of ONNX Runtime does not have it")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning workers would take the core that encodes video between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(str(onnx), options, providers=[cls._provider])
        except Exception as error:  # its errors share no base but Exception
            raise ModelError(
                f"{onnx.name} is not a graph ONNX Runtime can load: {_line(error)}"
            ) from error
        given = session.get_providers()[0]
        if given != cls._provider:
            raise cls._unavailable(f"ONNX Runtime gave {given} instead: look at its driver")
        return cls(session)

    @classmethod
    def _unavailable(cls, reason: str) -> BackendUnavailable:
        return BackendUnavailable(
            f"backend '{cls.name}' needs {cls._provider}: {reason}; pip uninstall onnxruntime"
            f" onnxruntime-gpu, then pip install 'lipstream[{cls._extra}]'"
        )

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the outputs are new arrays."""
        assert self._session is not None, "closed"
        outputs: list[Any] = list(self._session.run(self._wanted, feeds))
        return dict(zip(self._wanted, outputs, strict=True))

    def close(self) -> None:
        """Free the session."""
        self._session = None


class OnnxRuntimeCuda(OnnxRuntimeCpu):
    """A graph in ONNX Runtime's CUDA provider, fp32."""

    name = "cuda"
    _provider = "CUDAExecutionProvider"
    _extra = "gpu"


def _describe(node: "ort.NodeArg") -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorInfo(shape, _DTYPES.get(str(node.type), str(node.type)))


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
