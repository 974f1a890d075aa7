"""Train a network. A run can stop anywhere and goes on as if it had not.

A log is a file of JSON lines, one for each report::

    {"step": 100, "samples_per_second": 131.2, "loss": 0.0613, "picture": 0.05, ...}
"""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor, nn

from lipstream.errors import InputError
from lipstream_models.networks.loading import load_weights, read_checkpoint, save_checkpoint

Batch = TypeVar("Batch")
About = dict[str, str]
"""What a checkpoint says of itself; 'lipstream export' writes it into model.toml."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Settings of a run."""

    samples: int = 400_000
    """Examples seen from the start to the end of the run; the learning rate falls to its end."""
    batch: int = 32
    seed: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up_steps: int = 200
    device: str = "cpu"
    bf16: bool = True
    """Autocast to bfloat16."""

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return -(-self.samples // self.batch)


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """What one training step did."""

    number: int
    """Steps so far, from the beginning of the run."""
    losses: dict[str, float]
    """The whole loss and its parts, by name."""


class Trainer(ABC, Generic[Batch]):
    """A network, its optimiser, and where they are in the run."""

    about: ClassVar[About]
    """Of the checkpoints."""

    def __init__(self, network: nn.Module, options: TrainOptions) -> None:
        if options.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch finds no CUDA device; use --device cpu")
        self.options, self.step = options, 0
        self.network = network.to(torch.device(options.device))
        learning = [weight for weight in network.parameters() if weight.requires_grad]
        self._optimiser = torch.optim.AdamW(
            learning, options.learning_rate, weight_decay=options.weight_decay
        )

    @abstractmethod
    def draw(self, rng: np.random.Generator, random: Generator) -> Batch:
        """Make the examples of one step; all chance comes from the two generators."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss of one step, to be added up."""

    def run(self) -> Iterator[TrainingStep]:
        """Train to the end of the run, yielding after every step.

        Every step draws from its own seed, so an interrupted run repeats nothing. The next step's
        examples are made beside, in one thread that ends with the iteration.
        """
        with ThreadPoolExecutor(1, "examples") as beside:
            following = beside.submit(self._draw, self.step)
            while self.step < self.options.steps:
                batch = following.result()
                following = beside.submit(self._draw, self.step + 1)
                losses = self._learn(batch)
                self.step += 1
                yield TrainingStep(self.step, losses)

    def _draw(self, step: int) -> Batch:
        random = Generator()
        random.manual_seed(self._number(step))
        return self.draw(np.random.default_rng((self.options.seed, step)), random)

    def _number(self, step: int) -> int:
        return int(np.random.SeedSequence((self.options.seed, step)).generate_state(1)[0])

    def _learn(self, batch: Batch) -> dict[str, float]:
        torch.manual_seed(self._number(self.step))
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        parts = self.losses(batch)
        whole = torch.stack(list(parts.values())).sum()
        self._optimiser.zero_grad(set_to_none=True)
        whole.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return {"loss": whole.item(), **{name: part.item() for name, part in parts.items()}}

    def _rate(self) -> float:
        options = self.options
        warm = min(1.0, (self.step + 1) / max(1, options.warm_up_steps))
        return options.learning_rate * warm * max(0.01, self.fall(self.step / options.steps))

    def fall(self, done: float) -> float:
        """Return what is left of the learning rate when ``done`` of the run is, both 0 to 1."""
        return 1.0 - done

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context of the forward pass."""
        return torch.autocast(self.options.device, torch.bfloat16, enabled=self.options.bf16)

    def save(self, path: Path) -> None:
        """Write a checkpoint that the run can go on from."""
        state = {
            "state_dict": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "seed": self.options.seed,
        }
        save_checkpoint(path, state | self.about)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of this trainer. Raises ModelError or InputError."""
        checkpoint = read_checkpoint(path)
        wanted = {"state_dict", "optimiser", "step"}
        if not isinstance(checkpoint, dict) or not wanted <= set(checkpoint):
            raise InputError(f"{path} is not a checkpoint of 'lipstream train': choose another")
        load_weights(self.network, checkpoint["state_dict"], path)
        self._optimiser.load_state_dict(checkpoint["optimiser"])
        self.step = int(checkpoint["step"])


class TrainingLog:
    """Average the losses of the steps between two reports, write them and say how long it takes."""

    def __init__(
        self,
        path: Path,
        steps: int,
        *,
        every: int = 50,
        first: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the log of a run of ``steps`` steps that goes on after step ``first``.

        Lines of later steps, written by a run that was stopped after its last checkpoint, are
        taken out; with ``first`` 0 the log begins anew.
        """
        self._path, self._steps, self._every, self._clock = path, steps, every, clock
        self._losses: dict[str, list[float]] = {}
        self._samples, self._last, self._began = 0, first, clock()
        earlier_lines = (
            [line for line in _read(path) if line["step"] <= first] if path.exists() else []
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in earlier_lines), "utf-8")

    def note(self, step: int, samples: int, losses: Mapping[str, float]) -> str | None:
        """Take one step's losses; at a report, append a line and return it as text to show.

        ``step`` counts from 1 over the whole run, ``samples`` are those of this step.
        """
        self._samples += samples
        for name, value in losses.items():
            self._losses.setdefault(name, []).append(value)
        if step % self._every and step != self._steps:
            return None
        seconds = max(self._clock() - self._began, 1e-9)
        pace, each = self._samples / seconds, seconds / max(1, step - self._last)
        means = {name: float(np.mean(values)) for name, values in self._losses.items()}
        with self._path.open("a", encoding="utf-8") as opened:
            figures = {"step": step, "samples_per_second": round(pace, 1), **means}
            opened.write(json.dumps(figures) + "\n")
        self._losses, self._samples, self._last, self._began = {}, 0, step, self._clock()
        losses_text = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        left = time_left(each * (self._steps - step))
        speed = f"{pace:.0f} examples a second"
        return f"step {step} of {self._steps}, {losses_text}, {speed}, {left} left"


def time_left(seconds: float) -> str:
    """Say a time in hours and minutes, or in seconds when it is short."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def plot(path: Path, out: Path) -> None:
    """Draw the losses of a log over the steps, as PNG. Raises InputError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    lines = _read(path)
    if not lines:
        raise InputError(f"{path} holds no reports yet: train longer")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = [name for name in lines[-1] if name not in ("step", "samples_per_second")]
    for name in names:
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points, strict=True), label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log" if _positive(lines, names) else "linear")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=100)


def _positive(lines: list[dict[str, float]], names: list[str]) -> bool:
    return all(line[name] > 0 for line in lines for name in names if name in line)


def _read(path: Path) -> list[dict[str, float]]:
    try:
        lines = path.read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a training log ({error}): choose another") from error
