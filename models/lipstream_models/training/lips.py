"""Train the lip network: what the lips do in sound, class and measures, at two look-aheads."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from lipstream.audio.mel import BANDS, SILENCE
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES
from lipstream.types import Float32
from lipstream_models.corpora.labelled_speech import UNKNOWN, LabelledUtterance
from lipstream_models.networks.lip_network import DELAYS, LipNetwork, without_noise_along
from lipstream_models.networks.loading import load_weights, read_checkpoint, save_checkpoint
from lipstream_models.training.augmentation import LipExamples, LipVariation
from lipstream_models.training.lip_targets import EventDirections
from lipstream_models.training.trainer import About, Trainer, TrainOptions

LEARNT_COLUMNS, DRAWN_COLUMNS = 208, 272
"""Columns of an example; drawn longer, so that it can be spoken faster."""
_PAST_COLUMNS = 24
"""Columns at the start that are not judged: their past is missing."""
HELD_OUT = 20
"""Every so many-th utterance is not trained on."""
LIP_OPTIONS = TrainOptions(
    samples=64_000, batch=16, learning_rate=2.5e-3, weight_decay=2e-2, warm_up_steps=400, bf16=False
)
_CLASS_WEIGHTS = {"sil": 0.6, "MBP": 1.8, "FV": 2.5, "UW": 1.4}
_GAP_WEIGHT = 1.5
_REGRESSION, _SPREAD, _FOLLOWING = 2.0, 0.3, 0.3
TRUST_IN_PHONES = 0.3
"""Weight of measures that phones alone tell: they lack loudness, stress and manner."""
_STILL = 0.25
"""SPREADs: measures that move less in an example have no course to follow."""
_AVERAGED_STEPS = 500
"""The weights that are kept are a running mean over about so many steps."""
_STATISTICS_BATCHES = 30
"""Batches that the statistics of the mean weights' activations are taken from."""


@dataclass(frozen=True, slots=True)
class TrainingUtterance:
    """An utterance and its lips."""

    utterance: LabelledUtterance
    lips: Float32
    """(columns, 17)."""

    @property
    def trust(self) -> float:
        """How far the measures are to be believed: a film more than phones' typical lips."""
        return TRUST_IN_PHONES if self.utterance.lips is None else 1.0


class LipSource:
    """Random parts of utterances, the longer ones more often; some are held out."""

    def __init__(
        self, utterances: Sequence[Sequence[TrainingUtterance]], shares: Sequence[float]
    ) -> None:
        """``utterances`` are groups, of which ``shares`` says how often each is drawn from."""
        self._groups = [
            [one for place, one in enumerate(group) if place % HELD_OUT] for group in utterances
        ]
        self._shares = np.array(shares, float) / sum(shares)
        lengths = [np.array([len(one.lips) for one in group], float) for group in self._groups]
        self._chances = [length / length.sum() for length in lengths]

    def draw(self, rng: np.random.Generator, count: int) -> LipExamples:
        """Return ``count`` examples of DRAWN_COLUMNS columns, silent round what is shorter."""
        mel = np.full((count, BANDS, DRAWN_COLUMNS), SILENCE, np.float32)
        classes = np.zeros((count, DRAWN_COLUMNS), np.int64)
        lips = np.zeros((count, DRAWN_COLUMNS, MEASURES), np.float32)
        trust = np.zeros(count, np.float32)
        for row, group in enumerate(rng.choice(len(self._groups), count, p=self._shares)):
            utterances = self._groups[group]
            one = utterances[rng.choice(len(utterances), p=self._chances[group])]
            length = min(len(one.lips), DRAWN_COLUMNS)
            start = int(rng.integers(len(one.lips) - length + 1))
            at = int(rng.integers(DRAWN_COLUMNS - length + 1))
            part, place = slice(start, start + length), slice(at, at + length)
            mel[row, :, place] = one.utterance.mel[:, part]
            classes[row, place] = one.utterance.classes[part]
            lips[row, place] = one.lips[part]
            trust[row] = one.trust
        tensors = (torch.from_numpy(array) for array in (mel[:, None], classes, lips, trust))
        return LipExamples(*tensors)


class LipTrainer(Trainer[LipExamples]):
    """Cross-entropy of the classes, distance of the measures, and a like spread of both."""

    about: ClassVar[About] = {
        "network": "lips",
        "name": "lipstream lips",
        "version": "3",
        "licence": "CC-BY-4.0",
        "source": "trained by 'lipstream train lips' on GRID (Cooke et al. 2006, CC BY 4.0)"
        " and made-up voices",
    }

    def __init__(
        self,
        source: LipSource,
        variation: LipVariation,
        directions: EventDirections,
        options: TrainOptions = LIP_OPTIONS,
        width: int = 192,
    ) -> None:
        network = LipNetwork(width)
        super().__init__(network, options)
        self._source, self._variation, self._directions = source, variation, directions
        self._width = width
        weights = [_CLASS_WEIGHTS.get(name, 1.0) for name in CLASSES]
        self._class_weights = torch.tensor(weights, device=options.device)
        measures = torch.ones(MEASURES, device=options.device)
        measures[:3] = _GAP_WEIGHT
        self._measure_weights = (measures / measures.mean()).view(1, -1, 1)
        self._mean = copy.deepcopy(network).to(options.device).eval()

    def draw(self, rng: np.random.Generator, random: Generator) -> LipExamples:
        """Make a batch of varied parts of utterances."""
        return self._variation.vary(self._source.draw(rng, self.options.batch), random)

    def losses(self, batch: LipExamples) -> dict[str, Tensor]:
        """Return the losses of both heads together."""
        device = self.options.device
        mel, classes, lips, trust = (
            one.to(device) for one in (batch.mel, batch.classes, batch.lips, batch.trust)
        )
        self._average()
        self.network.train()
        with self.precision():
            answers = self.network(without_noise_along(mel))
        parts: dict[str, list[Tensor]] = {}
        for answer, delay in zip(answers, DELAYS.values(), strict=True):
            told = answer.float()[..., _PAST_COLUMNS + delay :]
            part = slice(_PAST_COLUMNS, mel.shape[-1] - delay)
            wanted = lips[:, part].transpose(1, 2)
            given = told[:, len(CLASSES) :]
            loss = functional.cross_entropy(
                told[:, : len(CLASSES)],
                classes[:, part],
                self._class_weights,
                ignore_index=UNKNOWN,
                label_smoothing=0.02,
            )
            parts.setdefault("classes", []).append(loss)
            far = functional.smooth_l1_loss(given, wanted, reduction="none", beta=0.3)
            share = trust.view(-1, 1, 1) / trust.mean().clamp(min=1e-3)
            loss = _REGRESSION * (far * self._measure_weights * share).mean()
            parts.setdefault("measures", []).append(loss)
            spread = _spread(given) - _spread(wanted)
            parts.setdefault("spread", []).append(_SPREAD * spread.abs().mean())
            filmed = trust == 1.0
            parts.setdefault("course", []).append(
                _FOLLOWING * course_missed(given[filmed], wanted[filmed])
            )
        return {name: torch.stack(both).sum() for name, both in parts.items()}

    @torch.no_grad()
    def _average(self) -> None:
        """Let the mean weights follow those of the last step; faster at the start of a run."""
        share = max(1 / _AVERAGED_STEPS, 1 / (1 + self.step))
        for mean, last in zip(self._mean.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(last, share)

    def _measure_statistics(self) -> None:
        """Give the mean weights the means and variances of their own activations.

        A mean of the statistics of many steps is that of no weights: with it a network of half a
        run heard 0.19 of the p, b and m of recorded sentences, with its own 0.51.
        """
        drawn = (self._draw(self.options.steps + k).mel for k in range(_STATISTICS_BATCHES))
        heard = (without_noise_along(mel.to(self.options.device)) for mel in drawn)
        torch.optim.swa_utils.update_bn(heard, self._mean)

    def save(self, path: Path) -> None:
        """Write a checkpoint that holds what the export needs, the directions of events too."""
        directions = {
            name: getattr(self._directions, name).astype(float).tolist()
            for name in ("closing", "tuck", "rounding")
        }
        self._measure_statistics()
        state = {
            "state_dict": self._mean.state_dict(),
            "last_step": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "seed": self.options.seed,
            "width": self._width,
            "decoder": directions,
        }
        save_checkpoint(path, state | self.about)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of this trainer. Raises ModelError or InputError."""
        super().resume(path)  # its weights are the mean's
        self._mean.load_state_dict(self.network.state_dict())
        checkpoint = read_checkpoint(path)
        load_weights(self.network, checkpoint.get("last_step", checkpoint["state_dict"]), path)


def course_missed(given: Tensor, wanted: Tensor) -> Tensor:
    """Return how badly measures (N, 17, columns) follow the wanted ones in time: 0 best, 1 not.

    One less the mean of the correlations over time, of measures that move; 0 where none does.
    """
    given, wanted = (one - one.mean(2, keepdim=True) for one in (given, wanted))
    together = (given * wanted).mean(2)
    spreads = [one.square().mean(2).add(1e-6).sqrt() for one in (given, wanted)]
    moving = (spreads[1] > _STILL).float()
    follows = together / (spreads[0] * spreads[1] + 0.02)
    return ((1 - follows) * moving).sum() / moving.sum().clamp(min=1.0)


def _spread(measures: Tensor) -> Tensor:
    """Return (17,): the standard deviation of each measure over a batch."""
    return measures.transpose(0, 1).flatten(1).std(1)
