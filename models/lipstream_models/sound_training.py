"""Train the sound stage: which lip shape goes with which sound."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from lipstream.errors import ModelError
from lipstream.types import Float32
from lipstream_models.augment import Variation, vary_sound
from lipstream_models.checkpoints import load_weights, read_checkpoint
from lipstream_models.dataset import Window, mel_window
from lipstream_models.grid import FRAMES, PreparedFolder
from lipstream_models.networks.mouth_flow import COLUMNS, MEMBERS, SoundStage
from lipstream_models.training import About, Trainer, TrainOptions
from lipstream_models.voices import VoiceSource

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
