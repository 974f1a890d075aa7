"""The Wav2Lip generator with the parameter names of its published weights.

Prajwal, Mukhopadhyay, Namboodiri, Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip
Generation In The Wild", ACM Multimedia 2020. 36.3 M parameters.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

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


_FIRST_ROWS = (0, 0, 0, 1, 4, 10, 22, 47)
"""First row needed of what goes into each decoder block, 1 to 96 rows high, and into the output.

From the last up: row 48 of the picture needs row 47 of what goes into the output block; two 3 x 3
convolutions cost two rows, and a doubled row 2 r and those below it come from row r and those below
it. The convolutions begin without padding above, so each leaves out one row more.
"""
_SHARES = ("share1", "share2")
"""What the face gives to the second and third decoder block, 3 and 6 rows high.

A transposed convolution over (sound, face) is the sum of one over the sound and one over the face;
the face's is computed once. Higher up it would take more memory than it saves time.
"""


class Wav2Lip(SplitNetwork):
    """The generator: a mel window and a masked face in, the spoken face out."""

    face_size = 96
    mel_columns = 16
    window_start_ms = -40
    mouth_rows = (48, 96)
    feature_names = ("f0", "f1", "f2", "f3", "f4", *_SHARES)

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
        rows = _FIRST_ROWS[:2:-1]
        fine = [f[:, :, row:] for f, row in zip(features[:5], rows, strict=True)]
        shares = [self._raise(k, features[7 - k], face_side=True) for k in (1, 2)]
        return (*fine, *shares)

    def mouth_from(self, mel: Tensor, *features: Tensor) -> Tensor:
        """Paint rows 48 to 96: exactly those of ``forward``, at about half the work."""
        decoder: Any = self.face_decoder_blocks
        out: Any = self.output_block
        x = decoder[0](self.audio_encoder(mel))
        x = decoder[1][1](torch.relu(self._raise(1, x) + features[5]))
        x = torch.relu(self._raise(2, x) + features[6])
        x = _lower(decoder[2][2], decoder[2][1](x))
        for k in (3, 4, 5, 6):
            up, first, second = decoder[k]
            x = up(torch.cat([x, features[7 - k]], 1))
            x = _lower(second, _lower(first, x[:, :, 1:] if k == 6 else x))
        x = _lower(out[0], torch.cat([x, features[0]], 1))
        # Colours last before the sigmoid: three channels in a row of 16 leave a processor idle.
        painted = out[2](out[1](x).permute(0, 2, 3, 1))
        return to_pixels(painted.permute(0, 3, 1, 2))

    def _raise(self, k: int, x: Tensor, *, face_side: bool = False) -> Tensor:
        """Apply one side's share of decoder block k's transposed convolution, before its ReLU.

        The batch norm is folded in, and its shift belongs to the face's share. Block 1 makes 3 x 3
        of one pixel, which is a matrix product; runtimes are slow at it in any other form.
        """
        blocks: Any = self.face_decoder_blocks
        convolution, norm = blocks[k][0].conv_block
        weight, bias = _folded(convolution, norm)
        half = len(weight) // 2
        weight = weight[half:] if face_side else weight[:half]
        shift = bias if face_side else None
        if k > 1:
            return functional.conv_transpose2d(x, weight, shift, 2, 1, 1)
        flat = weight.permute(1, 2, 3, 0).reshape(-1, half, 1, 1)
        repeated = None if shift is None else shift.repeat_interleave(9)
        return functional.conv2d(x, flat, repeated).view(-1, len(bias), 3, 3)

    def _encode(self, face: Tensor) -> list[Tensor]:
        features, x = [], face
        for block in self.face_encoder_blocks:
            x = block(x)
            features.append(x)
        return features


def _lower(block: ConvBlock, x: Tensor) -> Tensor:
    """Apply a block without padding above: one row less, of an input that goes on above."""
    parts: Any = block.conv_block
    convolution, norm = parts
    y = functional.pad(x, (1, 1, 0, 1))
    y = norm(functional.conv2d(y, convolution.weight, convolution.bias))
    return torch.relu(y + x[:, :, 1:] if block.residual else y)


def _folded(convolution: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a transposed convolution followed by a batch norm, as numbers.

    They go through numpy, so that an exporter writes them as weights and not as their arithmetic.
    """
    fused = fuse_conv_bn_eval(convolution, norm, transpose=True)
    assert fused.bias is not None
    pair = (fused.weight, fused.bias)
    weight, bias = (torch.from_numpy(t.detach().cpu().numpy()).to(t.device) for t in pair)
    return weight, bias
