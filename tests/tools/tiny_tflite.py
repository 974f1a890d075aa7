"""Write a tiny .tflite with the operators of the face networks and seeded random weights."""

import flatbuffers
import numpy as np
import tflite
from tflite import BuiltinOperator as Op
from tflite import BuiltinOptions as Options

HEIGHT, WIDTH = 9, 7
SAME, RELU = tflite.Padding.SAME, tflite.ActivationFunctionType.RELU
FLOAT32, FLOAT16 = tflite.TensorType.FLOAT32, tflite.TensorType.FLOAT16
INT32 = tflite.TensorType.INT32


class TinyModel:
    """Collects tensors and operators, then packs them as TensorFlow Lite does."""

    def __init__(self):
        self.builder = flatbuffers.Builder(1024)
        self.tensors, self.contents, self.operators, self.codes = [], [b""], [], []

    def tensor(self, name, shape, values=None, kind=FLOAT32):
        place = 0
        if values is not None:
            self.contents.append(values.tobytes())
            place = len(self.contents) - 1
        self.tensors.append((name, shape, kind, place))
        return len(self.tensors) - 1

    def operator(self, code, inputs, output, options=None):
        if code not in self.codes:
            self.codes.append(code)
        self.operators.append((self.codes.index(code), inputs, [output], options))
        return output

    def convolve(self, code, taken, kernel, output):
        """Add a convolution: stride 2, padding SAME, a fused ReLU, half-precision weights."""
        deep = code == Op.DEPTHWISE_CONV_2D
        fields = {"Padding": SAME, "StrideW": 2, "StrideH": 2, "FusedActivationFunction": RELU}
        fields |= {"DepthMultiplier": 1} if deep else {}
        values = np.linspace(-0.2, 0.3, kernel.shape[3 if deep else 0]).astype(np.float32)
        bias = self.tensor(f"bias{code}", values.shape, values)
        half = self.tensor(f"half{code}", kernel.shape, kernel.astype(np.float16), FLOAT16)
        full = self.operator(Op.DEQUANTIZE, [half], self.tensor(f"full{code}", kernel.shape))
        made = "DepthwiseConv2DOptions" if deep else "Conv2DOptions"
        return self.operator(code, [taken, full, bias], output, (made, fields))

    def pack(self, inputs, outputs):
        b = self.builder
        buffers = [self._buffer(content) for content in self.contents]
        tensors = [self._tensor(*each) for each in self.tensors]
        operators = [self._operator(*each) for each in self.operators]
        codes = [
            self._table("OperatorCode", DeprecatedBuiltinCode=code, BuiltinCode=code, Version=1)
            for code in self.codes
        ]
        graph = self._table(
            "SubGraph",
            Tensors=self._list(tensors),
            Inputs=self._ints(inputs),
            Outputs=self._ints(outputs),
            Operators=self._list(operators),
        )
        root = self._table(
            "Model",
            Version=3,
            OperatorCodes=self._list(codes),
            Subgraphs=self._list([graph]),
            Buffers=self._list(buffers),
        )
        b.Finish(root, b"TFL3")
        return bytes(b.Output())

    def _buffer(self, content):
        return self._table(
            "Buffer", Data=self.builder.CreateByteVector(content) if content else None
        )

    def _tensor(self, name, shape, kind, place):
        named = self.builder.CreateString(name)
        return self._table("Tensor", Shape=self._ints(shape), Type=kind, Buffer=place, Name=named)

    def _operator(self, code, inputs, outputs, options):
        kind = getattr(Options, options[0]) if options else Options.NONE
        body = self._table(options[0], **options[1]) if options else None
        return self._table(
            "Operator",
            OpcodeIndex=code,
            Inputs=self._ints(inputs),
            Outputs=self._ints(outputs),
            BuiltinOptionsType=kind,
            BuiltinOptions=body,
        )

    def _table(self, kind, **fields):
        getattr(tflite, f"{kind}Start")(self.builder)
        for name, value in fields.items():
            if value is not None:
                getattr(tflite, f"{kind}Add{name}")(self.builder, value)
        return getattr(tflite, f"{kind}End")(self.builder)

    def _ints(self, values):
        return self.builder.CreateNumpyVector(np.array(values, np.int32))

    def _list(self, offsets):
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()


def tiny_network(slopes=None):
    """Return the bytes: image (1, 9, 7, 3) -> points (1, 60, 1), through every operator known.

    ``slopes`` are the four of its PRELU.
    """
    rng, m = np.random.default_rng(5), TinyModel()
    image = m.tensor("image", [1, HEIGHT, WIDTH, 3])
    kernel = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    x = m.convolve(Op.CONV_2D, image, kernel, m.tensor("a", [1, 5, 4, 4]))
    drawn = rng.standard_normal((1, 1, 4)).astype(np.float32)
    slope = drawn if slopes is None else np.array(slopes, np.float32).reshape(1, 1, 4)
    slope = m.tensor("slope", [1, 1, 4], slope)
    x = m.operator(Op.PRELU, [x, slope], m.tensor("b", [1, 5, 4, 4]))
    kernel = rng.standard_normal((1, 3, 3, 4)).astype(np.float32)
    y = m.convolve(Op.DEPTHWISE_CONV_2D, x, kernel, m.tensor("c", [1, 3, 2, 4]))
    window = {"Padding": SAME, "StrideW": 2, "StrideH": 2, "FilterWidth": 2, "FilterHeight": 2}
    pooled = m.tensor("d", [1, 3, 2, 4])
    x = m.operator(Op.MAX_POOL_2D, [x], pooled, ("Pool2DOptions", window))
    x = m.operator(Op.ADD, [x, y], m.tensor("e", [1, 3, 2, 4]), ("AddOptions", {}))
    x = m.operator(Op.RELU, [x], m.tensor("f", [1, 3, 2, 4]))
    widths = np.array([[0, 0], [0, 0], [0, 0], [0, 1]], np.int32)
    pads = m.tensor("pads", [4, 2], widths, INT32)
    x = m.operator(Op.PAD, [x, pads], m.tensor("g", [1, 3, 2, 5]), ("PadOptions", {}))
    shape = m.tensor("shape", [3], np.array([1, 30, 1], np.int32), INT32)
    x = m.operator(Op.RESHAPE, [x, shape], m.tensor("h", [1, 30, 1]), ("ReshapeOptions", {}))
    joined = ("ConcatenationOptions", {"Axis": 1})
    out = m.operator(Op.CONCATENATION, [x, x], m.tensor("points", [1, 60, 1]), joined)
    return m.pack([image], [out])
