"""The embedded mouth network: a U-Net of 2 M parameters with Wav2Lip's inputs.

The face encoder's skips go to the decoder, the sound joins at the bottom. Full-size rows are folded
into channels (96 x 96 x 3 as 48 x 48 x 12), which costs a CPU far less than full-size layers do.
Everything above the mouth is left out of the decoder, as in ``wav2lip``. The network paints colours
and how far they cover the reference's own lower half: what does not move with speech stays as sharp
as it was, and as much the person's own.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from lipstream_models.networks.split import SplitNetwork, mask_and_join, to_pixels

_WIDTHS = (32, 48, 64, 96, 160)
"""Channels of the encoder's maps, 48, 24, 12, 6 and 3 rows high."""
_FIRST_ROWS = (20, 8, 2, 0)
"""First row needed of the encoder's maps of 48, 24, 12 and 6 rows: those that reach row 24 of the
last through one 3 x 3 convolution a level and two at the end, made even for the doubling."""
_SOUND = 160
"""Channels of the sound at the bottom."""


def _block(
    inputs: int, outputs: int, kernel: int = 3, stride: int | tuple[int, int] = 1
) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class SoundEncoder(nn.Module):
    """A mel window (N, 1, 80, 16) to a map (N, 160, 3, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _block(1, 24, stride=(2, 1)),  # 40 x 16
            _block(24, 32, stride=(2, 1)),  # 20 x 16
            _block(32, 48, stride=2),  # 10 x 8
            _block(48, 64),
            _block(64, 96, stride=2),  # 5 x 4
            _block(96, 128, stride=(2, 1)),  # 3 x 4
            nn.Flatten(),
            nn.Linear(128 * 12, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, _SOUND * 9),
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Encode the windows."""
        encoded: Tensor = self.layers(mel)
        return encoded.view(-1, _SOUND, 3, 3)


class MouthUNet(SplitNetwork):
    """A mel window and a masked face in, the lower half of the spoken face out."""

    face_size = 96
    mel_columns = 16
    window_start_ms = -40
    mouth_rows = (48, 96)
    feature_names = ("f0", "f1", "f2", "f3", "f4", "own")

    def __init__(self) -> None:
        super().__init__()
        widths = _WIDTHS
        self.encoder = nn.ModuleList([_block(24, widths[0])])
        self.encoder.extend(_block(a, b, stride=2) for a, b in pairwise(widths))
        self.sound = SoundEncoder()
        self.bottom = _block(widths[4] + _SOUND, 128)
        self.up6 = _block(128 + widths[3], 96)
        self.up12 = _block(96 + widths[2], 64)
        self.up24 = _block(64 + widths[1], 48)
        self.up48 = _block(48 + widths[0], 48)
        self.paint = nn.Sequential(_block(48, 40), nn.Conv2d(40, 16, 3, padding=1))

    def forward(self, mel: Tensor, face: Tensor) -> Tensor:
        """Paint the mouth.

        ``mel`` is (N, 1, 80, 16), ``face`` (N, 6, 96, 96) in 0..1: BGR with the lower half blanked,
        then BGR of the reference. Returns (N, 3, 48, 96) in 0..1, rows 48 to 96.
        """
        return self._decode(mel, self._encode(face))

    def face_features(self, face: Tensor) -> tuple[Tensor, ...]:
        """Encode (N, 96, 96, 3) uint8 crops; of each map only the rows that reach the mouth."""
        return self._encode(mask_and_join(face))

    def mouth_from(self, mel: Tensor, *features: Tensor) -> Tensor:
        """Paint rows 48 to 96."""
        return to_pixels(self._decode(mel, features))

    def _encode(self, face: Tensor) -> tuple[Tensor, ...]:
        x, maps = functional.pixel_unshuffle(face, 2), []
        for block in self.encoder:
            x = block(x)
            maps.append(x)
        fine = [m[:, :, row:] for m, row in zip(maps[:4], _FIRST_ROWS, strict=True)]
        return (*fine, maps[4], face[:, 3:, self.mouth_rows[0] :])

    def _decode(self, mel: Tensor, features: tuple[Tensor, ...]) -> Tensor:
        f48, f24, f12, f6, f3, own = features
        x = self.bottom(torch.cat([f3, self.sound(mel)], 1))
        x = self.up6(torch.cat([_double(x), f6], 1))[:, :, 1:]
        x = self.up12(torch.cat([_double(x), f12], 1))[:, :, 2:]
        x = self.up24(torch.cat([_double(x), f24], 1))[:, :, 2:]
        x = self.up48(torch.cat([_double(x), f48], 1))[:, :, 2:]
        x = self.paint(x)[:, :, 2:]
        painted = torch.sigmoid(functional.pixel_shuffle(x, 2))
        cover = painted[:, 3:]
        return own + cover * (painted[:, :3] - own)


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
