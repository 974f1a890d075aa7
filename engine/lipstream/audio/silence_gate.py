"""A gate that lets the mouth rest: closed in silence, open a little before speech begins."""

import math
from dataclasses import dataclass

import numpy as np

from lipstream.types import Float32


@dataclass(frozen=True, slots=True)
class GateSettings:
    """When the gate opens and closes."""

    open_dbfs: float = -52.0
    """Level above which it opens, decibels below full scale."""
    close_dbfs: float = -58.0
    """Level below which it starts to close: the gap between the two is the hysteresis."""
    hold_frames: int = 4
    """Frames below the closing level before it closes."""
    open_step: float = 0.5
    """Share by which it opens in a frame."""
    close_step: float = 0.2
    """Share by which it closes in a frame."""


class SilenceGate:
    """Follow the level of the sound frame by frame."""

    def __init__(self, settings: GateSettings | None = None) -> None:
        self._settings = settings or GateSettings()
        self.reset()

    def reset(self) -> None:
        """Close the gate."""
        self._open = False
        self._quiet_frames = 0
        self._openness = 0.0

    def step(self, samples: Float32) -> float:
        """Take the (n,) float32 sound round a frame, return its openness from 0.0 to 1.0."""
        settings, level = self._settings, level_dbfs(samples)
        self._quiet_frames = 0 if level > settings.close_dbfs else self._quiet_frames + 1
        if level > settings.open_dbfs:
            self._open = True
        elif self._quiet_frames > settings.hold_frames:
            self._open = False
        step = settings.open_step if self._open else -settings.close_step
        self._openness = round(min(1.0, max(0.0, self._openness + step)), 6)
        return self._openness


def level_dbfs(samples: Float32) -> float:
    """Return the root-mean-square level of samples in -1..1, in dB below full scale."""
    power = float(np.dot(samples, samples)) / len(samples) if len(samples) else 0.0
    return 10.0 * math.log10(max(power, 1e-20))
