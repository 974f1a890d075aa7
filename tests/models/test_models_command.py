import shutil
from pathlib import Path

import pytest

from lipstream.avatar.pack import embedded_avatars
from lipstream.cli import main
from lipstream.errors import ModelError
from lipstream.inference.manifest import embedded_folder
from lipstream.inference.model import MouthModel
from lipstream_models.models_command import Asset, check_sums, embedded_assets, state_of


@pytest.mark.slow
def test_what_comes_with_the_package_is_listed_and_whole(capsys):
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert {"mouth", "faces", "avatar", *embedded_avatars()} <= set(listed.split())
    assert main(["models", "check"]) == 0
    assert capsys.readouterr().out.count("ok") == len(embedded_assets())


@pytest.mark.slow
def test_the_mouth_networks_stay_small():
    mouths = [asset for asset in embedded_assets() if asset.kind == "mouth"]
    assert [mouth.name for mouth in mouths] == ["quality", "low-delay"]
    assert max(mouth.size_bytes for mouth in mouths) <= 10_000_000


@pytest.mark.parametrize(("name", "look_ahead_ms"), [("quality", 172.5), ("low-delay", 72.5)])
def test_an_embedded_mouth_is_chosen_by_name(name, look_ahead_ms):
    with MouthModel.open(Path(name), threads=1) as model:
        assert model.timing(16_000, 25).look_ahead_ms == look_ahead_ms


def test_a_folder_called_like_an_embedded_mouth_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("low-delay").mkdir()
    with pytest.raises(ModelError, match="one of the embedded ones: quality, low-delay"):
        MouthModel.open(Path("low-delay"))


@pytest.mark.slow
def test_a_damaged_model_is_named_and_fails_the_check(toy_folder, tmp_path, capsys):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    (copy / "mouth.onnx").write_bytes(b"x")
    assert main(["models", "check", "--model", str(copy)]) == 1
    assert "damaged" in " ".join(capsys.readouterr().out.split())


def test_a_damaged_graph_of_another_precision_fails_the_check_too(toy_folder, tmp_path):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    asset = Asset("mouth", "toy", "CC0-1.0", copy)
    assert state_of(asset) == "ok"
    (copy / "mouth_int8.plan").write_bytes(b"as it is not")
    entry = f'\n[files.mouth_int8_plan]\npath = "mouth_int8.plan"\nsha256 = "{"0" * 64}"\n'
    (copy / "model.toml").write_text((copy / "model.toml").read_text() + entry)
    assert "mouth_int8.plan is damaged" in state_of(asset)


@pytest.mark.slow
def test_a_folder_without_a_model_is_bad_input(tmp_path, capsys):
    assert main(["models", "check", "--model", str(tmp_path)]) == 2
    assert "model.toml" in capsys.readouterr().err


def test_a_damaged_face_network_is_noticed(tmp_path):
    copy = shutil.copytree(embedded_folder() / "faces", tmp_path / "faces")
    check_sums(copy)
    (copy / "mesh.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"mesh\.onnx"):
        check_sums(copy)
