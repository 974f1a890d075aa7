"""Train the mouth network. A run can stop anywhere and goes on as if it had not."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipstream.errors import InputError
from lipstream_models.augment import Batch, Variation, varied_batch
from lipstream_models.checkpoints import load_weights, read_checkpoint
from lipstream_models.dataset import Source
from lipstream_models.networks.mouth_unet import MouthUNet

_MOUTH = (slice(4, 40), slice(22, 74))
"""Rows (of the lower half) and columns of the crop where the lips are."""
ABOUT = {
    "network": "mouth_unet",
    "name": "lipstream mouth",
    "version": "1",
    "licence": "CC-BY-4.0",
    "source": "trained by 'lipstream train mouth' on GRID (Cooke et al. 2006, CC BY 4.0)",
}
"""What a checkpoint says of itself; 'lipstream export' writes it into model.toml."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Settings of a run."""

    samples: int = 240_000
    """Examples seen from the start to the end of the run; the learning rate falls to its end."""
    batch: int = 32
    seed: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up_steps: int = 200
    mouth_weight: float = 3.0
    """Weight of the pixels round the lips; the others have 1."""
    gradient_weight: float = 0.5
    """Weight of the differences between neighbouring rows and columns."""
    device: str = "cpu"
    bf16: bool = True
    """Autocast to bfloat16."""

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return -(-self.samples // self.batch)


@dataclass(frozen=True, slots=True)
class Step:
    """What one training step did."""

    number: int
    """Steps so far, from the beginning of the run."""
    loss: float


def mouth_loss(painted: Tensor, target: Tensor, options: TrainOptions) -> Tensor:
    """Return L1, heavier on the mouth, plus L1 of vertical and horizontal differences."""
    weight = torch.ones(1, 1, *target.shape[2:], device=target.device)
    weight[:, :, *_MOUTH] = options.mouth_weight
    error = painted - target
    down = (error[:, :, 1:] - error[:, :, :-1]).abs().mean()
    across = (error[:, :, :, 1:] - error[:, :, :, :-1]).abs().mean()
    return (error.abs() * weight).mean() + options.gradient_weight * (down + 0.5 * across)


class Trainer:
    """The network, its optimiser, and where they are in the run."""

    def __init__(self, options: TrainOptions) -> None:
        if options.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch finds no CUDA device; use --device cpu")
        torch.manual_seed(options.seed)
        self.options, self.step = options, 0
        device = torch.device(options.device)
        self.network = MouthUNet().to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), options.learning_rate, weight_decay=options.weight_decay
        )

    def run(self, source: Source, variation: Variation | None = None) -> Iterator[Step]:
        """Train to the end of the run, yielding after every step.

        Every step draws from its own seed, so an interrupted run repeats nothing. The next step's
        examples are made beside, in one thread that ends with the iteration.
        """
        variation = variation or Variation()
        self.network.train()
        with ThreadPoolExecutor(1, "examples") as beside:
            following = beside.submit(self._draw, source, variation, self.step)
            while self.step < self.options.steps:
                batch = following.result()
                following = beside.submit(self._draw, source, variation, self.step + 1)
                loss = self._learn(batch)
                self.step += 1
                yield Step(self.step, loss)

    def _draw(self, source: Source, variation: Variation, step: int) -> Batch:
        seed = (self.options.seed, step)
        random = torch.Generator()
        random.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        return varied_batch(
            source.draw(np.random.default_rng(seed), self.options.batch), variation, random
        )

    def _learn(self, batch: Batch) -> float:
        options = self.options
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        mel, target = batch.mel.to(options.device), batch.target.to(options.device)
        face = batch.face.to(options.device, memory_format=torch.channels_last)
        with self._precision():
            painted = self.network(mel, face)
        loss = mouth_loss(painted.float(), target, options)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())

    def _rate(self) -> float:
        options = self.options
        warm = min(1.0, (self.step + 1) / max(1, options.warm_up_steps))
        return options.learning_rate * warm * max(0.01, 1.0 - self.step / options.steps)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.options.device, torch.bfloat16, enabled=self.options.bf16)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".part")
        state = {
            "state_dict": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "seed": self.options.seed,
            **ABOUT,
        }
        torch.save(state, unfinished)
        os.replace(unfinished, path)  # noqa: PTH105

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of this trainer. Raises ModelError or InputError."""
        checkpoint = read_checkpoint(path)
        if not isinstance(checkpoint, dict) or not {"state_dict", "optimiser", "step"} <= set(
            checkpoint
        ):
            raise InputError(f"{path} is not a checkpoint of 'lipstream train mouth'")
        load_weights(self.network, checkpoint["state_dict"], path)
        self._optimiser.load_state_dict(checkpoint["optimiser"])
        self.step = int(checkpoint["step"])


def load_mouth(path: Path) -> MouthUNet:
    """Load the network of a training checkpoint, in eval mode. Raises ModelError."""
    checkpoint = read_checkpoint(path)
    network = MouthUNet()
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    load_weights(network, state if isinstance(state, dict) else {}, path)
    return network.eval()
