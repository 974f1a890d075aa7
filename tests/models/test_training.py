"""Training: it learns, and stopping and going on changes nothing."""

import pytest
import torch

from lipstream.errors import InputError, ModelError
from lipstream_models.dataset import ClipSource, split_rows
from lipstream_models.networks.mouth_unet import MouthUNet
from lipstream_models.training import Trainer, TrainOptions, load_mouth
from prepared_clips import make_folder

OPTIONS = TrainOptions(samples=24, batch=2, warm_up_steps=2, bf16=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = make_folder(tmp_path_factory.mktemp("clips") / "prepared", clips=4)
    return ClipSource(folder, split_rows(folder)[0])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_loss_falls(source):
    losses = [step.loss for step in Trainer(OPTIONS).run(source)]
    assert len(losses) == 12
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_resumed_run_equals_an_uninterrupted_one(source, tmp_path):
    path = tmp_path / "mouth.pt"
    whole, first = Trainer(OPTIONS), Trainer(OPTIONS)
    for _ in whole.run(source):
        pass
    for step in first.run(source):
        if step.number == 5:
            first.save(path)
            break
    second = Trainer(OPTIONS)
    second.resume(path)
    for _ in second.run(source):
        pass
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


def test_a_checkpoint_loads_as_a_network_to_use(tmp_path):
    trainer = Trainer(OPTIONS)
    trainer.save(tmp_path / "mouth.pt")
    network = load_mouth(tmp_path / "mouth.pt")
    assert not network.training
    assert list(tmp_path.iterdir()) == [tmp_path / "mouth.pt"]


def test_weights_alone_cannot_be_continued(tmp_path):
    torch.save({"state_dict": MouthUNet().state_dict()}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="train mouth"):
        Trainer(OPTIONS).resume(tmp_path / "weights.pt")


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="another network"):
        load_mouth(tmp_path / "other.pt")


def test_asking_for_a_gpu_without_one_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cpu"):
        Trainer(TrainOptions(device="cuda"))
