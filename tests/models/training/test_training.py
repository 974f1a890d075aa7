"""Training: stopping and going on changes nothing, and a wrong checkpoint is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipstream.errors import InputError, ModelError
from lipstream_models.training.sync_scorer import SYNC_OPTIONS, MomentSource, SyncTrainer
from prepared_clips import make_folder

OPTIONS = replace(SYNC_OPTIONS, samples=6, batch=1, warm_up_steps=2, bf16=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = make_folder(tmp_path_factory.mktemp("clips") / "prepared", clips=2)
    return MomentSource([(folder, np.arange(2))])


def make_trainer(source, options=OPTIONS):
    return SyncTrainer(source, options)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(source, tmp_path):
    path = tmp_path / "scorer.pt"
    whole, first = make_trainer(source), make_trainer(source)
    for _ in whole.run():
        pass
    for step in first.run():
        if step.number == 3:
            first.save(path)
            break
    second = make_trainer(source)
    second.resume(path)
    for _ in second.run():
        pass
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


def test_weights_alone_cannot_be_continued(source, tmp_path):
    torch.save({"state_dict": make_trainer(source).network.state_dict()}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="lipstream train"):
        make_trainer(source).resume(tmp_path / "weights.pt")


def test_a_checkpoint_of_another_network_is_refused(source, tmp_path):
    state = {"state_dict": {"a": torch.zeros(1)}, "optimiser": {}, "step": 1}
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="another network"):
        make_trainer(source).resume(tmp_path / "other.pt")


def test_asking_for_a_gpu_without_one_is_refused(source, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cpu"):
        make_trainer(source, replace(OPTIONS, device="cuda"))
