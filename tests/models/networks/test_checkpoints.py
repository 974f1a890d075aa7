"""Weights from files: loaded safely, or refused in one clear sentence."""

import os
import pickle

import pytest
import torch

from lipstream.errors import ModelError
from lipstream_models.networks.loading import load_weights, read_state_dict
from lipstream_models.networks.sync_networks import SyncNetwork
from lipstream_models.networks.wav2lip import Wav2Lip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    torch.manual_seed(1)
    state = {f"module.{name}": tensor for name, tensor in Wav2Lip().state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "wav2lip.pth"
    torch.save({"state_dict": state, "global_step": 7}, path)
    return path, state


def load(path):
    network = Wav2Lip()
    load_weights(network, read_state_dict(path), path)
    return network


@pytest.mark.slow
def test_the_published_format_loads(published):
    path, state = published
    network = load(path)
    assert all(torch.equal(t, state[f"module.{n}"]) for n, t in network.state_dict().items())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.pth is missing"):
        load(tmp_path / "none.pth")


@pytest.mark.slow
def test_a_truncated_file_is_refused(published, tmp_path):
    path, _ = published
    short = tmp_path / "short.pth"
    short.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="truncated"):
        load(short)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x00" * 64])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "page.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB_TARGET"],)


@pytest.mark.parametrize("plain_pickle", [True, False])
def test_a_pickle_bomb_is_refused_and_does_not_go_off(tmp_path, monkeypatch, plain_pickle):
    target = tmp_path / "went_off"
    monkeypatch.setenv("BOMB_TARGET", str(target))
    path = tmp_path / "bomb.pth"
    if plain_pickle:
        path.write_bytes(pickle.dumps({"state_dict": Bomb()}))
    else:
        torch.save({"state_dict": Bomb()}, path)
    with pytest.raises(ModelError, match="code or objects"):
        load(path)
    assert not target.exists()


def test_weights_of_another_network_are_refused_with_the_first_difference(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": SyncNetwork().state_dict()}, path)
    with pytest.raises(ModelError, match=r"another network than Wav2Lip.*first "):
        load(path)


@pytest.mark.slow
def test_a_wrong_shape_is_refused(published, tmp_path):
    _, state = published
    changed = dict(state) | {"module.output_block.1.bias": torch.zeros(4)}
    path = tmp_path / "shape.pth"
    torch.save({"state_dict": changed}, path)
    with pytest.raises(ModelError, match=r"output_block.1.bias \(\(3,\) wanted, \(4,\) found\)"):
        load(path)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"state_dict": {"a": 3}}, [1, 2], 5])
def test_a_checkpoint_without_tensors_is_refused(tmp_path, content):
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match="holds no state dict"):
        read_state_dict(path)
