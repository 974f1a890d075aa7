"""``lipstream train`` and ``lipstream evaluate`` from the command line."""

import pytest
import torch

from lipstream.cli import main
from lipstream_models.training import load_mouth
from prepared_clips import make_folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    make_folder(tmp_path_factory.mktemp("clips") / "prepared", clips=4)
    return tmp_path_factory.getbasetemp()


def prepared(clips):
    return str(next(clips.glob("clips*/prepared")))


def test_training_writes_a_checkpoint_and_continues_it(clips, tmp_path, capsys):
    out = tmp_path / "mouth.pt"
    words = ["train", "mouth", "--clips", prepared(clips), "--out", str(out), "--batch", "2"]
    assert main([*words, "--samples", "4", "--fp32"]) == 0
    assert torch.load(out, weights_only=True)["step"] == 2
    assert main([*words, "--samples", "6", "--fp32"]) == 0
    assert "at step 2 of 3" in capsys.readouterr().out
    assert torch.load(out, weights_only=True)["step"] == 3
    load_mouth(out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "mouth", "--clips", "nowhere", "--out", "x.pt"], "train prepare"),
        (["train", "prepare", "--grid", "nowhere", "--out", "x"], "no .mkv"),
        (["evaluate", "nothing.pt", "--clips", "nowhere"], "train prepare"),
    ],
)
def test_a_wrong_path_is_answered_in_one_line(words, said, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_checkpoint_of_the_wrong_kind_is_answered_in_one_line(clips, tmp_path, capsys):
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(b"not weights")
    assert main(["evaluate", str(wrong), "--clips", prepared(clips)]) == 2
    assert "not a torch checkpoint" in capsys.readouterr().err
