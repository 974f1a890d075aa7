"""How people move: face units from films or visemes, and the motion of head, gaze and lids.

Lip movements are taken from a film by a regressor that learns on renders, where the units are
known: quadratic ridge regression from lip shapes, relative to the same person at rest, to units.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import mel_spectrogram
from lipstream.timing import MODEL_RATE
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import FPS, FRAMES, SAMPLES, PreparedFolder
from lipstream_models.corpora.synthetic_speech import SENTENCES, SpeechSynthesizer, random_voice
from lipstream_models.synthetic.body.head_model import Float
from lipstream_models.synthetic.body.visemes import VISEME_NAMES, VISEMES, viseme_track
from lipstream_models.synthetic.raster.scene import CameraView

_RIDGE = 3.0
_STEADY_FRAMES = 0.7
"""Smoothing of lip shapes over time, frames: the mesh trembles a little."""
_REST_SHARE = 6
"""One frame of so many, those with the smallest gap, counts as rest."""


def lip_shape(points: Float32) -> Float32:
    """Describe lips by (..., 468, 2) points in crop units: (..., 16), in crop sizes.

    Opening at three places, widths, heights of lips, corners and chin below the nose.
    """
    x, y = points[..., 0], points[..., 1]
    nose = (y[..., 2] + y[..., 94] + y[..., 1] + y[..., 168]) / 4
    corners = (y[..., 61] + y[..., 291]) / 2
    return np.stack(
        [
            y[..., 14] - y[..., 13],
            (y[..., 87] - y[..., 82] + y[..., 317] - y[..., 312]) / 2,
            (y[..., 88] - y[..., 80] + y[..., 318] - y[..., 310]) / 2,
            x[..., 291] - x[..., 61],
            x[..., 308] - x[..., 78],
            y[..., 0] - nose,
            y[..., 17] - nose,
            y[..., 152] - nose,
            y[..., 13] - y[..., 0],
            y[..., 17] - y[..., 14],
            corners - y[..., 0],
            y[..., 17] - corners,
            x[..., 267] - x[..., 37],
            x[..., 314] - x[..., 84],
            y[..., 200] - nose,
            x[..., 287] - x[..., 57],
        ],
        -1,
    ).astype(np.float32)


def rest_shape(shapes: Float32) -> Float32:
    """Return the (F,) resting shape of a clip's (T, F): of its frames with the smallest gap."""
    order = np.argsort(shapes[:, 0])
    return np.asarray(np.median(shapes[order[: max(1, len(order) // _REST_SHARE)]], 0), np.float32)


@dataclass(frozen=True, slots=True)
class Retargeter:
    """Face units from lip shapes relative to rest."""

    scale: Float
    """(F,) spread of each feature."""
    weights: Float
    """(1 + F + F (F + 1) / 2, U)."""

    def units(self, relative: Float32) -> Float32:
        """Return (T, U) units, 0 to 1.1, of a clip's (T, F) shapes less the resting one."""
        steady = cv2.GaussianBlur(relative, (1, 7), sigmaX=0.1, sigmaY=_STEADY_FRAMES)
        found = _terms(steady / self.scale) @ self.weights
        at_rest = _terms(np.zeros((1, len(self.scale)))) @ self.weights
        return np.clip(found - at_rest, 0, 1.1).astype(np.float32)


def _terms(x: Float) -> Float:
    """Return one, x and all products of two: (n, 1 + F + F (F + 1) / 2)."""
    soft = np.clip(x, -3.5, 3.5)
    i, j = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones((len(x), 1)), soft, 0.3 * soft[:, i] * soft[:, j]], 1)


def fit(relative: Float32, units: Float32) -> Retargeter:
    """Learn from (n, F) shapes relative to rest and the (n, U) units that made them."""
    scale = relative.std(0).astype(np.float64) + 1e-4
    terms = _terms(relative / scale)
    penalty = _RIDGE * np.sqrt(len(terms)) * np.eye(terms.shape[1])
    penalty[0, 0] = 1e-6
    weights = np.linalg.solve(terms.T @ terms + penalty, terms.T @ units.astype(np.float64))
    return Retargeter(scale, weights)


_SMILE_OF_TABLE = 0.2
"""Smile in every viseme of the table, made for a friendly face: less of it here."""
_FLUENT = 1.15
"""Visemes that run into each other lose height; films of speakers show that much more."""
_FILMED = 1.25
"""A regressor gives back less than the whole movement."""


@dataclass(frozen=True, slots=True)
class Performance:
    """Three seconds of a mouth and its sound."""

    units: Float32
    """(75, U) face units on top of a resting face, 0 to about 1.2."""
    mel: Float32
    """(80, 241)."""
    quiet: NDArray[np.bool_]
    """(75,) nobody speaks."""


def viseme_basis(unit_names: tuple[str, ...]) -> Float32:
    """Return (visemes, U) face units of each viseme on top of a resting face."""
    basis = np.zeros((len(VISEME_NAMES), len(unit_names)), np.float32)
    for row, name in enumerate(VISEME_NAMES):
        for unit, weight in VISEMES[name].items():
            both = [unit] if unit in unit_names else [f"{unit}Left", f"{unit}Right"]
            for one in both:
                if name != "rest" and one != "mouthClose":
                    less = _SMILE_OF_TABLE if one.startswith("mouthSmile") else 0.0
                    basis[row, unit_names.index(one)] = max(0.0, weight - less)
    basis[VISEME_NAMES.index("MBP"), unit_names.index("mouthClose")] = 0.01
    return basis


def spoken(
    rng: np.random.Generator, speaker: SpeechSynthesizer, unit_names: tuple[str, ...], gain: float
) -> Performance:
    """Return three seconds of made-up speech with pauses; ``gain`` magnifies the movements."""
    words = sorted({word.strip(",.?") for text in SENTENCES for word in text.split()})
    voice = random_voice(rng)
    sounds: list[Float32] = []
    tracks: list[Float32] = []
    need = SAMPLES + MODEL_RATE
    while sum(len(sound) for sound in sounds) < need:
        count = int(rng.integers(3, 10))
        text = " ".join(rng.choice(words, count)) if rng.random() < 0.5 else rng.choice(SENTENCES)
        utterance = speaker.say(str(text), voice)
        step = MODEL_RATE // FPS
        frames = -(-len(utterance.sound) // step)
        tracks.append(viseme_track(utterance.phonemes, frames, FPS))
        sounds.append(np.pad(utterance.sound, (0, frames * step - len(utterance.sound))))
    sound, track = np.concatenate(sounds), np.concatenate(tracks)
    first = int(rng.integers(0, len(track) - FRAMES + 1))
    sound = _room(rng, sound[first * MODEL_RATE // FPS :][:SAMPLES])
    track = track[first : first + FRAMES]
    units = track @ viseme_basis(unit_names) * np.float32(_FLUENT * gain)
    quiet = track[:, VISEME_NAMES.index("rest")] > 0.97
    return Performance(_varied(units, rng), mel_spectrogram(sound), quiet)


def _varied(units: Float32, rng: np.random.Generator) -> Float32:
    """Let every person shape sounds a little differently: each unit by a fifth."""
    own = np.exp(rng.normal(0, 0.2, units.shape[1])).astype(np.float32)
    return np.asarray(np.clip(units * own, 0, 1.1), np.float32)


def _room(rng: np.random.Generator, sound: Float32) -> Float32:
    """Set the level and add the noise of a room."""
    loud = sound * np.float32(rng.uniform(0.25, 1.1) * 0.7 / max(1e-3, float(np.abs(sound).max())))
    hiss = rng.standard_normal((len(sound), 1)).astype(np.float32)
    noise = cv2.GaussianBlur(hiss, (1, 0), sigmaX=0.1, sigmaY=rng.uniform(0.3, 3))[:, 0]
    return np.asarray(loud + noise * np.float32(10 ** rng.uniform(-4.5, -2.2)), np.float32)


def filmed(
    rng: np.random.Generator,
    folder: PreparedFolder,
    rows: NDArray[np.intp],
    retargeter: Retargeter,
    gain: float,
) -> Performance:
    """Return a filmed speaker's three seconds, his lips as face units."""
    row = int(rng.choice(rows))
    shapes = lip_shape(folder.points[row])
    units = retargeter.units(shapes - rest_shape(shapes)) * np.float32(gain)
    return Performance(
        np.clip(_FILMED * units, 0, 1.1), np.asarray(folder.mel[row]), np.asarray(folder.quiet[row])
    )


_BLINK = (0.35, 0.9, 1.0, 0.75, 0.4, 0.15)
"""How far lids are shut in the frames of a blink, at 25 fps."""


def wander(rng: np.random.Generator, frames: int, smooth: float) -> Float:
    """Return (frames,) smooth noise of about unit size; ``smooth`` in frames."""
    pad = int(4 * smooth) + 1
    noise = rng.standard_normal((frames + 2 * pad, 1))
    soft = cv2.GaussianBlur(noise, (1, 0), sigmaX=0.1, sigmaY=smooth) if smooth else noise
    return np.asarray(soft[pad : pad + frames, 0] * np.sqrt(2 * smooth * np.sqrt(np.pi)))


def rotation(yaw: float, pitch: float, roll: float) -> Float32:
    """Return the (3, 3) rotation by angles in radians: first roll, then pitch, then yaw."""
    a, b, c = np.cos([yaw, pitch, roll])
    d, e, f = np.sin([yaw, pitch, roll])
    about_y = np.array([[a, 0, d], [0, 1, 0], [-d, 0, a]])
    about_x = np.array([[1, 0, 0], [0, b, -e], [0, e, b]])
    about_z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    return np.asarray(about_y @ about_x @ about_z, np.float32)


def views(rng: np.random.Generator, frames: int) -> list[CameraView]:
    """Return where the head is in each frame, for a camera that stands still."""
    pose = rng.normal(0, [0.10, 0.065, 0.04])
    sway = np.abs(rng.normal(0, [0.035, 0.03, 0.02]))
    slow, quick = rng.uniform(8, 25), rng.uniform(2.5, 5)
    angles = np.stack(
        [p + s * (wander(rng, frames, slow) + 0.25 * wander(rng, frames, quick)) for p, s in
         zip(pose, sway, strict=True)], 1
    )  # fmt: skip
    place = rng.normal(0, [0.06, 0.06, 0.0])
    shift = np.stack([p + 0.02 * wander(rng, frames, slow) for p in place], 1)
    distance, height = rng.uniform(7.5, 16), rng.uniform(2.35, 3.0)
    return [
        CameraView(rotation(*angle), move.astype(np.float32), float(distance), float(height))
        for angle, move in zip(angles, shift, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class UpperFace:
    """Face units of lids, gaze and brows over time, (frames,) each."""

    tracks: dict[str, Float]


def upper_face(rng: np.random.Generator, frames: int) -> UpperFace:
    """Return blinks, glances and brow movements."""
    shut = np.zeros(frames)
    at = int(rng.uniform(0, 80))
    while at < frames:
        length = min(len(_BLINK), frames - at)
        shut[at : at + length] = np.maximum(shut[at : at + length], _BLINK[:length])
        at += int(rng.uniform(25, 120))
    across, up = _glances(rng, frames), 0.6 * _glances(rng, frames)
    brow = rng.normal(0, 0.12) + 0.12 * wander(rng, frames, 9)
    tracks = {
        "eyeLookOutLeft": across, "eyeLookInRight": across,
        "eyeLookInLeft": -across, "eyeLookOutRight": -across,
        "eyeLookUpLeft": up, "eyeLookUpRight": up,
        "eyeLookDownLeft": -up, "eyeLookDownRight": -up,
        "browInnerUp": brow, "browOuterUpLeft": 0.7 * brow, "browOuterUpRight": 0.7 * brow,
        "browDownLeft": -brow, "browDownRight": -brow,
        "eyeBlinkLeft": shut, "eyeBlinkRight": shut,
    }  # fmt: skip
    return UpperFace({name: np.clip(track, 0, 1) for name, track in tracks.items()})


def _glances(rng: np.random.Generator, frames: int) -> Float:
    """Return a gaze that jumps and rests, -1 to 1."""
    track, at = np.zeros(frames), 0
    while at < frames:
        length = int(rng.uniform(8, 50))
        track[at : at + length] = np.clip(rng.normal(0, 0.18), -0.7, 0.7)
        at += length
    return track
