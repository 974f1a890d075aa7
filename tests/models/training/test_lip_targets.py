"""Tables measured once: what ARKit's units do, and how the measures move the mesh."""

from pathlib import Path

import numpy as np
import pytest

from lipstream.cli import main
from lipstream.face.crop import CROP_HEIGHT, CROP_WIDTH
from lipstream.lips.shape import _EFFECTS, FITTED, MEASURES, SPREAD, measure_lips
from lipstream_models.corpora.grid_corpus import PREPARED
from lipstream_models.training.lip_targets import motion_table, unit_effects

HEAD = Path("../shared/data/faces/ict_facekit/ict_facekit_light_fp16.npz")


@pytest.mark.skipif(not HEAD.exists(), reason="ICT-FaceKit is not beside the checkout")
def test_the_table_of_units_is_what_the_head_gives():
    assert np.abs(unit_effects(HEAD) - _EFFECTS).max() < 0.051


def test_each_unit_does_what_its_name_says():
    effect = dict(zip(FITTED, _EFFECTS, strict=True))
    gap, width = 0, 3
    assert effect["jawOpen"][gap] > 15
    assert effect["mouthClose"][gap] < -15
    assert effect["mouthPucker"][width] < -5
    assert effect["mouthStretch"][width] > 5


def test_a_file_that_is_no_head_is_named(tmp_path, capsys):
    other = tmp_path / "other.npz"
    np.savez(other, x=np.zeros(3))
    assert main(["train", "units", str(other)]) == 2
    assert "is no ICT-FaceKit head" in capsys.readouterr().err


class Film:
    """A prepared folder whose lower lip moves a known way with the gap, on a face left = right."""

    def __init__(self):
        rng = np.random.default_rng(3)
        half = rng.uniform((0.05, 0.3), (0.45, 1.2), (234, 2))
        face = np.concatenate([half * (-1, 1), half * (1, 1)]).astype(np.float32)
        for point, place in {33: (-0.5, 0.0), 263: (0.5, 0.0), 13: (0.0, 0.8)}.items():
            face[point] = place
        self.opening = np.abs(rng.standard_normal((2, 75))).astype(np.float32) * 0.02
        self.opening[:, :10] = 0
        points = np.repeat(face[None, None], 2, 0).repeat(75, 1)
        points[..., 14, 0], points[..., 14, 1] = 0.0, 0.8 + self.opening
        self.points = points / np.array([CROP_WIDTH, CROP_HEIGHT], np.float32)
        self.quiet = np.arange(75)[None].repeat(2, 0) < 10
        self.done = np.full(2, PREPARED)


@pytest.mark.slow
def test_the_motion_of_a_point_is_found_by_regression():
    film = Film()
    table = motion_table(film)
    assert table.shape == (MEASURES, 468, 2)
    apart = measure_lips(film.points * (CROP_WIDTH, CROP_HEIGHT)).reshape(-1, MEASURES)
    lips = (apart - apart[0]) / SPREAD
    moved = np.tensordot(lips, table[:, 14], 1)
    assert np.corrcoef(moved[:, 1], film.opening.ravel())[0, 1] > 0.95
    assert moved[:, 1].max() > 0.7 * film.opening.max()
    assert np.abs(table[:, 14, 0]).max() < 1e-6
    others = np.delete(np.arange(468), [14])
    assert np.abs(table[:, others]).max() < 0.05 * np.abs(table[:, 14]).max()
