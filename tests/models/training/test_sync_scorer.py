"""Our own sync scorer: learns to tell in step from out of step, and says so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipstream.audio.mel import SILENCE
from lipstream.errors import InputError, ModelError
from lipstream_models.evaluation.sync_scorer import (
    OwnSyncScorer,
    load_sync_network,
    lower_halves,
    read_sync,
    shifted_distances,
    sound_windows,
)
from lipstream_models.networks.sync_networks import SyncNetwork
from lipstream_models.training.sync_scorer import (
    SYNC_OPTIONS,
    MomentSource,
    SyncTrainer,
    moment_loss,
)
from prepared_clips import make_clip, make_folder

TINY = replace(SYNC_OPTIONS, samples=2, batch=1, warm_up_steps=1, bf16=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = make_folder(tmp_path_factory.mktemp("network") / "clips", clips=4)
    return MomentSource([(folder, np.arange(4))])


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.sync_network.parameters()])


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_a_late_mouth_is_found_late(late):
    rng = np.random.default_rng(1)
    sounds = rng.normal(size=(60, 8)).astype(np.float32)
    faces = np.roll(sounds, late, 0) + 0.1 * rng.normal(size=(60, 8)).astype(np.float32)
    found = read_sync(shifted_distances(faces, sounds))
    assert found.offset == pytest.approx(late, abs=0.1)
    assert found.confidence > 2.0


def test_distances_of_few_frames_leave_half_of_them():
    points = np.eye(10, dtype=np.float32)
    assert sorted(shifted_distances(points, points)) == list(range(-5, 6))


def test_confidence_is_the_median_less_the_smallest():
    found = read_sync({-2: 5.0, -1: 4.0, 0: 1.0, 1: 4.0, 2: 6.0})
    assert (found.distance, found.confidence, found.offset) == (1.0, 3.0, 0.0)


def test_windows_begin_with_their_frame_and_end_in_silence():
    mel = np.arange(241, dtype=np.float32)[None].repeat(80, 0)
    windows = sound_windows(mel, 5, 67)
    assert windows.shape == (67, 1, 80, 16)
    assert windows[0, 0, 0].tolist() == list(range(16, 32))
    assert windows[66, 0, 0, -3:].tolist() == [240.0, SILENCE, SILENCE]


def test_skin_and_light_do_not_matter():
    torch.manual_seed(0)
    network = SyncNetwork().eval()
    faces = lower_halves(make_clip(0).crops[:3])
    darker = 0.7 * faces + 0.1
    with torch.no_grad():
        assert torch.allclose(network.views(faces), network.views(darker), atol=0.02)


def test_the_judge_sees_what_training_saw():
    """The scorer's views, five joined, are those of the network's own call."""
    torch.manual_seed(0)
    network, clip = SyncNetwork().eval(), make_clip(2)
    with torch.no_grad():
        halves = lower_halves(clip.crops[:5])[None]
        direct = network(halves, sound_windows(clip.mel, 0, 1))
    judged = OwnSyncScorer(network).sync(clip.crops[:5], clip.mel)
    assert judged.distance**2 == pytest.approx(2 - 2 * float(direct[0]), abs=1e-4)


def test_the_loss_is_log_count_by_chance_and_nothing_when_all_are_found():
    same = torch.ones(1, 24, 4) / 2.0
    assert float(moment_loss(same, same, torch.tensor(10.0))) == pytest.approx(np.log(24), abs=1e-4)
    own = torch.eye(24)[None]
    assert float(moment_loss(own, own, torch.tensor(50.0))) < 1e-6


def test_runs_have_the_sizes_of_the_network_and_vary(source):
    drawn = [source.draw(np.random.default_rng(0), 2, torch.Generator()) for _ in range(2)]
    assert drawn[0].faces.shape == (2, 28, 3, 48, 96)
    assert drawn[0].mel.shape == (2, 24, 80, 16)
    assert torch.equal(drawn[0].faces, drawn[1].faces)
    other = source.draw(np.random.default_rng(1), 2, torch.Generator())
    assert not torch.equal(drawn[0].faces, other.faces)


@pytest.mark.slow
def test_an_interrupted_run_ends_like_a_whole_one(source, tmp_path):
    whole = SyncTrainer(source, TINY)
    list(whole.run())
    first = SyncTrainer(source, TINY)
    next(first.run())
    first.save(tmp_path / "part.pt")
    second = SyncTrainer(source, TINY)
    second.resume(tmp_path / "part.pt")
    assert second.step == 1
    list(second.run())
    assert torch.allclose(weights(whole), weights(second), atol=1e-6)


@pytest.mark.slow
def test_exported_weights_load_and_judge_alike(source, tmp_path):
    trainer = SyncTrainer(source, TINY)
    next(trainer.run())
    trainer.export(tmp_path / "weights.pt")
    assert (tmp_path / "weights.pt").stat().st_size < 3_000_000
    clip = make_clip(1)
    there = OwnSyncScorer(load_sync_network(tmp_path / "weights.pt")).sync(clip.crops, clip.mel)
    here = OwnSyncScorer(trainer.sync_network).sync(clip.crops, clip.mel)
    assert there.distance == pytest.approx(here.distance, abs=0.02)


def test_no_clips_are_refused():
    with pytest.raises(InputError, match="train prepare"):
        MomentSource([])


def test_a_checkpoint_of_a_lip_network_is_refused(tmp_path):
    torch.save({"state_dict": {}, "network": "lips"}, tmp_path / "lips.pt")
    with pytest.raises(ModelError, match="no sync scorer"):
        load_sync_network(tmp_path / "lips.pt")


@pytest.mark.slow
def test_it_learns_a_made_up_language(source):
    """Grey faces whose dark mouth opens with loudness: every offset is found to one frame."""
    options = replace(SYNC_OPTIONS, samples=240, batch=4, warm_up_steps=5, bf16=False)
    trainer = SyncTrainer(source, options)
    losses = [step.losses["loss"] for step in trainer.run()]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    clip, scorer = make_clip(30), OwnSyncScorer(trainer.sync_network)
    for late in (-2, 0, 3):
        crops = clip.crops[10 - late : 60 - late]
        assert scorer.sync(crops, clip.mel, 10).offset == pytest.approx(late, abs=1.0)
