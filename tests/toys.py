"""Tiny stand-ins with the real signatures: a model folder and an avatar a test can reason about.

The toy network brightens a rectangle where the mouth is by the loudness of the four mel columns
round the frame's own time, so picture and sound can be compared exactly.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lipstream import Avatar
from lipstream.lips.shape import MEASURES, NAMES
from lipstream.storage import sha256_of

SIZE, TOP = 96, 48
WINDOW_START_MS = -40


def make_toy_model(folder: Path) -> Path:
    """Write model.toml, face.onnx and mouth.onnx into ``folder`` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_face_graph(), folder / "face.onnx")
    onnx.save(_mouth_graph(), folder / "mouth.onnx")
    digests = {
        part: hashlib.sha256((folder / f"{part}.onnx").read_bytes()).hexdigest()
        for part in ("face", "mouth")
    }
    (folder / "model.toml").write_text(
        f"""format = 1
name = "toy"
version = "1"
licence = "CC0-1.0"
source = "tests/toys.py"
face_size = {SIZE}
mel_columns = 16
window_start_ms = {WINDOW_START_MS}
mouth_rows = [{TOP}, {SIZE}]
features = ["lower"]

[files.face]
path = "face.onnx"
sha256 = "{digests["face"]}"

[files.mouth]
path = "mouth.onnx"
sha256 = "{digests["mouth"]}"
"""
    )
    return folder


def make_toy_shape_model(folder: Path) -> Path:
    """Write a model of shapes whose lips open with the loudness of the frame's own columns."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_lips_graph(), folder / "lips.onnx")
    path = folder / "lips.onnx"
    (folder / "model.toml").write_text(
        f"""format = 2
paints = "shape"
name = "toy shapes"
version = "1"
licence = "CC0-1.0"
source = "tests/toys.py"
mel_columns = 16
window_start_ms = {WINDOW_START_MS}

[files.lips]
path = "{path.name}"
sha256 = "{sha256_of(path)}"
"""
    )
    return folder


def _lips_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Slice", ["mel", "first", "last", "axis"], ["near"]),
        helper.make_node("ReduceMean", ["near"], ["loud"], axes=[2, 3], keepdims=0),
        helper.make_node("Add", ["loud", "four"], ["above"]),
        helper.make_node("Mul", ["above", "opened"], ["measures"]),
    ]
    opened = np.zeros((1, MEASURES), np.float32)
    opened[0, [NAMES.index(one) for one in ("gap", "gap_middle", "gap_sides", "lower_lip")]] = 1.5
    constants = [
        numpy_helper.from_array(np.array(v, np.int64), k)
        for k, v in {"first": [2], "last": [6], "axis": [3]}.items()
    ]
    constants.append(numpy_helper.from_array(np.float32(4.0), "four"))
    constants.append(numpy_helper.from_array(opened, "opened"))
    return _model(
        nodes,
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["N", 1, 80, 16])],
        [helper.make_tensor_value_info("measures", TensorProto.FLOAT, ["N", MEASURES])],
        constants,
    )


def make_toy_avatar(frames: int = 5, size: int = 128) -> Avatar:
    """Return an avatar of grey frames, each a shade lighter, the crop filling the picture."""
    pictures = np.stack([np.full((size, size, 3), 60 + 2 * k, np.uint8) for k in range(frames)])
    crops = np.tile(np.array([[size, 0, 0], [0, size, 0]], np.float32), (frames, 1, 1))
    return Avatar.from_frames(pictures, crops, name="toy", licence="CC0-1.0")


def _face_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["face"], ["level"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["level", "top", "bottom", "axis"], ["lower"]),
    ]
    ints = {"top": [TOP], "bottom": [SIZE], "axis": [1]}
    return _model(
        nodes,
        [helper.make_tensor_value_info("face", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("lower", TensorProto.FLOAT, ["N", SIZE - TOP, SIZE, 3])],
        [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in ints.items()],
    )


def _mouth_graph() -> onnx.ModelProto:
    # Columns 2 to 5 of the window surround the frame's own 40 ms (the window starts 40 ms before).
    nodes = [
        helper.make_node("Slice", ["mel", "first", "last", "axis"], ["near"]),
        helper.make_node("ReduceMean", ["near"], ["loud"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Add", ["loud", "four"], ["above"]),
        helper.make_node("Mul", ["above", "gain"], ["lift"]),
        helper.make_node("Mul", ["lift", "where"], ["change"]),
        helper.make_node("Add", ["lower", "change"], ["bright"]),
        helper.make_node("Clip", ["bright", "zero", "white"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["mouth"], to=TensorProto.UINT8),
    ]
    ints = {"first": [2], "last": [6], "axis": [3]}
    floats = {"four": 4.0, "gain": 24.0, "zero": 0.0, "white": 255.0}
    constants = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in ints.items()]
    constants += [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in floats.items()]
    rows = SIZE - TOP
    where = np.zeros((1, rows, SIZE, 1), np.float32)
    where[:, 12:36, 28:68] = 1.0
    constants.append(numpy_helper.from_array(where, "where"))
    return _model(
        nodes,
        [
            helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["N", 1, 80, 16]),
            helper.make_tensor_value_info("lower", TensorProto.FLOAT, ["N", rows, SIZE, 3]),
        ],
        [helper.make_tensor_value_info("mouth", TensorProto.UINT8, ["N", rows, SIZE, 3])],
        constants,
    )


def _model(nodes, inputs, outputs, constants) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model
