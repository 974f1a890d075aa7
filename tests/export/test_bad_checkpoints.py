import os

import pytest
import torch

from lipstream.cli import main


class Bomb:
    def __reduce__(self):
        return os.system, ("true",)


def missing(path, good):
    pass


def truncated(path, good):
    path.write_bytes(good.read_bytes()[:100_000])


def empty(path, good):
    path.write_bytes(b"")


def text(path, good):
    path.write_text("hello")


def another_network(path, good):
    torch.save({"state_dict": {"layer.weight": torch.zeros(3, 3)}}, path)


def unknown_header(path, good):
    torch.save({"network": "elsewhere", "state_dict": {"w": torch.zeros(1)}}, path)


def half_a_network(path, good):
    state = torch.load(good, weights_only=True)["state_dict"]
    torch.save({"state_dict": dict(list(state.items())[:9])}, path)


def half_of_s3fd(path, good):
    torch.save({"conv3_3_norm_mbox_conf.weight": torch.zeros(4, 256, 3, 3)}, path)


def a_bomb(path, good):
    torch.save({"state_dict": Bomb()}, path)


BAD = [
    missing, truncated, empty, text, another_network, unknown_header, half_a_network,
    half_of_s3fd, a_bomb,
]  # fmt: skip


@pytest.mark.parametrize("spoil", BAD, ids=lambda f: f.__name__)
def test_a_bad_checkpoint_is_one_line_and_writes_nothing(spoil, tmp_path, small_checkpoint, capsys):
    checkpoint = tmp_path / "some.pth"
    spoil(checkpoint, small_checkpoint)
    before = sorted(tmp_path.iterdir())
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lipstream: ")
    assert error.count("\n") == 1
    assert str(checkpoint) in error
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_where_the_folder_should_be_is_refused(small_checkpoint, tmp_path, capsys):
    out = tmp_path / "taken"
    out.write_text("mine")
    assert main(["export", str(small_checkpoint), "-o", str(out)]) == 2
    assert "is a file" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(small_checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["export", str(small_checkpoint), "-o", str(tmp_path / "file" / "model")]) == 2
    assert "cannot write" in capsys.readouterr().err
