"""What the sound stage learns from: sound with lip shapes, silence, and music."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipstream.mel import BANDS, SILENCE
from lipstream.types import Float32
from lipstream_models.dataset import (
    FIRST_FRAME,
    LAST_FRAME,
    UNITS_A_DECIBEL,
    Window,
    mel_window,
    shapes_of,
    split_rows,
)
from lipstream_models.grid import PreparedFolder
from lipstream_models.lip_shape import MEASURES


def silent_mel(rng: np.random.Generator, columns: int = 16) -> Float32:
    """Return a (80, columns) window of silence: digital, or the noise of a quiet room."""
    if rng.random() < 0.3:
        return np.full((BANDS, columns), SILENCE, np.float32)
    level, tilt = rng.uniform(-4.2, -1.5), rng.uniform(-1.5, 0.3)
    shape = level + tilt * np.linspace(0, 1, BANDS)[:, None]
    rough = 0.35 * rng.standard_normal((BANDS, columns))
    return np.clip(shape + rough, SILENCE, -SILENCE).astype(np.float32)


@dataclass(frozen=True, slots=True)
class SoundMix:
    """Shares of the special kinds of sound."""

    silent: float = 0.06
    """Silence or the noise of a room, lips at rest."""
    music: float = 0.12
    """Music without a voice, lips at rest."""
    over_music: float = 0.12
    """Speech over softer music (the louder of both in every cell)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the sound stage learns from."""

    mel: Float32
    """(n, 80, columns) float32 windows."""
    lips: Float32
    """(n, 17) float32 lip shapes."""


class VoiceSource:
    """Sound with lip shapes, without pictures: the clips of several folders, and music."""

    def __init__(
        self,
        folders: Sequence[PreparedFolder],
        shares: Sequence[float],
        music: Float32,
        window: Window,
        mix: SoundMix | None = None,
    ) -> None:
        """``music`` is (pieces, 80, columns) float32, without a voice."""
        self._window, self._music, self._mix = window, music, mix or SoundMix()
        self._shares = np.array(shares) / sum(shares)
        rows = [split_rows(folder)[0] for folder in folders]
        self._mel = [folder.mel[row] for folder, row in zip(folders, rows, strict=True)]
        self._lips = [shapes_of(folder, row) for folder, row in zip(folders, rows, strict=True)]

    def draw(self, rng: np.random.Generator, count: int) -> Heard:
        """Return ``count`` random examples."""
        chosen = rng.choice(len(self._mel), count, p=self._shares)
        mels, lips = zip(*(self._draw_one(rng, int(number)) for number in chosen), strict=True)
        return Heard(np.stack(mels), np.stack(lips))

    def _draw_one(self, rng: np.random.Generator, number: int) -> tuple[Float32, Float32]:
        mix, columns = self._mix, self._window.columns
        kind = rng.random()
        if kind < mix.silent:
            return silent_mel(rng, columns), np.zeros(MEASURES, np.float32)
        if kind < mix.silent + mix.music:
            return self._some_music(rng), np.zeros(MEASURES, np.float32)
        clip = int(rng.integers(len(self._mel[number])))
        frame = int(rng.integers(FIRST_FRAME, LAST_FRAME + 1))
        mel = mel_window(self._mel[number][clip], frame, self._window)
        if rng.random() < mix.over_music:
            softer = UNITS_A_DECIBEL * np.float32(rng.uniform(8, 26))
            mel = np.maximum(mel, self._some_music(rng) - softer)
        return mel, self._lips[number][clip, frame]

    def _some_music(self, rng: np.random.Generator) -> Float32:
        piece = self._music[rng.integers(len(self._music))]
        start = int(rng.integers(piece.shape[1] - self._window.columns))
        return np.asarray(piece[:, start : start + self._window.columns], np.float32)
