"""Voices that say when each phone begins: folders of WAV files with a ``phones.json``.

espeak-ng tells the moments of its phonemes, flite their ends (``-psdur``). Where only words are
known, ``forced_alignment`` finds the phones.
"""

import json
import subprocess
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.lips.phones import LipClasses, classes_of_arpabet, classes_of_espeak
from lipstream.timing import MODEL_RATE
from lipstream_models.corpora.labelled_speech import UNKNOWN, TimedClass
from lipstream_models.corpora.synthetic_speech import SpeechSynthesizer, SyntheticVoice

_ESPEAK_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m6", "m7")
_WORDS_A_MINUTE = (110, 200)
_PITCHES = {"f": (45, 80), "m": (15, 55)}
"""Of variants of women and men, 0 to 99."""
_STRETCH = (0.8, 1.15)


@dataclass(frozen=True, slots=True)
class TimedPhone:
    """A phone as lips see it, and when it is spoken."""

    classes: LipClasses | None
    start_s: float
    end_s: float


def timed_classes(phones: Iterable[TimedPhone]) -> list[TimedClass]:
    """Return the classes of phones one after the other; those of one phone share its time."""
    rows: list[TimedClass] = []
    for phone in phones:
        classes = phone.classes or (UNKNOWN,)
        edges = np.linspace(phone.start_s, phone.end_s, len(classes) + 1).round(4).tolist()
        rows += [(k, *edge) for k, edge in zip(classes, pairwise(edges), strict=True)]
    return rows


def make_espeak_voice(
    language: str, texts: Sequence[str], folder: Path, rng: np.random.Generator
) -> None:
    """Speak texts in a language of espeak-ng, each with another voice, pitch and pace.

    Raises BackendUnavailable without espeak-ng, InputError for a language that it lacks.
    """
    synthesizer, english = SpeechSynthesizer(), language.startswith("en")
    book = {}
    for name, text in _numbered(texts, folder):
        variant = str(rng.choice(_ESPEAK_VARIANTS))
        pace, pitch = rng.integers(*_WORDS_A_MINUTE), rng.integers(*_PITCHES[variant[0]])
        voice = SyntheticVoice(f"{language}+{variant}", int(pace), int(pitch))
        spoken = synthesizer.say(text, voice)
        pcm = np.asarray(np.clip(spoken.sound, -1, 1) * 32767, np.int16)
        _write_wav(folder / name, pcm)
        starts = [*(phone.start_s for phone in spoken.phonemes), len(pcm) / MODEL_RATE]
        book[name] = timed_classes(
            TimedPhone(classes_of_espeak(phone.name, english), *edge)
            for phone, edge in zip(spoken.phonemes, pairwise(starts), strict=True)
        )
    _write_book(folder, book)


def make_flite_voice(
    voice: str, texts: Sequence[str], folder: Path, rng: np.random.Generator
) -> None:
    """Speak texts with a voice of flite (awb, kal16, rms, slt), each at another pace.

    Raises BackendUnavailable without flite, InputError where it fails.
    """
    book = {}
    for name, text in _numbered(texts, folder):
        stretch = f"duration_stretch={rng.uniform(*_STRETCH):.2f}"
        words = ["flite", "-voice", voice, "-t", text, "-psdur", "-o", str(folder / name)]
        try:
            answer = subprocess.run(
                [*words, "--setf", stretch], capture_output=True, text=True, check=True
            )
        except FileNotFoundError:
            raise BackendUnavailable(
                "flite is not installed: on Debian or Ubuntu 'apt install flite'"
            ) from None
        except subprocess.CalledProcessError as error:
            raise InputError(f"flite cannot speak with {voice}: {error.stderr[:200]}") from error
        book[name] = timed_classes(read_durations(answer.stdout))
    _write_book(folder, book)


def read_durations(told: str) -> Iterator[TimedPhone]:
    """Read "pau:0.2 b:0.31", phones and their ends, as flite prints them."""
    start = 0.0
    for entry in told.split():
        name, _, end = entry.rpartition(":")
        yield TimedPhone(classes_of_arpabet(name), start, float(end))
        start = float(end)


def _numbered(texts: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    return [(f"{number:04d}.wav", text) for number, text in enumerate(texts)]


def _write_wav(path: Path, pcm: np.typing.NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MODEL_RATE)
        file.writeframes(pcm.astype("<i2").tobytes())


def _write_book(folder: Path, book: dict[str, list[TimedClass]]) -> None:
    (folder / "phones.json").write_text(json.dumps(book), "utf-8")
