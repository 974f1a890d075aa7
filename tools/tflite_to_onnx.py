"""Turn a small convolutional TensorFlow Lite network into ONNX.

TensorFlow keeps pictures as (N, H, W, C), ONNX as (N, C, H, W). The converted graph takes and gives
what the original takes and gives; one transpose at each rim keeps the middle in ONNX's own order.
Weights stored as float16 stay float16 in the file and are cast when the graph is loaded.
"""

from collections.abc import Callable
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
class TfliteGraph:
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
class TfliteOperator:
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


def open_graph(path: Path) -> TfliteGraph:
    """Read a .tflite of one graph; raises ModelError when it is none."""
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ModelError(f"{path} is not a TensorFlow Lite model: its mark TFL3 is missing")
    model = tflite.Model.GetRootAsModel(content, 0)
    if model.SubgraphsLength() != 1:
        raise ModelError(f"{path} holds {model.SubgraphsLength()} graphs; one can be converted")
    return TfliteGraph(model, model.Subgraphs(0))


OPSET = 17
IR_VERSION = 8
"""The IR version of ONNX 1.12, the first with opset 17: every runtime of today reads it."""

_OPERATOR_NAMES = {
    number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)
}


@dataclass(frozen=True, slots=True)
class Port:
    """What an input or output of the ONNX graph is called, and its shape without the batch axis."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Conversion:
    """How to convert one network."""

    name: str
    input: Port
    outputs: dict[str, Port]
    """Name of the tensor in the .tflite -> name and shape it gets."""
    about: str
    """Goes into the file as its doc string: origin and licence."""


def convert(path: Path, conversion: Conversion) -> onnx.ModelProto:
    """Return the network in ``path`` as a checked ONNX model with a free batch axis ``N``.

    Raises ModelError when the file is no .tflite, or holds an operator that is not known here.
    """
    graph = open_graph(path)
    inputs, outputs = graph.source.InputsAsNumpy(), graph.source.OutputsAsNumpy()
    _enter(graph, int(inputs[0]), conversion.input)
    for number in range(graph.source.OperatorsLength()):
        operator = graph.source.Operators(number)
        code = graph.model.OperatorCodes(operator.OpcodeIndex())
        name = _OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name not in _WRITERS:
            known = ", ".join(sorted(_WRITERS))
            raise ModelError(f"{path} uses the operator {name}; only {known} can be converted")
        input_name = [int(index) for index in operator.InputsAsNumpy()]
        _WRITERS[name](
            graph, TfliteOperator(operator, input_name, int(operator.OutputsAsNumpy()[0]))
        )
    for index in outputs:
        _leave(graph, int(index), conversion)
    return _finish(graph, conversion)


def _enter(graph: TfliteGraph, index: int, port: Port) -> None:
    graph.nodes.append(
        helper.make_node("Transpose", [port.name], [graph.name(index)], perm=[0, 3, 1, 2])
    )


def _leave(graph: TfliteGraph, index: int, conversion: Conversion) -> None:
    known = graph.source.Tensors(index).Name().decode()
    if known not in conversion.outputs:
        raise ModelError(f"output {known!r} of {conversion.name} is not expected")
    port = conversion.outputs[known]
    shape = graph.integers(f"{port.name}_shape", [-1, *port.shape])
    rows = _channels_last(graph, index)
    graph.nodes.append(helper.make_node("Reshape", [rows, shape], [port.name]))


def _channels_last(graph: TfliteGraph, index: int) -> str:
    """Return the name of a tensor in TensorFlow's own order of axes."""
    name = graph.name(index)
    if len(graph.shape(index)) != 4:
        return name
    last = f"{name}_last"
    graph.nodes.append(helper.make_node("Transpose", [name], [last], perm=[0, 2, 3, 1]))
    return last


def _finish(graph: TfliteGraph, conversion: Conversion) -> onnx.ModelProto:
    ports = [conversion.input, *conversion.outputs.values()]
    described = [
        helper.make_tensor_value_info(port.name, TensorProto.FLOAT, ["N", *port.shape])
        for port in ports
    ]
    body = helper.make_graph(
        graph.nodes, conversion.name, described[:1], described[1:], initializer=graph.weights
    )
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="lipstream",
        doc_string=conversion.about,
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def _activate(
    graph: TfliteGraph, step: TfliteOperator, code: int, kind: str, inputs: list[str], **how: Any
) -> None:
    """Add a node, and after it the activation TensorFlow Lite fuses into it."""
    name = graph.name(step.output)
    if code == tflite.ActivationFunctionType.NONE:
        graph.nodes.append(helper.make_node(kind, inputs, [name], **how))
        return
    if code != tflite.ActivationFunctionType.RELU:
        raise ModelError(f"the fused activation number {code} cannot be converted")
    graph.nodes.append(helper.make_node(kind, inputs, [f"{name}_raw"], **how))
    graph.nodes.append(helper.make_node("Relu", [f"{name}_raw"], [name]))


def _pads(
    graph: TfliteGraph, step: TfliteOperator, options: Any, kernel: tuple[int, int]
) -> dict[str, list[int]]:
    """Return strides and explicit pads; SAME puts the odd pixel below and right."""
    strides = [options.StrideH(), options.StrideW()]
    pads = [0, 0, 0, 0]
    if options.Padding() == tflite.Padding.SAME:
        sizes, output_name = graph.shape(step.inputs[0])[1:3], graph.shape(step.output)[1:3]
        for axis in range(2):
            whole = max(0, (output_name[axis] - 1) * strides[axis] + kernel[axis] - sizes[axis])
            pads[axis], pads[axis + 2] = whole // 2, whole - whole // 2
    return {"strides": strides, "pads": pads}


def _write_convolution(graph: TfliteGraph, step: TfliteOperator) -> None:
    options = step.options(tflite.Conv2DOptions)
    kernel = graph.constant(step.inputs[1]).transpose(0, 3, 1, 2)
    _add_convolution(graph, step, options, kernel, group=1)


def _write_depthwise(graph: TfliteGraph, step: TfliteOperator) -> None:
    options = step.options(tflite.DepthwiseConv2DOptions)
    if options.DepthMultiplier() != 1:
        raise ModelError("a depthwise convolution with a multiplier cannot be converted")
    kernel = graph.constant(step.inputs[1]).transpose(3, 0, 1, 2)
    _add_convolution(graph, step, options, kernel, group=kernel.shape[0])


def _add_convolution(
    graph: TfliteGraph, step: TfliteOperator, options: Any, kernel: NDArray[Any], *, group: int
) -> None:
    if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
        raise ModelError("a dilated convolution cannot be converted")
    inputs = [graph.name(step.inputs[0]), graph.weight(step.inputs[1], kernel)]
    inputs.append(graph.weight(step.inputs[2], graph.constant(step.inputs[2])))
    size = (int(kernel.shape[2]), int(kernel.shape[3]))
    how = _pads(graph, step, options, size)
    code = options.FusedActivationFunction()
    _activate(graph, step, code, "Conv", inputs, group=group, kernel_shape=list(size), **how)


def _write_maximum(graph: TfliteGraph, step: TfliteOperator) -> None:
    options = step.options(tflite.Pool2DOptions)
    size = (options.FilterHeight(), options.FilterWidth())
    how = _pads(graph, step, options, size)
    inputs, code = [graph.name(step.inputs[0])], options.FusedActivationFunction()
    _activate(graph, step, code, "MaxPool", inputs, kernel_shape=list(size), **how)


def _write_sum(graph: TfliteGraph, step: TfliteOperator) -> None:
    code = step.options(tflite.AddOptions).FusedActivationFunction()
    _activate(graph, step, code, "Add", [graph.name(index) for index in step.inputs])


def _write_slope(graph: TfliteGraph, step: TfliteOperator) -> None:
    """Write PRelu in simpler operators, which give the same numbers.

    PRelu takes half of the face mesh's time in ONNX Runtime; without it the whole takes two thirds.
    Where no slope is above 1 the larger of x and its multiple is what is wanted.
    """
    slope = graph.constant(step.inputs[1]).reshape(-1, 1, 1)
    input_name, output_name = graph.name(step.inputs[0]), graph.name(step.output)
    weight, scaled = graph.weight(step.inputs[1], slope), f"{output_name}_scaled"
    if slope.max() <= 1:
        graph.nodes.append(helper.make_node("Mul", [input_name, weight], [scaled]))
        graph.nodes.append(helper.make_node("Max", [input_name, scaled], [output_name]))
        return
    above, below = f"{output_name}_above", f"{output_name}_below"
    graph.nodes.append(helper.make_node("Relu", [input_name], [above]))
    graph.nodes.append(helper.make_node("Min", [input_name, graph.zero()], [below]))
    graph.nodes.append(helper.make_node("Mul", [below, weight], [scaled]))
    graph.nodes.append(helper.make_node("Add", [above, scaled], [output_name]))


def _write_relu(graph: TfliteGraph, step: TfliteOperator) -> None:
    input_name, output_name = graph.name(step.inputs[0]), graph.name(step.output)
    graph.nodes.append(helper.make_node("Relu", [input_name], [output_name]))


def _write_pad(graph: TfliteGraph, step: TfliteOperator) -> None:
    before_after = graph.constant(step.inputs[1])[[0, 3, 1, 2]]
    pads = graph.integers(f"p{step.output}", [int(size) for size in before_after.T.ravel()])
    inputs = [graph.name(step.inputs[0]), pads]
    graph.nodes.append(helper.make_node("Pad", inputs, [graph.name(step.output)]))


def _write_reshape(graph: TfliteGraph, step: TfliteOperator) -> None:
    rows = _channels_last(graph, step.inputs[0])
    shape = graph.shape(step.output)
    if len(shape) == 4:
        raise ModelError("a reshape to four axes cannot be converted")
    target = graph.integers(f"s{step.output}", [-1, *shape[1:]])
    graph.nodes.append(helper.make_node("Reshape", [rows, target], [graph.name(step.output)]))


def _write_concatenation(graph: TfliteGraph, step: TfliteOperator) -> None:
    options = step.options(tflite.ConcatenationOptions)
    axis = options.Axis()
    if len(graph.shape(step.output)) == 4:
        axis = [0, 2, 3, 1][axis]
    inputs = [graph.name(index) for index in step.inputs]
    _activate(graph, step, options.FusedActivationFunction(), "Concat", inputs, axis=axis)


def _keep_constant(graph: TfliteGraph, step: TfliteOperator) -> None:
    graph.constants[step.output] = graph.constant(step.inputs[0])


_WRITERS: dict[str, Callable[[TfliteGraph, TfliteOperator], None]] = {
    "ADD": _write_sum,
    "CONCATENATION": _write_concatenation,
    "CONV_2D": _write_convolution,
    "DEPTHWISE_CONV_2D": _write_depthwise,
    "DEQUANTIZE": _keep_constant,
    "MAX_POOL_2D": _write_maximum,
    "PAD": _write_pad,
    "PRELU": _write_slope,
    "RELU": _write_relu,
    "RESHAPE": _write_reshape,
}
