import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lipstream.errors import ModelError
from lipstream.face.crop import fit_crop
from lipstream.face.tracker import FaceTracker
from lipstream.film.frame_renderers import Restorer
from lipstream.live.compositor import make_compositor


def make_restorer(path, change, side=512):
    """Write a network of GFPGAN's signature: identity, less 0.05, or a checker board on top."""
    board = np.indices((1, 3, side, side)).sum(0) % 2 * 0.4 - 0.2
    added = {"none": 0.0, "darker": -0.05, "board": board}[change]
    shape = [1, 3, side, side]
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "added"], ["output"])],
        "toy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(added, np.float32), "added")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def seen(portrait):
    import cv2  # noqa: PLC0415

    image = np.asarray(cv2.imread(str(portrait)), np.uint8)
    with FaceTracker.open() as tracker:
        return image, tracker.step(image).points


@pytest.fixture
def target(seen, toy_model):
    return make_compositor(toy_model).target(seen[0], fit_crop(seen[1]))


@pytest.mark.parametrize("change", ["none", "darker"])
def test_a_network_that_adds_nothing_but_light_changes_nothing(
    tmp_path, toy_model, seen, target, change
):
    restorer = Restorer.open(make_restorer(tmp_path / "r.onnx", change), toy_model.manifest)
    restore = restorer.restore(seen[0], target, 1.0)
    restorer.close()
    assert np.abs(restore.astype(int) - seen[0]).max() <= 3


def test_only_the_mouth_is_taken_from_the_network(tmp_path, toy_model, seen, target):
    image, points = seen
    restorer = Restorer.open(make_restorer(tmp_path / "r.onnx", "board"), toy_model.manifest)
    change = np.abs(restorer.restore(image, target, 1.0).astype(int) - image).max(-1)
    assert not np.array_equal(restorer.restore(image, target, 0.3), image)
    restorer.close()
    y, x = np.nonzero(change > 1)
    lips = points[[61, 291, 0, 17]]
    assert x.min() < lips[:, 0].min()
    assert x.max() > lips[:, 0].max()
    assert points[4, 1] - 12 < y.min() < lips[:, 1].min()
    assert lips[:, 1].max() < y.max() < points[152, 1] + 30


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: make_restorer(path, "none", 256), "no face restoration network"),
        (lambda path: path, "there is no file"),
    ],
)
def test_another_network_is_refused(tmp_path, toy_model, make, says):
    with pytest.raises(ModelError, match=says):
        Restorer.open(make(tmp_path / "r.onnx"), toy_model.manifest)
