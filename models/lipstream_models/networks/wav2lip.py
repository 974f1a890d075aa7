"""The Wav2Lip generator with the parameter names of its published weights.

Prajwal, Mukhopadhyay, Namboodiri, Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip
Generation In The Wild", ACM Multimedia 2020. 36.3 M parameters.
"""

import torch
from torch import Tensor, nn

from lipstream_models.networks.split import SplitNetwork, mask_and_join, to_pixels

Pair = int | tuple[int, int]


class ConvBlock(nn.Module):
    """Convolution, batch norm, optionally the input added, ReLU."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int = 3,
        stride: Pair = 1,
        *,
        padding: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d(*channels, kernel, stride, padding)
        self.conv_block = nn.Sequential(convolution, nn.BatchNorm2d(channels[1]))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        y = self.conv_block(x)
        return torch.relu(y + x if self.residual else y)


class UpBlock(nn.Module):
    """Transposed convolution, batch norm, ReLU. Doubles the size, or widens 1 to 3."""

    def __init__(self, channels: tuple[int, int], *, doubling: bool = True) -> None:
        super().__init__()
        stride, padding = (2, 1) if doubling else (1, 0)
        convolution = nn.ConvTranspose2d(*channels, 3, stride, padding, output_padding=padding)
        self.conv_block = nn.Sequential(convolution, nn.BatchNorm2d(channels[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        return torch.relu(self.conv_block(x))


def _same(channels: int, count: int) -> list[nn.Module]:
    return [ConvBlock((channels, channels), residual=True) for _ in range(count)]


def _halving(channels: tuple[int, int], residuals: int) -> nn.Sequential:
    return nn.Sequential(ConvBlock(channels, stride=2), *_same(channels[1], residuals))


def _doubling(channels: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(UpBlock(channels), *_same(channels[1], 2))


def _face_encoder() -> nn.ModuleList:
    return nn.ModuleList(
        [
            nn.Sequential(ConvBlock((6, 16), 7, padding=3)),  # 96
            _halving((16, 32), 2),  # 48
            _halving((32, 64), 3),  # 24
            _halving((64, 128), 2),  # 12
            _halving((128, 256), 2),  # 6
            _halving((256, 512), 1),  # 3
            nn.Sequential(  # 1
                ConvBlock((512, 512), padding=0), ConvBlock((512, 512), 1, padding=0)
            ),
        ]
    )


def _audio_encoder() -> nn.Sequential:
    return nn.Sequential(
        ConvBlock((1, 32)),
        *_same(32, 2),
        ConvBlock((32, 64), stride=(3, 1)),
        *_same(64, 2),
        ConvBlock((64, 128), stride=3),
        *_same(128, 2),
        ConvBlock((128, 256), stride=(3, 2)),
        *_same(256, 1),
        ConvBlock((256, 512), padding=0),
        ConvBlock((512, 512), 1, padding=0),
    )


def _face_decoder() -> nn.ModuleList:
    return nn.ModuleList(
        [
            nn.Sequential(ConvBlock((512, 512), 1, padding=0)),  # 1
            nn.Sequential(UpBlock((1024, 512), doubling=False), *_same(512, 1)),  # 3
            _doubling((1024, 512)),  # 6
            _doubling((768, 384)),  # 12
            _doubling((512, 256)),  # 24
            _doubling((320, 128)),  # 48
            _doubling((160, 64)),  # 96
        ]
    )


_FIRST_ROWS = (1, 4, 10, 22, 46)
"""First row needed of each decoder block's output, 6 to 96 rows high.

From the last up: row 48 of the picture needs row 47 of what goes into the output block (46 with
the even start of a doubling); two 3 x 3 convolutions cost two rows, and a doubled row 2 r and those
below it come from row r and those below it.
"""


class Wav2Lip(SplitNetwork):
    """The generator: a mel window and a masked face in, the spoken face out."""

    face_size = 96
    mel_columns = 16
    window_start_ms = -40
    mouth_rows = (48, 96)
    feature_names = ("f0", "f1", "f2", "f3", "f4", "f5", "f6")

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder_blocks = _face_encoder()
        self.audio_encoder = _audio_encoder()
        self.face_decoder_blocks = _face_decoder()
        self.output_block = nn.Sequential(ConvBlock((80, 32)), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, mel: Tensor, face: Tensor) -> Tensor:
        """Paint whole faces, as the original does.

        ``mel`` is (N, 1, 80, 16), ``face`` (N, 6, 96, 96) in 0..1: BGR with the lower half blanked,
        then BGR of the reference. Returns (N, 3, 96, 96) in 0..1.
        """
        features = self._encode(face)
        x = self.audio_encoder(mel)
        for block, feature in zip(self.face_decoder_blocks, reversed(features), strict=True):
            x = torch.cat([block(x), feature], 1)
        frame: Tensor = self.output_block(x)
        return frame

    def face_features(self, face: Tensor) -> tuple[Tensor, ...]:
        """Encode (N, 96, 96, 3) uint8 crops; of each feature only the rows that reach the mouth."""
        features = self._encode(mask_and_join(face))
        fine = [f[:, :, row:] for f, row in zip(features[4::-1], _FIRST_ROWS, strict=True)]
        return (*fine[::-1], *features[5:])

    def mouth_from(self, mel: Tensor, *features: Tensor) -> Tensor:
        """Paint rows 48 to 96: exactly those of ``forward``, at about half the work."""
        x = self.audio_encoder(mel)
        coarse, fine = features[:4:-1], features[4::-1]
        for block, feature in zip(self.face_decoder_blocks[:2], coarse, strict=True):
            x = torch.cat([block(x), feature], 1)
        start = 0  # the row of the whole map that x begins with
        parts = zip(self.face_decoder_blocks[2:], fine, _FIRST_ROWS, strict=True)
        for block, feature, row in parts:
            x = torch.cat([block(x)[:, :, row - 2 * start :], feature], 1)
            start = row
        painted = self.output_block(x)[:, :, self.mouth_rows[0] - start :]
        return to_pixels(painted)

    def _encode(self, face: Tensor) -> list[Tensor]:
        features, x = [], face
        for block in self.face_encoder_blocks:
            x = block(x)
            features.append(x)
        return features
