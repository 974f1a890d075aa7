"""The turn of a head between two pictures: measured above, learned below."""

import numpy as np
import pytest
import torch

from lipstream_models.networks.mouth_flow import GRID, Alignment, grey, measure_motion, sample
from lipstream_models.training.augmentation import coarse_motion
from lipstream_models.training.mouth import alignment_loss


def smooth_picture(seed=0):
    """A picture (1, 3, 96, 96) with texture a few pixels wide."""
    noise = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (96, 96), mode="bicubic").clamp(0, 1)


def shifted(picture, across, down):
    return torch.roll(picture, (down, across), (2, 3))


@pytest.mark.parametrize(("across", "down"), [(0, 0), (3, 0), (0, -2), (-4, 3)])
def test_a_shift_is_measured_in_the_upper_half(across, down):
    target = smooth_picture()
    motion = measure_motion(grey(target)[:, :, :48], grey(shifted(target, across, down)))
    found = motion.flow[0, :, 4:-4, 6:-6].numpy()
    assert found.shape == (2, 16, 36)
    assert np.allclose(found.mean((1, 2)), (across, down), atol=0.15)
    assert np.quantile(np.abs(found - found.mean((1, 2), keepdims=True)), 0.9) < 0.5


def test_a_picture_without_texture_stays():
    flat = torch.full((1, 1, 96, 96), 0.5)
    motion = measure_motion(flat[:, :, :48], flat + 0.2)
    assert motion.flow.abs().max() == 0


def test_sampling_by_the_measured_motion_gives_the_target_back():
    target = smooth_picture()
    source = grey(shifted(target, 3, -2))
    wanted = grey(target)[:, :, :48]
    flow = torch.nn.functional.interpolate(measure_motion(wanted, source).flow, scale_factor=2.0)
    left = (sample(source, flow) - wanted)[..., 8:-8, 8:-8].abs().mean()
    assert left < 0.2 * (source[:, :, :48] - wanted)[..., 8:-8, 8:-8].abs().mean()


def test_chunks_of_a_batch_are_aligned_as_the_whole():
    torch.manual_seed(0)
    alignment = Alignment().eval()
    torch.nn.init.normal_(alignment.local.weight, std=0.1)
    faces = torch.cat([torch.cat([smooth_picture(k), smooth_picture(k + 9)], 1) for k in range(3)])
    with torch.no_grad():
        whole = alignment(faces)
        alone = torch.cat([alignment(face[None]) for face in faces])
    assert whole.shape == (3, 2, GRID, GRID)
    assert whole.abs().max() > 0.01
    assert torch.allclose(whole, alone, atol=1e-4)


def test_the_teacher_sees_the_whole_picture_move():
    target = smooth_picture()
    motion = coarse_motion(target, shifted(target, 2, -3))
    assert motion.shape == (1, 2, GRID, GRID)
    assert np.allclose(motion[0, :, 2:-2, 2:-2].mean((1, 2)), (2, -3), atol=0.2)


def test_the_right_turn_costs_least():
    target = smooth_picture()
    source = shifted(target, 2, 0)
    face = torch.cat([target, source], 1)
    face[:, :3, 48:] = 0
    motion = torch.zeros(1, 2, GRID, GRID)
    motion[:, 0] = 2
    right, none, wrong = (
        alignment_loss(k * motion, motion, face, target[:, :, 48:]) for k in (1.0, 0.0, -1.0)
    )
    assert right < 0.2 * none
    assert none < wrong
