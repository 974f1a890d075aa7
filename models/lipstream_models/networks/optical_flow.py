"""Measure how pixels moved between two pictures, as part of a graph and without weights.

The pyramid of Bouguet, "Pyramidal Implementation of the Lucas Kanade Feature Tracker" (Intel,
2001), on the method of Lucas and Kanade, "An Iterative Image Registration Technique" (IJCAI 1981):
in every window the movement that explains the difference best, by least squares. Made of pooling
and sampling alone, so that every runtime has its parts.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_LUMA = (0.114, 0.587, 0.299)
"""Of blue, green and red (ITU-R BT.601)."""
_DAMPING = 3e-4
"""Added to the squared gradients (0..1 a pixel): a window without texture stays where it is."""


@dataclass(frozen=True, slots=True)
class _Level:
    """One size of the pyramid."""

    stride: int
    steps: int
    window: int


_LEVELS = (_Level(4, 3, 5), _Level(2, 3, 3))


class Motion(NamedTuple):
    """How pixels moved, on a grid half as fine as the picture."""

    flow: Tensor
    """(N, 2, H/2, W/2): across and down, pixels of the picture."""
    trust: Tensor
    """(N, 1, H/2, W/2) above 0: how much texture says so, in the weaker direction."""


def grey(picture: Tensor) -> Tensor:
    """Return (N, 1, H, W) luma of a (N, 3, H, W) BGR picture."""
    return (picture * picture.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def measure_motion(target: Tensor, source: Tensor) -> Motion:
    """Say where in ``source`` every pixel of ``target`` is.

    ``target`` is (N, 1, h, W) and may be the upper part of a picture, ``source`` (N, 1, H, W), both
    in 0..1 with sides that four divides. No gradient flows through.
    """
    with torch.no_grad():
        flow, trust = torch.zeros_like(target[:, :, ::4, ::4]).repeat(1, 2, 1, 1), target
        for level in _LEVELS:
            small, wide = (functional.avg_pool2d(p, level.stride) for p in (target, source))
            if flow.shape[2] != small.shape[2]:
                flow = 2 * functional.interpolate(
                    flow, scale_factor=2.0, mode="bilinear", align_corners=False
                )
            flow, trust = _refine(flow, small, wide, level)
        return Motion(flow * _LEVELS[-1].stride, trust)


def sample(picture: Tensor, flow: Tensor) -> Tensor:
    """Take the pixels of (N, C, H, W) from where a (N, 2, h, W) flow of pixels says: (N, C, h, W).

    Beyond the border are the outermost pixels.
    """
    height, width = picture.shape[2:]
    down = torch.arange(flow.shape[2], device=flow.device, dtype=flow.dtype)[None, :, None]
    across = torch.arange(width, device=flow.device, dtype=flow.dtype)[None, None, :]
    x = ((flow[:, 0] + across + 0.5) * (2 / width) - 1).clamp(1 / width - 1, 1 - 1 / width)
    y = ((flow[:, 1] + down + 0.5) * (2 / height) - 1).clamp(1 / height - 1, 1 - 1 / height)
    places = torch.stack([x, y], -1)
    return functional.grid_sample(picture, places, padding_mode="zeros", align_corners=False)


def _refine(flow: Tensor, target: Tensor, source: Tensor, level: _Level) -> tuple[Tensor, Tensor]:
    across, down = _gradients(target)
    xx = _mean(across * across, level) + _DAMPING
    xy, yy = _mean(across * down, level), _mean(down * down, level) + _DAMPING
    determinant = xx * yy - xy * xy
    trust = determinant / (xx + yy)
    for _ in range(level.steps):
        error = sample(source, flow) - target
        x, y = _mean(across * error, level), _mean(down * error, level)
        step = torch.cat([xy * y - yy * x, xy * x - xx * y], 1) / determinant
        flow = flow + step.clamp(-1, 1)
        flow = _mean(flow * trust, level) / _mean(trust, level)
    return flow, trust


def _gradients(picture: Tensor) -> tuple[Tensor, Tensor]:
    wide = functional.pad(picture, (1, 1, 1, 1), mode="replicate")
    across = (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / 2
    return across, (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / 2


def _mean(values: Tensor, level: _Level) -> Tensor:
    """Average over the window, twice: a bell without corners."""
    once = functional.avg_pool2d(values, level.window, 1, level.window // 2)
    return functional.avg_pool2d(once, level.window, 1, level.window // 2)
