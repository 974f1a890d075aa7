"""A face of pictured mouth shapes: the shape that fits a moment is found."""

import json

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream_models.library import (
    Library,
    filmed_performances,
    lip_features,
    match_lips,
    match_visemes,
    open_library,
)
from lipstream_models.portrait.visemes import blend
from lipstream_models.speech import NAMES
from prepared_clips import make_folder


@pytest.fixture
def library():
    """Eleven shapes whose lips are ever further apart."""
    points = np.tile(np.linspace(0.2, 0.8, 468)[:, None], (11, 1, 2)).astype(np.float32)
    for shape in range(11):
        points[shape, [81, 13, 311], 1] = 0.66
        points[shape, [178, 14, 402], 1] = 0.66 + 0.01 * shape
    units = tuple(blend({"AA": shape / 10, "rest": 1 - shape / 10}) for shape in range(11))
    return Library(np.zeros((11, 96, 96, 3), np.uint8), points, units)


def test_lips_match_the_shape_as_far_open(library):
    features = lip_features(library.points)
    found = match_lips(np.repeat(features - features[0], 9, 0), library)
    assert found[4::9].tolist() == list(range(11))


def test_gain_magnifies_the_movement(library):
    features = lip_features(library.points)
    still = np.repeat((features - features[0])[3:4], 9, 0)
    assert match_lips(still, library, gain=2.0)[4] == 6


def test_a_filmed_speaker_drives_the_library(library, tmp_path):
    folder = make_folder(tmp_path / "prepared", clips=2)
    performance = filmed_performances(folder, [1], library)[0]
    truth = lip_features(folder.points[1])[:, 0]
    assert np.corrcoef(performance.shapes, truth)[0, 1] > 0.98


def test_visemes_match_the_shape_as_far_open(library):
    track = np.zeros((11, len(NAMES)), np.float32)
    track[:, NAMES.index("AA")] = np.arange(11) / 10
    track[:, NAMES.index("rest")] = 1 - np.arange(11) / 10
    assert match_visemes(track, library).tolist() == list(range(11))


def test_a_folder_without_a_list_of_shapes_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"library\.json"):
        open_library(tmp_path)


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "library.json").write_text(json.dumps([{}, {}]))
    with pytest.raises(InputError, match="holds 0 pictures for 2 shapes"):
        open_library(tmp_path)
