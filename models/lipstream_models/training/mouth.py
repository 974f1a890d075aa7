"""Train the mouth network on a sound stage already trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from lipstream_models.networks.checkpoints import load_weights, read_checkpoint, save_checkpoint
from lipstream_models.networks.mouth_flow import UNIT, MouthFlow, sample
from lipstream_models.training.augmentation import Batch, Variation, varied_batch
from lipstream_models.training.mouth_examples import ExampleSource
from lipstream_models.training.sound import HeardLips
from lipstream_models.training.trainer import About, Trainer, TrainOptions

_MOUTH = (slice(4, 40), slice(22, 74))
"""Rows (of the lower half) and columns of the crop where the lips are."""
_SPEAKING = (slice(52, 90), slice(24, 72))
"""Rows and columns of the crop that speech moves."""
_INNER = slice(20, 40)
"""Places of the inner edge of the lips among ``dataset.TRACKED``."""
_PIXEL = 1 / 48
"""A pixel of the crop, in half crops."""
_FURTHEST = 8.0
"""No lips stand further from rest, in spreads; the mesh errs beyond."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What the parts of the loss count, beside the picture's own."""

    mouth: float = 3.0
    """Of the pixels round the lips; the others have 1."""
    inside: float = 8.0
    """Added between the lips of the target, as far as they are apart: a small place, looked at."""
    gradient: float = 0.5
    """Of the differences between neighbouring rows and columns."""
    moved: float = 0.4
    """Of the same error of the moved reference alone, before anything is painted on it."""
    change: float = 0.02
    """Of painting on the moved reference at all."""
    own_lips: float = 0.02
    """Of the lip shape seen in the reference."""
    aligned: float = 0.05
    """Of the turn of the head, pixels, and of the picture turned alone."""
    tracked: float = 0.01
    """Of the flow at points whose movement is known, pixels."""
    flow: float = 0.1
    """Of a flow that differs between neighbours."""
    detail: float = 0.2
    """Of the difference in fine detail, wherever in a small window it lies."""
    heard_share: float = 0.5
    """Share of the examples painted from the sound; the others from the true lip shape."""
    lips_noise: float = 0.15
    """Noise on the true lip shapes, standard deviation."""


def attention(points: Tensor, rows: int, columns: int, weights: LossWeights) -> Tensor:
    """Return what the pixels of the lower half count: (N, 1, rows, columns).

    ``points`` is (N, tracked, 2) of the targets, -1 to 1 over the crop. Between the lips it is a
    bell as wide and high as their inner edge.
    """
    weight = torch.ones(len(points), 1, rows, columns, device=points.device)
    weight[:, :, *_MOUTH] = weights.mouth
    lips = points[:, _INNER]
    lowest, highest = lips.amin(1), lips.amax(1)
    middle, half = (lowest + highest) / 2, (highest - lowest) / 2
    y = ((torch.arange(rows, device=points.device) + 0.5) / rows)[None, :]
    x = ((torch.arange(columns, device=points.device) + 0.5) * 2 / columns - 1)[None, :]
    across = torch.exp(-(((x - middle[:, :1]) / (0.8 * half[:, :1] + _PIXEL)) ** 2))
    down = torch.exp(-(((y - middle[:, 1:]) / (half[:, 1:] + _PIXEL)) ** 2))
    apart = (half[:, 1:] / _PIXEL - 1).clamp(0, 1)
    bell = (apart * down)[:, :, None] * across[:, None, :]
    return weight + weights.inside * bell[:, None]


def picture_loss(painted: Tensor, target: Tensor, weight: Tensor, weights: LossWeights) -> Tensor:
    """Return L1, weighted by place, plus L1 of vertical and horizontal differences."""
    error = painted - target
    down = (error[:, :, 1:] - error[:, :, :-1]).abs().mean()
    across = (error[:, :, :, 1:] - error[:, :, :, :-1]).abs().mean()
    return (error.abs() * weight).mean() + weights.gradient * (down + 0.5 * across)


def detail_loss(painted: Tensor, target: Tensor) -> Tensor:
    """Return the L1 difference of detail: the local strength of the Laplacian, 5 x 5 windows.

    An average over what might be there is blurred, and L1 alone likes averages; this asks for as
    much fine detail as the truth has, not for the same lines in the same places.
    """
    return (_detail(painted) - _detail(target)).abs().mean()


def _detail(picture: Tensor) -> Tensor:
    grey = picture.mean(1, keepdim=True)
    beside = grey[:, :, 1:-1, :-2] + grey[:, :, 1:-1, 2:]
    around = beside + grey[:, :, :-2, 1:-1] + grey[:, :, 2:, 1:-1]
    laplacian = around - 4 * grey[:, :, 1:-1, 1:-1]
    return (functional.avg_pool2d(laplacian**2, 5, stride=2) + 1e-5).sqrt()


def unevenness(flow: Tensor) -> Tensor:
    """Return the mean squared difference of a (N, 2, H, W) flow between neighbours."""
    down, across = flow[:, :, 1:] - flow[:, :, :-1], flow[..., 1:] - flow[..., :-1]
    return down.square().mean() + across.square().mean()


def alignment_loss(turn: Tensor, motion: Tensor, face: Tensor, target: Tensor) -> Tensor:
    """Return how far a turn is from the true motion, pixels, and what it leaves of the difference.

    ``turn`` and ``motion`` are (N, 2, 12, 12), ``face`` (N, 6, 96, 96) as the network sees it,
    ``target`` (N, 3, 48, 96) its lower half. The mouth, which moves by itself, counts little.
    """
    still = torch.ones(1, 1, *face.shape[2:], device=face.device)
    still[:, :, *_SPEAKING] = 0.15
    cells = functional.avg_pool2d(still, face.shape[2] // turn.shape[2])
    astray = functional.smooth_l1_loss(turn, motion, reduction="none", beta=0.2)
    fine = functional.interpolate(turn, face.shape[2:], mode="bilinear", align_corners=False)
    whole = torch.cat([face[:, :3, : -target.shape[2]], target], 2)
    left = (sample(face[:, 3:], fine) - whole).abs()
    return 0.5 * (astray * cells).mean() + 3.0 * (left * still).mean()


def tracking_loss(flow: Tensor, points: Tensor) -> Tensor:
    """Return how far the flow goes astray at tracked points, about pixels.

    ``flow`` is (N, 2, 24, 48) of the lower half, ``points`` (N, 2, tracked, 2) of the target and of
    the reference, -1 to 1 over the crop. The pixel of a target's point comes from the same point
    of the reference.
    """
    target, source = points[:, 0], points[:, 1]
    below = torch.stack([target[..., 0], 2 * target[..., 1] - 1], -1)
    inside = (below.abs() < 1).all(-1)
    found = functional.grid_sample(
        flow, below[:, None], padding_mode="border", align_corners=False
    )[:, :, 0].transpose(1, 2)
    astray = UNIT * found - (source - target) * (MouthFlow.face_size / 2)
    error = functional.smooth_l1_loss(astray, torch.zeros_like(astray), reduction="none").sum(-1)
    return (error * inside).sum() / inside.sum().clamp(min=1)


class MouthTrainer(Trainer[Batch]):
    """Learn to paint mouths; the sound stage stays as it is."""

    about: ClassVar[About] = {
        "network": "mouth_flow",
        "name": "lipstream mouth",
        "version": "2",
        "licence": "CC-BY-4.0",
        "source": (
            "trained by 'lipstream train mouth' on GRID (Cooke et al. 2006, CC BY 4.0) and"
            " synthetic people (CC0)"
        ),
    }

    def __init__(
        self,
        source: ExampleSource,
        heard: HeardLips,
        options: TrainOptions,
        weights: LossWeights | None = None,
    ) -> None:
        torch.manual_seed(options.seed)
        mouth = MouthFlow(heard.window.start_ms)
        mouth.sound.load_state_dict(heard.sound.state_dict())
        mouth.sound.requires_grad_(False)
        mouth.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(mouth, options)
        self._mouth, self._source, self._weights = mouth, source, weights or LossWeights()
        self._variation = Variation()

    def begin_with(self, mouth: MouthFlow) -> None:
        """Begin with a trained network's weights, but for the sound stage."""
        weights = mouth.state_dict()
        own = ("sound.", "starts_at", "gain")
        kept = {k: v for k, v in self._mouth.state_dict().items() if k.startswith(own)}
        self._mouth.load_state_dict(weights | kept)

    def draw(self, rng: np.random.Generator, random: Generator) -> Batch:
        """Draw examples and vary them."""
        return varied_batch(self._source.draw(rng, self.options.batch), self._variation, random)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted parts of the loss."""
        device, weights = self.options.device, self._weights
        self._mouth.train()
        self._mouth.sound.eval()
        face = batch.face.to(device, memory_format=torch.channels_last)
        target, lips = batch.target.to(device), self._lips(batch)
        own = batch.own_lips.clamp(-_FURTHEST, _FURTHEST).to(device)
        weight = attention(batch.points[:, 0].to(device), target.shape[2], target.shape[3], weights)
        with self.precision():
            turn = self._mouth.alignment(face).float()
            features = self._mouth.encode(face, turn)
            made = self._mouth.render(lips, (*features[:6], features[6].detach()), turn)
        return {
            "aligned": weights.aligned
            * alignment_loss(turn, batch.motion.to(device), face, target),
            "picture": picture_loss(made.picture, target, weight, weights),
            "moved": weights.moved
            * picture_loss(made.moved, target, weight.clamp(max=weights.mouth), weights),
            "detail": weights.detail * detail_loss(made.picture, target),
            "own_lips": weights.own_lips * functional.smooth_l1_loss(features[6].float(), own),
            "change": weights.change * made.change.abs().mean(),
            "tracked": weights.tracked * tracking_loss(made.flow, batch.points.to(device)),
            "flow": weights.flow * unevenness(made.flow),
        }

    def _lips(self, batch: Batch) -> Tensor:
        """Return the lip shapes to paint: heard in the sound, or true ones with noise."""
        device, weights = self.options.device, self._weights
        true = batch.lips.clamp(-_FURTHEST, _FURTHEST).to(device)
        noisy = true + weights.lips_noise * torch.randn_like(true)
        with torch.no_grad():
            heard = self._mouth.sound(batch.mel.to(device))
        by_sound = torch.rand(len(true), 1, device=device) < weights.heard_share
        return torch.where(by_sound & batch.heard.to(device)[:, None], heard, noisy)


def load_mouth(path: Path) -> MouthFlow:
    """Load the network of a training checkpoint, in eval mode. Raises ModelError."""
    checkpoint = read_checkpoint(path)
    network = MouthFlow()
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    load_weights(network, state if isinstance(state, dict) else {}, path)
    return network.eval()


def join(mouth: MouthFlow, heard: HeardLips, gain: float, path: Path) -> None:
    """Write a checkpoint of a mouth that follows another sound stage, its lip shapes magnified."""
    joined = MouthFlow(heard.window.start_ms)
    joined.load_state_dict(mouth.state_dict() | {"starts_at": heard.starts_at})
    joined.sound.load_state_dict(heard.sound.state_dict())
    joined.gain.fill_(gain)
    save_checkpoint(path, {"state_dict": joined.state_dict(), **MouthTrainer.about})
