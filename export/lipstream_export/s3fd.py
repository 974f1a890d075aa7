"""S3FD, the face detector that Wav2Lip's scripts use, as ONNX: for those who bring ``s3fd.pth``."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lipstream_export.folder import folder_written_whole
from lipstream_export.onnx_graphs import Signature, save_graph
from lipstream_models.networks.s3fd import S3fd

FILE = "s3fd.onnx"
STRIDES = 6
"""Places in the network where faces are looked for."""


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


def export_s3fd(network: S3fd, target: Path) -> None:
    """Write ``target/s3fd.onnx``."""
    outputs = [f"{kind}{level}" for level in range(STRIDES) for kind in ("score", "offset")]
    plane = {name: {1: f"h{name[-1]}", 2: f"w{name[-1]}"} for name in outputs if name[0] == "s"}
    boxes = {name: {2: f"h{name[-1]}", 3: f"w{name[-1]}"} for name in outputs if name[0] == "o"}
    example = torch.zeros(2, 160, 192, 3, dtype=torch.uint8)
    axes = {"image": {1: "H", 2: "W"}, **plane, **boxes}
    with folder_written_whole(target) as folder:
        save_graph(S3fdGraph(network), Signature({"image": example}, outputs, axes), folder / FILE)
