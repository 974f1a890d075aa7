"""The log of a training run: a line of losses now and then, the time left, and a plot.

A log is a file of JSON lines, one for each report::

    {"step": 100, "samples_per_second": 131.2, "loss": 0.0613, "picture": 0.05, ...}
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lipstream.errors import InputError


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
