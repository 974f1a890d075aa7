import numpy as np
import pytest
import torch

from golden.seeded_state import GOLDEN
from lipstream import MouthModel
from lipstream.cli import main
from lipstream.inference.backends import open_backend
from lipstream_export.model_folder import ExportOptions, export_mouth
from lipstream_export.parity import Parity, compare_mouth
from lipstream_models.networks.loading import load_network


@pytest.fixture(scope="module")
def exported(small_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_mouth(load_network(small_checkpoint), folder, ExportOptions(whole=True))
    return folder


def test_a_network_is_loaded_in_eval_mode(small_checkpoint):
    assert not load_network(small_checkpoint).network.training


def test_the_model_folder_opens_and_paints(exported):
    with MouthModel.open(exported, backend="cpu", threads=1) as model:
        faces = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
        mel = np.zeros((3, 1, 80, model.manifest.mel_columns), np.float32)
        features = model.face_features(faces)
        mouths = model.mouth(mel, features).copy()
        louder = model.mouth(mel + 3, features)
    assert mouths.shape == (3, 48, 96, 3)
    assert mouths.dtype == np.uint8
    assert np.abs(louder.astype(int) - mouths).max() > 3


@pytest.mark.slow
def test_the_command_exports_and_compares_every_runtime_with_torch(
    small_checkpoint, tmp_path, capsys
):
    out = tmp_path / "model"
    given = ["export", str(small_checkpoint), "-o", str(out), "--verify", "--licence", "CC0-1.0"]
    assert main([*given, "--window-start-ms", "0"]) == 0
    table = capsys.readouterr().out
    assert "parity: holds" in table
    assert "openvino" in table
    assert "cpu" in table
    assert {path.name for path in out.iterdir()} == {"face.onnx", "mouth.onnx", "model.toml"}
    with MouthModel.open(out, backend="cpu") as model:
        assert model.manifest.window_start_ms == 0
        assert model.manifest.licence == "CC0-1.0"


def test_verify_fails_where_the_graphs_are_of_other_weights(exported, small_checkpoint):
    network = load_network(small_checkpoint).network
    with torch.no_grad():
        network.output_block[1].bias.add_(0.1)
    rows = compare_mouth(network, exported, "cpu")
    assert not all(row.holds for row in rows)


def test_a_parity_row_of_nan_does_not_hold():
    assert not Parity("mouth", "mouth", "cpu", float("nan"), 1.0, "").holds


@pytest.fixture(scope="module")
def wav2lip(seeded, tmp_path_factory):
    """The model folder of a checkpoint in the published format."""
    folder = tmp_path_factory.mktemp("wav2lip")
    state = {f"module.{key}": tensor for key, tensor in seeded("wav2lip").items()}
    checkpoint = {"state_dict": state, "optimizer": None, "global_step": 1}
    torch.save(checkpoint, folder / "wav2lip.pth")
    given = ["export", str(folder / "wav2lip.pth"), "-o", str(folder / "model"), "--whole"]
    assert main(given) == 0
    return folder / "model"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "openvino"])
def test_wav2lip_reproduces_the_original_through_the_whole_graph(wav2lip, backend):
    golden = np.load(GOLDEN / "wav2lip_io.npz")
    feeds = {"mel": golden["mel"], "face": golden["face"]}
    frame = open_backend(wav2lip / "whole.onnx", backend).run(feeds)["frame"]
    # 36 M parameters summed in float32 in another order than the original's.
    np.testing.assert_allclose(frame, golden["frame"], atol=1e-5)


@pytest.mark.slow
def test_the_split_paints_the_rows_of_the_whole_graph(wav2lip):
    rng = np.random.default_rng(4)
    faces = rng.integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    mel = rng.uniform(-4, 4, (2, 1, 80, 16)).astype(np.float32)
    reference = faces.transpose(0, 3, 1, 2).astype(np.float32) / 255
    masked = reference.copy()
    masked[:, :, 48:] = 0
    feeds = {"mel": mel, "face": np.concatenate([masked, reference], 1)}
    frame = open_backend(wav2lip / "whole.onnx", "cpu").run(feeds)["frame"][:, :, 48:]
    whole = np.rint(frame * 255).clip(0, 255).transpose(0, 2, 3, 1)
    with MouthModel.open(wav2lip, backend="cpu") as model:
        mouths = model.mouth(mel, model.face_features(faces))
    # One level: a float on the edge of two levels may round either way.
    assert np.abs(mouths - whole).max() <= 1
