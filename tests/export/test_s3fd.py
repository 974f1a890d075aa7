import numpy as np
import pytest
import torch

from golden.seeded_state import GOLDEN
from lipstream.cli import main
from lipstream.face.detector import S3fdDetector
from lipstream_models.networks.s3fd import S3fd


@pytest.fixture(scope="module")
def state(seeded):
    return seeded("s3fd")


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.slow
def test_the_network_reproduces_the_original(state):
    golden = np.load(GOLDEN / "s3fd_io.npz")
    network = S3fd().eval()
    network.load_state_dict(state, strict=True)
    less = golden["image"].astype(np.float32) - np.array([104, 117, 123], np.float32)
    with torch.no_grad():
        outputs = network(torch.from_numpy(less.transpose(0, 3, 1, 2).copy()))
    for k, output in enumerate(outputs):
        # float32 sums over 4,608 terms in another order; outputs reach 15.
        np.testing.assert_allclose(output.numpy(), golden[f"out{k}"], atol=1e-4)


@pytest.mark.slow
def test_the_exported_graph_reproduces_the_original_and_serves_as_detector(state, tmp_path):
    golden = np.load(GOLDEN / "s3fd_io.npz")
    torch.save(state, tmp_path / "s3fd.pth")
    given = ["export", str(tmp_path / "s3fd.pth"), "-o", str(tmp_path / "out"), "--verify"]
    assert main(given) == 0
    detector = S3fdDetector.open(tmp_path / "out" / "s3fd.onnx", threads=1)
    outputs = detector._network.run({"image": golden["image"]})
    for level in range(6):
        scores = softmax(golden[f"out{2 * level}"])[:, 1]
        np.testing.assert_allclose(outputs[f"score{level}"], scores, atol=1e-4)
        offsets = golden[f"out{2 * level + 1}"]
        np.testing.assert_allclose(outputs[f"offset{level}"], offsets, atol=1e-4)
    for box in detector.detect(golden["image"][0]):
        assert box.score >= 0.5
    detector.close()
