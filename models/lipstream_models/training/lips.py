"""Train the lip network: what the lips do in sound, class and measures, at two look-aheads."""

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
from lipstream_models.networks.checkpoints import save_checkpoint
from lipstream_models.networks.lip_network import DELAYS, LipNetwork
from lipstream_models.training.lip_augmentation import LipExamples, LipVariation
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
_REGRESSION, _SPREAD = 2.0, 0.3


@dataclass(frozen=True, slots=True)
class Lesson:
    """An utterance and its lips."""

    utterance: LabelledUtterance
    lips: Float32
    """(columns, 17)."""


class LipSource:
    """Random parts of utterances, the longer ones more often; some are held out."""

    def __init__(self, lessons: Sequence[Sequence[Lesson]], shares: Sequence[float]) -> None:
        """``lessons`` are groups, of which ``shares`` says how often each is drawn from."""
        self._groups = [
            [one for place, one in enumerate(group) if place % HELD_OUT] for group in lessons
        ]
        self._shares = np.array(shares, float) / sum(shares)
        lengths = [np.array([len(one.lips) for one in group], float) for group in self._groups]
        self._chances = [length / length.sum() for length in lengths]

    def draw(self, rng: np.random.Generator, count: int) -> LipExamples:
        """Return ``count`` examples of DRAWN_COLUMNS columns, silent round what is shorter."""
        mel = np.full((count, BANDS, DRAWN_COLUMNS), SILENCE, np.float32)
        classes = np.zeros((count, DRAWN_COLUMNS), np.int64)
        lips = np.zeros((count, DRAWN_COLUMNS, MEASURES), np.float32)
        for row, group in enumerate(rng.choice(len(self._groups), count, p=self._shares)):
            lessons = self._groups[group]
            one = lessons[rng.choice(len(lessons), p=self._chances[group])]
            length = min(len(one.lips), DRAWN_COLUMNS)
            start = int(rng.integers(len(one.lips) - length + 1))
            at = int(rng.integers(DRAWN_COLUMNS - length + 1))
            part, place = slice(start, start + length), slice(at, at + length)
            mel[row, :, place] = one.utterance.mel[:, part]
            classes[row, place] = one.utterance.classes[part]
            lips[row, place] = one.lips[part]
        tensors = (torch.from_numpy(array) for array in (mel[:, None], classes, lips))
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

    def draw(self, rng: np.random.Generator, random: Generator) -> LipExamples:
        """Make a batch of varied parts of utterances."""
        return self._variation.vary(self._source.draw(rng, self.options.batch), random)

    def losses(self, batch: LipExamples) -> dict[str, Tensor]:
        """Return the losses of both heads together."""
        device = self.options.device
        mel, classes, lips = (one.to(device) for one in (batch.mel, batch.classes, batch.lips))
        self.network.train()
        with self.precision():
            answers = self.network(mel)
        parts: dict[str, list[Tensor]] = {"classes": [], "measures": [], "spread": []}
        for answer, delay in zip(answers, DELAYS.values(), strict=True):
            told = answer.float()[..., _PAST_COLUMNS + delay :]
            part = slice(_PAST_COLUMNS, mel.shape[-1] - delay)
            wanted = lips[:, part].transpose(1, 2)
            given = told[:, len(CLASSES) :]
            parts["classes"].append(
                functional.cross_entropy(
                    told[:, : len(CLASSES)],
                    classes[:, part],
                    self._class_weights,
                    ignore_index=UNKNOWN,
                    label_smoothing=0.02,
                )
            )
            far = functional.smooth_l1_loss(given, wanted, reduction="none", beta=0.3)
            parts["measures"].append(_REGRESSION * (far * self._measure_weights).mean())
            spread = _spread(given) - _spread(wanted)
            parts["spread"].append(_SPREAD * spread.abs().mean())
        return {name: torch.stack(both).sum() for name, both in parts.items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint that holds what the export needs, the directions of events too."""
        directions = {
            name: getattr(self._directions, name).astype(float).tolist()
            for name in ("closing", "tuck", "rounding")
        }
        state = {
            "state_dict": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "seed": self.options.seed,
            "width": self._width,
            "decoder": directions,
        }
        save_checkpoint(path, state | self.about)


def _spread(measures: Tensor) -> Tensor:
    """Return (17,): the standard deviation of each measure over a batch."""
    return measures.transpose(0, 1).flatten(1).std(1)
