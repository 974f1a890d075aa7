"""Vary sound so that a network does not cling to one room and one voice."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from lipstream.audio.mel import SILENCE

UNITS_A_DECIBEL = 0.08
"""The mel is scaled 100 dB to 8 units."""


@dataclass(frozen=True, slots=True)
class Variation:
    """How far sound is varied: standard deviations, or ranges where it says so."""

    gain_db: float = 12.0
    """Range of loudness, both ways."""
    noise_share: float = 0.4
    """Share of examples with added noise."""
    band_share: float = 0.1
    """Share of examples without high bands, as over a telephone."""
    voice_scale: float = 0.09
    """Stretch of the mel axis, as of longer and shorter vocal tracts (natural logarithm)."""
    voice_shift: float = 0.04
    """Shift of the mel axis, half axes."""


def vary_sound(mel: Tensor, variation: Variation, random: Generator) -> Tensor:
    """Vary voice, loudness, noise and band of (n, 1, 80, columns) windows; a new tensor."""
    mel = _vary_voice(mel, variation, random)
    gain = (
        variation.gain_db
        * UNITS_A_DECIBEL
        * (2 * torch.rand(len(mel), 1, 1, 1, generator=random) - 1)
    )
    mel = torch.where(mel > SILENCE + 1e-3, mel + gain, mel)  # silence stays silent
    mel = _add_noise(mel, variation, random)
    bands = torch.arange(mel.shape[2]).view(1, 1, -1, 1)
    cut = 45 + 35 * torch.rand(len(mel), 1, 1, 1, generator=random)
    narrow = torch.rand(len(mel), 1, 1, 1, generator=random) < variation.band_share
    mel = torch.where(narrow & (bands > cut), torch.full_like(mel, SILENCE), mel)
    return mel.clamp(SILENCE, -SILENCE)


def _vary_voice(mel: Tensor, variation: Variation, random: Generator) -> Tensor:
    count = len(mel)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = 1.0
    theta[:, 1, 1] = torch.exp(variation.voice_scale * torch.randn(count, generator=random))
    shift = variation.voice_shift * torch.randn(count, generator=random)
    theta[:, 1, 2] = shift + theta[:, 1, 1] - 1.0  # the lowest band stays the lowest
    grid = functional.affine_grid(theta, list(mel.shape), align_corners=False)
    return functional.grid_sample(mel, grid, padding_mode="border", align_corners=False)


def _add_noise(mel: Tensor, variation: Variation, random: Generator) -> Tensor:
    """Add the power of a noise of random level and slope, rough from cell to cell."""
    count, bands = len(mel), mel.shape[2]
    level = -4.0 + 3.0 * torch.rand(count, 1, 1, 1, generator=random)
    slope = -1.5 + 2.0 * torch.rand(count, 1, 1, 1, generator=random)
    noise = level + slope * torch.linspace(0, 1, bands).view(1, 1, -1, 1)
    noise = noise + 0.35 * torch.randn(mel.shape, generator=random)
    to_power = math.log(10.0) / (10.0 * UNITS_A_DECIBEL)
    both = torch.logaddexp(mel * to_power, noise * to_power) / to_power
    noisy = torch.rand(count, 1, 1, 1, generator=random) < variation.noise_share
    return torch.where(noisy, both, mel)
