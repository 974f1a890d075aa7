"""S3FD, the face detector that Wav2Lip's own scripts use (Zhang et al., ICCV 2017)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor, nn

_BLOCKS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))
"""Input channels, output channels and convolutions of the five VGG-16 blocks."""
_HEADS = {
    "conv3_3_norm": (256, 4),
    "conv4_3_norm": (512, 2),
    "conv5_3_norm": (512, 2),
    "fc7": (1024, 2),
    "conv6_2": (512, 2),
    "conv7_2": (256, 2),
}
"""Where faces are looked for -> channels there, and classes (three of the first four are one)."""


STRIDES = len(_HEADS)
"""Places in the network where faces are looked for."""


class _ScaledNorm(nn.Module):
    """L2 normalisation over channels, each then scaled by a learned weight."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, C, H, W) with unit columns, scaled."""
        length = features.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
        return features / length * self.weight.view(1, -1, 1, 1)


class S3fd(nn.Module):
    """Attribute names are the keys of the published ``s3fd.pth``."""

    def __init__(self) -> None:
        super().__init__()
        for block, (inputs, channels_out, count) in enumerate(_BLOCKS, start=1):
            for number in range(1, count + 1):
                layer = nn.Conv2d(
                    inputs if number == 1 else channels_out, channels_out, 3, padding=1
                )
                self.add_module(f"conv{block}_{number}", layer)
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=3)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self.conv6_1 = nn.Conv2d(1024, 256, 1)
        self.conv6_2 = nn.Conv2d(256, 512, 3, stride=2, padding=1)
        self.conv7_1 = nn.Conv2d(512, 128, 1)
        self.conv7_2 = nn.Conv2d(128, 256, 3, stride=2, padding=1)
        self.conv3_3_norm = _ScaledNorm(256)
        self.conv4_3_norm = _ScaledNorm(512)
        self.conv5_3_norm = _ScaledNorm(512)
        for name, (channels, classes) in _HEADS.items():
            self.add_module(f"{name}_mbox_conf", nn.Conv2d(channels, classes, 3, padding=1))
            self.add_module(f"{name}_mbox_loc", nn.Conv2d(channels, 4, 3, padding=1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return, for each of six strides, face logits (N, 2, h, w) and boxes (N, 4, h, w).

        ``image`` is (N, 3, H, W) float32, BGR less (104, 117, 123).
        """
        maps = self._maps(image)
        outputs = []
        for name, features in maps.items():
            logits = self.get_submodule(f"{name}_mbox_conf")(features)
            if logits.shape[1] == 4:  # three kinds of background: the likeliest counts
                background = logits[:, :3].amax(dim=1, keepdim=True)
                logits = torch.cat([background, logits[:, 3:]], dim=1)
            outputs += [logits, self.get_submodule(f"{name}_mbox_loc")(features)]
        return outputs

    def _maps(self, image: Tensor) -> dict[str, Tensor]:
        maps = {}
        features = image
        for block, (_, _, count) in enumerate(_BLOCKS, start=1):
            for number in range(1, count + 1):
                features = F.relu(self.get_submodule(f"conv{block}_{number}")(features))
            if block >= 3:
                maps[f"conv{block}_3_norm"] = self.get_submodule(f"conv{block}_3_norm")(features)
            features = F.max_pool2d(features, 2)
        features = F.relu(self.fc7(F.relu(self.fc6(features))))
        maps["fc7"] = features
        features = F.relu(self.conv6_2(F.relu(self.conv6_1(features))))
        maps["conv6_2"] = features
        maps["conv7_2"] = F.relu(self.conv7_2(F.relu(self.conv7_1(features))))
        return maps


class S3fdGraph(nn.Module):
    """S3FD from a uint8 BGR picture to face scores and box offsets."""

    def __init__(self, network: S3fd) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return (N, h, w) scores, 0 to 1, and (N, 4, h, w) offsets, for each of six strides."""
        # floats first: TensorRT turns no uint8
        outputs = self.network(image.float().permute(0, 3, 1, 2) - self.get_buffer("mean"))
        scores = [torch.softmax(logits, dim=1)[:, 1] for logits in outputs[::2]]
        return tuple(tensor for pair in zip(scores, outputs[1::2], strict=True) for tensor in pair)


def is_s3fd(state: Mapping[str, object]) -> bool:
    """Return whether a state dict is that of S3FD."""
    return "conv3_3_norm_mbox_conf.weight" in state
