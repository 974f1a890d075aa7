"""Training: it learns, and stopping and going on changes nothing."""

import pytest
import torch

from lipstream.errors import InputError, ModelError
from lipstream_models.corpora.grid_corpus import Window, split_rows
from lipstream_models.lip_measures import MEASURES
from lipstream_models.networks.mouth_flow import COLUMNS
from lipstream_models.training.mouth import (
    LossWeights,
    MouthTrainer,
    attention,
    detail_loss,
    load_mouth,
    tracking_loss,
    unevenness,
)
from lipstream_models.training.mouth_examples import ClipSource
from lipstream_models.training.sound import (
    HeardLips,
    SoundTrainer,
    VoiceSource,
    hear_clips,
    load_sound,
)
from lipstream_models.training.trainer import TrainOptions
from prepared_clips import make_folder

OPTIONS = TrainOptions(samples=24, batch=2, warm_up_steps=2, bf16=False)


WINDOW = Window(COLUMNS, -240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("clips") / "prepared", clips=4)


@pytest.fixture(scope="module")
def source(folder):
    return ClipSource(folder, split_rows(folder)[0], WINDOW)


def make_trainer(source, options=OPTIONS):
    torch.manual_seed(4)
    return MouthTrainer(source, HeardLips(WINDOW.start_ms), options)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_loss_falls(source):
    losses = [step.losses["picture"] for step in make_trainer(source).run()]
    assert len(losses) == 12
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(source, tmp_path):
    path = tmp_path / "mouth.pt"
    whole, first = make_trainer(source), make_trainer(source)
    for _ in whole.run():
        pass
    for step in first.run():
        if step.number == 5:
            first.save(path)
            break
    second = make_trainer(source)
    second.resume(path)
    for _ in second.run():
        pass
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


def test_a_checkpoint_loads_as_a_network_to_use(source, tmp_path):
    trainer = make_trainer(source)
    trainer.save(tmp_path / "mouth.pt")
    network = load_mouth(tmp_path / "mouth.pt")
    assert not network.training
    assert list(tmp_path.iterdir()) == [tmp_path / "mouth.pt"]


def test_weights_alone_cannot_be_continued(source, tmp_path):
    torch.save({"state_dict": make_trainer(source).network.state_dict()}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="lipstream train"):
        make_trainer(source).resume(tmp_path / "weights.pt")


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="another network"):
        load_mouth(tmp_path / "other.pt")


def test_asking_for_a_gpu_without_one_is_refused(source, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cpu"):
        make_trainer(source, TrainOptions(device="cuda"))


@pytest.mark.slow
def test_the_sound_stage_learns_when_lips_open(folder, tmp_path):
    music = torch.full((2, 80, 80), 0.5).numpy()
    options = TrainOptions(samples=1200, batch=24, warm_up_steps=4, bf16=False)
    trainer = SoundTrainer(VoiceSource([folder], [1.0], music, WINDOW), WINDOW, options)
    losses = [step.losses["lips"] for step in trainer.run()]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    trainer.save(tmp_path / "sound.pt")
    heard = load_sound(tmp_path / "sound.pt")
    assert heard.window == WINDOW
    assert hear_clips(heard, folder, [0, 1]).shape == (2, 75, MEASURES)


@pytest.mark.slow
def test_the_mouth_keeps_the_sound_stage_as_it_is(source):
    trainer = make_trainer(source)
    before = {name: part.clone() for name, part in trainer.network.sound.state_dict().items()}
    for _ in trainer.run():
        pass
    for name, part in trainer.network.sound.state_dict().items():
        assert torch.equal(part, before[name]), name


def test_a_mouth_checkpoint_is_no_sound_stage(source, tmp_path):
    make_trainer(source).save(tmp_path / "mouth.pt")
    with pytest.raises(ModelError, match="train sound"):
        load_sound(tmp_path / "mouth.pt")


def test_detail_counts_wherever_it_lies_nearby():
    fine = torch.zeros(1, 3, 48, 96)
    fine[..., ::4] = 1.0
    aside, flat = torch.roll(fine, 1, -1), torch.full_like(fine, 0.25)
    assert detail_loss(aside, fine) < 0.2 * detail_loss(flat, fine)


def test_an_even_flow_costs_nothing():
    assert unevenness(torch.ones(1, 2, 6, 8)) == 0
    assert unevenness(torch.arange(48.0).view(1, 1, 6, 8)) > 1


def test_a_flow_that_takes_points_from_where_they_were_is_not_astray():
    points = torch.tensor([[[[0.2, 0.5]], [[0.2 + 0.05, 0.5 - 0.1]]]])
    right = torch.tensor([0.05, -0.1]).view(1, 2, 1, 1).expand(1, 2, 24, 48) / 0.25
    assert tracking_loss(right, points) < 1e-6
    assert tracking_loss(torch.zeros(1, 2, 24, 48), points) > 1
    above = points - torch.tensor([0.0, 0.9])
    assert tracking_loss(right, above) == 0


def test_the_inside_of_an_open_mouth_counts_most():
    points = torch.zeros(2, 73, 2)
    points[:, :, 1] = 0.4
    points[:, 20:40, 0] = torch.linspace(-0.3, 0.3, 20)
    points[1, 20:30, 1], points[1, 30:40, 1] = 0.3, 0.5
    closed, opened = attention(points, 48, 96, LossWeights())
    assert closed.max() == 3
    assert opened.argmax() == opened[0, 19, 47:49].argmax() + 19 * 96 + 47
    assert opened.max() > 10
    assert opened[0, 19, 5] < 1.01
