"""How the head of a reference has to be turned to stand as the target's does.

The network sees only the upper half of the target. How its pixels moved is measured there, without
weights; what that means for the lower half (the jaw's edge, the neck, the room behind) is
learned. It runs with the encoder, once for every picture of an avatar, never once a frame.
"""

from torch import Tensor, cat, log10, nn, ones_like
from torch.nn import functional

from lipstream_models.networks.layers import convolve
from lipstream_models.networks.optical_flow import grey, measure_motion, sample

GRID = 12
"""Places of a turn along each side of the crop, eight pixels apart."""
_SEEN = 2 * GRID * GRID // 2
"""Numbers of the movement seen in the upper half."""
_WIDTHS = (32, 48, 64)
_CODE = 96


class Alignment(nn.Module):
    """A masked target and a reference (N, 6, 96, 96) to a turn (N, 2, 12, 12), pixels.

    At every place the turn says how far away, across and down, its pixel is in the reference.
    """

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = _WIDTHS
        self.fine = nn.Sequential(convolve(36, fine), convolve(fine, fine))
        self.middle = convolve(fine, middle, stride=2)
        self.coarse = convolve(middle, coarse, stride=2)
        self.whole = nn.Sequential(
            convolve(coarse, coarse, stride=2),
            nn.Flatten(),
            nn.Linear(coarse * 9, _CODE),
            nn.ReLU(inplace=True),
            nn.Linear(_CODE, 32 * 36),
        )
        self.up6 = convolve(32 + coarse, 48)
        self.up12 = convolve(48 + middle, 48)
        self.local = nn.Conv2d(48, 2, 3, padding=1)
        self.straight = nn.Linear(_SEEN, 2 * GRID * GRID)
        for still in (self.local, self.straight):
            nn.init.zeros_(still.weight)
            nn.init.zeros_(still.bias)  # type: ignore[arg-type]

    def forward(self, face: Tensor) -> Tensor:
        """Return the turn."""
        seen, motion = _see(face)
        fine = self.fine(seen)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        x = self.up6(cat([self.whole(coarse).view(-1, 32, 6, 6), coarse], 1))
        doubled = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        local = self.local(self.up12(cat([doubled, middle], 1)))
        straight = self.straight(motion.flatten(1)).view(-1, 2, GRID, GRID)
        turn: Tensor = local + straight
        return turn


def _see(face: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the network looks at, (N, 36, 24, 24), and the movement (N, 2, 6, 12)."""
    half = face.shape[2] // 2
    target, reference = grey(face[:, :3, :half]), grey(face[:, 3:])
    flow, trust = measure_motion(target, reference)
    fine = functional.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)
    missed = 4 * functional.pixel_unshuffle(target - sample(reference, fine), 4)
    weighted = flow * trust
    flow24 = functional.avg_pool2d(weighted, 2) / functional.avg_pool2d(trust, 2)
    flow12 = functional.avg_pool2d(weighted, 4) / functional.avg_pool2d(trust, 4)
    certain = log10(functional.avg_pool2d(trust, 2)) / 3 + 1
    upper = cat([flow24 / 2, certain, missed, ones_like(certain)], 1)
    below = functional.pad(upper, (0, 0, 0, upper.shape[2]))
    return cat([below, functional.pixel_unshuffle(reference, 4)], 1), flow12
