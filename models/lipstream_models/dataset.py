"""Training examples: a mel window, a face to complete, and the mouth that belongs there."""

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
from lipstream.types import Float32
from lipstream_models.grid import FPS, FRAMES, PREPARED, PreparedFolder

MEL_COLUMNS = 16
HELD_OUT_EVERY = 20
"""Every 20th clip of a folder is never trained on."""
_FIRST_FRAME, _LAST_FRAME = 1, 70
"""Frames of a clip that serve as targets: their windows lie within its sound."""
_CLOSED_SHARE = 0.2
"""The frames of a clip with the smallest lip gap that count as closed."""
_POSE_POINTS = [33, 263, 168, 4, 2]
"""Outer eye corners, bridge, tip and base of the nose: where the head is within the crop."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples as they come from a source, before any augmentation."""

    mel: Float32
    """(n, 80, 16) float32 windows."""
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

    closed_reference: float = 0.6
    """References with a closed mouth, as an avatar's resting frames have; the others any frame."""
    own_upper: float = 0.5
    """Of those with a closed reference: the upper half comes from the reference too, as it does
    when an avatar speaks."""
    silent: float = 0.06
    """Silence or noise alone, with a closed mouth as the target."""


@cache
def window_column(frame: int, window_start_ms: int = -40) -> int:
    """Return the first mel column of a frame of a clip at 25 fps."""
    return Timing(MODEL_RATE, Fraction(FPS), MEL_COLUMNS, window_start_ms).first_column(frame)


def mel_window(mel: Float32, frame: int) -> Float32:
    """Cut the (80, 16) window of a frame from a clip's (80, columns) mel; outside is silence."""
    start = window_column(frame)
    stop = start + MEL_COLUMNS
    inside = mel[:, max(0, start) : max(0, stop)]
    before = max(0, -start)
    after = MEL_COLUMNS - before - inside.shape[1]
    return np.pad(inside, ((0, 0), (before, after)), constant_values=SILENCE)


def silent_mel(rng: np.random.Generator) -> Float32:
    """Return a (80, 16) window of silence: digital, or the noise of a quiet room."""
    if rng.random() < 0.3:
        return np.full((BANDS, MEL_COLUMNS), SILENCE, np.float32)
    level, tilt = rng.uniform(-4.2, -1.5), rng.uniform(-1.5, 0.3)
    shape = level + tilt * np.linspace(0, 1, BANDS)[:, None]
    rough = 0.35 * rng.standard_normal((BANDS, MEL_COLUMNS))
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


class ClipSource:
    """Examples from the clips of a prepared folder."""

    def __init__(
        self, folder: PreparedFolder, rows: NDArray[np.intp], mix: Mix | None = None
    ) -> None:
        if len(rows) == 0:
            raise InputError(
                f"{folder.folder} has no prepared clips: run 'lipstream train prepare'"
            )
        self._folder, self._rows, self._mix = folder, rows, mix or Mix()
        points = folder.points
        gap = np.stack([lip_gap(points[row]) for row in rows])
        count = max(1, round(_CLOSED_SHARE * FRAMES))
        self._closed = np.argsort(gap, 1)[:, :count]
        self._pose = np.stack([points[row][:, _POSE_POINTS].reshape(FRAMES, -1) for row in rows])

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Return ``count`` random examples."""
        drawn = [self._draw_one(rng) for _ in range(count)]
        mel, target, upper, reference = (np.stack(part) for part in zip(*drawn, strict=True))
        return Examples(mel, target, upper, reference)

    def _draw_one(
        self, rng: np.random.Generator
    ) -> tuple[Float32, NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        clip = int(rng.integers(len(self._rows)))
        row, closed = self._rows[clip], self._closed[clip]
        crops, mix = self._folder.crops[row], self._mix
        frame = int(rng.integers(_FIRST_FRAME, _LAST_FRAME + 1))
        if rng.random() < mix.silent:
            frame, mel = int(rng.choice(closed)), silent_mel(rng)
        else:
            mel = mel_window(self._folder.mel[row], frame)
        upper = frame
        if rng.random() < mix.closed_reference:
            reference = self._nearest(clip, frame, rng.choice(closed, 5))
            upper = reference if rng.random() < mix.own_upper else frame
        else:
            reference = int(frame + rng.integers(8, FRAMES - 7)) % FRAMES
        return mel, crops[frame], crops[upper], crops[reference]

    def _nearest(self, clip: int, frame: int, candidates: NDArray[np.intp]) -> int:
        """Return the candidate frame whose head is placed most like the frame's."""
        pose = self._pose[clip]
        distance = np.abs(pose[candidates] - pose[frame]).sum(1) + (candidates == frame) * 10.0
        return int(candidates[distance.argmin()])


@dataclass(frozen=True, slots=True)
class Performance:
    """A sound and the mouth shapes of a library that go with it."""

    mel: Float32
    """(80, columns) float32."""
    shapes: NDArray[np.intp]
    """(frames,) index of a library picture for every frame at 25 fps."""


class LibrarySource:
    """Examples of one face whose mouth shapes were all pictured beforehand."""

    def __init__(
        self,
        crops: NDArray[np.uint8],
        rests: NDArray[np.intp],
        performances: Sequence[Performance],
        mix: Mix | None = None,
    ) -> None:
        """``crops`` is (L, 96, 96, 3); ``rests`` are the indices of the resting mouth."""
        self._crops, self._rests = crops, rests
        self._performances, self._mix = performances, mix or Mix()
        frames = np.array([len(p.shapes) for p in performances], np.float64)
        self._weights = frames / frames.sum()

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Return ``count`` random examples."""
        chosen = rng.choice(len(self._performances), count, p=self._weights)
        mels, targets, references = [], [], []
        for number in chosen:
            performance = self._performances[number]
            frame = int(rng.integers(len(performance.shapes)))
            silent = rng.random() < self._mix.silent
            mels.append(silent_mel(rng) if silent else mel_window(performance.mel, frame))
            rest = int(rng.choice(self._rests))
            targets.append(rest if silent else int(performance.shapes[frame]))
            any_shape = rng.random() < 0.15
            references.append(int(rng.integers(len(self._crops))) if any_shape else rest)
        reference = self._crops[references]
        return Examples(np.stack(mels), self._crops[targets], reference, reference)


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
            np.concatenate([part.target for part in parts]),
            np.concatenate([part.upper for part in parts]),
            np.concatenate([part.reference for part in parts]),
        )
