"""The lip network: mel columns to lip classes and lip measures, for two look-aheads at once.

A stack of convolutions that look back only. What it says of a moment comes out a few columns later,
and each head has a delay of its own: the more of the future it has heard, the surer it is. Training
runs over whole utterances; a window of ``COLUMNS`` mel columns gives the same numbers for the frame
at its end, so the exported graph needs no state.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor, nn

from lipstream.audio.mel import BANDS, SILENCE
from lipstream.lips.decoder import NEWEST_COLUMNS
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES

DELAYS = {"quality": 11, "low-delay": 3}
"""Setting -> columns of 12.5 ms that are heard after the column that is spoken of."""
COLUMNS = 52
"""Mel columns of the exported window: what the newest three columns depend on, and one to spare."""
WINDOW_START_MS = {"quality": -490, "low-delay": -590}
"""Setting -> start of the window against the frame's time: the frame's lips stand at column
``floor(80 (k / fps + 0.010))``, and the window ends that column's delay later."""
_DILATIONS = (1, 2, 4, 8, 1, 2, 4)
_FRONT = (16, 24, 32)
"""Channels of the convolutions that halve the 80 bands to 10."""
_MEL_SCALE = 0.25
"""The mel's range is -4 to 4."""
_UNITS_A_DECIBEL = 8 / 100
_TO_LOG_POWER = math.log(10) / (10 * _UNITS_A_DECIBEL)
_NOISY, _CLEAR = 12 * _UNITS_A_DECIBEL, 22 * _UNITS_A_DECIBEL
"""How far the loudest moment of a window is above its floor, mean of the bands: from where noise is
taken off wholly, and from where not at all. White noise 10 dB below a voice gives 4 to 11 dB, clear
speech 20 to 40."""
_FLOOR_COLUMNS = 5
"""Columns whose mean is taken before the least of them is the floor."""
_TAKEN, _LEFT = 1.2, 0.1
"""What is taken of the floor's power, and the share of a moment's power that stays in any case."""


class _BandConvolution(nn.Module):
    """A convolution over bands and past columns that halves the bands."""

    def __init__(self, channels: tuple[int, int], bands: int, columns: int) -> None:
        super().__init__()
        self.past = columns - 1
        self.convolution = nn.Conv2d(
            *channels, (bands, columns), stride=(2, 1), padding=(bands // 2, 0), bias=False
        )
        self.norm = nn.BatchNorm2d(channels[1])

    def forward(self, x: Tensor, pad: bool) -> Tensor:
        x = F.pad(x, (self.past, 0)) if pad else x
        return torch.relu(self.norm(self.convolution(x)))


class _ResidualBlock(nn.Module):
    """A dilated convolution over past columns, added to what it is given."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.past = 2 * dilation
        self.convolution = nn.Conv1d(width, width, 3, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, pad: bool) -> Tensor:
        y = torch.relu(self.norm(self.convolution(F.pad(x, (self.past, 0)) if pad else x)))
        return x[..., x.shape[-1] - y.shape[-1] :] + F.dropout(y, 0.1, self.training)


class LipNetwork(nn.Module):
    """Mel columns to class logits and measures, a head for each of DELAYS, in their order."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.width = width
        first, second, third = _FRONT
        self.front = nn.ModuleList(
            [
                _BandConvolution((1, first), 5, 3),
                _BandConvolution((first, second), 3, 1),
                _BandConvolution((second, third), 3, 3),
            ]
        )
        self.mix = nn.Sequential(
            nn.Conv1d(third * BANDS // 8, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU()
        )
        self.blocks = nn.ModuleList([_ResidualBlock(width, step) for step in _DILATIONS])
        self.heads = nn.ModuleList([nn.Conv1d(width, len(CLASSES) + MEASURES, 1) for _ in DELAYS])

    def trunk(self, mel: Tensor, pad: bool = True) -> Tensor:
        """Return (N, width, T): what is known at each column of a mel (N, 1, 80, T).

        Without ``pad`` the columns that lack a past are left out.
        """
        x: Tensor = mel * _MEL_SCALE
        for layer in self.front:
            x = layer(x, pad)
        x = self.mix(x.flatten(1, 2))
        for block in self.blocks:
            x = block(x, pad)
        return x

    def forward(self, mel: Tensor) -> list[Tensor]:
        """Return (N, 14 + 17, T) for each head: at column t it speaks of t less its delay."""
        known = self.trunk(mel)
        return [head(known) for head in self.heads]


def without_noise(mel: Tensor) -> Tensor:
    """Return a window (N, 1, 80, columns) with steady noise taken off, where there is much of it.

    Boll, "Suppression of acoustic noise in speech using spectral subtraction",
    IEEE TASSP 27(2), 1979, the noise of each band being the least it falls to in the window.
    """
    smooth = F.avg_pool2d(mel, (1, _FLOOR_COLUMNS), stride=1)
    floor = smooth.amin(3, keepdim=True)
    peak = smooth.mean(2, keepdim=True).amax(3, keepdim=True)
    return _subtracted(mel, floor, peak)


def without_noise_along(mel: Tensor) -> Tensor:
    """Return a longer mel (N, 1, 80, columns) as ``without_noise`` leaves it, moment by moment.

    The floor and the loudest moment of a column are those of the ``COLUMNS`` round it: what is
    learned from is heard as the exported graph hears.
    """
    smooth = F.avg_pool2d(mel, (1, _FLOOR_COLUMNS), stride=1)
    reach = COLUMNS - _FLOOR_COLUMNS + 1
    spare = mel.shape[3] - smooth.shape[3] + reach - 1
    sides = (spare // 2, spare - spare // 2)

    def loudest(power: Tensor) -> Tensor:
        padded = F.pad(power, sides, value=-math.inf)
        return F.max_pool2d(padded, (1, reach), stride=1)

    floor, peak = -loudest(-smooth), loudest(smooth.mean(2, keepdim=True))
    return _subtracted(mel, floor, peak)


def _subtracted(mel: Tensor, floor: Tensor, peak: Tensor) -> Tensor:
    """Take a noise of ``floor`` off a mel, the less the further ``peak`` is above it."""
    above = peak - floor.mean(2, keepdim=True)
    share = ((_CLEAR - above) / (_CLEAR - _NOISY)).clamp(0.0, 1.0)
    noise = torch.exp((_TO_LOG_POWER * (floor - mel)).clamp(max=0.0))
    kept = torch.log((1.0 - _TAKEN * noise).clamp(min=_LEFT)) / _TO_LOG_POWER
    return (mel + share * kept).clamp(min=SILENCE)


class LipWindow(nn.Module):
    """One setting of a lip network as a function of one window: what is exported.

    It hears the window without steady noise, and so does training.
    """

    def __init__(self, network: LipNetwork, setting: str) -> None:
        super().__init__()
        self.network = network
        self.head = network.heads[list(DELAYS).index(setting)]

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return classes (N, 3, 14), which sum to 1, and measures (N, 17) of mel (N, 1, 80, 52)."""
        known = self.network.trunk(without_noise(mel), pad=False)[..., -NEWEST_COLUMNS:]
        answer = self.head(known)
        classes = torch.softmax(answer[:, : len(CLASSES)], 1).transpose(1, 2)
        return classes, answer[:, len(CLASSES) :, -1]
