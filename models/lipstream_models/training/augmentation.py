"""Vary examples so that the network does not cling to one camera, one room and one voice."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from lipstream.audio.mel import SILENCE
from lipstream_models.networks.mouth_flow import GRID, grey
from lipstream_models.training.mouth_examples import Examples

UNITS_A_DECIBEL = 0.08
"""The mel is scaled 100 dB to 8 units."""


def coarse_motion(target: Tensor, source: Tensor) -> Tensor:
    """Say where the pixels of ``target`` are in ``source``: (N, 2, 12, 12), pixels away.

    Both are (N, 3, S, S) in 0..1, whole pictures. Dense inverse search (Kroeger et al., "Fast
    Optical Flow using Dense Inverse Search", ECCV 2016, as OpenCV has it), averaged over cells.
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    pictures = [(grey(part)[:, 0] * 255).round().byte().numpy() for part in (target, source)]
    flows = [search.calc(a, b, None) for a, b in zip(*pictures, strict=True)]  # type: ignore[call-overload]
    flow = torch.from_numpy(np.stack(flows).astype(np.float32)).permute(0, 3, 1, 2)
    return functional.avg_pool2d(flow, target.shape[2] // GRID)


@dataclass(frozen=True, slots=True)
class Variation:
    """How far examples are varied: standard deviations, or ranges where it says so."""

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
    colour: float = 0.09
    """Mixing of the colour channels."""
    light: float = 0.18
    """Contrast and gamma (natural logarithm)."""
    offset: float = 0.04
    """Brightness of each channel, 0 to 1."""
    turn: float = 0.05
    """Roll, radians, and stretch (natural logarithm)."""
    shift: float = 0.03
    """Shift, half pictures."""
    bend: float = 0.03
    """Smooth bending of the face into another one, half pictures."""
    swap_share: float = 0.1
    """Share of examples with their colour channels in another order: no skin learned by heart."""
    nudged_share: float = 0.6
    """Share of examples whose reference is nudged away from the target."""
    nudge_turn: float = 0.02
    """Of a nudge: roll, radians, and stretch (natural logarithm)."""
    nudge_shift: float = 0.03
    """Of a nudge: shift, half pictures."""
    nudge_bend: float = 0.012
    """Of a nudge: smooth bending, half pictures."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step takes."""

    mel: Tensor
    """(n, 1, 80, columns) float32."""
    lips: Tensor
    """(n, 17) float32, of the target."""
    own_lips: Tensor
    """(n, 17) float32, of the reference."""
    heard: Tensor
    """(n,) bool, as in ``Examples``."""
    points: Tensor
    """(n, 2, tracked, 2) float32, of target and reference, -1 to 1 over the crop."""
    face: Tensor
    """(n, 6, 96, 96) float32 in 0..1: masked target, then reference."""
    target: Tensor
    """(n, 3, 48, 96) float32 in 0..1."""
    motion: Tensor
    """(n, 2, 12, 12) float32: where the target's pixels are in the reference, pixels away."""


def varied_batch(examples: Examples, variation: Variation, random: Generator) -> Batch:
    """Make a batch with sound, colour and place varied; pictures of one example alike."""
    count, size = len(examples.mel), examples.target.shape[1]
    placement = random_placement(count, size, variation, random)
    pictures = vary_colour(placement.of_pictures(_pictures(examples)), variation, random)
    points = placement.of_points(_points(examples))
    nudge = random_nudge(count, size, variation, random)
    pictures[:, 1:], points[:, 1:] = (
        nudge.of_pictures(pictures[:, 1:]),
        nudge.of_points(points[:, 1:]),
    )
    mel = vary_sound(torch.from_numpy(examples.mel)[:, None], variation, random)
    return _join(examples, mel, pictures, points)


def _pictures(examples: Examples) -> Tensor:
    """Stack the target (its upper half as the network sees it) and the reference."""
    half = examples.target.shape[1] // 2
    target = np.concatenate([examples.upper[:, :half], examples.target[:, half:]], 1)
    both = torch.from_numpy(np.stack([target, examples.reference], 1))
    return both.permute(0, 1, 4, 2, 3).float() / 255.0


def _points(examples: Examples) -> Tensor:
    return torch.from_numpy(examples.points) * 2 - 1


def _join(examples: Examples, mel: Tensor, pictures: Tensor, points: Tensor) -> Batch:
    target, reference = pictures[:, 0], pictures[:, 1]
    half = target.shape[2] // 2
    masked = target.clone()
    masked[:, :, half:] = 0.0
    face = torch.cat([masked, reference], 1)
    lips, own_lips = torch.from_numpy(examples.lips), torch.from_numpy(examples.own_lips)
    heard = torch.from_numpy(examples.heard)
    lower = target[:, :, half:].contiguous()
    motion = coarse_motion(target, reference)
    return Batch(mel, lips, own_lips, heard, points.float(), face, lower, motion)


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


def vary_colour(pictures: Tensor, variation: Variation, random: Generator) -> Tensor:
    """Vary the colours of (n, k, 3, S, S) pictures, alike within an example."""
    count = len(pictures)
    mixing = torch.eye(3) + variation.colour * torch.randn(count, 3, 3, generator=random)
    contrast, gamma = torch.exp(variation.light * torch.randn(2, count, 1, 1, generator=random))
    offset = variation.offset * torch.randn(count, 3, 1, generator=random)
    flat = pictures.transpose(1, 2).reshape(count, 3, -1)
    swap = torch.rand(count, generator=random) < variation.swap_share
    mixing[swap] = mixing[swap][:, torch.randperm(3, generator=random)]
    varied = torch.baddbmm(offset, mixing * contrast, flat).clamp_(1e-3, 1.0).pow_(gamma)
    return varied.view(count, 3, pictures.shape[1], *pictures.shape[3:]).transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Placement:
    """How pictures are turned, stretched, bent, shifted and mirrored, each example in its way."""

    theta: Tensor
    """(n, 2, 3) float32: from where in the old picture a place of the new one is taken, -1 to 1."""
    bend: Tensor
    """(n, 2, S, S) float32, added to it."""

    def of_pictures(self, pictures: Tensor) -> Tensor:
        """Place (n, k, 3, S, S) pictures, alike within an example."""
        count, each, _, size, _ = pictures.shape
        grid = functional.affine_grid(self.theta, [count, 3, size, size], align_corners=False)
        flat = pictures.reshape(count, each * 3, size, size)
        placed = functional.grid_sample(
            flat, grid + self.bend.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
        )
        return placed.view_as(pictures)

    def of_points(self, points: Tensor) -> Tensor:
        """Say where (n, k, points, 2) points, -1 to 1, are in the placed pictures.

        The pictures are looked up backwards, so points are found by iteration; the bend is gentle.
        """
        straight = torch.linalg.inv(self.theta[:, :, :2])
        flat = points.flatten(1, 2)
        bent = torch.zeros_like(flat)
        for _ in range(8):
            placed = torch.einsum("nij,npj->npi", straight, flat - self.theta[:, None, :, 2] - bent)
            looked_up = functional.grid_sample(
                self.bend, placed[:, None], padding_mode="border", align_corners=False
            )
            bent = looked_up[:, :, 0].transpose(1, 2)
        return placed.view_as(points)


def random_placement(count: int, size: int, variation: Variation, random: Generator) -> Placement:
    """Draw a placement for ``count`` examples of ``size`` pixels."""
    mirror = torch.where(torch.rand(count, generator=random) < 0.5, -1.0, 1.0)
    spreads = (variation.turn, variation.shift, variation.bend)
    return _placed(_Spread(*spreads, torch.ones(count)), mirror, size, random)


def random_nudge(count: int, size: int, variation: Variation, random: Generator) -> Placement:
    """Draw how far apart reference and target are, beyond what their film gives."""
    nudged = (torch.rand(count, generator=random) < variation.nudged_share).float()
    spreads = (variation.nudge_turn, variation.nudge_shift, variation.nudge_bend)
    return _placed(_Spread(*spreads, nudged), torch.ones(count), size, random)


@dataclass(frozen=True, slots=True)
class _Spread:
    """Standard deviations of a placement, as in ``Variation``."""

    turn: float
    shift: float
    bend: float
    share: Tensor
    """(n,) how much of them every example gets."""


def _placed(spread: _Spread, mirror: Tensor, size: int, random: Generator) -> Placement:
    count, share = len(mirror), spread.share
    turn = spread.turn * torch.randn(count, generator=random) * share
    stretch = torch.exp(spread.turn * torch.randn(count, 2, generator=random) * share[:, None])
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = turn.cos() * stretch[:, 0] * mirror, -turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = turn.sin() * mirror, turn.cos() * stretch[:, 1]
    theta[:, :, 2] = spread.shift * torch.randn(count, 2, generator=random) * share[:, None]
    knots = 2 * spread.bend * torch.randn(count, 2, 5, 5, generator=random)
    knots *= share.view(-1, 1, 1, 1)
    bend = functional.interpolate(knots, (size, size), mode="bicubic", align_corners=True)
    return Placement(theta, bend)
