"""The sizes of a Wav2Lip generator, and how to read them from a checkpoint.

Larger faces than 96 pixels have been trained with more levels, other widths and other kernels. A
checkpoint holds shapes and no strides, so what is read is what the shapes and this topology say
together: the first level keeps the size and each one after it halves it (an odd side rounded up),
closing levels have a convolution without padding and a 1 x 1 one, and the decoder goes the same way
back. A checkpoint does not tell its activation either: ReLU is taken, as published.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lipstream.errors import ModelError

_T = TypeVar("_T")
FACE_SIZES = (96, 192, 256, 288, 384)
"""Sides of face crops that such networks are trained for, pixels."""
_AUDIO_CONVOLUTIONS = 13
_AUDIO_WIDENS = (0, 3, 6, 9, 11)
"""Which of the sound encoder's convolutions change the number of channels."""
_NAME = re.compile(r"(\w+)\.(\d+)(?:\.(\d+))?\.conv_block\.0\.weight")


@dataclass(frozen=True, slots=True)
class Level:
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
    down: tuple[Level, ...]
    """Face encoder, finest first."""
    closing: tuple[Level, ...]
    """The rest of the face encoder, down to one pixel."""
    up: tuple[Level, ...]
    """Face decoder, from one pixel on; its first level is a plain 1 x 1 convolution."""
    audio: tuple[int, int, int, int, int]
    """Channels of the sound encoder."""
    painted: int = 32
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
    down=(Level(16, 0, 7), Level(32, 2), Level(64, 3), Level(128, 2), Level(256, 2), Level(512, 1)),
    closing=(Level(512),),
    up=(
        Level(512, 0, 1),
        Level(512, 1),
        Level(512, 2),
        Level(384, 2),
        Level(256, 2),
        Level(128, 2),
        Level(64, 2),
    ),
    audio=(32, 64, 128, 256, 512),
)


def read_layout(shapes: Mapping[str, tuple[int, ...]], path: Path) -> Layout:
    """Return the layout of the checkpoint with tensors of these shapes, ``path`` by name.

    Whether every tensor fits it is for the loading to say. Raises ModelError with what differs when
    it is a Wav2Lip of another topology, or none at all.
    """
    found: dict[str, dict[int, dict[int, tuple[int, ...]]]] = {}
    for name, shape in shapes.items():
        match = _NAME.fullmatch(name)
        if match is not None and len(shape) == 4:
            part, block, place = match[1], int(match[2]), int(match[3] or 0)
            found.setdefault(part, {}).setdefault(block, {})[place] = shape
    parts = {name: [_ordered(b) for b in _ordered(blocks)] for name, blocks in found.items()}
    encoder, decoder = (parts.get(f"face_{word}_blocks", []) for word in ("encoder", "decoder"))
    sound = [block[0] for block in parts.get("audio_encoder", [])]
    if not encoder or not decoder or not sound:
        raise _refused(path, "it lacks a face encoder, a sound encoder or a face decoder")
    if len(sound) != _AUDIO_CONVOLUTIONS:
        told = f"its sound encoder has {len(sound)} convolutions and not {_AUDIO_CONVOLUTIONS}"
        raise _refused(path, told)
    if len(encoder) != len(decoder) or len(encoder) < 4:
        told = f"its face encoder has {len(encoder)} levels and its decoder {len(decoder)}"
        raise _refused(path, f"{told}, where both have as many, at least 4")
    down = [block for block in encoder if not _closes(block)]
    up = [_level(b, b[0][1 if k else 0]) for k, b in enumerate(decoder)]
    one, two, three, four, five = (sound[place][0] for place in _AUDIO_WIDENS)
    layout = Layout(
        face_size=0,
        down=tuple(_level(block, block[0][0]) for block in down),
        closing=tuple(Level(b[0][0], 0, b[0][2]) for b in encoder[len(down) :]),
        up=tuple(up),
        audio=(one, two, three, four, five),
        painted=parts.get("output_block", [[(PUBLISHED.painted,)]])[0][0][0],
    )
    return _sized(layout, path)


def _ordered(numbered: dict[int, _T]) -> list[_T]:
    return [numbered[number] for number in sorted(numbered)]


def _closes(block: list[tuple[int, ...]]) -> bool:
    return len(block) == 2 and block[1][2] == 1


def _level(block: list[tuple[int, ...]], channels: int) -> Level:
    return Level(channels, len(block) - 1, block[0][2])


def _sized(layout: Layout, path: Path) -> Layout:
    """Return the layout with the size of its faces; one that halves without a rest comes first."""
    tried = [_resized(layout, size) for size in FACE_SIZES]
    fitting = [one for one in tried if one.sizes[-1] == 1]
    fitting.sort(key=lambda one: one.face_size % 2 ** (len(one.down) - 1) != 0)
    if not fitting:
        told = f"{len(layout.down) - 1} halvings and {len(layout.closing)} closing levels lead to"
        sizes = ", ".join(map(str, FACE_SIZES))
        raise _refused(path, f"{told} one pixel from none of the known face sizes ({sizes})")
    chosen = fitting[0]
    kernels = [level.kernel for level in chosen.up]
    wanted = [1, chosen.sizes[-2], *[3] * (len(kernels) - 2)]
    if kernels != wanted:
        raise _refused(path, f"its decoder has kernels of {kernels}, where {wanted} lead back")
    return chosen


def _resized(layout: Layout, face_size: int) -> Layout:
    return Layout(face_size, layout.down, layout.closing, layout.up, layout.audio, layout.painted)


def _refused(path: Path, told: str) -> ModelError:
    return ModelError(
        f"checkpoint {path} is no Wav2Lip generator that can be exported: {told}; see"
        " 'lipstream export --help' for what can"
    )
