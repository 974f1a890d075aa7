"""Networks that say whether a mouth belongs to a sound: our own, and the published SyncNet_color.

Both follow Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV 2016 workshops:
five frames of the mouth and the sound of the same 0.2 s each become a point on a sphere, near each
other when they belong together. In ours every frame is seen once, by a network of its own, and five
of these embeddings are joined: a clip costs a fifth of what stacks of five pictures cost.
SyncNet_color is the one of Prajwal, Mukhopadhyay, Namboodiri, Jawahar, "A Lip Sync Expert Is All
You Need for Speech to Lip Generation In The Wild", ACM Multimedia 2020 (``models/syncnet.py`` of
the original, 16.4 M parameters), with the parameter names of its weights.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lipstream_models.networks.loading import load_weights, read_state_dict
from lipstream_models.networks.wav2lip import ConvBlock, Pair

FRAMES = 5
"""Consecutive frames judged together."""
COLUMNS = 16
"""Mel columns of the same time: 0.2 s, from the first frame on."""
POINT = 128
"""Dimensions of the space where both meet."""
_GREY = (0.114, 0.587, 0.299)
"""Weights of blue, green and red (ITU-R BT.601)."""


def convolve(
    inputs: int, outputs: int, kernel: int = 3, stride: int | tuple[int, int] = 1
) -> nn.Module:
    """Make a convolution that keeps the size but for its stride, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class SyncNetwork(nn.Module):
    """Lower halves of faces, and mel windows, to unit vectors of 128 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(
            convolve(4, 32, stride=2),  # 12 x 24
            convolve(32, 48),
            convolve(48, 96, stride=2),  # 6 x 12
            convolve(96, 96, stride=2),  # 3 x 6
            nn.Flatten(),
            nn.Linear(96 * 18, 128),
        )
        self.join = nn.Sequential(
            nn.ReLU(), nn.Linear(128 * FRAMES, 256), nn.ReLU(inplace=True), nn.Linear(256, POINT)
        )
        self.hear = nn.Sequential(
            convolve(1, 24, stride=(2, 1)),  # 40 x 16
            convolve(24, 40, stride=(2, 1)),  # 20 x 16
            convolve(40, 64, stride=2),  # 10 x 8
            convolve(64, 96, stride=2),  # 5 x 4
            convolve(96, 96),
            nn.Flatten(),
            nn.Linear(96 * 20, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, POINT),
        )
        self.sharpness = nn.Parameter(torch.tensor(2.3))
        """Natural logarithm of how much a cosine of 1 counts against one of 0, in training."""

    def views(self, faces: Tensor) -> Tensor:
        """See single frames: (N, 3, 48, 96) BGR in 0..1, the lower half, to (N, 128).

        Only grey counts, and how it differs from the frame's own mean: skin and light do not.
        """
        grey = (faces * faces.new_tensor(_GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
        grey = grey - grey.mean((2, 3), keepdim=True)
        spread = grey.square().mean((2, 3), keepdim=True).add(1e-4).sqrt()
        embedded: Tensor = self.see(functional.pixel_unshuffle(grey / spread, 2))
        return embedded

    def face_points(self, views: Tensor) -> Tensor:
        """Join (N, 5, 128) views of consecutive frames to (N, 128) unit vectors."""
        return functional.normalize(self.join(views.flatten(1)).float(), dim=1)

    def sound_points(self, mel: Tensor) -> Tensor:
        """Turn (N, 1, 80, 16) mel windows into (N, 128) unit vectors."""
        return functional.normalize(self.hear(mel).float(), dim=1)

    def forward(self, faces: Tensor, mel: Tensor) -> Tensor:
        """Return the cosine of (N, 5, 3, 48, 96) lower halves and (N, 1, 80, 16) windows: (N,)."""
        embedded = self.views(faces.flatten(0, 1)).view(-1, FRAMES, 128)
        return (self.face_points(embedded) * self.sound_points(mel)).sum(1)


def _same(channels: int, count: int) -> list[ConvBlock]:
    return [ConvBlock((channels, channels), residual=True) for _ in range(count)]


def _stage(channels: tuple[int, int], stride: Pair, residuals: int) -> list[ConvBlock]:
    return [ConvBlock(channels, stride=stride), *_same(channels[1], residuals)]


class SyncNetColor(nn.Module):
    """Five lower halves and a mel window to unit vectors of 512 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder = nn.Sequential(
            ConvBlock((15, 32), 7, padding=3),
            ConvBlock((32, 64), 5, (1, 2)),
            *_same(64, 2),
            *_stage((64, 128), 2, 3),
            *_stage((128, 256), 2, 2),
            *_stage((256, 512), 2, 2),
            ConvBlock((512, 512), 3, 2),
            ConvBlock((512, 512), 3, padding=0),
            ConvBlock((512, 512), 1, padding=0),
        )
        self.audio_encoder = nn.Sequential(
            *_stage((1, 32), 1, 2),
            *_stage((32, 64), (3, 1), 2),
            *_stage((64, 128), 3, 2),
            *_stage((128, 256), (3, 2), 2),
            ConvBlock((256, 512), 3, padding=0),
            ConvBlock((512, 512), 1, padding=0),
        )

    def face_points(self, faces: Tensor) -> Tensor:
        """Turn (N, 15, 48, 96) into (N, 512): BGR in 0..1 of five frames, one after another."""
        return functional.normalize(self.face_encoder(faces).flatten(1), dim=1)

    def sound_points(self, mel: Tensor) -> Tensor:
        """Turn (N, 1, 80, 16) mel windows into (N, 512)."""
        return functional.normalize(self.audio_encoder(mel).flatten(1), dim=1)

    def forward(self, mel: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of sounds and of faces, in the original's order."""
        return self.sound_points(mel), self.face_points(faces)


def load_syncnet(path: Path) -> SyncNetColor:
    """Load a checkpoint in the published format, in eval mode. Raises ModelError."""
    network = SyncNetColor()
    load_weights(network, read_state_dict(path), path)
    return network.eval()
