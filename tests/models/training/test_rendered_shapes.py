"""The pictures of one face with many mouth shapes."""

import pytest

from lipstream.errors import InputError
from lipstream_models.training.mouth_examples import open_library


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds 0 readable pictures"):
        open_library(tmp_path)


def test_a_broken_picture_does_not_count(tmp_path):
    (tmp_path / "000.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="blender render"):
        open_library(tmp_path)
