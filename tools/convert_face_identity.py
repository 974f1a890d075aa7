"""Write ``identity.onnx``, which tells faces apart, from the npm package ``@vladmandic/face-api``.

    npm pack @vladmandic/face-api && tar xzf vladmandic-face-api-*.tgz
    python tools/convert_face_identity.py package/model models/lipstream_models/embedded/faces

It is the residual network of dlib (Davis E. King), 150 x 150 RGB from 0 to 255 to 128 numbers, in
the eight-bit weights of that package (MIT). Weights stay eight bits in the file, and are widened
once as it is opened.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, NUMBERS = 150, 128
MEAN = (122.782, 117.001, 104.298)
STAGES = (
    *("conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2", "conv256_down", "conv256_1", "conv256_2"),
    "conv256_down_out",
)


class Graph:
    """Nodes and constants, added one after the other."""

    def __init__(self, folder: Path) -> None:
        (manifest,) = json.loads(
            (folder / "face_recognition_model-weights_manifest.json").read_text()
        )
        self._weights = {one["name"]: one for one in manifest["weights"]}
        self._bytes = b"".join((folder / path).read_bytes() for path in manifest["paths"])
        self._places: dict[str, int] = {}
        at = 0
        for one in manifest["weights"]:
            self._places[one["name"]] = at
            at += int(np.prod(one["shape"])) * (1 if "quantization" in one else 4)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: np.ndarray | np.float32) -> str:
        """Add a constant and return its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """Return a weight as float32: filters as (out, in, h, w), others reshaped."""
        told = self._weights[name]
        size = int(np.prod(told["shape"]))
        kind = np.uint8 if "quantization" in told else np.float32
        whole = np.frombuffer(self._bytes, kind, size, self._places[name])
        values = whole.reshape(told["shape"])
        if values.ndim == 4:
            values = values.transpose(3, 2, 0, 1)
        values = np.ascontiguousarray(values if shape is None else values.reshape(shape))
        if "quantization" not in told:
            return self.constant(values)
        scale, least = (np.float32(told["quantization"][key]) for key in ("scale", "min"))
        wide = self.add("Cast", self.constant(values), to=TensorProto.FLOAT)
        return self.add("Add", self.add("Mul", wide, self.constant(scale)), self.constant(least))

    def convolved(self, given: str, name: str, stride: int, pad: int) -> str:
        """Convolve, and scale and shift each channel."""
        pads = [pad] * 4
        inputs = (given, self.weight(f"{name}/conv/filters"), self.weight(f"{name}/conv/bias"))
        out = self.add("Conv", *inputs, strides=[stride, stride], pads=pads)
        out = self.add("Mul", out, self.weight(f"{name}/scale/weights", (1, -1, 1, 1)))
        return self.add("Add", out, self.weight(f"{name}/scale/biases", (1, -1, 1, 1)))

    def stage(self, given: str, name: str, side: int) -> tuple[str, int]:
        """Add a residual block; one called down halves the picture of ``side`` pixels."""
        down = "down" in name
        out = self.convolved(given, f"{name}/conv1", 2 if down else 1, 0 if down else 1)
        out = self.convolved(self.add("Relu", out), f"{name}/conv2", 1, 1)
        if down:
            half, side = (side - 3) // 2 + 1, side // 2
            given = self.add("AveragePool", given, kernel_shape=[2, 2], strides=[2, 2])
            if half < side:
                pads = self.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1]))
                out = self.add("Pad", out, pads)
            if not name.endswith("out"):  # as many channels again, all zero
                zeros = self.add("Mul", given, self.constant(np.float32(0)))
                given = self.add("Concat", given, zeros, axis=1)
        return self.add("Relu", self.add("Add", out, given)), side


def convert(source: Path) -> onnx.ModelProto:
    """Return the network."""
    graph = Graph(source)
    mean = graph.constant(np.array(MEAN, np.float32).reshape(1, 3, 1, 1))
    out = graph.add("Sub", "image", mean)
    out = graph.add("Div", out, graph.constant(np.float32(255)))
    out = graph.add("Relu", graph.convolved(out, "conv32_down", 2, 0))
    out = graph.add("MaxPool", out, kernel_shape=[3, 3], strides=[2, 2])
    side = 35
    for name in STAGES:
        out, side = graph.stage(out, name, side)
    out = graph.add("GlobalAveragePool", out)
    # A convolution of one place: TensorRT for RTX has no product of float32 matrices on Turing.
    last = graph.add("Transpose", graph.weight("fc"), perm=[1, 0])
    last = graph.add("Reshape", last, graph.constant(np.array([NUMBERS, -1, 1, 1])))
    out = graph.add("Conv", out, last)
    graph.nodes.append(helper.make_node("Flatten", [out], ["identity"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    identity = helper.make_tensor_value_info("identity", TensorProto.FLOAT, ["n", NUMBERS])
    whole = helper.make_graph(graph.nodes, "identity", [image], [identity], graph.constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Convert."""
    if len(sys.argv) != 3:
        sys.exit("usage: convert_face_identity.py package/model FOLDER")
    onnx.save(convert(Path(sys.argv[1])), Path(sys.argv[2]) / "identity.onnx")


if __name__ == "__main__":
    main()
