"""What agents of every framework speak through."""

import pytest

from lipstream import MouthModel, Worker
from lipstream_clients.integrations import AvatarEngine


@pytest.fixture
def engine(toy_folder, toy_avatar):
    worker = Worker(MouthModel.open(toy_folder, threads=1), capacity=1)
    worker.prepare(toy_avatar)
    with AvatarEngine(worker, toy_avatar) as opened:
        yield opened
