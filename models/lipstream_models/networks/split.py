"""A lip-sync network in two halves: what depends on the face alone, and what depends on the sound.

``FaceGraph`` runs once for every picture of an avatar, ``MouthGraph`` for every frame shown. Both
take and give uint8 BGR pictures, so scaling, masking and rounding are part of the graph.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn


class SplitNetwork(nn.Module):
    """What a network must offer to be exported as a model folder."""

    face_size: int
    """Side of the square face crop, pixels."""
    mel_columns: int
    """Columns of the mel window."""
    window_start_ms: int
    """Start of the mel window against the frame's own time, as the network was trained."""
    mouth_rows: tuple[int, int]
    """First and one past the last crop row that the network paints for."""
    feature_names: tuple[str, ...]
    """Names of the tensors that go from the face half to the mouth half, in order."""

    @abstractmethod
    def face_features(self, face: Tensor) -> tuple[Tensor, ...]:
        """Encode (N, S, S, 3) uint8 BGR crops.

        The same crop is the target, its lower half blanked, and the reference. Returns float32
        tensors with the leading axis N, in the order of ``feature_names``.
        """

    @abstractmethod
    def mouth_from(self, mel: Tensor, *features: Tensor) -> Tensor:
        """Paint the mouth for (N, 1, 80, columns) float32 mel windows.

        Returns (N, rows, S, 3) uint8 BGR, the rows of ``mouth_rows``.
        """


def mask_and_join(face: Tensor) -> Tensor:
    """Make the six input channels, (N, 6, S, S) float32 in 0..1, of (N, S, S, 3) uint8 crops.

    Channels 0 to 2 are the crop with its lower half blanked, 3 to 5 the crop as the reference.
    """
    reference = face.float().permute(0, 3, 1, 2) / 255.0  # TensorRT moves no uint8
    half = face.shape[1] // 2
    masked = torch.cat([reference[:, :, :half], torch.zeros_like(reference[:, :, half:])], 2)
    return torch.cat([masked, reference], 1)


def to_pixels(mouth: Tensor) -> Tensor:
    """Turn (N, 3, rows, S) float32 in 0..1 into (N, rows, S, 3) uint8, rounded and clipped."""
    levels = torch.clamp(torch.round(mouth * 255.0), 0.0, 255.0)
    return levels.permute(0, 2, 3, 1).to(torch.uint8)  # last: TensorRT moves no uint8


class FaceGraph(nn.Module):
    """The face half as a module: ``face`` (N, S, S, 3) uint8 -> the features."""

    def __init__(self, network: SplitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor) -> tuple[Tensor, ...]:
        """Return the features of the faces."""
        return self.network.face_features(face)


class MouthGraph(nn.Module):
    """The mouth half as a module: ``mel`` and the features -> ``mouth`` (N, rows, S, 3) uint8."""

    def __init__(self, network: SplitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor, *features: Tensor) -> Tensor:
        """Return the painted mouths."""
        return self.network.mouth_from(mel, *features)
