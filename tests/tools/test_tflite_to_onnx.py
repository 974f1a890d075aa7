import numpy as np
import onnxruntime
import openvino
import pytest

from lipstream.errors import ModelError
from tflite_to_onnx import Conversion, Port, convert
from tools.tiny_tflite import HEIGHT, WIDTH, TinyModel, tiny_network

TINY = Conversion("tiny", Port("image", (HEIGHT, WIDTH, 3)), {"points": Port("out", (12, 5))}, "")


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_network())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("slopes", [(0.5, -0.75, 1.0, 0.0), (1.5, -0.75, 0.5, 3.0)])
def test_the_converted_network_gives_what_the_original_gives(slopes, tmp_path):
    tiny = tmp_path / "tiny.tflite"
    tiny.write_bytes(tiny_network(slopes))
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    original = openvino.Core().compile_model(str(tiny), "CPU", settings)
    session = onnxruntime.InferenceSession(convert(tiny, TINY).SerializeToString())
    images = np.random.default_rng(2).uniform(-1, 1, (2, HEIGHT, WIDTH, 3)).astype(np.float32)
    found = session.run(["out"], {"image": images})[0]
    assert found.shape == (2, 12, 5)
    for k in range(2):
        wanted = np.asarray(original({0: images[k : k + 1]})[0]).reshape(12, 5)
        # Tens of float32 terms in another order.
        np.testing.assert_allclose(found[k], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("steepest", "wanted"), [(1.0, "Max"), (1.5, "Min")])
def test_slopes_are_written_in_operators_that_are_quick(steepest, wanted, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_network((0.5, -0.5, 0.5, steepest)))
    kinds = {node.op_type for node in convert(path, TINY).graph.node}
    assert kinds & {"PRelu", "Max", "Min"} == {wanted}


def test_weights_of_half_precision_stay_so_in_the_file(tiny):
    kinds = {w.name: w.data_type for w in convert(tiny, TINY).graph.initializer}
    halves = [name for name in kinds if name.endswith("_half")]
    assert len(halves) == 2
    assert {kinds[name] for name in halves} == {10}


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "other.tflite"
    path.write_bytes(b"not a network")
    with pytest.raises(ModelError, match="TFL3"):
        convert(path, TINY)


def test_an_unknown_operator_is_named(tmp_path):
    model = TinyModel()
    image, out = model.tensor("image", [1, 4, 4, 3]), model.tensor("points", [1, 4, 4, 3])
    model.operator(14, [image], out)
    path = tmp_path / "logistic.tflite"
    path.write_bytes(model.pack([image], [out]))
    with pytest.raises(ModelError, match="LOGISTIC"):
        convert(path, TINY)
