"""Speech with a lip class for every mel column, and lips where it was filmed: what lips are learned
from, in one ``.npz``.
"""

import json
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import mel_spectrogram
from lipstream.audio.resampler import Resampler
from lipstream.errors import InputError
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES, SPREAD, measure_lips
from lipstream.timing import HOP, MODEL_RATE
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import FPS, FRAMES, PREPARED, PreparedFolder

UNKNOWN = -1
"""Class of a column that nothing is known of."""
COLUMNS_A_SECOND = MODEL_RATE // HOP
_LEVEL = 0.5
"""Peak that every recording is brought to."""
_PAUSE_COLUMNS = (8, 40)
"""Silence put before and after a recording, columns."""
_ROOM_LOG10 = (-5.2, -3.3)
"""Amplitude of the noise under a recording, decimal logarithm."""

TimedClass = tuple[int, float, float]
"""Lip class or UNKNOWN, start and end in seconds."""


@dataclass(frozen=True, slots=True)
class LabelledUtterance:
    """One recording."""

    name: str
    mel: Float32
    """(80, columns)."""
    classes: NDArray[np.int64]
    """(columns,): index into CLASSES, or UNKNOWN."""
    lips: Float32 | None
    """(75, 17) lip measures at 25 frames a second where it was filmed, SPREADs from rest."""


@dataclass(frozen=True, slots=True)
class LabelledSpeech:
    """All recordings of one file."""

    utterances: tuple[LabelledUtterance, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that ``save`` wrote; raises InputError."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            return cls(tuple(_utterances(arrays)))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} is no labelled speech: {error}; make it again") from error

    def save(self, path: Path) -> None:
        """Write all recordings: mels in 16 bits."""
        filmed = [one.lips for one in self.utterances if one.lips is not None]
        np.savez(
            path,
            mel=np.concatenate([one.mel for one in self.utterances], 1).astype(np.float16),
            cls=np.concatenate([one.classes for one in self.utterances]).astype(np.int8),
            starts=np.cumsum([0, *(one.mel.shape[1] for one in self.utterances)]),
            names=np.array([one.name for one in self.utterances]),
            film=np.array([one.lips is not None for one in self.utterances]),
            lips=np.stack(filmed) if filmed else np.zeros((0, FRAMES, MEASURES), np.float32),
        )


def _utterances(arrays: dict[str, NDArray[np.generic]]) -> Iterator[LabelledUtterance]:
    mel, classes = arrays["mel"], arrays["cls"]
    starts = [int(start) for start in np.asarray(arrays["starts"])]
    lips = iter(np.asarray(arrays["lips"], np.float32))
    rows = zip(arrays["names"], arrays["film"], starts[:-1], starts[1:], strict=True)
    for name, filmed, start, stop in rows:
        part = np.asarray(mel[:, start:stop], np.float32)
        own = np.asarray(classes[start:stop], np.int64)
        yield LabelledUtterance(str(name), part, own, next(lips) if filmed else None)


def column_classes(phones: Sequence[TimedClass], columns: int) -> NDArray[np.int64]:
    """Return the class at the centre of each column; silence where no phone is."""
    classes = np.zeros(columns, np.int64)
    for index, start, stop in phones:
        first, last = (
            max(0, int(np.ceil(edge * COLUMNS_A_SECOND - 0.5))) for edge in (start, stop)
        )
        classes[first:last] = index
    return classes


def recordings(folder: Path, rng: np.random.Generator) -> Iterator[LabelledUtterance]:
    """Read the WAV files named in ``phones.json``: file -> [[class, start_s, end_s], ...]."""
    book = json.loads((folder / "phones.json").read_text("utf-8"))
    for name, phones in book.items():
        sound = read_wav(folder / name)
        pause = HOP * int(rng.integers(*_PAUSE_COLUMNS))
        silence = np.zeros(pause, np.float32)
        sound = sound / max(1e-3, float(np.abs(sound).max())) * _LEVEL
        sound = np.concatenate([silence, sound, silence])
        noise = 10 ** rng.uniform(*_ROOM_LOG10) * rng.standard_normal(len(sound))
        mel = mel_spectrogram((sound + noise).astype(np.float32))
        moved = [(k, a + pause / MODEL_RATE, b + pause / MODEL_RATE) for k, a, b in phones]
        classes = column_classes(moved, mel.shape[1])
        yield LabelledUtterance(f"{folder.name}/{name}", mel, classes, None)


def filmed_clips(
    folder: PreparedFolder, phones: dict[str, list[TimedClass]]
) -> Iterator[LabelledUtterance]:
    """Return the clips of a prepared folder; those without phones are UNKNOWN throughout."""
    for row in np.flatnonzero(folder.done == PREPARED):
        name = Path(folder.names[int(row)]).stem
        mel = np.array(folder.mel[row], np.float32)
        classes = np.full(mel.shape[1], UNKNOWN, np.int64)
        if name in phones:
            classes = column_classes(phones[name], mel.shape[1])
        yield LabelledUtterance(name, mel, classes, lips_from_rest(folder, int(row)))


def lips_from_rest(folder: PreparedFolder, row: int) -> Float32:
    """Return (75, 17) lip measures of a clip less those of its quiet frames, in SPREADs."""
    measures = measure_lips(np.array(folder.points[row]))
    quiet = np.flatnonzero(folder.quiet[row])
    if len(quiet) < 4:  # nobody is silent in this clip: its most closed frames
        quiet = np.argsort(measures[:, 0])[:15]
    return np.asarray((measures - np.median(measures[quiet], 0)) / SPREAD, np.float32)


def read_wav(path: Path) -> Float32:
    """Return a mono 16-bit WAV file as (n,) float32 at 16 kHz, -1 to 1; raises InputError."""
    try:
        with wave.open(str(path)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise InputError(f"{path}: a mono WAV of 16 bits is needed")
            rate, pcm = (
                file.getframerate(),
                np.frombuffer(file.readframes(file.getnframes()), "<i2"),
            )
    except (OSError, EOFError, wave.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if rate == MODEL_RATE:
        return np.asarray(pcm / np.float32(32768), np.float32)
    resampler = Resampler(rate)
    parts = [resampler.feed(np.asarray(pcm, np.int16)), resampler.flush()]
    return np.concatenate(parts).astype(np.float32)


def frame_columns(frames: int) -> NDArray[np.int64]:
    """Return the mel column at which each frame's lips stand: ``floor(80 (k / 25 + 0.010))``."""
    return np.array(
        [(k * 1000 + 10 * FPS) * COLUMNS_A_SECOND // (1000 * FPS) for k in range(frames)], np.int64
    )


assert CLASSES[0] == "sil", "column_classes fills with silence"
