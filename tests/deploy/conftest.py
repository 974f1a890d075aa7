"""A worker with the toy model."""

import pytest

from lipstream import MouthModel, Worker


@pytest.fixture(scope="module")
def worker(toy_folder):
    """Two places."""
    with Worker(MouthModel.open(toy_folder, threads=1), capacity=2) as opened:
        yield opened
