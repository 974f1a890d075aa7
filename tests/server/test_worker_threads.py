import logging

import pytest

from lipstream.live.worker import choose_frame_threads
from lipstream.machine import usable_cores
from lipstream_server.command import open_sessions
from lipstream_server.config import ServerConfig


@pytest.mark.parametrize(
    ("sessions", "cores", "count", "threads"),
    [
        (1, 1, 1, 1),
        (4, 1, 1, 1),
        (1, 8, 1, 0),
        (4, 2, 2, 1),
        (2, 8, 2, 1),
        (4, 4, 3, 1),
        (9, 8, 7, 1),
    ],
)
def test_frame_threads_follow_the_cores_and_leave_one_for_encoding(sessions, cores, count, threads):
    chosen = choose_frame_threads(sessions, cores)
    assert (chosen.count, chosen.threads) == (count, threads)


def test_no_more_worker_threads_than_sessions_or_cores():
    for sessions in range(1, 20):
        for cores in range(1, 20):
            assert 1 <= choose_frame_threads(sessions, cores).count <= min(sessions, cores)


def test_serving_says_how_many_worker_threads_it_took_and_why(toy_folder, toy_pack, caplog):
    config = ServerConfig(model=toy_folder, avatar=toy_pack, backend="cpu", sessions=3)
    wanted = choose_frame_threads(3, usable_cores())
    with caplog.at_level(logging.INFO), open_sessions(config) as sessions:
        assert sessions.worker.frame_threads == wanted.count
    assert f"{wanted.count} at once: {wanted.reason}" in caplog.text
