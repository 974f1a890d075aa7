"""OpenVINO on the CPU: the faster one where cores are free, and the one for bf16 and int8."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import openvino as ov

from lipstream.errors import ModelError
from lipstream.inference.backends import (
    BankRow,
    Device,
    FeatureBank,
    GraphForm,
    HostFeatures,
    TensorInfo,
    run_one_by_one,
)
from lipstream.types import Array


@dataclass(frozen=True, slots=True)
class _Ports:
    """What a graph takes and gives, as it is written."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]

    @property
    def by_row(self) -> bool:
        """Whether the batch alone is free."""
        shapes = [info.shape for info in self.inputs.values()]
        return all(shape[:1] == (None,) and None not in shape[1:] for shape in shapes)


class OpenVinoBackend:
    """A graph compiled by OpenVINO for the CPU: fp32, bf16 arithmetic, or an int8 graph.

    A graph whose batch alone is free is compiled for one row and run row by row: known shapes are
    6 % faster on Wav2Lip, a batch gains nothing, and a row's numbers do not depend on the others.
    """

    name = "openvino"
    library = f"openvino {ov.__version__}"
    device: Device = "cpu"
    form: GraphForm = "onnx"
    best_batch = 1

    def __init__(self, compiled: "ov.CompiledModel", ports: _Ports, frame_threads: int) -> None:
        self.inputs, self.outputs, self.frame_threads = ports.inputs, ports.outputs, frame_threads
        self._compiled: Any = compiled
        self._ports = ports
        self._request: ov.InferRequest | None = compiled.create_infer_request()
        self._fed: list[Array] = []

    @classmethod
    def open(
        cls, graph: Path, threads: int, precision: str = "fp32", frame_threads: int = 1
    ) -> Self:
        """Load and compile ``graph``; raises ModelError when OpenVINO cannot read it."""
        # Without the precision hint OpenVINO takes bf16 where the CPU has it, and pictures change
        # with the machine.
        settings: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        if frame_threads > 1:
            settings |= {"NUM_STREAMS": frame_threads, "INFERENCE_NUM_THREADS": frame_threads}
        try:
            model = ov.Core().read_model(graph)
            # Compiling may rename an output whose last operator it folds away; the order stays.
            ports = _Ports(_described(model.inputs), _described(model.outputs))
            if ports.by_row:
                model.reshape({name: [1, *info.shape[1:]] for name, info in ports.inputs.items()})
            return cls(ov.Core().compile_model(model, "CPU", settings), ports, frame_threads)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1][:200]
            raise ModelError(f"{graph.name} is not a graph OpenVINO can load: {line}") from error

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the outputs of one row are views that the next run overwrites."""
        rows = len(next(iter(feeds.values())))
        if not self._ports.by_row or rows == 1:
            return self._infer(feeds)
        made: dict[str, Array] = {}
        for row in range(rows):
            outputs = self._infer({name: array[row : row + 1] for name, array in feeds.items()})
            for name, output in outputs.items():
                if row == 0:
                    made[name] = np.empty((rows, *output.shape[1:]), output.dtype)
                made[name][row] = output[0]
        return made

    def _infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run on arrays that OpenVINO reads in place.

        Handing them over one by one takes 0.1 ms less than a dict does, which asks each for its
        name, type and shape: 3 % of the embedded model.
        """
        assert self._request is not None, "closed"
        self._fed = [
            np.require(feeds[name], info.dtype, ("C", "W")) for name, info in self.inputs.items()
        ]
        for place, array in enumerate(self._fed):
            self._request.set_input_tensor(place, ov.Tensor(array, shared_memory=True))
        results = self._request.infer(share_outputs=True)
        return dict(zip(self.outputs, results.values(), strict=True))

    def open_bank(self, features: dict[str, Array], frames: int) -> FeatureBank:
        """Keep views of the features of each frame."""
        return HostFeatures(features, frames)

    def run_rows(self, mels: Sequence[Array], rows: Sequence[BankRow]) -> dict[str, Array]:
        """Run row by row; the outputs of one row are those of ``run``."""
        return run_one_by_one(self.run, mels, rows)

    def clone(self) -> Self:
        """Return another request of the compiled graph, for one other thread."""
        return type(self)(self._compiled, self._ports, self.frame_threads)

    def close(self) -> None:
        """Free the compiled graph, once its clones are closed too."""
        self._request = self._compiled = None
        self._fed = []


def _described(ports: "list[ov.Output]") -> dict[str, TensorInfo]:
    return {port.any_name: _describe(port) for port in ports}


def _describe(port: "ov.Output") -> TensorInfo:
    shape = tuple(
        axis.get_length() if axis.is_static else None for axis in port.get_partial_shape()
    )
    return TensorInfo(shape, port.get_element_type().to_dtype().name)
