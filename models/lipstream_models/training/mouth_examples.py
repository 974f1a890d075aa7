"""Training examples of the mouth network: a mel window, the lips that go with it, and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import BANDS, SILENCE
from lipstream.errors import FaceNotFound, InputError
from lipstream.face.crop import cut_crop, fit_crop
from lipstream.face.landmarks import FaceMesh, region_of_points
from lipstream.face.tracker import FaceTracker
from lipstream.types import Float32, Image
from lipstream_models.corpora.grid_corpus import (
    FACE_SIZE,
    FIRST_FRAME,
    FRAMES,
    LAST_FRAME,
    PreparedFolder,
    Window,
    mel_window,
    shapes_of,
    to_crop_units,
)
from lipstream_models.lip_measures import SPREAD, lip_gap, measure_lips

_CLOSED_SHARE = 0.2
"""The frames of a clip with the smallest lip gap that count as closed."""
_POSE_POINTS = [33, 263, 168, 4, 2]
"""Outer eye corners, bridge, tip and base of the nose: where the head is within the crop."""


TRACKED = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
    *(136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 172, 397),
    *(18, 200, 199, 175, 83, 313, 43, 273, 57, 287, 212, 432, 205, 425, 187, 411, 164, 2, 98, 327),
)
"""Mesh points that move with speech: edges of the lips, jaw, chin, cheeks and nose beside."""


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
    points: Float32
    """(n, 2, tracked, 2) float32 in crop units: of the target, then of the reference."""
    target: NDArray[np.uint8]
    """(n, 96, 96, 3) uint8: its lower half is what to paint."""
    upper: NDArray[np.uint8]
    """(n, 96, 96, 3) uint8: its upper half is what the network sees of the target."""
    reference: NDArray[np.uint8]
    """(n, 96, 96, 3) uint8: a whole face of the same person."""


class ExampleSource(Protocol):
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
        mel, lips, own, points, target, upper, reference = (
            np.stack(part) for part in zip(*drawn, strict=True)
        )
        return Examples(mel, lips, own, np.ones(count, bool), points, target, upper, reference)

    def _draw_one(
        self, rng: np.random.Generator
    ) -> tuple[Float32, Float32, Float32, Float32, Image, Image, Image]:
        clip = int(rng.integers(len(self._rows)))
        row, closed, mix = self._rows[clip], self._closed[clip], self._mix
        crops = self._folder.crops[row]
        frame = int(rng.integers(FIRST_FRAME, LAST_FRAME + 1))
        upper = frame
        if rng.random() < mix.closed_reference:
            reference = self._nearest(clip, frame, rng.choice(closed, 2))
            upper = reference if rng.random() < mix.own_upper else frame
        else:
            reference = int(frame + rng.integers(8, FRAMES - 7)) % FRAMES
        mel = mel_window(self._folder.mel[row], frame, self._window)
        lips, pictures = self._lips[clip], (crops[frame], crops[upper], crops[reference])
        points = self._folder.points[row][[frame, reference]][:, TRACKED]
        return mel, lips[frame], lips[reference], points, *pictures

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
        self._points = points[:, TRACKED]
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
            np.stack([self._points[target], self._points[reference]], 1),
            self._crops[target],
            self._crops[reference],
            self._crops[reference],
        )


class MixedSource:
    """Several sources, each with its share of every batch."""

    def __init__(self, sources: Sequence[ExampleSource], shares: Sequence[float]) -> None:
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
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.target for part in parts]),
            np.concatenate([part.upper for part in parts]),
            np.concatenate([part.reference for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Library:
    """Pictures of one face with many mouth shapes, the first one at rest."""

    crops: NDArray[np.uint8]
    """(L, 96, 96, 3) uint8 BGR."""
    points: Float32
    """(L, 468, 2) float32 in crop units."""


def open_library(folder: Path) -> Library:
    """Read the pictures ``NNN.png`` of a folder. Raises InputError or FaceNotFound."""
    paths = sorted(folder.glob("[0-9]*.png"))
    pictures = [picture for path in paths if (picture := cv2.imread(str(path))) is not None]
    if len(pictures) < 2:
        raise InputError(
            f"{folder} holds {len(pictures)} readable pictures NNN.png of mouth shapes, fewer than"
            " 2: render with 'python -m lipstream_models.synthetic.blender render --shapes 140'"
        )
    images = [np.asarray(picture, np.uint8) for picture in pictures]
    affine, points = _measure(images, folder)
    crops = np.stack([cut_crop(image, affine, FACE_SIZE) for image in images])
    return Library(crops, to_crop_units(points, np.stack([affine] * len(points))))


def _measure(images: Sequence[Image], folder: Path) -> tuple[Float32, Float32]:
    """Fit one crop to all pictures, by the first, and find the points of each, in pixels."""
    with FaceTracker.open() as tracker:
        found = tracker.step(images[0])
    if found is None:
        raise FaceNotFound(f"no face in the first picture of {folder}")
    mesh, region = FaceMesh.open(), region_of_points(found.points)
    points = np.stack([mesh.landmarks(image, region).points for image in images])
    mesh.close()
    return fit_crop(found.points), points
