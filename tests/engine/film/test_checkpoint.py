import numpy as np
import pytest

from lipstream.errors import MediaError
from lipstream.film.checkpoint import Journal
from lipstream.film.face_tracks import Sightings


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "a.mp4", "one job", ".mp4") as opened:
        yield opened


def test_what_was_seen_comes_back(journal):
    journal.keep_sightings(Sightings(np.zeros(3), 7, frozenset({0, 4})))
    kept = journal.sightings()
    assert (len(kept.rows), kept.frames, kept.cuts) == (3, 7, {0, 4})


@pytest.mark.parametrize("left", [0, 5, 200])
def test_what_was_seen_and_cut_short_on_disk_is_looked_for_again(journal, left):
    journal.keep_sightings(Sightings(np.zeros(3), 7))
    path = journal.part(0).with_name("faces.npz")
    path.write_bytes(path.read_bytes()[:left])
    assert journal.sightings() is None


def broken_off(output, error):
    with Journal(output, "one", ".mp4") as journal:
        journal.part(0).write_bytes(b"x")
        raise error


def test_the_work_stays_after_a_crash_and_only_for_the_same_job(tmp_path):
    with pytest.raises(ZeroDivisionError):
        broken_off(tmp_path / "a.mp4", ZeroDivisionError())
    assert Journal(tmp_path / "a.mp4", "one", ".mp4").parts_done() == 1
    assert Journal(tmp_path / "a.mp4", "other", ".mp4").parts_done() == 0


def test_a_plain_error_removes_the_work(tmp_path):
    with pytest.raises(MediaError):
        broken_off(tmp_path / "a.mp4", MediaError("no"))
    assert not list(tmp_path.iterdir())
