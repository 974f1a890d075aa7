"""Vary sound so that a network does not cling to one room and one voice.

For the sync scorer windows are varied (``vary_sound``); for the lip network whole examples are
(``LipVariation``): other speakers, rooms, lines and noises, by arithmetic on mel spectrograms. A
mel of the engine is ``20 log10`` of an amplitude, scaled to -4 to 4 over 100 dB, so a sum of two
sounds is a sum of powers. Everything is drawn from one generator.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from lipstream.audio.mel import BANDS, SILENCE
from lipstream.lips.shape import MEASURES
from lipstream.types import Float32

UNITS_A_DECIBEL = 8 / 100
"""Mel units a decibel."""


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


_TO_LOG_POWER = math.log(10) / (10 * UNITS_A_DECIBEL)
_REST_CLASS = 0
_VOICES_OF_BABBLE, _BABBLE_COLUMNS = (3, 8), 480
_LOUD_NOISE = (-6, 10)
"""Decibels of speech over noise, by the power of the mel: its filters and the emphasis of high
frequencies before them make of white noise 10 dB below a voice one of -1 to 5 dB."""
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
    trust: Tensor
    """(N,) float32, 0 to 1: how far ``lips`` are to be believed."""


def loudness(mel: Tensor) -> Tensor:
    """Return (N, 1, 1, columns): power of a mel (N, 1, 80, columns) over all bands, mel units."""
    power: Tensor = torch.logsumexp(mel * _TO_LOG_POWER, 2, keepdim=True) / _TO_LOG_POWER
    return power


def loudest(mel: Tensor) -> Tensor:
    """Return (N, 1, 1, 1): how loud the loud parts are, a tenth of them being louder."""
    return loudness(mel).quantile(0.9, 3, keepdim=True)


def mix(one: Tensor, other: Tensor) -> Tensor:
    """Return the mel of two sounds heard together."""
    return torch.logaddexp(one * _TO_LOG_POWER, other * _TO_LOG_POWER) / _TO_LOG_POWER


class LipVariation:
    """Varies batches to ``columns`` columns. The shares are of examples, 0 to 1."""

    def __init__(self, columns: int, music: Tensor, noise: Tensor, babble: Tensor) -> None:
        """``music`` and ``noise`` are (pieces, 80, columns) without a voice, ``babble`` of many."""
        self._columns, self._music, self._noise, self._babble = columns, music, noise, babble

    def vary(self, batch: LipExamples, random: Generator) -> LipExamples:
        """Return other speech with the same labels; new tensors."""
        chance = _Chance(len(batch.mel), random)
        varied = self._tempo_and_tract(batch, chance)
        mel = _loudness_and_colour(varied.mel, chance)
        mel = _room(mel, chance)
        sounds = (self._noise, self._music, self._babble)
        noise, music, crowd = (self._part(pieces, chance) for pieces in sounds)
        level = loudest(mel)
        for share, sound, decibels in (
            (0.15, noise, _LOUD_NOISE),
            (0.35, noise, (8, 36)),
            (0.3, crowd, (-2, 20)),
            (0.12, music, (6, 26)),
        ):
            softer = sound + level - loudest(sound) - UNITS_A_DECIBEL * chance.between(*decibels)
            mel = torch.where(chance.on(share), mix(mel, softer), mel)
        quiet = noise - UNITS_A_DECIBEL * chance.between(-10, 40)
        classes, lips, trust = varied.classes, varied.lips, varied.trust
        for share, sound in ((0.05, music), (0.05, quiet), (0.05, crowd)):  # lips at rest
            alone = chance.on(share)
            mel = torch.where(alone, sound, mel)
            classes = torch.where(alone[:, 0, 0], _REST_CLASS, classes)
            lips = torch.where(alone[:, 0], torch.zeros(()), lips)
            trust = torch.where(alone[:, 0, 0, 0], torch.ones(()), trust)
        mel = _telephone(mel, chance)
        return LipExamples(mel.clamp(SILENCE, -SILENCE), classes, lips, trust)

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
        return LipExamples(mel, batch.classes.gather(1, at.round().long()), lips, batch.trust)

    def _part(self, sounds: Tensor, chance: "_Chance") -> Tensor:
        """Return a part of a random one for each example: (N, 1, 80, columns)."""
        pieces = torch.randint(0, len(sounds), (chance.count,), generator=chance.random)
        last = sounds.shape[2] - self._columns
        start = int(torch.randint(0, last + 1, (1,), generator=chance.random))
        return sounds[pieces, :, start : start + self._columns][:, None]


def babble_mels(voices: Sequence[Float32], count: int, seed: int) -> Tensor:
    """Return what several speak at once, about as loud as each other: (count, 80, 480) float32.

    ``voices`` are mels (80, columns) of one speaker each; short ones follow each other. Powers are
    added, as of sounds whose phases have nothing to do with each other. Raises ValueError when
    there are none.
    """
    if not voices:
        raise ValueError("no voices to make babble of")
    rng = np.random.default_rng(seed)
    return torch.stack([_crowd(voices, rng) for _ in range(count)])


def _crowd(voices: Sequence[Float32], rng: np.random.Generator) -> Tensor:
    babble = torch.full((1, 1, BANDS, _BABBLE_COLUMNS), SILENCE)
    for _ in range(int(rng.integers(*_VOICES_OF_BABBLE, endpoint=True))):
        said: list[Float32] = []
        while sum(one.shape[1] for one in said) < _BABBLE_COLUMNS:
            said.append(voices[int(rng.integers(len(voices)))])
        voice = torch.from_numpy(np.concatenate(said, 1)[:, :_BABBLE_COLUMNS].copy())[None, None]
        softer = UNITS_A_DECIBEL * rng.uniform(0, 5)
        babble = mix(babble, voice - loudest(voice) - softer)
    return babble[0, 0]


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
