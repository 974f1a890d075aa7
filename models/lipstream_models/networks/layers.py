"""What the networks are built of."""

from torch import nn


def convolve(
    inputs: int, outputs: int, kernel: int = 3, stride: int | tuple[int, int] = 1
) -> nn.Module:
    """Make a convolution that keeps the size but for its stride, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
