"""What lips do in three seconds and the sound that goes with it: made-up speech or a film's."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import mel_spectrogram
from lipstream.timing import MODEL_RATE
from lipstream.types import Float32
from lipstream_models.synthetic.body.visemes import VISEMES
from lipstream_models.synthetic.raster.retarget import Retargeter, lip_shape, rest_shape
from lipstream_models.training.grid_corpus import FPS, FRAMES, SAMPLES, PreparedFolder
from lipstream_models.training.synthetic_speech import (
    NAMES,
    SENTENCES,
    Speaker,
    random_voice,
    viseme_track,
)

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
    basis = np.zeros((len(NAMES), len(unit_names)), np.float32)
    for row, name in enumerate(NAMES):
        for unit, weight in VISEMES[name].items():
            both = [unit] if unit in unit_names else [f"{unit}Left", f"{unit}Right"]
            for one in both:
                if name != "rest" and one != "mouthClose":
                    less = _SMILE_OF_TABLE if one.startswith("mouthSmile") else 0.0
                    basis[row, unit_names.index(one)] = max(0.0, weight - less)
    basis[NAMES.index("MBP"), unit_names.index("mouthClose")] = 0.01
    return basis


def spoken(
    rng: np.random.Generator, speaker: Speaker, unit_names: tuple[str, ...], gain: float
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
    quiet = track[:, NAMES.index("rest")] > 0.97
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
