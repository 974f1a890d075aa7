"""Real faces and speech: what a graph is quantised with, and judged on.

A folder of the user's may hold films of talking people, or pictures of faces and sounds; without
one, the avatar that comes with lipstream and speech made by espeak-ng stand in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import mel_columns
from lipstream.avatar.pack import Avatar
from lipstream.errors import FaceNotFound, InputError, MediaError
from lipstream.face.crop import cut_crop, fit_crop
from lipstream.face.tracker import FaceTracker
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import read_clip, read_sound, steady_crops, track_points
from lipstream_models.corpora.synthetic_speech import SENTENCES, SpeechSynthesizer, random_voice
from lipstream_models.networks.split import SplitNetwork

_FILMS = {".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm"}
_PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
_SOUNDS = {".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
_MOST_FILES = 16
_FRAMES_A_FILE = 12
_FPS = Fraction(25)


@dataclass(frozen=True, slots=True)
class Samples:
    """Faces and the sound heard with them: _FRAMES_A_FILE moments of one file after another."""

    crops: NDArray[np.uint8]
    """(N, S, S, 3) uint8 BGR."""
    mels: Float32
    """(N, 1, 80, columns) float32."""
    origin: str
    """What they are, for a report."""

    def split(self) -> tuple["Samples", "Samples"]:
        """Return about two thirds to quantise with, and the rest to judge on.

        The two are of different files, unless there is only one.
        """
        cut = len(self.crops) * 2 // 3
        cut = cut // _FRAMES_A_FILE * _FRAMES_A_FILE or cut
        return (
            Samples(self.crops[:cut], self.mels[:cut], self.origin),
            Samples(self.crops[cut:], self.mels[cut:], self.origin),
        )


def collect_samples(network: SplitNetwork, folder: Path | None) -> Samples:
    """Gather samples in the shapes a network takes.

    Raises InputError when the folder holds neither films with a face nor pictures and sounds, and
    when there is no folder and no espeak-ng.
    """
    if folder is None:
        return _own_samples(network)
    if not folder.is_dir():
        raise InputError(f"--calibrate {folder}: there is no such folder")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    parts = list(_of_films(network, _spread([f for f in files if f.suffix.lower() in _FILMS])))
    if not parts:
        parts = list(_of_pictures(network, files))
    if not parts:
        raise InputError(
            f"--calibrate {folder}: no film of a talking face there, nor pictures and sounds"
        )
    crops = np.concatenate([part.crops for part in parts])
    mels = np.concatenate([part.mels for part in parts])
    return Samples(crops, mels, f"{len(crops)} moments of {folder.name}")


def _spread(files: Sequence[Path]) -> list[Path]:
    """Return at most _MOST_FILES of them, evenly spread."""
    places = np.linspace(0, len(files) - 1, min(len(files), _MOST_FILES)).round().astype(int)
    return [files[place] for place in places]


def _of_films(network: SplitNetwork, files: Sequence[Path]) -> Iterator[Samples]:
    with FaceTracker.open() as tracker:
        for file in files:
            try:
                film = read_clip(file)
                affines = steady_crops(track_points(film.frames, tracker))
            except (MediaError, FaceNotFound):
                continue
            moments = np.linspace(4, len(film.frames) - 8, _FRAMES_A_FILE).astype(int)
            crops = [cut_crop(film.frames[k], affines[k], network.face_size) for k in moments]
            yield Samples(np.stack(crops), _windows(network, film.sound, moments), file.name)


def _of_pictures(network: SplitNetwork, files: Sequence[Path]) -> Iterator[Samples]:
    pictures = _spread([file for file in files if file.suffix.lower() in _PICTURES])
    sounds = _spread([file for file in files if file.suffix.lower() in _SOUNDS])
    if not sounds:
        return
    with FaceTracker.open() as tracker:
        for number, file in enumerate(pictures):
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            tracker.reset()
            found = None if image is None else tracker.step(np.asarray(image, np.uint8))
            if found is None:
                continue
            picture = np.asarray(image, np.uint8)
            crop = cut_crop(picture, fit_crop(found.points), network.face_size)
            sound = read_sound(sounds[number % len(sounds)])
            mels = _windows(network, sound, _moments(sound))
            yield Samples(np.repeat(crop[None], len(mels), 0), mels, file.name)


def _own_samples(network: SplitNetwork) -> Samples:
    avatar, speaker, random = Avatar.open(), SpeechSynthesizer(), np.random.default_rng(1)
    every = avatar.cut_crops(network.face_size)
    crops, mels = [], []
    for _ in range(_MOST_FILES):
        utterance = speaker.say(str(random.choice(SENTENCES)), random_voice(random))
        sound = utterance.sound
        mels.append(_windows(network, sound, _moments(sound)))
        crops.append(every[random.integers(0, len(every), len(mels[-1]))])
    origin = f"avatar {avatar.name} and made-up speech"
    return Samples(np.concatenate(crops), np.concatenate(mels), origin)


def _moments(sound: Float32) -> NDArray[np.intp]:
    frames = len(sound) * 25 // MODEL_RATE
    return np.linspace(0, max(0, frames - 8), _FRAMES_A_FILE).astype(np.intp)


def _windows(network: SplitNetwork, sound: Float32, moments: NDArray[np.intp]) -> Float32:
    """Return (len(moments), 1, 80, columns): the mel windows of frames at 25 a second."""
    timing = Timing(MODEL_RATE, _FPS, network.mel_columns, network.window_start_ms)
    spans = [timing.mel_span(int(moment)) for moment in moments]
    before = max(0, -min(span.start for span in spans))
    after = max(0, max(span.stop for span in spans) - len(sound))
    padded = np.pad(sound, (before, after)).astype(np.float32)
    windows = [mel_columns(padded[span.start + before : span.stop + before]) for span in spans]
    return np.stack(windows)[:, None]
