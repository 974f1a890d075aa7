"""A lip network as a model folder: the window gives what the whole utterance gives."""

import numpy as np
import onnx
import pytest
import torch

from lipstream.audio.mel import SILENCE
from lipstream.cli import main
from lipstream.inference.backends import open_backend
from lipstream.inference.manifest import read_toml
from lipstream.lips.decoder import DecoderSettings, Hysteresis
from lipstream.lips.shape import MEASURES
from lipstream_export.model_folder import LIPS, LoadedLips, export_lips
from lipstream_models.networks.lip_network import (
    COLUMNS,
    DELAYS,
    LipNetwork,
    without_noise,
    without_noise_along,
)

VECTOR = np.linspace(-1, 1, MEASURES, dtype=np.float32)
DECODER = DecoderSettings(
    closing=VECTOR,
    tuck=VECTOR / 2,
    rounding=-VECTOR,
    closed=Hysteresis(0.65, 0.4),
    tucked=Hysteresis(0.6, 0.4),
    soft=0.2,
    pressed=0.15,
    parted=0.32,
    tuck_share=0.85,
    rounding_gain=1.5,
)


@pytest.fixture(scope="module")
def loaded():
    torch.manual_seed(5)
    network = LipNetwork(width=24)
    for norm in network.modules():  # as after training: means and scales of their own
        if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return LoadedLips(network.eval(), DECODER, "tiny", "1", "CC0-1.0", "random")


@pytest.fixture(scope="module")
def folders(loaded, tmp_path_factory):
    place = tmp_path_factory.mktemp("lips")
    for setting in DELAYS:
        export_lips(loaded, setting, place / setting)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "openvino"])
@pytest.mark.parametrize("setting", list(DELAYS))
def test_a_window_gives_what_the_whole_utterance_gives(loaded, folders, setting, backend):
    mel = torch.randn(1, 1, 80, 120)
    for pause in (20, 60, 100):  # clear speech: one in every window
        mel[..., pause : pause + 7] = SILENCE
    head = list(DELAYS).index(setting)
    with torch.no_grad():
        whole = loaded.network(mel)[head][0].numpy().T
    graph = open_backend(folders / setting / LIPS, backend, 1)
    try:
        for end in (COLUMNS, 77, 120):
            window = mel[..., end - COLUMNS : end].numpy()
            answer = graph.run({"mel": np.ascontiguousarray(window)})
            logits = whole[end - 3 : end, :14]
            expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            # weights are stored in 16 bits: 11 bits of each
            assert answer["classes"][0] == pytest.approx(expected, abs=2e-3)
            assert answer["measures"][0] == pytest.approx(whole[end - 1, 14:], abs=5e-3)
    finally:
        graph.close()


@pytest.mark.slow
def test_steady_noise_is_taken_off_and_clear_speech_is_heard_as_it_is():
    noise = 0.3 * torch.randn(1, 1, 80, COLUMNS, generator=torch.Generator().manual_seed(1))
    assert float((without_noise(noise) - noise).mean()) < -0.2
    speech = noise.clone()
    speech[..., 10:14] += 0.8  # 10 dB louder: stays, against a floor that falls
    heard = without_noise(speech)
    assert float((heard - speech)[..., 10:14].mean()) > -0.15
    clear = speech.clone()
    clear[..., 30:37] = SILENCE
    torch.testing.assert_close(without_noise(clear), clear)
    assert float(without_noise(torch.full((1, 1, 80, COLUMNS), SILENCE)).max()) == SILENCE


def test_the_file_holds_half_the_bytes_of_its_weights(loaded, folders):
    stored = onnx.load(folders / "quality" / LIPS).graph.initializer
    large = [one for one in stored if np.prod(one.dims) >= 1024]
    assert large
    assert all(one.data_type == onnx.TensorProto.FLOAT16 for one in large)


def test_the_decoder_is_read_back_as_it_was_written(folders):
    read = DecoderSettings.parse(read_toml(folders / "low-delay")["decoder"])
    assert read.closing == pytest.approx(DECODER.closing, abs=1e-4)
    assert read.rounding == pytest.approx(DECODER.rounding, abs=1e-4)
    assert (read.closed, read.tucked) == (DECODER.closed, DECODER.tucked)
    assert read.rounding_gain == DECODER.rounding_gain


def test_the_settings_look_as_far_ahead_as_they_say(folders):
    starts = {s: read_toml(folders / s)["window_start_ms"] for s in DELAYS}
    ahead = {s: start + (COLUMNS - 1) * 12.5 + 25 for s, start in starts.items()}
    assert ahead == {"quality": 172.5, "low-delay": 72.5}


@pytest.mark.slow
def test_the_network_hears_nothing_of_the_future_beyond_its_delay(loaded):
    mel = torch.randn(1, 1, 80, 90)
    changed = mel.clone()
    changed[..., 60:] += 1
    with torch.no_grad():
        for before, after in zip(loaded.network(mel), loaded.network(changed), strict=True):
            assert torch.equal(before[..., :60], after[..., :60])
            assert not torch.allclose(before[..., 60:], after[..., 60:])


def test_a_checkpoint_of_train_lips_is_exported_by_the_command(loaded, tmp_path, capsys):
    path, out = tmp_path / "lips.pt", tmp_path / "low"
    directions = {name: VECTOR.tolist() for name in ("closing", "tuck", "rounding")}
    header = {"network": "lips", "width": 24, "decoder": directions, "licence": "CC0-1.0"}
    torch.save(header | {"state_dict": loaded.network.state_dict()}, path)
    words = ["export", str(path), "-o", str(out), "--setting", "low-delay", "--name", "mine"]
    assert main(words) == 0
    written = read_toml(out)
    assert (written["name"], written["licence"]) == ("mine", "CC0-1.0")
    assert written["window_start_ms"] == -590
    assert DecoderSettings.parse(written["decoder"]).closing == pytest.approx(VECTOR, abs=1e-4)
    assert "lips.onnx" in capsys.readouterr().out


def test_a_lip_checkpoint_without_its_directions_says_what_it_lacks(loaded, tmp_path, capsys):
    path = tmp_path / "lips.pt"
    state = loaded.network.state_dict()
    torch.save({"network": "lips", "width": 24, "state_dict": state}, path)
    assert main(["export", str(path), "-o", str(tmp_path / "x")]) == 2
    assert "decoder" in capsys.readouterr().err


def test_training_takes_noise_off_as_the_exported_window_does():
    torch.manual_seed(3)
    mel = 0.3 * torch.randn(2, 1, 80, 4 * COLUMNS) - 1.0
    mel[..., 60:70] += 1.5
    along = without_noise_along(mel)
    assert along.shape == mel.shape
    for column in (60, 100, 140):
        window = mel[..., column - 25 : column - 25 + COLUMNS]
        torch.testing.assert_close(without_noise(window)[..., 25], along[..., column])
