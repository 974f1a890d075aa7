"""What a benchmark measures, opened; and the sound it is fed."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipstream.avatar.pack import Avatar
from lipstream.inference.model import MouthModel
from lipstream.live.lipsync import make_timing
from lipstream.timing import Timing
from lipstream.types import Pcm
from lipstream_bench.report import Subject

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
    return make_timing(model, RATE, FPS)


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
