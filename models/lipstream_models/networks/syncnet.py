"""SyncNet_color, the expert published with Wav2Lip, with the parameter names of its weights.

Prajwal, Mukhopadhyay, Namboodiri, Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip
Generation In The Wild", ACM Multimedia 2020; ``models/syncnet.py`` of the original. 16.4 M
parameters.
"""

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from lipstream_models.networks.checkpoints import load_weights, read_state_dict
from lipstream_models.networks.wav2lip import ConvBlock, Pair


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
