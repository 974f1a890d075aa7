import shutil

import pytest

from lipstream.avatar import embedded_avatars
from lipstream.cli import main
from lipstream.errors import ModelError
from lipstream.model import embedded_folder
from lipstream_models.models_command import check_sums, embedded_assets


def test_what_comes_with_the_package_is_listed_and_whole(capsys):
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert {"mouth", "faces", "avatar", *embedded_avatars()} <= set(listed.split())
    assert main(["models", "check"]) == 0
    assert capsys.readouterr().out.count("ok") == len(embedded_assets())


def test_the_mouth_network_stays_small():
    (mouth,) = (asset for asset in embedded_assets() if asset.kind == "mouth")
    assert mouth.size_bytes <= 10_000_000


def test_a_damaged_model_is_named_and_fails_the_check(toy_folder, tmp_path, capsys):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    (copy / "mouth.onnx").write_bytes(b"x")
    assert main(["models", "check", "--model", str(copy)]) == 1
    assert "damaged" in " ".join(capsys.readouterr().out.split())


def test_a_folder_without_a_model_is_bad_input(tmp_path, capsys):
    assert main(["models", "check", "--model", str(tmp_path)]) == 2
    assert "model.toml" in capsys.readouterr().err


def test_a_damaged_face_network_is_noticed(tmp_path):
    copy = shutil.copytree(embedded_folder() / "faces", tmp_path / "faces")
    check_sums(copy)
    (copy / "mesh.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"mesh\.onnx"):
        check_sums(copy)
