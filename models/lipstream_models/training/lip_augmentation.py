"""Other speakers, rooms, lines and noises, by arithmetic on mel spectrograms.

A mel of the engine is ``20 log10`` of an amplitude, scaled to -4 to 4 over 100 dB, so a sum of two
sounds is a sum of powers. Everything is drawn from one generator.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from lipstream.audio.mel import BANDS, SILENCE
from lipstream.lips.shape import MEASURES

UNITS_A_DECIBEL = 8 / 100
"""Mel units a decibel."""
_TO_LOG_POWER = math.log(10) / (10 * UNITS_A_DECIBEL)
_REST_CLASS = 0
_ECHOES = (1, 2, 4, 7, 11)
"""Columns after which a room answers."""


@dataclass(frozen=True, slots=True)
class LipExamples:
    """A batch. N utterances' parts of equal length."""

    mel: Tensor
    """(N, 1, 80, columns) float32."""
    classes: Tensor
    """(N, columns) int64, -1 where unknown."""
    lips: Tensor
    """(N, columns, 17) float32."""


def mix(one: Tensor, other: Tensor) -> Tensor:
    """Return the mel of two sounds heard together."""
    return torch.logaddexp(one * _TO_LOG_POWER, other * _TO_LOG_POWER) / _TO_LOG_POWER


class LipVariation:
    """Varies batches to ``columns`` columns. The shares are of examples, 0 to 1."""

    def __init__(self, columns: int, music: Tensor) -> None:
        """``music`` is (pieces, 80, columns) without a voice."""
        self._columns, self._music = columns, music

    def vary(self, batch: LipExamples, random: Generator) -> LipExamples:
        """Return other speech with the same labels; new tensors."""
        chance = _Chance(len(batch.mel), random)
        varied = self._tempo_and_tract(batch, chance)
        mel = _loudness_and_colour(varied.mel, chance)
        mel = _room(mel, chance)
        noise = self._noise(mel, chance)
        mel = torch.where(chance.on(0.55), mix(mel, noise), mel)
        others = mel[torch.randperm(len(mel), generator=random)]
        babble = mix(mel, others - UNITS_A_DECIBEL * chance.between(12, 28))
        mel = torch.where(chance.on(0.15), babble, mel)
        music = self._some_music(chance)
        softer = music - UNITS_A_DECIBEL * chance.between(8, 26)
        mel = torch.where(chance.on(0.15), mix(mel, softer), mel)
        classes, lips = varied.classes, varied.lips
        for share, sound in ((0.06, music), (0.03, noise - 1.0)):  # no voice: lips at rest
            alone = chance.on(share)
            mel = torch.where(alone, sound, mel)
            classes = torch.where(alone[:, 0, 0], _REST_CLASS, classes)
            lips = torch.where(alone[:, 0], torch.zeros(()), lips)
        mel = _telephone(mel, chance)
        return LipExamples(mel.clamp(SILENCE, -SILENCE), classes, lips)

    def _tempo_and_tract(self, batch: LipExamples, chance: "_Chance") -> LipExamples:
        """Speak faster or slower with a longer or shorter vocal tract: one warp of the picture."""
        count, columns = batch.classes.shape
        affine = torch.zeros(count, 2, 3)
        share = (self._columns * chance.flat(0.8, 1.28) / columns).clamp(max=1.0)
        affine[:, 0, 0] = share
        affine[:, 0, 2] = (1 - share) * chance.flat(-1, 1)
        affine[:, 1, 1] = torch.exp(0.12 * chance.normal())
        affine[:, 1, 2] = 0.04 * chance.normal() + affine[:, 1, 1] - 1
        grid = functional.affine_grid(affine, [count, 1, BANDS, self._columns], align_corners=False)
        mel = functional.grid_sample(batch.mel, grid, padding_mode="border", align_corners=False)
        at = ((grid[:, 0, :, 0] + 1) * columns / 2 - 0.5).clamp(0, columns - 1)
        before = at.floor().long().clamp(max=columns - 2)
        later = (at - before)[..., None]
        index = before[..., None].expand(-1, -1, MEASURES)
        lips = batch.lips.gather(1, index) * (1 - later) + batch.lips.gather(1, index + 1) * later
        return LipExamples(mel, batch.classes.gather(1, at.round().long()), lips)

    def _noise(self, mel: Tensor, chance: "_Chance") -> Tensor:
        """Return steady noise of any colour and level, on some examples with a swell."""
        band = torch.linspace(0, 1, BANDS).view(1, 1, BANDS, 1)
        steady = chance.between(-4, 0.3) + chance.between(-1.5, 2.0) * band
        grain = 0.35 * torch.randn(mel.shape, generator=chance.random)
        slow = torch.randn(len(mel), 1, 14, generator=chance.random)
        swell = functional.interpolate(slow, self._columns, mode="linear")[:, :, None] * 0.5
        return steady + grain + torch.where(chance.on(0.3), swell, torch.zeros(()))

    def _some_music(self, chance: "_Chance") -> Tensor:
        pieces = torch.randint(0, len(self._music), (chance.count,), generator=chance.random)
        last = self._music.shape[2] - self._columns
        start = int(torch.randint(0, last + 1, (1,), generator=chance.random))
        return self._music[pieces, :, start : start + self._columns][:, None]


@dataclass(frozen=True, slots=True)
class _Chance:
    """Random numbers, one an example."""

    count: int
    random: Generator

    def flat(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.count, generator=self.random)

    def between(self, low: float, high: float) -> Tensor:
        return self.flat(low, high).view(-1, 1, 1, 1)

    def on(self, share: float) -> Tensor:
        return (torch.rand(self.count, generator=self.random) < share).view(-1, 1, 1, 1)

    def normal(self) -> Tensor:
        return torch.randn(self.count, generator=self.random)


def _loudness_and_colour(mel: Tensor, chance: _Chance) -> Tensor:
    louder = mel + UNITS_A_DECIBEL * chance.between(-12, 12)
    mel = torch.where(mel > SILENCE + 0.01, louder, mel)  # digital silence stays
    band = torch.linspace(0, 1, BANDS).view(1, 1, BANDS, 1)
    ripple = 0.35 * torch.sin(band * chance.between(2, 12) + chance.between(0, 6))
    colour = chance.between(-1, 1) * (band - 0.5) + ripple
    return torch.where(chance.on(0.5), mel + colour, mel)


def _room(mel: Tensor, chance: _Chance) -> Tensor:
    """Add echoes that fall by 2.5 to 7.5 dB a column."""
    fall, heard = chance.between(-0.6, -0.2), mel
    for columns in _ECHOES:
        late = functional.pad(mel, (columns, 0), value=SILENCE)[..., :-columns]
        heard = mix(heard, late + fall * columns - chance.between(0.4, 1.2))
    return torch.where(chance.on(0.25), heard, mel)


def _telephone(mel: Tensor, chance: _Chance) -> Tensor:
    band = torch.arange(BANDS).view(1, 1, BANDS, 1)
    lost = chance.on(0.12) & ((band > chance.between(45, 78)) | (band < 4))
    return torch.where(lost, torch.full_like(mel, SILENCE), mel)
