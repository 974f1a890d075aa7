"""Read a TensorFlow Lite file: its tensors, its constants, and its operators in order."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lipstream.errors import ModelError

_DTYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}


@dataclass(slots=True)
class Graph:
    """The .tflite being read, and the ONNX nodes written so far."""

    model: Any
    source: Any
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    constants: dict[int, NDArray[Any]] = field(default_factory=dict)

    def shape(self, index: int) -> list[int]:
        """Return the shape of a tensor, TensorFlow's order of axes."""
        tensor = self.source.Tensors(index)
        return [int(size) for size in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []

    def name(self, index: int) -> str:
        """Return what a tensor is called in ONNX."""
        return f"t{index}"

    def constant(self, index: int) -> NDArray[Any]:
        """Return the values of a constant tensor, float16 ones still as float16."""
        if index in self.constants:
            return self.constants[index]
        tensor = self.source.Tensors(index)
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer.DataLength() == 0 or tensor.Type() not in _DTYPES:
            raise ModelError(f"tensor {tensor.Name()!r} should hold numbers and holds none")
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES[tensor.Type()])
        return values.reshape(self.shape(index))

    def weight(self, index: int, values: NDArray[Any]) -> str:
        """Store constant values and return the name of their float32 form."""
        name = f"w{index}"
        if values.dtype == np.float16:
            cast = helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT)
            self.nodes.append(cast)
        stored = f"{name}_half" if values.dtype == np.float16 else name
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), stored))
        return name

    def integers(self, name: str, values: list[int]) -> str:
        """Store a list of integers (a shape, pads) and return its name."""
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def zero(self) -> str:
        """Return the name of a float32 zero without axes, stored at the first call."""
        if all(weight.name != "zero" for weight in self.weights):
            self.weights.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
        return "zero"


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of the .tflite."""

    operator: Any
    inputs: list[int]
    output: int

    def options(self, kind: Any) -> Any:
        """Return the operator's options as the flatbuffer class ``kind``."""
        table = self.operator.BuiltinOptions()
        options = kind()
        options.Init(table.Bytes, table.Pos)
        return options


def open_graph(path: Path) -> Graph:
    """Read a .tflite of one graph; raises ModelError when it is none."""
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ModelError(f"{path} is not a TensorFlow Lite model: its mark TFL3 is missing")
    model = tflite.Model.GetRootAsModel(content, 0)
    if model.SubgraphsLength() != 1:
        raise ModelError(f"{path} holds {model.SubgraphsLength()} graphs; one can be converted")
    return Graph(model, model.Subgraphs(0))
