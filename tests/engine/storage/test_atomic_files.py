"""A file gets its name when it is whole."""

import pytest

from lipstream.storage import atomic_write


def test_a_file_appears_under_its_name_at_the_end(tmp_path):
    path = tmp_path / "a.mp4"
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(b"all of it")
        assert unfinished.suffix == ".mp4"
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("older")

    def half():
        with atomic_write(path) as unfinished:
            unfinished.write_text("hal")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        half()
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_path_do_not_meet(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_write(path, ".1") as first, atomic_write(path, ".2") as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"  # its block ended last
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    def write():
        with atomic_write(tmp_path / "no" / "a.txt") as unfinished:
            unfinished.write_text("x")

    with pytest.raises(FileNotFoundError):
        write()
