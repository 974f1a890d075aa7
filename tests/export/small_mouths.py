"""Networks small enough to be planned at once, and what the tests of plans ask of them."""

import tomllib

import numpy as np
import torch
from torch import nn

from lipstream_export.precisions import Samples, reference_pictures
from lipstream_models.networks.loading import LoadedMouth
from lipstream_models.networks.wav2lip import Layout, LayoutBlock, SplitNetwork, to_pixels

WANTED_DB = 36.0
"""As for every int8 graph: its rounding, on pictures of full contrast."""

NARROW = Layout(
    face_size=96,
    down=(
        LayoutBlock(16, 0, 7),
        *(LayoutBlock(16, 1) for _ in range(2)),
        *(LayoutBlock(32, 1) for _ in range(3)),
    ),
    closing=(LayoutBlock(32),),
    up=(
        LayoutBlock(32, 0, 1),
        LayoutBlock(32, 1),
        LayoutBlock(32, 1),
        LayoutBlock(48, 2),
        *[LayoutBlock(32, 1)] * 3,
    ),
    audio=(16, 16, 32, 32, 48),
    output_channels=16,
)
"""A Wav2Lip of few channels: all that is published but the size."""


def noise(network, count, seed=0):
    rng = np.random.default_rng(seed)
    size = network.face_size
    shape = (count, 1, 80, network.mel_columns)
    crops = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Samples(crops, rng.uniform(-4, 4, shape).astype(np.float32), "noise")


def seeded(network):
    """Give a Wav2Lip norms that do something, and pictures of full contrast."""
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0.0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.2, 0.5)
    heard = network._heard[1:-1]
    with torch.no_grad():  # by chance alone the face would drown the sound
        for channels, (up, *_) in zip(heard, network.face_decoder_blocks[1:], strict=True):
            up.conv_block[0].weight[:channels].mul_(4)
        network.output_block[0].conv_block[0].weight[:, : network._heard[-1]].mul_(4)
    last, sums = network.output_block[1], []
    hook = last.register_forward_hook(lambda *given: sums.append(given[2]))
    reference_pictures(network.eval(), noise(network, 2))
    hook.remove()
    spread, middle = torch.std_mean(sums[0], (0, 2, 3))
    with torch.no_grad():
        last.bias.copy_((last.bias - middle) / spread)
        last.weight.div_(spread.view(-1, 1, 1, 1))
    return network


def loaded(network):
    return LoadedMouth(network, "some", "1", "CC0-1.0", "seeded")


def files_of(folder):
    return tomllib.loads((folder / "model.toml").read_text())["files"]


class Small(SplitNetwork):
    """The least network with a mouth: what a test needs otherwise it is given."""

    face_size, mel_columns, window_start_ms = 16, 16, -40
    mouth_rows = (8, 16)
    feature_names = ("f",)

    def __init__(self, *, inner=None, last=None, end=torch.sigmoid, face=torch.relu, width=16):
        super().__init__()
        self.face = nn.Conv2d(3, width, 3, padding=1)
        self.hear = nn.Conv2d(1, 16, 3, (10, 1), 1)
        self.inner = inner or nn.Conv2d(16, 16, 1)
        self.last = last or nn.Conv2d(16 + width, 32, 3, padding=1)
        self.paint = nn.Conv2d(32, 3, 1)
        self.end, self.shown = end, face

    def face_features(self, face):
        levels = face.float().permute(0, 3, 1, 2) / 255 - 0.5
        return (self.shown(self.face(levels))[:, :, 8:],)

    def mouth_from(self, mel, *features):
        x = torch.relu(self.hear(mel))
        x = torch.relu(self.inner(x) + x)
        x = torch.relu(self.last(torch.cat([x, *features], 1)))
        return to_pixels(self.end(self.paint(x)))


def small(parts=dict):
    torch.manual_seed(7)
    network = Small(**parts()).eval()
    with torch.no_grad():
        network.paint.weight.mul_(8)
    return network
