import numpy as np
import pytest

from lipstream.errors import MediaError
from lipstream.film.checkpoint import Checkpoint
from lipstream.film.face_tracks import ROW, FaceTracks


def rows(count):
    return np.zeros(count, ROW)


def test_what_another_version_saw_is_looked_for_again(checkpoint):
    checkpoint.save_face_tracks(FaceTracks(np.zeros(3), 7))
    assert checkpoint.face_tracks() is None


@pytest.fixture
def checkpoint(tmp_path):
    with Checkpoint(tmp_path / "a.mp4", "one job", ".mp4") as opened:
        yield opened


def test_what_was_seen_comes_back(checkpoint):
    checkpoint.save_face_tracks(FaceTracks(rows(3), 7, frozenset({0, 4})))
    kept = checkpoint.face_tracks()
    assert (len(kept.rows), kept.frames, kept.cuts) == (3, 7, {0, 4})


def test_what_was_seen_in_one_film_is_not_taken_for_what_is_in_another(tmp_path):
    FaceTracks(rows(3), 7).save(tmp_path / "faces.npz", "one")
    assert len(FaceTracks.load(tmp_path / "faces.npz", "one").rows) == 3
    with pytest.raises(ValueError, match="another film"):
        FaceTracks.load(tmp_path / "faces.npz", "other")


def test_faces_are_placed_where_a_smaller_picture_shows_them():
    seen = rows(2)
    seen["crop"] = [[[100, 20, 40], [-25, 125, 60]]]
    seen["size"] = 127
    placed = FaceTracks(seen, 2).placed(np.array([[0.5, 0, 10], [0, 0.5, 0]], np.float32))
    assert placed.crops[0].tolist() == [[50, 10, 30], [-12.5, 62.5, 30]]
    assert placed.rows["size"] == pytest.approx([63.3, 63.3], abs=0.1)
    assert seen["crop"][0, 0, 2] == 40


@pytest.mark.parametrize("left", [0, 5, 200])
def test_what_was_seen_and_cut_short_on_disk_is_looked_for_again(checkpoint, left):
    checkpoint.save_face_tracks(FaceTracks(rows(3), 7))
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


def test_two_renders_into_one_film_are_told_and_the_first_goes_on(tmp_path):
    pytest.importorskip("fcntl")
    with Checkpoint(tmp_path / "a.mp4", "one", ".mp4") as first:
        first.part(0).write_bytes(b"x")
        with pytest.raises(MediaError, match="another render"):
            Checkpoint(tmp_path / "a.mp4", "two", ".mp4")
        assert first.parts_done() == 1
