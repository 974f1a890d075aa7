"""Train the sound stage: which lip shape goes with which sound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from lipstream.audio.mel import BANDS, SILENCE
from lipstream.errors import ModelError
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import (
    FIRST_FRAME,
    FRAMES,
    LAST_FRAME,
    PreparedFolder,
    Window,
    mel_window,
    shapes_of,
    split_rows,
)
from lipstream_models.lip_measures import MEASURES
from lipstream_models.networks.checkpoints import load_weights, read_checkpoint
from lipstream_models.networks.mouth_flow import COLUMNS, MEMBERS, SoundStage
from lipstream_models.training.augmentation import UNITS_A_DECIBEL, Variation, vary_sound
from lipstream_models.training.trainer import About, Trainer, TrainOptions


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


SOUND_OPTIONS = TrainOptions(samples=600_000, batch=96 * MEMBERS, weight_decay=2e-2, bf16=False)
"""Small examples: more of them at a time, and no need for bfloat16."""
_MORE_VOICES = replace(Variation(), voice_scale=0.12, voice_shift=0.05)
"""Voices differ more than one network's weights should trust."""


class HeardLips(nn.Module):
    """A sound stage and the start of the window it hears, as they are stored together."""

    starts_at: Tensor

    def __init__(self, window_start_ms: int = -240) -> None:
        super().__init__()
        self.sound = SoundStage()
        self.register_buffer("starts_at", torch.tensor(window_start_ms))

    @property
    def window(self) -> Window:
        """The part of the sound it hears."""
        return Window(COLUMNS, int(self.starts_at))


class SoundTrainer(Trainer[tuple[Tensor, Tensor]]):
    """Learn lip shapes from mel windows."""

    about: ClassVar[About] = {
        "network": "sound_stage",
        "source": "trained by 'lipstream train sound'",
    }

    def __init__(self, source: VoiceSource, window: Window, options: TrainOptions) -> None:
        torch.manual_seed(options.seed)
        self.heard = HeardLips(window.start_ms)
        """The sound stage that learns."""
        super().__init__(self.heard, options)
        self._source = source

    def draw(self, rng: np.random.Generator, random: Generator) -> tuple[Tensor, Tensor]:
        """Return (n, 1, 80, 32) windows, varied, and (n, 17) lip shapes."""
        heard = self._source.draw(rng, self.options.batch)
        mel = vary_sound(torch.from_numpy(heard.mel)[:, None], _MORE_VOICES, random)
        return mel, torch.from_numpy(heard.lips)

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Return the error of the lip shapes: squared when small, absolute when large.

        Each member learns from examples of its own.
        """
        parts = [part.to(self.options.device).chunk(MEMBERS) for part in batch]
        self.heard.train()
        members = self.heard.sound.members
        with self.precision():
            heard = [member(mel) for member, mel in zip(members, parts[0], strict=True)]
        return {"lips": functional.smooth_l1_loss(torch.cat(heard).float(), torch.cat(parts[1]))}


def load_sound(path: Path) -> HeardLips:
    """Load the sound stage of a checkpoint of ``train sound``, in eval mode. Raises ModelError."""
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint, dict) or checkpoint.get("network") != "sound_stage":
        raise ModelError(f"{path} is no sound stage: train one with 'lipstream train sound'")
    network = HeardLips()
    load_weights(network, checkpoint["state_dict"], path)
    return network.eval()


def hear_clips(network: HeardLips, folder: PreparedFolder, rows: list[int]) -> Float32:
    """Return the lip shapes the network hears in whole clips: (rows, 75, 17) float32."""
    frames = range(FRAMES)
    windows = [[mel_window(folder.mel[row], k, network.window) for k in frames] for row in rows]
    mel = torch.from_numpy(np.array(windows, np.float32))
    with torch.no_grad():
        heard: Tensor = network.sound(mel.flatten(0, 1)[:, None])
    return np.asarray(heard.view(len(rows), FRAMES, -1).numpy(), np.float32)
