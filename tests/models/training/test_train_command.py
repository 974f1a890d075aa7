"""``lipstream train`` and ``lipstream evaluate`` from the command line."""

import pytest

from lipstream.cli import main
from prepared_clips import make_folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return str(make_folder(tmp_path_factory.mktemp("clips") / "prepared", clips=4).folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "sync-scorer", "--clips", "nowhere", "--out", "x.pt"], "train prepare"),
        (["train", "prepare", "--grid", "nowhere", "--out", "x"], "no .mkv"),
        (["evaluate", "nothing.pt", "--clips", "nowhere"], "train prepare"),
    ],
)
def test_a_wrong_path_is_answered_in_one_line(words, said, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_checkpoint_of_the_wrong_kind_is_answered_in_one_line(prepared, tmp_path, capsys):
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(b"not weights")
    assert main(["evaluate", str(wrong), "--clips", prepared]) == 2
    assert "not a torch checkpoint" in capsys.readouterr().err
