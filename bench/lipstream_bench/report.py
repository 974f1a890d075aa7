"""What is measured (model and avatar), and the result for people and programs: one JSON schema.

``{"schema": 1, "benchmark", "method", "machine", "subject", "rows": [...], "summary": {...}}``;
a row is ``{"backend", "name", "unit", "count", "mean", "p50", "p95", "p99", "worst"}``.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from lipstream.avatar.pack import Avatar
from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.model import MouthModel
from lipstream.machine import Machine, describe_machine
from lipstream.storage import atomic_write
from lipstream.timing import Timing
from lipstream.types import Pcm

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """How one quantity was spread."""

    backend: str
    name: str
    unit: str
    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    worst: float

    @classmethod
    def of(cls, backend: str, name: str, values: Sequence[float], unit: str = "ms") -> Self:
        """Summarise values; percentiles by linear interpolation (numpy's default)."""
        taken = np.asarray(values, np.float64)
        if len(taken) == 0:
            raise InputError(f"nothing was measured for '{name}': measure longer (--seconds)")
        p50, p95, p99 = (float(p) for p in np.percentile(taken, [50, 95, 99]))
        mean, worst = float(taken.mean()), float(taken.max())
        return cls(backend, name, unit, len(taken), mean, p50, p95, p99, worst)


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured."""

    model: str
    """Name and version."""
    avatar: str
    """Name and size."""
    fps: float
    look_ahead_ms: float
    """Sound the model needs past the start of a frame, at most."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run of one benchmark."""

    benchmark: str
    method: str
    """How it was measured and what the words in it mean."""
    subject: Subject
    rows: tuple[Measurement, ...]
    summary: dict[str, float] = field(default_factory=dict)
    """Single figures, by name with unit."""
    machine: Machine = field(default_factory=describe_machine)
    schema: int = SCHEMA

    def save(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all."""
        try:
            with atomic_write(path) as unfinished:
                unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; choose another") from error


def print_report(report: Report, console: Console) -> None:
    """Show a report as a table with its method and machine."""
    units = "/".join(sorted({row.unit for row in report.rows}))
    title = f"lipstream bench {report.benchmark}, {units}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for heading in ("backend", "what"):
        table.add_column(heading, no_wrap=True)
    for heading in ("n", "mean", "p50", "p95", "p99", "worst"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        figures = (row.mean, row.p50, row.p95, row.p99, row.worst)
        table.add_row(row.backend, row.name, str(row.count), *map(three_digits, figures))
    console.print(table)
    for name, value in report.summary.items():
        console.print(f"{name}: {value:g}", highlight=False)
    console.print(small_print(report), highlight=False, soft_wrap=True)


def three_digits(value: float) -> str:
    """Write a figure as tables show it."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def small_print(report: Report) -> str:
    """Return what stands below a table: method, subject, machine."""
    machine, subject = report.machine, report.subject
    names = ("lipstream", "onnxruntime", "openvino", "numpy", "opencv-python-headless")
    versions = ", ".join(f"{n} {machine.versions[n]}" for n in names if n in machine.versions)
    return (
        f"method: {report.method}\n"
        f"model {subject.model}; avatar {subject.avatar}; {subject.fps:g} fps;"
        f" look-ahead {subject.look_ahead_ms:.1f} ms\n"
        f"machine: {machine.cpu}, {machine.cores} cores, {machine.system}, python {machine.python};"
        f" {versions}"
    )


_SUFFIXES = {".png", ".svg", ".pdf"}
_COLOURS = {"p50": "#2a6f97", "p95": "#89c2d9", "p99": "#e9c46a"}


def check_plot(path: Path) -> None:
    """Raise unless a plot can be made under that name: asked before measuring, not after."""
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"cannot plot to {path.name}: end its name in .png, .svg or .pdf")
    _open_matplotlib()


def plot_report(report: Report, path: Path) -> None:
    """Draw the percentiles of every row as bars. Raises InputError when it cannot be written."""
    pyplot = _open_matplotlib()
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.6 * len(report.rows)), layout="constrained")
    labels = _labels(report)
    for offset, (name, colour) in zip((-0.26, 0.0, 0.26), _COLOURS.items(), strict=True):
        places = [k + offset for k in range(len(labels))]
        values = [getattr(row, name) for row in report.rows]
        bars = axes.barh(places, values, height=0.26, color=colour, label=name)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(_axis(report))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    machine = report.machine
    title = f"lipstream bench {report.benchmark}: {report.subject.model}"
    axes.set_title(f"{title}\n{machine.cpu}, {machine.cores} cores", fontsize=10, loc="left")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another") from error
    finally:
        pyplot.close(figure)


def _labels(report: Report) -> list[str]:
    """Say what each row is: where all measure the same, the backend, and how much faster it is."""
    if _same_throughout(report):
        faster = {
            name.partition(": ")[0]: f", {ratio:.1f} times as fast"
            for name, ratio in report.summary.items()
            if ": times faster than " in name
        }
        return [f"{row.backend}{faster.get(row.backend, '')}" for row in report.rows]
    return [f"{row.name} · {row.backend}" for row in report.rows]


def _axis(report: Report) -> str:
    first = report.rows[0]
    return f"{first.name}, {first.unit}" if _same_throughout(report) else first.unit


def _same_throughout(report: Report) -> bool:
    return len({row.name for row in report.rows}) == 1 < len(report.rows)


def _open_matplotlib() -> Any:
    try:
        import matplotlib  # noqa: PLC0415  optional
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            "--plot needs the package matplotlib: pip install 'lipstream[plot]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415  optional

    return pyplot


RATE = 48_000
"""Rate of the sound fed: what browsers and sound cards give, so resampling is included."""
FPS = Fraction(25)
BLOCK_MS = 20


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What ``bench export`` is to export."""

    checkpoint: Path | None = None
    """None for Wav2Lip with seeded random weights."""
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16", "int8")
    calibrate: Path | None = None
    """Folder of faces and speech; None for the embedded avatar and made-up speech."""
    output: Path | None = None
    """Folder that keeps what is exported; None for one that is removed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure, and for how long."""

    model: Path | None = None
    """Model folder, or an embedded model's name; None for ``quality``."""
    avatar: Path | None = None
    """Avatar pack, or an embedded avatar's name; None for the default one."""
    backends: tuple[str, ...] = ("auto",)
    """Names, each with a precision if one other than fp32 is meant: "openvino:int8"."""
    seconds: float = 10.0
    """How long each figure is measured."""
    threads: int = 0
    """CPU threads of the backend, 0 for its own choice."""
    deadline_ms: float = 80.0
    """How late a picture may be after its look-ahead before its deadline counts as missed."""
    export: ExportSettings = field(default_factory=ExportSettings)
    """For ``bench export`` alone."""


def open_model(settings: Settings, backend: str, frame_threads: int = 1) -> MouthModel:
    """Open the model to measure in one backend, written "openvino" or "openvino:int8".

    OpenCV is told to start no threads of its own, as the engine does: stages are of one thread.
    """
    cv2.setNumThreads(1)
    name, _, precision = backend.partition(":")
    return MouthModel.open(
        settings.model,
        backend=name,
        threads=settings.threads,
        precision=precision or "fp32",
        frame_threads=frame_threads,
    )


def called(model: MouthModel, backend: str) -> str:
    """Return the name of the backend in use, with the precision asked for."""
    _, colon, precision = backend.partition(":")
    return f"{model.backend}{colon}{precision}"


def timing_of(model: MouthModel) -> Timing:
    """Return the schedule of the sessions measured."""
    return model.timing(RATE, FPS)


def describe(model: MouthModel, avatar: Avatar) -> Subject:
    """Return what a report says about the thing measured."""
    manifest = model.manifest
    return Subject(
        model=f"{manifest.name} {manifest.version}",
        avatar=f"{avatar.name}, {len(avatar)} frames of {avatar.width}x{avatar.height}",
        fps=float(FPS),
        look_ahead_ms=timing_of(model).look_ahead_ms,
    )


def speech_like(seconds: float) -> Pcm:
    """Return int16 noise at RATE that swells four times a second and never falls silent."""
    count = max(1, int(seconds * RATE))
    swell = 1.2 + np.sin(2 * np.pi * 4 * np.arange(count) / RATE)
    noise = np.random.default_rng(1).standard_normal(count)
    return np.clip(noise * swell * 3000, -32768, 32767).astype(np.int16)
