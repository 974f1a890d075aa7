"""Train the sync scorer: among 24 moments of one clip, which sound goes with which mouth?

The contrastive loss of van den Oord, Li, Vinyals, "Representation learning with contrastive
predictive coding", 2018 (equation 4), both ways; all wrong answers are of the same clip and the
nearest one frame away, so neither the face nor the voice helps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lipstream.errors import InputError
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import FRAMES as CLIP_FRAMES
from lipstream_models.corpora.grid_corpus import PreparedFolder
from lipstream_models.evaluation.sync_scorer import NETWORK, TIMING
from lipstream_models.networks.loading import save_checkpoint
from lipstream_models.networks.sync_networks import COLUMNS, FRAMES, SyncNetwork
from lipstream_models.training.augmentation import Variation, vary_sound
from lipstream_models.training.trainer import About, Trainer, TrainOptions

MOMENTS = 24
"""Consecutive moments of a clip compared with each other."""
_RUN = MOMENTS + FRAMES - 1
"""Frames under them."""


SYNC_OPTIONS = TrainOptions(
    samples=20_000, batch=8, learning_rate=1.5e-3, weight_decay=1e-2, warm_up_steps=100
)
"""An example is a run of frames of one clip: 24 moments to tell apart."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Runs of frames and the sounds of their moments."""

    faces: Tensor
    """(n, 28, 3, 48, 96) float32 BGR in 0..1."""
    mel: Tensor
    """(n, 24, 80, 16) float32."""


class MomentSource:
    """Runs of frames from the clips of prepared folders."""

    def __init__(self, parts: Sequence[tuple[PreparedFolder, NDArray[np.intp]]]) -> None:
        """Each folder comes with the rows to take of it. Raises InputError when there are none."""
        self._clips = [(folder, int(row)) for folder, rows in parts for row in rows]
        if not self._clips:
            raise InputError("no prepared clips to train on: run 'lipstream train prepare'")

    def draw(self, rng: np.random.Generator, count: int, random: torch.Generator) -> Moments:
        """Return ``count`` runs, their pictures and sounds varied."""
        chosen = [self._clips[int(k)] for k in rng.integers(len(self._clips), size=count)]
        starts = rng.integers(0, CLIP_FRAMES - _RUN + 1, size=count)
        mel = torch.from_numpy(np.stack([folder.mel[row] for folder, row in chosen]))
        varied = vary_sound(mel[:, None], Variation(), random)[:, 0]
        runs = [folder.crops[row][at : at + _RUN]
                for (folder, row), at in zip(chosen, starts, strict=True)]  # fmt: skip
        windows = [_windows(clip, int(at)) for clip, at in zip(varied, starts, strict=True)]
        return Moments(_vary_faces(np.stack(runs), rng), torch.stack(windows))


def _windows(mel: Tensor, start: int) -> Tensor:
    firsts = [TIMING.first_column(start + at) for at in range(MOMENTS)]
    return torch.stack([mel[:, first : first + COLUMNS] for first in firsts])


def _vary_faces(runs: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """Turn, stretch, shift, mirror, blur and shade the lower halves, alike within a run."""
    return torch.from_numpy(np.stack([_vary_run(run, rng) for run in runs])).permute(0, 1, 4, 2, 3)


def _vary_run(run: NDArray[np.uint8], rng: np.random.Generator) -> Float32:
    size = run.shape[1]
    half, middle = size // 2, size / 2
    turn, (wide, high) = 0.08 * rng.standard_normal(), np.exp(0.08 * rng.standard_normal(2))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    linear = np.array([[math.cos(turn) * wide * mirror, -math.sin(turn) * high],
                       [math.sin(turn) * wide * mirror, math.cos(turn) * high]])  # fmt: skip
    shift = 0.03 * size * rng.standard_normal(2)
    offset = middle + shift + linear @ np.array([-middle, half - middle])
    affine = np.column_stack([linear, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    blur = rng.uniform(0.4, 1.6) if rng.random() < 0.4 else 0.0
    varied = []
    for frame in run:
        cut = cv2.warpAffine(
            frame, affine, (size, half), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        varied.append(cv2.GaussianBlur(cut, (0, 0), blur) if blur else cut)
    shade = np.exp(0.25 * rng.standard_normal())
    levels = np.stack(varied).astype(np.float32) / np.float32(255.0)
    return np.asarray(levels ** np.float32(shade), np.float32)


def moment_loss(faces: Tensor, sounds: Tensor, sharpness: Tensor) -> Tensor:
    """Return the contrastive loss of (n, m, 128) points: 0 when all are found, log m by chance."""
    likeness = torch.einsum("nik,njk->nij", faces, sounds) * sharpness
    count = likeness.shape[1]
    right = torch.arange(count, device=likeness.device).repeat(len(likeness))
    by_face = functional.cross_entropy(likeness.reshape(-1, count), right)
    by_sound = functional.cross_entropy(likeness.transpose(1, 2).reshape(-1, count), right)
    return 0.5 * (by_face + by_sound)


class SyncTrainer(Trainer[Moments]):
    """Learn to tell in step from out of step."""

    about: ClassVar[About] = {
        "network": NETWORK,
        "licence": "CC-BY-4.0",
        "source": "trained by 'lipstream train sync-scorer' on GRID (Cooke et al. 2006, CC BY 4.0)",
    }

    def __init__(self, source: MomentSource, options: TrainOptions) -> None:
        torch.manual_seed(options.seed)
        self.sync_network = SyncNetwork()
        self.sync_network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(self.sync_network, options)
        self._source = source

    def draw(self, rng: np.random.Generator, random: torch.Generator) -> Moments:
        """Draw runs of frames, varied."""
        return self._source.draw(rng, self.options.batch, random)

    def losses(self, batch: Moments) -> dict[str, Tensor]:
        """Return the contrastive loss."""
        device, network, count = self.options.device, self.sync_network, len(batch.faces)
        network.train()
        with self.precision():
            views = network.views(batch.faces.flatten(0, 1).to(device))
            runs = views.view(count, _RUN, -1).unfold(1, FRAMES, 1).transpose(2, 3)
            faces = network.face_points(runs.flatten(0, 1))
            sounds = network.sound_points(batch.mel.flatten(0, 1)[:, None].to(device))
        faces, sounds = (points.view(count, MOMENTS, -1) for points in (faces, sounds))
        return {"contrast": moment_loss(faces, sounds, network.sharpness.exp())}

    def fall(self, done: float) -> float:
        """Return half a cosine: slow at both ends."""
        return 0.5 * (1.0 + math.cos(math.pi * done))

    def export(self, path: Path) -> None:
        """Write the weights alone, as float16: half of the file, the same scores."""
        state = {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in self.sync_network.state_dict().items()
        }
        save_checkpoint(path, {"state_dict": state, "network": NETWORK})
