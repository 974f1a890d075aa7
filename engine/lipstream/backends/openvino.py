"""OpenVINO on the CPU: the faster one where it is installed."""

from pathlib import Path
from typing import Self

import openvino as ov

from lipstream.backends import TensorInfo
from lipstream.errors import ModelError
from lipstream.types import Array


class OpenVinoBackend:
    """A graph compiled by OpenVINO for the CPU: fp32, bf16 arithmetic, or an int8 graph."""

    name = "openvino"
    best_batch = 1

    def __init__(self, model: "ov.Model", compiled: "ov.CompiledModel") -> None:
        self._request: ov.InferRequest | None = compiled.create_infer_request()
        # Compiling may rename an output whose last operator it folds away; the order stays.
        self.inputs = {port.any_name: _describe(port) for port in model.inputs}
        self.outputs = {port.any_name: _describe(port) for port in model.outputs}

    @classmethod
    def open(cls, onnx: Path, threads: int, precision: str = "fp32") -> Self:
        """Load and compile ``onnx``; raises ModelError when OpenVINO cannot read it."""
        # Without the precision hint OpenVINO takes bf16 where the CPU has it, and pictures change
        # with the machine.
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            core = ov.Core()
            model = core.read_model(onnx)
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1][:200]
            raise ModelError(f"{onnx.name} is not a graph OpenVINO can load: {line}") from error
        return cls(model, compiled)

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the outputs are views that the next run overwrites."""
        assert self._request is not None, "closed"
        results = self._request.infer(feeds, share_inputs=True, share_outputs=True)
        return dict(zip(self.outputs, results.values(), strict=True))

    def close(self) -> None:
        """Free the compiled graph."""
        self._request = None


def _describe(port: "ov.Output") -> TensorInfo:
    shape = tuple(
        axis.get_length() if axis.is_static else None for axis in port.get_partial_shape()
    )
    return TensorInfo(shape, port.get_element_type().to_dtype().name)
