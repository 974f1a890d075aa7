"""``lipstream train`` and ``lipstream evaluate`` from the command line."""

import pytest
import torch

from lipstream.cli import main
from lipstream_models.training.mouth import load_mouth
from prepared_clips import make_folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return str(make_folder(tmp_path_factory.mktemp("clips") / "prepared", clips=4).folder)


@pytest.fixture(scope="module")
def sound(prepared, tmp_path_factory):
    """A sound stage after two steps, hearing little ahead."""
    out = tmp_path_factory.mktemp("sound") / "sound.pt"
    words = ["train", "sound", "--clips", prepared, "--out", str(out), "--samples", "192"]
    assert main([*words, "--setting", "low-delay", "--pieces", "2"]) == 0
    return str(out)


@pytest.mark.slow
def test_a_mouth_is_trained_on_a_sound_stage_and_continued(prepared, sound, tmp_path, capsys):
    out = tmp_path / "mouth.pt"
    words = ["train", "mouth", "--clips", prepared, "--sound", sound, "--out", str(out), "--fp32"]
    assert main([*words, "--samples", "64"]) == 0
    assert torch.load(out, weights_only=True)["step"] == 2
    assert main([*words, "--samples", "96"]) == 0
    assert "at step 2 of 3" in capsys.readouterr().out
    assert torch.load(out, weights_only=True)["step"] == 3
    assert load_mouth(out).window_start_ms == -340
    assert {path.suffix for path in tmp_path.iterdir()} == {".pt", ".jsonl", ".png", ".md"}
    assert "| prepared | 3 | 1 |" in out.with_suffix(".md").read_text()


@pytest.mark.slow
def test_a_mouth_gets_another_sound_stage_and_a_gain(prepared, sound, tmp_path):
    mouth, out = tmp_path / "mouth.pt", tmp_path / "joined.pt"
    words = ["train", "mouth", "--clips", prepared, "--sound", sound, "--out", str(mouth)]
    assert main([*words, "--fp32", "--samples", "32"]) == 0
    joins = ["train", "join", "--mouth", str(mouth), "--sound", sound, "--out", str(out)]
    assert main([*joins, "--gain", "1.25"]) == 0
    joined, before = load_mouth(out), load_mouth(mouth)
    mel = torch.zeros(1, 1, 80, 32)
    assert torch.allclose(joined.lips(mel), 1.25 * before.lips(mel))
    assert main([*words[:-1], str(tmp_path / "b.pt"), "--begin", str(out), "--samples", "1"]) == 0
    assert main([*joins, "--gain", "9"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "sound", "--clips", "nowhere", "--out", "x.pt"], "train prepare"),
        (["train", "prepare", "--grid", "nowhere", "--out", "x"], "no .mkv"),
        (["evaluate", "nothing.pt", "--clips", "nowhere"], "train prepare"),
        (["train", "mouth", "--clips", "x", "--sound", "none.pt", "--out", "y"], "none.pt"),
    ],
)
def test_a_wrong_path_is_answered_in_one_line(words, said, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_as_many_shares_as_folders(prepared, sound, tmp_path, capsys):
    words = ["train", "mouth", "--clips", prepared, prepared, "--sound", sound]
    assert main([*words, "--out", str(tmp_path / "m.pt"), "--shares", "1"]) == 2
    assert "give 2 numbers, one a folder" in capsys.readouterr().err


def test_a_checkpoint_of_the_wrong_kind_is_answered_in_one_line(prepared, tmp_path, capsys):
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(b"not weights")
    assert main(["evaluate", str(wrong), "--clips", prepared]) == 2
    assert "not a torch checkpoint" in capsys.readouterr().err
