"""Teach the network a face whose mouth shapes were pictured one by one.

The pictures (``NNN.png`` with their face units in ``library.json``, made by ``lipstream_models
.portrait``) say nothing of time. Two performances move them: a filmed speaker's lips, matched shape
by shape, with the speaker's own sound; and made-up speech, matched through visemes.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.errors import FaceNotFound, InputError
from lipstream.faces import cut_crop, fit_crop
from lipstream.landmarks import FaceMesh, FaceTracker, region_of_points
from lipstream.mel import mel_spectrogram
from lipstream.timing import MODEL_RATE
from lipstream.types import Float32, Image
from lipstream_models.dataset import Performance, lip_gap
from lipstream_models.grid import FACE_SIZE, FPS, PreparedFolder, to_crop_units
from lipstream_models.portrait.visemes import blend
from lipstream_models.sentences import SENTENCES
from lipstream_models.speech import NAMES, Speaker, Voice, random_voice, viseme_track

Units = dict[str, float]
_UNIT_WEIGHTS = {"jawOpen": 2.0, "mouthFunnel": 1.4, "mouthPucker": 1.2, "tongueOut": 0.4}
"""How much a face unit counts when shapes are compared; the others count 0.7."""
_STEADY_FRAMES = 0.6
"""Smoothing of lip features over time, frames: the mesh trembles a little."""


@dataclass(frozen=True, slots=True)
class Library:
    """Pictures of one face with many mouth shapes."""

    crops: NDArray[np.uint8]
    """(L, 96, 96, 3) uint8 BGR."""
    points: Float32
    """(L, 468, 2) float32 in crop units."""
    units: tuple[Units, ...]
    """Face units of every shape."""

    @property
    def rests(self) -> NDArray[np.intp]:
        """Index of the resting shape, the first one, as an array."""
        return np.zeros(1, np.intp)


def open_library(folder: Path) -> Library:
    """Read the pictures of a folder, those that are there. Raises InputError or FaceNotFound."""
    paths = sorted(folder.glob("[0-9]*.png"))
    try:
        listed: list[Units] = json.loads((folder / "library.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no readable library.json: {error}") from error
    pictures = [picture for path in paths if (picture := cv2.imread(str(path))) is not None]
    if len(pictures) < 2 or len(pictures) > len(listed):
        raise InputError(f"{folder} holds {len(pictures)} pictures for {len(listed)} shapes")
    images = [np.asarray(picture, np.uint8) for picture in pictures]
    affine, points = _measure(images, folder)
    crops = np.stack([cut_crop(image, affine, FACE_SIZE) for image in images])
    numbers = [int(path.stem) for path in paths]
    return Library(
        crops,
        to_crop_units(points, np.stack([affine] * len(points))),
        tuple(listed[number] for number in numbers),
    )


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


def lip_features(points: Float32) -> Float32:
    """Describe the lips in crop sizes: (..., 468, 2) points in crop units to (..., 6).

    Gap, width, height with the lips, lower lip and chin below the nose, upper lip below the nose.
    """
    nose = points[..., 2, 1]
    return np.stack(
        [
            lip_gap(points),
            np.linalg.norm(points[..., 291, :] - points[..., 61, :], axis=-1),
            points[..., 17, 1] - points[..., 0, 1],
            points[..., 17, 1] - nose,
            points[..., 152, 1] - nose,
            points[..., 0, 1] - nose,
        ],
        -1,
    ).astype(np.float32)


_FEATURE_WEIGHTS = np.array([2.0, 0.8, 1.0, 0.8, 0.3, 0.6], np.float32)


def match_lips(spoken: Float32, library: Library, gain: float = 1.0) -> NDArray[np.intp]:
    """Find the library shape nearest to a speaker's lips in each frame.

    ``spoken`` is (T, 6) lip features less those of the speaker at rest. Returns (T,) indices.
    ``gain`` magnifies the speaker's movements.
    """
    smooth = cv2.GaussianBlur(spoken, (1, 5), sigmaX=0.1, sigmaY=_STEADY_FRAMES)
    shapes = lip_features(library.points)
    shapes = shapes - shapes[0]
    distance = (smooth[:, None] * np.float32(gain) - shapes[None]) * _FEATURE_WEIGHTS
    return np.asarray((distance**2).sum(-1).argmin(1), np.intp)


def filmed_performances(
    folder: PreparedFolder, rows: Iterable[int], library: Library, gain: float = 1.0
) -> list[Performance]:
    """Let the speaker of a prepared folder drive the library's face."""
    performances = []
    for row in rows:
        features = lip_features(folder.points[row])
        order = np.argsort(features[:, 0])
        rest = np.median(features[order[: len(order) // 6]], 0)
        shapes = match_lips(features - rest, library, gain)
        performances.append(Performance(np.asarray(folder.mel[row]), shapes))
    return performances


def match_visemes(track: Float32, library: Library) -> NDArray[np.intp]:
    """Find the library shape nearest to viseme weights (T, visemes) in each frame: (T,)."""
    basis = [blend({name: 1.0}) for name in NAMES]
    names = sorted(
        {
            unit
            for units in (*library.units, *basis)
            for unit in units
            if "mouth" in unit or unit in _UNIT_WEIGHTS
        }
    )
    weights = np.array([_UNIT_WEIGHTS.get(name, 0.7) for name in names], np.float32)

    def vectors(shapes: Iterable[Units]) -> Float32:
        rows = [[units.get(name, 0.0) for name in names] for units in shapes]
        return np.array(rows, np.float32) * weights

    wanted, there = track @ vectors(basis), vectors(library.units)
    distance = ((wanted[:, None] - there[None]) ** 2).sum(-1)
    return np.asarray(distance.argmin(1), np.intp)


def spoken_performances(library: Library, count: int, seed: int) -> list[Performance]:
    """Let made-up voices drive the library's face: ``count`` utterances."""
    rng, speaker = np.random.default_rng(seed), Speaker()
    words = sorted({word.strip(",.?") for text in SENTENCES for word in text.split()})
    performances = []
    for number in range(count):
        text = str(rng.choice(SENTENCES)) if number % 2 else " ".join(rng.choice(words, 9))
        performances.append(perform(speaker, text, random_voice(rng), library))
    return performances


def perform(speaker: Speaker, text: str, voice: Voice, library: Library) -> Performance:
    """Speak a text and find the shapes that go with it."""
    utterance = speaker.say(text, voice)
    frames = len(utterance.sound) * FPS // MODEL_RATE
    track = viseme_track(utterance.phonemes, frames, FPS)
    return Performance(mel_spectrogram(utterance.sound), match_visemes(track, library))
