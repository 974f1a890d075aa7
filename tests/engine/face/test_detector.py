import shutil

import numpy as np
import pytest

from lipstream.errors import ModelError
from lipstream.face.detector import (
    FaceBox,
    FaceDetector,
    S3fdDetector,
    crop_of_box,
    merge_boxes,
    overlap_of,
    rank_faces,
    shrink_to,
)
from lipstream.inference.backends import TensorInfo
from lipstream.inference.manifest import embedded_folder

FACES = embedded_folder() / "faces"


@pytest.fixture(scope="module")
def detector():
    opened = FaceDetector.open()
    yield opened
    opened.close()


def box(score, left, top, size):
    return FaceBox(score, left, top, left + size, top + size)


def test_the_embedded_detector_gives_what_the_original_gives(detector):
    image = np.random.default_rng(1).uniform(0, 1, (1, 128, 128, 3)).astype(np.float32)
    outputs = detector._network.run({"image": image})
    # Of MediaPipe's own .tflite file, read by OpenVINO in float32; outputs reach 168.
    boxes = [0.087576, 1.0436, -3.645, -23.83, -12.034]
    found = outputs["boxes"].ravel()[[0, 3583, 7167, 10751, 14335]]
    np.testing.assert_allclose(found, boxes, atol=2e-3)
    scores = [-4.3873, -3.5086, -3.1234, -4.4847, -64.869]
    found = outputs["scores"].ravel()[[0, 223, 447, 671, 895]]
    np.testing.assert_allclose(found, scores, atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (720, 1280), (2000, 30)])
def test_a_picture_of_nobody_has_no_face(detector, shape):
    assert detector.detect(np.full((*shape, 3), 128, np.uint8)) == []


def test_boxes_of_one_face_merge_into_their_weighted_mean():
    merged = merge_boxes([box(0.6, 10, 10, 100), box(0.9, 20, 10, 100), box(0.7, 400, 0, 50)], 0.3)
    assert [b.score for b in merged] == [0.9, 0.7]
    assert merged[0].left == pytest.approx((0.6 * 10 + 0.9 * 20) / 1.5)


def test_overlap_is_intersection_over_union():
    assert overlap_of(box(1, 0, 0, 10), box(1, 5, 0, 10)) == pytest.approx(1 / 3)
    assert overlap_of(box(1, 0, 0, 10), box(1, 20, 0, 10)) == 0


def test_the_main_face_is_large_and_near_the_middle():
    image = np.zeros((480, 640, 3), np.uint8)
    middle, corner, small = box(0.9, 270, 190, 100), box(0.9, 0, 0, 110), box(0.9, 300, 200, 30)
    assert rank_faces([corner, small, middle], image, 1)[0] is middle
    assert rank_faces([small, middle, corner], image, 2) == [corner, middle, small]
    assert rank_faces([], image, 1) == []


@pytest.mark.slow
def test_a_huge_picture_is_shrunk_and_boxes_scale_back():
    small, factor = shrink_to(np.zeros((10_000, 9_000, 3), np.uint8), 1536)
    assert max(small.shape) == 1536
    assert factor == pytest.approx(10_000 / 1536)


def test_a_corrupt_network_is_refused(tmp_path):
    path = tmp_path / "detector.onnx"
    path.write_bytes((FACES / "detector.onnx").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"detector\.onnx"):
        FaceDetector.open(path)


def test_another_network_is_refused():
    with pytest.raises(ModelError, match="another network"):
        FaceDetector.open(FACES / "mesh.onnx")
    with pytest.raises(ModelError, match="another network"):
        S3fdDetector.open(FACES / "detector.onnx")


def test_a_changed_network_fails_its_checksum(tmp_path):
    shutil.copy(FACES / "sha256sums.txt", tmp_path)
    shutil.copy(FACES / "mesh.onnx", tmp_path / "detector.onnx")
    with pytest.raises(ModelError, match="sha256"):
        FaceDetector.open(tmp_path / "detector.onnx")


def test_a_missing_network_is_refused(tmp_path):
    with pytest.raises(ModelError, match="missing"):
        FaceDetector.open(tmp_path / "detector.onnx")


class OneFace:
    """A Backend in whose every picture S3FD's third level sees one face."""

    name = "fake"
    inputs = {"image": TensorInfo((None, None, None, 3), "uint8")}  # noqa: RUF012
    outputs: dict[str, TensorInfo] = {}  # noqa: RUF012

    @classmethod
    def open(cls, onnx, threads):
        return cls()

    def run(self, feeds):
        _, height, width, _ = feeds["image"].shape
        outputs = {}
        for level in range(6):
            rows, columns = (max(1, side // (4 << level)) for side in (height, width))
            outputs[f"score{level}"] = np.zeros((1, rows, columns), np.float32)
            outputs[f"offset{level}"] = np.zeros((1, 4, rows, columns), np.float32)
        outputs["score2"][0, 3, 5:7] = 0.9, 0.8  # two cells see the one face
        outputs["offset2"][0, :, 3, 5] = 1.0, 0.0, 0.0, 5.0 * np.log(2.0)
        outputs["offset2"][0, :, 3, 6] = -1.0, 0.0, 0.0, 5.0 * np.log(2.0)
        return outputs

    def close(self):
        pass


def test_s3fd_offsets_become_one_box():
    (found,) = S3fdDetector(OneFace()).detect(np.zeros((160, 200, 3), np.uint8))
    # The prior of cell (3, 5) at stride 16: centre (88, 56), side 64; shifted by a tenth of it, and
    # twice as high.
    assert found.score == pytest.approx(0.9)
    sides = (found.left, found.top, found.right, found.bottom)
    assert sides == pytest.approx((62.4, -8.0, 126.4, 120.0), abs=1e-4)


def test_s3fd_boxes_scale_back_to_a_large_picture():
    (found,) = S3fdDetector(OneFace()).detect(np.zeros((1440, 1080, 3), np.uint8))
    assert found.right == pytest.approx(126.4 * 2, abs=1e-3)


def test_the_crop_of_a_box_is_the_box_and_ten_pixels_below():
    crop = crop_of_box(FaceBox(1.0, 10, 20, 60, 90))
    assert (crop @ [0, 0, 1]).tolist() == [10, 20]
    assert (crop @ [1, 1, 1]).tolist() == [60, 100]
