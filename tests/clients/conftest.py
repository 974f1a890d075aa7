"""Fixtures of the clients' tests."""

import numpy as np
import pytest

from clients.making import write_picture
from lipstream import Avatar
from lipstream.model import embedded_folder


@pytest.fixture(scope="session")
def portrait(tmp_path_factory):
    """A real picture of a (synthetic) person."""
    if not (embedded_folder() / "avatars" / "ada.avatar").exists():
        pytest.skip("the embedded avatar is not there")
    folder = tmp_path_factory.mktemp("portrait")
    return write_picture(folder / "ada.png", np.array(Avatar.open().frames[0]))
