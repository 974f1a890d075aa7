"""Variation of examples: pictures of one example alike, the mouth never shown."""

import numpy as np
import pytest
import torch

from lipstream_models.training.augmentation import (
    Variation,
    random_placement,
    varied_batch,
    vary_sound,
)
from lipstream_models.training.mouth_examples import Examples

STILL = Variation(
    gain_db=0.0,
    noise_share=0.0,
    band_share=0.0,
    voice_scale=0.0,
    voice_shift=0.0,
    colour=0.0,
    light=0.0,
    offset=0.0,
    turn=0.0,
    shift=0.0,
    bend=0.0,
    swap_share=0.0,
    nudged_share=0.0,
)


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    pictures = rng.integers(20, 230, (4, 96, 96, 3)).astype(np.uint8)
    mel = rng.uniform(-4, 4, (4, 80, 16)).astype(np.float32)
    lips, heard = np.zeros((len(mel), 17), np.float32), np.ones(len(mel), bool)
    points = rng.uniform(0.2, 0.8, (len(mel), 2, 30, 2)).astype(np.float32)
    return Examples(mel, lips, lips, heard, points, pictures, pictures, pictures)


def generator():
    return torch.Generator().manual_seed(1)


def test_a_batch_hides_the_mouth_and_asks_for_it(examples):
    batch = varied_batch(examples, STILL, generator())
    assert batch.mel.shape == (4, 1, 80, 16)
    assert batch.face.shape == (4, 6, 96, 96)
    assert batch.face[:, :3, 48:].abs().max() == 0
    assert torch.allclose(batch.target, batch.face[:, 3:, 48:], atol=1e-5)


def test_pictures_of_an_example_are_varied_alike(examples):
    batch = varied_batch(examples, Variation(nudged_share=0.0), generator())
    assert torch.allclose(batch.target, batch.face[:, 3:, 48:], atol=1e-5)
    assert torch.allclose(batch.face[:, :3, :48], batch.face[:, 3:, :48], atol=1e-5)
    assert batch.face[:, :3, 48:].abs().max() == 0


def test_a_nudge_moves_the_reference_and_its_points_alone(examples):
    still, nudged = (
        varied_batch(examples, Variation(nudged_share=share), generator()) for share in (0.0, 1.0)
    )
    assert torch.equal(still.target, nudged.target)
    assert torch.equal(still.points[:, 0], nudged.points[:, 0])
    assert ((still.face[:, 3:] - nudged.face[:, 3:]).abs().amax((1, 2, 3)) > 0.05).all()
    assert ((still.points[:, 1] - nudged.points[:, 1]).abs().amax((1, 2)) > 0.003).all()


def test_no_variation_changes_nothing_but_the_side(examples):
    batch = varied_batch(examples, STILL, generator())
    plain = torch.from_numpy(examples.target[:, 48:]).permute(0, 3, 1, 2) / 255
    for varied, picture in zip(batch.target, plain, strict=True):
        mirrored = picture.flip(2)
        assert min((varied - picture).abs().max(), (varied - mirrored).abs().max()) < 1e-3
    assert torch.allclose(batch.mel[:, 0], torch.from_numpy(examples.mel), atol=1e-4)


def test_digital_silence_stays_silent_however_loud():
    silence = torch.full((8, 1, 80, 16), -4.0)
    louder = vary_sound(silence, Variation(noise_share=0.0), generator())
    assert (louder - silence).abs().max() < 1e-3


def test_noise_only_adds():
    mel = torch.rand(8, 1, 80, 16) * 8 - 4
    always = Variation(0.0, 1.0, 0.0, 0.0, 0.0)
    noisy = vary_sound(mel, always, generator())
    assert (noisy >= mel - 1e-4).all()
    assert noisy.max() <= 4.0


def test_points_go_where_their_pixels_go():
    placement = random_placement(5, 96, Variation(), generator())
    points = torch.rand(5, 2, 12, 2, generator=generator()) * 0.8 - 0.4
    grid = torch.nn.functional.affine_grid(placement.theta, [5, 3, 96, 96], align_corners=False)
    where = (grid + placement.bend.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    placed = placement.of_points(points).flatten(1, 2)
    found = torch.nn.functional.grid_sample(where, placed[:, None], align_corners=False)
    back = found[:, :, 0].transpose(1, 2).view_as(points)
    assert (back - points).abs().max() < 2e-3
    assert (placed.view_as(points) - points).abs().max() > 0.05
