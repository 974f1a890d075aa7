"""Train the sync expert: among 24 moments of one clip, which sound goes with which mouth?

The contrastive loss of van den Oord, Li, Vinyals, "Representation learning with contrastive
predictive coding", 2018 (equation 4), both ways; all wrong answers are of the same clip and the
nearest one frame away, so neither the face nor the voice helps.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lipstream.errors import InputError
from lipstream.types import Float32
from lipstream_models.augment import Variation, vary_sound
from lipstream_models.checkpoints import load_weights, read_checkpoint
from lipstream_models.expert.judges import NETWORK, TIMING
from lipstream_models.expert.network import COLUMNS, FRAMES, SyncExpert
from lipstream_models.grid import FRAMES as CLIP_FRAMES
from lipstream_models.grid import PreparedFolder

MOMENTS = 24
"""Consecutive moments of a clip compared with each other."""
_RUN = MOMENTS + FRAMES - 1
"""Frames under them."""


@dataclass(frozen=True, slots=True)
class ExpertOptions:
    """Settings of a run."""

    steps: int = 2500
    clips: int = 8
    """Clips in a step."""
    seed: int = 1
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    warm_up_steps: int = 100
    device: str = "cpu"
    bf16: bool = True
    """Autocast to bfloat16."""

    @property
    def samples(self) -> int:
        """Pairs of mouth and sound in a step."""
        return self.clips * MOMENTS


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
    seen = functional.cross_entropy(likeness.reshape(-1, count), right)
    heard = functional.cross_entropy(likeness.transpose(1, 2).reshape(-1, count), right)
    return 0.5 * (seen + heard)


class ExpertTrainer:
    """The expert, its optimiser, and where they are in the run."""

    def __init__(self, options: ExpertOptions) -> None:
        if options.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch finds no CUDA device; use --device cpu")
        torch.manual_seed(options.seed)
        self.options, self.step = options, 0
        self.expert = SyncExpert().to(options.device)
        self.expert.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = torch.optim.AdamW(
            self.expert.parameters(), options.learning_rate, weight_decay=options.weight_decay
        )

    def run(self, source: MomentSource) -> Iterator[float]:
        """Train to the end of the run, yielding each step's loss.

        Every step draws from its own seed, so an interrupted run repeats nothing.
        """
        self.expert.train()
        while self.step < self.options.steps:
            seed = (self.options.seed, self.step)
            random = torch.Generator()
            random.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            moments = source.draw(np.random.default_rng(seed), self.options.clips, random)
            loss = self._learn(moments)
            self.step += 1
            yield loss

    def _learn(self, moments: Moments) -> float:
        options, expert = self.options, self.expert
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        count = len(moments.faces)
        with torch.autocast(options.device, torch.bfloat16, enabled=options.bf16):
            views = expert.views(moments.faces.flatten(0, 1).to(options.device))
            runs = views.view(count, _RUN, -1).unfold(1, FRAMES, 1).transpose(2, 3)
            faces = expert.face_points(runs.flatten(0, 1))
            sounds = expert.sound_points(moments.mel.flatten(0, 1)[:, None].to(options.device))
        loss = moment_loss(
            faces.view(count, MOMENTS, -1), sounds.view(count, MOMENTS, -1), expert.sharpness.exp()
        )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())

    def _rate(self) -> float:
        options = self.options
        warm = min(1.0, (self.step + 1) / max(1, options.warm_up_steps))
        left = 0.5 * (1.0 + math.cos(math.pi * self.step / options.steps))
        return options.learning_rate * warm * max(0.01, left)

    def save(self, path: Path) -> None:
        """Write a checkpoint that the run can go on from, whole or not at all."""
        state = {"state_dict": self.expert.state_dict(), "optimiser": self._optimiser.state_dict()}
        _write(path, {**state, "step": self.step, "seed": self.options.seed})

    def export(self, path: Path) -> None:
        """Write the weights alone, as float16: half of the file, the same judgement."""
        state = self.expert.state_dict()
        _write(path, {"state_dict": {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }})  # fmt: skip

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of this trainer. Raises ModelError or InputError."""
        checkpoint = read_checkpoint(path)
        if not isinstance(checkpoint, dict) or not {"optimiser", "step"} <= set(checkpoint):
            raise InputError(f"{path} is not a checkpoint of 'lipstream train sync-expert'")
        load_weights(self.expert, checkpoint["state_dict"], path)
        self._optimiser.load_state_dict(checkpoint["optimiser"])
        self.step = int(checkpoint["step"])


def _write(path: Path, state: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    torch.save({**state, "network": NETWORK}, unfinished)
    os.replace(unfinished, path)  # noqa: PTH105
