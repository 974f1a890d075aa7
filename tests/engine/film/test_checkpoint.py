import numpy as np
import pytest

from lipstream.errors import MediaError
from lipstream.film.checkpoint import Checkpoint
from lipstream.film.face_tracks import FaceTracks


@pytest.fixture
def checkpoint(tmp_path):
    with Checkpoint(tmp_path / "a.mp4", "one job", ".mp4") as opened:
        yield opened


def test_what_was_seen_comes_back(checkpoint):
    checkpoint.save_face_tracks(FaceTracks(np.zeros(3), 7, frozenset({0, 4})))
    kept = checkpoint.face_tracks()
    assert (len(kept.rows), kept.frames, kept.cuts) == (3, 7, {0, 4})


@pytest.mark.parametrize("left", [0, 5, 200])
def test_what_was_seen_and_cut_short_on_disk_is_looked_for_again(checkpoint, left):
    checkpoint.save_face_tracks(FaceTracks(np.zeros(3), 7))
    path = checkpoint.part(0).with_name("faces.npz")
    path.write_bytes(path.read_bytes()[:left])
    assert checkpoint.face_tracks() is None


def broken_off(output, error):
    with Checkpoint(output, "one", ".mp4") as checkpoint:
        checkpoint.part(0).write_bytes(b"x")
        raise error


def test_the_work_stays_after_a_crash_and_only_for_the_same_job(tmp_path):
    with pytest.raises(ZeroDivisionError):
        broken_off(tmp_path / "a.mp4", ZeroDivisionError())
    assert Checkpoint(tmp_path / "a.mp4", "one", ".mp4").parts_done() == 1
    assert Checkpoint(tmp_path / "a.mp4", "other", ".mp4").parts_done() == 0


def test_a_plain_error_removes_the_work(tmp_path):
    with pytest.raises(MediaError):
        broken_off(tmp_path / "a.mp4", MediaError("no"))
    assert not list(tmp_path.iterdir())
