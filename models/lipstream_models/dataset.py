"""Training examples: a mel window, the lip shape that goes with it, and pictures of that moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lipstream.errors import InputError
from lipstream.mel import BANDS, SILENCE
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import Float32, Image
from lipstream_models.grid import FPS, FRAMES, PREPARED, PreparedFolder
from lipstream_models.lip_shape import MEASURES, SPREAD, lip_shapes, measure_lips

HELD_OUT_EVERY = 20
"""Every 20th clip of a folder is never trained on."""
_FIRST_FRAME, _LAST_FRAME = 1, 70
"""Frames of a clip that serve as targets: their windows lie within its sound."""
_CLOSED_SHARE = 0.2
"""The frames of a clip with the smallest lip gap that count as closed."""
UNITS_A_DECIBEL = 0.08
"""The mel is scaled 100 dB to 8 units."""
_POSE_POINTS = [33, 263, 168, 4, 2]
"""Outer eye corners, bridge, tip and base of the nose: where the head is within the crop."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of the sound a network hears for a frame."""

    columns: int = 16
    start_ms: int = -40
    """Start of the window against the frame's own time."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples as they come from a source, before any augmentation."""

    mel: Float32
    """(n, 80, columns) float32 windows."""
    lips: Float32
    """(n, 17) float32 lip shapes of the targets."""
    own_lips: Float32
    """(n, 17) float32 lip shapes of the references."""
    heard: NDArray[np.bool_]
    """(n,) bool: the window says how the lips stand; False where a picture has no sound."""
    target: NDArray[np.uint8]
    """(n, 96, 96, 3) uint8: its lower half is what to paint."""
    upper: NDArray[np.uint8]
    """(n, 96, 96, 3) uint8: its upper half is what the network sees of the target."""
    reference: NDArray[np.uint8]
    """(n, 96, 96, 3) uint8: a whole face of the same person."""


class Source(Protocol):
    """Where examples come from."""

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Return ``count`` random examples."""
        ...


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the special kinds of example."""

    closed_reference: float = 0.7
    """References with a closed mouth, as an avatar's resting frames have; the others any frame."""
    own_upper: float = 0.3
    """Of those with a closed reference: the upper half comes from the reference too, as it does
    when an avatar speaks."""


@cache
def window_column(frame: int, window: Window) -> int:
    """Return the first mel column of a frame of a clip at 25 fps."""
    return Timing(MODEL_RATE, Fraction(FPS), window.columns, window.start_ms).first_column(frame)


def mel_window(mel: Float32, frame: int, window: Window = Window()) -> Float32:
    """Cut the (80, columns) window of a frame from a clip's (80, n) mel; outside is silence."""
    start = window_column(frame, window)
    stop = start + window.columns
    inside = mel[:, max(0, start) : max(0, stop)]
    before = min(window.columns, max(0, -start))
    after = window.columns - before - inside.shape[1]
    return np.pad(inside, ((0, 0), (before, after)), constant_values=SILENCE)


def silent_mel(rng: np.random.Generator, columns: int = 16) -> Float32:
    """Return a (80, columns) window of silence: digital, or the noise of a quiet room."""
    if rng.random() < 0.3:
        return np.full((BANDS, columns), SILENCE, np.float32)
    level, tilt = rng.uniform(-4.2, -1.5), rng.uniform(-1.5, 0.3)
    shape = level + tilt * np.linspace(0, 1, BANDS)[:, None]
    rough = 0.35 * rng.standard_normal((BANDS, columns))
    return np.clip(shape + rough, SILENCE, -SILENCE).astype(np.float32)


def lip_gap(points: Float32) -> Float32:
    """Return the gap between the inner lips, mean of three places, of (..., 468, 2) points."""
    upper, lower = points[..., [81, 13, 311], 1], points[..., [178, 14, 402], 1]
    return np.asarray((lower - upper).mean(-1), np.float32)


def split_rows(folder: PreparedFolder) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of a folder to train on and those held out."""
    rows = np.flatnonzero(np.asarray(folder.done) == PREPARED)
    held_out = rows % HELD_OUT_EVERY == 0
    return rows[~held_out], rows[held_out]


def shapes_of(folder: PreparedFolder, rows: NDArray[np.intp]) -> Float32:
    """Return the lip shapes of the clips of a folder: (rows, 75, 17) float32."""
    return np.stack([lip_shapes(folder.points[row], folder.quiet[row]) for row in rows])


class ClipSource:
    """Examples from the clips of a prepared folder."""

    def __init__(
        self,
        folder: PreparedFolder,
        rows: NDArray[np.intp],
        window: Window,
        mix: Mix | None = None,
    ) -> None:
        if len(rows) == 0:
            raise InputError(
                f"{folder.folder} has no prepared clips: run 'lipstream train prepare'"
            )
        self._folder, self._rows, self._mix = folder, rows, mix or Mix()
        self._window, self._lips = window, shapes_of(folder, rows)
        points = folder.points
        gap = np.stack([lip_gap(points[row]) for row in rows])
        count = max(1, round(_CLOSED_SHARE * FRAMES))
        self._closed = np.argsort(gap, 1)[:, :count]
        self._pose = np.stack([points[row][:, _POSE_POINTS].reshape(FRAMES, -1) for row in rows])

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Return ``count`` random examples."""
        drawn = [self._draw_one(rng) for _ in range(count)]
        mel, lips, own, target, upper, reference = (
            np.stack(part) for part in zip(*drawn, strict=True)
        )
        return Examples(mel, lips, own, np.ones(count, bool), target, upper, reference)

    def _draw_one(
        self, rng: np.random.Generator
    ) -> tuple[Float32, Float32, Float32, Image, Image, Image]:
        clip = int(rng.integers(len(self._rows)))
        row, closed, mix = self._rows[clip], self._closed[clip], self._mix
        crops = self._folder.crops[row]
        frame = int(rng.integers(_FIRST_FRAME, _LAST_FRAME + 1))
        upper = frame
        if rng.random() < mix.closed_reference:
            reference = self._nearest(clip, frame, rng.choice(closed, 5))
            upper = reference if rng.random() < mix.own_upper else frame
        else:
            reference = int(frame + rng.integers(8, FRAMES - 7)) % FRAMES
        mel = mel_window(self._folder.mel[row], frame, self._window)
        lips = self._lips[clip]
        return mel, lips[frame], lips[reference], crops[frame], crops[upper], crops[reference]

    def _nearest(self, clip: int, frame: int, candidates: NDArray[np.intp]) -> int:
        """Return the candidate frame whose head is placed most like the frame's."""
        pose = self._pose[clip]
        distance = np.abs(pose[candidates] - pose[frame]).sum(1) + (candidates == frame) * 10.0
        return int(candidates[distance.argmin()])


class PictureSource:
    """Examples of one face pictured with many mouth shapes, without sound."""

    def __init__(self, crops: NDArray[np.uint8], points: Float32, window: Window) -> None:
        """``crops`` is (L, 96, 96, 3), ``points`` (L, 468, 2); the first one is at rest."""
        self._crops, self._rest, self._columns = crops, 0, window.columns
        measures = measure_lips(points)
        self._lips = ((measures - measures[0]) / SPREAD).astype(np.float32)

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Return ``count`` random examples; most references are the face at rest."""
        target = rng.integers(len(self._crops), size=count)
        other = rng.integers(len(self._crops), size=count)
        reference = np.where(rng.random(count) < 0.2, other, self._rest)
        mel = np.full((count, BANDS, self._columns), SILENCE, np.float32)
        return Examples(
            mel,
            self._lips[target],
            self._lips[reference],
            np.zeros(count, bool),
            self._crops[target],
            self._crops[reference],
            self._crops[reference],
        )


class MixedSource:
    """Several sources, each with its share of every batch."""

    def __init__(self, sources: Sequence[Source], shares: Sequence[float]) -> None:
        self._sources, self._shares = sources, np.array(shares) / sum(shares)

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Return ``count`` examples, each source's share rounded at random."""
        counts = rng.multinomial(count, self._shares)
        parts = [s.draw(rng, int(n)) for s, n in zip(self._sources, counts, strict=True) if n]
        return Examples(
            np.concatenate([part.mel for part in parts]),
            np.concatenate([part.lips for part in parts]),
            np.concatenate([part.own_lips for part in parts]),
            np.concatenate([part.heard for part in parts]),
            np.concatenate([part.target for part in parts]),
            np.concatenate([part.upper for part in parts]),
            np.concatenate([part.reference for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class SoundMix:
    """Shares of the special kinds of sound."""

    silent: float = 0.06
    """Silence or the noise of a room, lips at rest."""
    music: float = 0.12
    """Music without a voice, lips at rest."""
    over_music: float = 0.12
    """Speech over softer music (the louder of both in every cell)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the sound stage learns from."""

    mel: Float32
    """(n, 80, columns) float32 windows."""
    lips: Float32
    """(n, 17) float32 lip shapes."""


class VoiceSource:
    """Sound with lip shapes, without pictures: the clips of several folders, and music."""

    def __init__(
        self,
        folders: Sequence[PreparedFolder],
        shares: Sequence[float],
        music: Float32,
        window: Window,
        mix: SoundMix | None = None,
    ) -> None:
        """``music`` is (pieces, 80, columns) float32, without a voice."""
        self._window, self._music, self._mix = window, music, mix or SoundMix()
        self._shares = np.array(shares) / sum(shares)
        rows = [split_rows(folder)[0] for folder in folders]
        self._mel = [folder.mel[row] for folder, row in zip(folders, rows, strict=True)]
        self._lips = [shapes_of(folder, row) for folder, row in zip(folders, rows, strict=True)]

    def draw(self, rng: np.random.Generator, count: int) -> Heard:
        """Return ``count`` random examples."""
        chosen = rng.choice(len(self._mel), count, p=self._shares)
        mels, lips = zip(*(self._draw_one(rng, int(number)) for number in chosen), strict=True)
        return Heard(np.stack(mels), np.stack(lips))

    def _draw_one(self, rng: np.random.Generator, number: int) -> tuple[Float32, Float32]:
        mix, columns = self._mix, self._window.columns
        kind = rng.random()
        if kind < mix.silent:
            return silent_mel(rng, columns), np.zeros(MEASURES, np.float32)
        if kind < mix.silent + mix.music:
            return self._some_music(rng), np.zeros(MEASURES, np.float32)
        clip = int(rng.integers(len(self._mel[number])))
        frame = int(rng.integers(_FIRST_FRAME, _LAST_FRAME + 1))
        mel = mel_window(self._mel[number][clip], frame, self._window)
        if rng.random() < mix.over_music:
            softer = UNITS_A_DECIBEL * np.float32(rng.uniform(8, 26))
            mel = np.maximum(mel, self._some_music(rng) - softer)
        return mel, self._lips[number][clip, frame]

    def _some_music(self, rng: np.random.Generator) -> Float32:
        piece = self._music[rng.integers(len(self._music))]
        start = int(rng.integers(piece.shape[1] - self._window.columns))
        return np.asarray(piece[:, start : start + self._window.columns], np.float32)
