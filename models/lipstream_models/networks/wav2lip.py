"""The Wav2Lip generator with the parameter names of its published weights.

Prajwal, Mukhopadhyay, Namboodiri, Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip
Generation In The Wild", ACM Multimedia 2020. 36.3 M parameters. Larger faces: ``wav2lip_layout``.

It is split in two halves, what depends on the face alone and what depends on the sound:
``FaceGraph`` runs once for every picture of an avatar, ``MouthGraph`` for every frame shown. Both
take and give uint8 BGR pictures, so scaling, masking and rounding are part of the graph.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lipstream.errors import ModelError


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


_T = TypeVar("_T")
FACE_SIZES = (96, 192, 256, 288, 384)
"""Sides of face crops that such networks are trained for, pixels."""
_AUDIO_CONVOLUTIONS = 13
_AUDIO_WIDENS = (0, 3, 6, 9, 11)
"""Which of the sound encoder's convolutions change the number of channels."""
_NAME = re.compile(r"(\w+)\.(\d+)(?:\.(\d+))?\.conv_block\.0\.weight")


@dataclass(frozen=True, slots=True)
class LayoutBlock:
    """One block of the encoder or decoder: a convolution, then ``residuals`` that add their input.

    A closing level of the encoder has a 1 x 1 convolution in place of residuals.
    """

    channels: int
    residuals: int = 0
    kernel: int = 3


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything in which two generators of this topology differ."""

    face_size: int
    down: tuple[LayoutBlock, ...]
    """Face encoder, finest first."""
    closing: tuple[LayoutBlock, ...]
    """The rest of the face encoder, down to one pixel."""
    up: tuple[LayoutBlock, ...]
    """Face decoder, from one pixel on; its first level is a plain 1 x 1 convolution."""
    audio: tuple[int, int, int, int, int]
    """Channels of the sound encoder."""
    output_channels: int = 32
    """Channels of the output block."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side of what each level of the encoder gives, finest first; below 1 where none fits."""
        sizes = [self.face_size]
        for _ in self.down[1:]:
            sizes.append(-(-sizes[-1] // 2))
        for level in self.closing:
            sizes.append(sizes[-1] - level.kernel + 1)
        return tuple(sizes)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that each level of the encoder gives, finest first."""
        return tuple(level.channels for level in (*self.down, *self.closing))


PUBLISHED = Layout(
    face_size=96,
    down=(
        LayoutBlock(16, 0, 7),
        LayoutBlock(32, 2),
        LayoutBlock(64, 3),
        LayoutBlock(128, 2),
        LayoutBlock(256, 2),
        LayoutBlock(512, 1),
    ),
    closing=(LayoutBlock(512),),
    up=(
        LayoutBlock(512, 0, 1),
        LayoutBlock(512, 1),
        LayoutBlock(512, 2),
        LayoutBlock(384, 2),
        LayoutBlock(256, 2),
        LayoutBlock(128, 2),
        LayoutBlock(64, 2),
    ),
    audio=(32, 64, 128, 256, 512),
)


def read_layout(shapes: Mapping[str, tuple[int, ...]], path: Path) -> Layout:
    """Return the layout of the checkpoint with tensors of these shapes, ``path`` by name.

    Whether every tensor fits it is for the loading to say. Raises ModelError with what differs when
    it is a Wav2Lip of another topology, or none at all.
    """
    shapes_of_parts: dict[str, dict[int, dict[int, tuple[int, ...]]]] = {}
    for name, shape in shapes.items():
        match = _NAME.fullmatch(name)
        if match is not None and len(shape) == 4:
            part, block, place = match[1], int(match[2]), int(match[3] or 0)
            shapes_of_parts.setdefault(part, {}).setdefault(block, {})[place] = shape
    parts = {
        name: [_ordered(b) for b in _ordered(blocks)] for name, blocks in shapes_of_parts.items()
    }
    encoder, decoder = (parts.get(f"face_{word}_blocks", []) for word in ("encoder", "decoder"))
    sound = [block[0] for block in parts.get("audio_encoder", [])]
    if not encoder or not decoder or not sound:
        raise _refused(path, "it lacks a face encoder, a sound encoder or a face decoder")
    if len(sound) != _AUDIO_CONVOLUTIONS:
        reason = f"its sound encoder has {len(sound)} convolutions and not {_AUDIO_CONVOLUTIONS}"
        raise _refused(path, reason)
    if len(encoder) != len(decoder) or len(encoder) < 4:
        reason = f"its face encoder has {len(encoder)} levels and its decoder {len(decoder)}"
        raise _refused(path, f"{reason}, where both have as many, at least 4")
    down = [block for block in encoder if not _closes(block)]
    up = [_level(b, b[0][1 if k else 0]) for k, b in enumerate(decoder)]
    one, two, three, four, five = (sound[place][0] for place in _AUDIO_WIDENS)
    layout = Layout(
        face_size=0,
        down=tuple(_level(block, block[0][0]) for block in down),
        closing=tuple(LayoutBlock(b[0][0], 0, b[0][2]) for b in encoder[len(down) :]),
        up=tuple(up),
        audio=(one, two, three, four, five),
        output_channels=parts.get("output_block", [[(PUBLISHED.output_channels,)]])[0][0][0],
    )
    return _sized(layout, path)


def _ordered(numbered: dict[int, _T]) -> list[_T]:
    return [numbered[number] for number in sorted(numbered)]


def _closes(block: list[tuple[int, ...]]) -> bool:
    return len(block) == 2 and block[1][2] == 1


def _level(block: list[tuple[int, ...]], channels: int) -> LayoutBlock:
    return LayoutBlock(channels, len(block) - 1, block[0][2])


def _sized(layout: Layout, path: Path) -> Layout:
    """Return the layout with the size of its faces; one that halves without a rest comes first."""
    tried = [_resized(layout, size) for size in FACE_SIZES]
    fitting = [one for one in tried if one.sizes[-1] == 1]
    fitting.sort(key=lambda one: one.face_size % 2 ** (len(one.down) - 1) != 0)
    if not fitting:
        reason = f"{len(layout.down) - 1} halvings and {len(layout.closing)} closing levels lead to"
        sizes = ", ".join(map(str, FACE_SIZES))
        raise _refused(path, f"{reason} one pixel from none of the known face sizes ({sizes})")
    chosen = fitting[0]
    kernels = [level.kernel for level in chosen.up]
    expected = [1, chosen.sizes[-2], *[3] * (len(kernels) - 2)]
    if kernels != expected:
        raise _refused(path, f"its decoder has kernels of {kernels}, where {expected} lead back")
    return chosen


def _resized(layout: Layout, face_size: int) -> Layout:
    return Layout(
        face_size, layout.down, layout.closing, layout.up, layout.audio, layout.output_channels
    )


def _refused(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"checkpoint {path} is no Wav2Lip generator that can be exported: {reason}; see"
        " 'lipstream export --help' for what can"
    )


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
    """Transposed convolution, batch norm, ReLU. Doubles the size, or makes one pixel a square."""

    def __init__(self, channels: tuple[int, int], sides: tuple[int, int]) -> None:
        """Go from the first side to the second: 1 to n, or n to 2 n or 2 n - 1."""
        super().__init__()
        before, after = sides
        shape = (after, 1, 0, 0) if before == 1 else (3, 2, 1, after - 2 * before + 1)
        convolution = nn.ConvTranspose2d(*channels, *shape)
        self.conv_block = nn.Sequential(convolution, nn.BatchNorm2d(channels[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        return torch.relu(self.conv_block(x))


def _same(channels: int, count: int) -> list[nn.Module]:
    return [ConvBlock((channels, channels), residual=True) for _ in range(count)]


def _face_encoder(layout: Layout) -> nn.ModuleList:
    blocks, channels = nn.ModuleList(), 6
    for place, level in enumerate(layout.down):
        pair, stride = (channels, level.channels), 2 if place else 1
        first = ConvBlock(pair, level.kernel, stride, padding=level.kernel // 2)
        blocks.append(nn.Sequential(first, *_same(level.channels, level.residuals)))
        channels = level.channels
    for level in layout.closing:
        first = ConvBlock((channels, level.channels), level.kernel, padding=0)
        second = ConvBlock((level.channels, level.channels), 1, padding=0)
        blocks.append(nn.Sequential(first, second))
        channels = level.channels
    return blocks


def _audio_encoder(layout: Layout) -> nn.Sequential:
    one, two, three, four, five = layout.audio
    return nn.Sequential(
        ConvBlock((1, one)),
        *_same(one, 2),
        ConvBlock((one, two), stride=(3, 1)),
        *_same(two, 2),
        ConvBlock((two, three), stride=3),
        *_same(three, 2),
        ConvBlock((three, four), stride=(3, 2)),
        *_same(four, 1),
        ConvBlock((four, five), padding=0),
        ConvBlock((five, five), 1, padding=0),
    )


def _face_decoder(layout: Layout) -> nn.ModuleList:
    first = ConvBlock((layout.audio[-1], layout.up[0].channels), 1, padding=0)
    blocks = nn.ModuleList([nn.Sequential(first)])
    sizes, widths = layout.sizes[::-1], layout.widths[::-1]
    for k, level in enumerate(layout.up[1:], 1):
        pair = (layout.up[k - 1].channels + widths[k - 1], level.channels)
        up = UpBlock(pair, (sizes[k - 1], sizes[k]))
        blocks.append(nn.Sequential(up, *_same(level.channels, level.residuals)))
    return blocks


def _first_rows(layout: Layout) -> list[int]:
    """Return the first row needed of what goes into each decoder block, and into the output block.

    From the last up: the mouth's first row of the picture needs one row more of what goes into the
    output block; a 3 x 3 convolution costs one row, and a doubled row 2 r and those below it come
    from row r and those below it. For 96 pixels: 0, 0, 0, 1, 4, 10, 22, 47.
    """
    rows = [layout.face_size // 2 - 1]
    for level in layout.up[:2:-1]:
        rows.append(max(0, rows[-1] - level.residuals) // 2)
    return [0, 0, 0, *rows[::-1]]


_SHARES = ("share1", "share2")
"""What the face gives to the second and third decoder block, 3 and 6 rows high.

A transposed convolution over (sound, face) is the sum of one over the sound and one over the face;
the face's is computed once. Higher up it would take more memory than it saves time.
"""


class Wav2Lip(SplitNetwork):
    """The generator: a mel window and a masked face in, the spoken face out."""

    mel_columns = 16
    window_start_ms = -40

    def __init__(self, layout: Layout = PUBLISHED) -> None:
        super().__init__()
        self.face_size = layout.face_size
        self.mouth_rows = (layout.face_size // 2, layout.face_size)
        self._levels = len(layout.up)
        self._heard = (0, *(level.channels for level in layout.up))  # before the face's, by block
        self._rows = _first_rows(layout)
        self.feature_names = (*(f"f{k}" for k in range(self._levels - 2)), *_SHARES)
        self.face_encoder_blocks = _face_encoder(layout)
        self.audio_encoder = _audio_encoder(layout)
        self.face_decoder_blocks = _face_decoder(layout)
        pair = (layout.up[-1].channels + layout.widths[0], layout.output_channels)
        self.output_block = nn.Sequential(
            ConvBlock(pair), nn.Conv2d(layout.output_channels, 3, 1), nn.Sigmoid()
        )

    def forward(self, mel: Tensor, face: Tensor) -> Tensor:
        """Paint whole faces, as the original does.

        ``mel`` is (N, 1, 80, 16), ``face`` (N, 6, S, S) in 0..1: BGR with the lower half blanked,
        then BGR of the reference. Returns (N, 3, S, S) in 0..1.
        """
        features = self._encode(face)
        x = self.audio_encoder(mel)
        for block, feature in zip(self.face_decoder_blocks, reversed(features), strict=True):
            x = torch.cat([block(x), feature], 1)
        frame: Tensor = self.output_block(x)
        return frame

    def face_features(self, face: Tensor) -> tuple[Tensor, ...]:
        """Encode (N, S, S, 3) uint8 crops; of each feature only the rows that reach the mouth."""
        features = self._encode(mask_and_join(face))
        rows = self._rows[:2:-1]
        fine = [f[:, :, row:] for f, row in zip(features[:-2], rows, strict=True)]
        shares = [self._raise(k, features[-k], face_side=True) for k in (1, 2)]
        return (*fine, *shares)

    def mouth_from(self, mel: Tensor, *features: Tensor) -> Tensor:
        """Paint the lower half: exactly the rows of ``forward``, at about half the work."""
        decoder: Any = self.face_decoder_blocks
        out: Any = self.output_block
        x = decoder[0](self.audio_encoder(mel))
        for k in range(1, self._levels):
            up, *residuals = decoder[k]
            if k <= len(_SHARES):
                x = torch.relu(self._raise(k, x) + features[self._levels - 3 + k])
            else:
                x = up(torch.cat([x, features[self._levels - k]], 1))
            x = _descend(residuals, x, (2 * self._rows[k], self._rows[k + 1]))
        x = _lower(out[0], torch.cat([x, features[0]], 1))
        # Colours last before the sigmoid: three channels in a row of 16 leave a processor idle.
        output_channels = out[2](out[1](x).permute(0, 2, 3, 1))
        return to_pixels(output_channels.permute(0, 3, 1, 2))

    def _raise(self, k: int, x: Tensor, *, face_side: bool = False) -> Tensor:
        """Apply one side's share of decoder block k's transposed convolution, before its ReLU.

        The batch norm is folded in, and its shift belongs to the face's share. Block 1 makes 3 x 3
        of one pixel, which is a matrix product; runtimes are slow at it in any other form.
        """
        blocks: Any = self.face_decoder_blocks
        convolution, norm = blocks[k][0].conv_block
        weight, bias = _folded(convolution, norm)
        heard = self._heard[k]
        weight = weight[heard:] if face_side else weight[:heard]
        shift = bias if face_side else None
        if k > 1:
            return functional.conv_transpose2d(x, weight, shift, 2, 1, convolution.output_padding)
        side = convolution.kernel_size[0]
        flat = weight.permute(1, 2, 3, 0).reshape(-1, len(weight), 1, 1)
        repeated = None if shift is None else shift.repeat_interleave(side * side)
        return functional.conv2d(x, flat, repeated).view(-1, len(bias), side, side)

    def _encode(self, face: Tensor) -> list[Tensor]:
        features, x = [], face
        for block in self.face_encoder_blocks:
            x = block(x)
            features.append(x)
        return features


def _descend(blocks: list[ConvBlock], x: Tensor, rows: tuple[int, int]) -> Tensor:
    """Apply residual blocks to an input that begins at the first row, up to the second one."""
    top, expected = rows
    for left, block in zip(range(len(blocks) - 1, -1, -1), blocks, strict=True):
        first = max(0, expected - left)
        if first == 0:
            x = block(x)
            continue
        spare = first - 1 - top
        x = _lower(block, x[:, :, spare:] if spare else x)
        top = first
    return x[:, :, expected - top :] if expected > top else x


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
