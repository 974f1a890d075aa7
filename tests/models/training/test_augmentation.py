"""Variation of sound: what no variation touches, and which way each of them goes."""

import torch

from lipstream_models.training.augmentation import Variation, vary_sound


def generator():
    return torch.Generator().manual_seed(1)


def test_no_variation_changes_nothing():
    mel = torch.rand(4, 1, 80, 16) * 8 - 4
    still = Variation(0.0, 0.0, 0.0, 0.0, 0.0)
    assert torch.allclose(vary_sound(mel, still, generator()), mel, atol=1e-4)


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
