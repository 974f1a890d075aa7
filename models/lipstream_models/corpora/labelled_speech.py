"""Speech with a lip class for every mel column, and lips where it was filmed: what lips are learned
from, in one ``.npz``; and where the times of its phones come from.

espeak-ng, flite and Piper tell when each phone begins; in recorded English an aligner finds it.
"""

import json
import subprocess
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import mel_spectrogram
from lipstream.audio.resampler import Resampler
from lipstream.errors import BackendUnavailable, InputError
from lipstream.face.crop import CROP_HEIGHT, CROP_WIDTH
from lipstream.lips.phones import CLASSES, LipClasses, classes_of_arpabet, classes_of_espeak
from lipstream.lips.shape import MEASURES, SPREAD, measure_lips
from lipstream.speech.piper import open_voice
from lipstream.speech.voices import SpeechSettings
from lipstream.timing import HOP, MODEL_RATE
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import FPS, FRAMES, PREPARED, PreparedFolder
from lipstream_models.corpora.synthetic_sound import SpeechSynthesizer, SyntheticVoice

UNKNOWN = -1
"""Class of a column that nothing is known of."""
COLUMNS_A_SECOND = MODEL_RATE // HOP
_LEVEL = 0.5
"""Peak that every recording is brought to."""
_PAUSE_COLUMNS = (8, 40)
"""Silence put before and after a recording, columns."""
_ROOM_LOG10 = (-5.2, -3.3)
"""Amplitude of the noise under a recording, decimal logarithm."""

_REACH = (-6.0, 8.0)
"""Measures beyond this are mistakes of the mesh, SPREADs."""
_SMOOTHING = np.array([0.15, 0.7, 0.15])

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
    # Prepared points are in shares of a crop that is taller than wide.
    sides = np.array([CROP_WIDTH, CROP_HEIGHT], np.float32)
    measures = measure_lips(np.array(folder.points[row]) * sides)
    quiet = np.flatnonzero(folder.quiet[row])
    if len(quiet) < 4:  # nobody is silent in this clip: its most closed frames
        quiet = np.argsort(measures[:, 0])[:15]
    return np.asarray((measures - np.median(measures[quiet], 0)) / SPREAD, np.float32)


def smoothed_lips(utterance: LabelledUtterance) -> Float32:
    """Return a clip's (75, 17) measures without the mesh's jumps; a new array."""
    assert utterance.lips is not None, "only film has lips"
    inside = np.clip(utterance.lips, *_REACH)
    padded = np.pad(inside, ((1, 1), (0, 0)), mode="edge")
    return np.asarray(
        sum(w * padded[k : k + len(inside)] for k, w in enumerate(_SMOOTHING)), np.float32
    )


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


_ESPEAK_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m6", "m7")
_WORDS_A_MINUTE = (110, 200)
_PITCHES = {"f": (45, 80), "m": (15, 55)}
"""Of variants of women and men, 0 to 99."""
_STRETCH = (0.8, 1.15)
_FLITE_HERTZ = {"slt": (150, 230)}
"""Mean pitch of a woman's voice; a man's otherwise."""
_SENTENCE_WORDS, _WORD_LETTERS = (4, 10), (3, 10)
"""Fewest, and one more than the most."""
_LIP_LETTERS = frozenset("pbmfvw")
_LIP_SHARE = 0.5
"""Of words drawn from those that have a letter the lips make."""
_CONSONANTS = (*"pbmfvtdnszkglrpbmfvbm",)
"""As often as they are drawn: what lips make, more often."""
_VOWELS, _CODAS = (*"aeiou",), (*"nlrsm",)


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


def dictionary_sentences(words: Iterable[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return rows of random words of a dictionary; half of them need the lips."""
    fewest, most = _WORD_LETTERS
    plain = [word for word in words if word.isalpha() and fewest <= len(word) < most]
    lips = [word for word in plain if _LIP_LETTERS & set(word)]
    return [
        " ".join(
            str(rng.choice(lips if rng.random() < _LIP_SHARE else plain))
            for _ in range(rng.integers(*_SENTENCE_WORDS))
        )
        + "."
        for _ in range(count)
    ]


def made_up_sentences(count: int, rng: np.random.Generator) -> list[str]:
    """Return rows of words of no language, which every language of Latin letters can read out."""
    return [
        " ".join(_made_up_word(rng) for _ in range(rng.integers(*_SENTENCE_WORDS))) + "."
        for _ in range(count)
    ]


def _made_up_word(rng: np.random.Generator) -> str:
    syllables = []
    for _ in range(rng.integers(1, 4)):
        onset = str(rng.choice(_CONSONANTS)) if rng.random() < 0.9 else ""
        coda = str(rng.choice(_CODAS)) if rng.random() < 0.2 else ""
        syllables.append(onset + str(rng.choice(_VOWELS)) + coda)
    return "".join(syllables)


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
    """Speak texts with a voice of flite (awb, kal16, rms, slt), each at another pace and pitch.

    Raises BackendUnavailable without flite, InputError where it fails.
    """
    book = {}
    for name, text in _numbered(texts, folder):
        stretch = f"duration_stretch={rng.uniform(*_STRETCH):.2f}"
        pitch = f"int_f0_target_mean={rng.uniform(*_FLITE_HERTZ.get(voice, (85, 140))):.0f}"
        words = ["flite", "-voice", voice, "-t", text, "-psdur", "-o", str(folder / name)]
        words += ["--setf", stretch, "--setf", pitch]
        try:
            answer = subprocess.run(words, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            raise BackendUnavailable(
                "flite is not installed: on Debian or Ubuntu 'apt install flite'"
            ) from None
        except subprocess.CalledProcessError as error:
            raise InputError(f"flite cannot speak with {voice}: {error.stderr[:200]}") from error
        book[name] = timed_classes(read_durations(answer.stdout))
    _write_book(folder, book)


def make_piper_voice(
    voice: str, texts: Sequence[str], folder: Path, rng: np.random.Generator
) -> None:
    """Speak texts with an installed voice of Piper, or its ``.onnx`` file, each at another pace.

    Raises InputError for a voice that there is not, or whose network does not tell its phones.
    """
    book = {}
    for name, text in _numbered(texts, folder):
        speaker = open_voice(SpeechSettings(voice=voice, speed=1 / rng.uniform(*_STRETCH)))
        spoken = next(speaker.say(text), None)
        if spoken is None or not spoken.phones:
            raise InputError(f"{voice} does not tell the phones of {text!r}: give another voice")
        resampler = Resampler(speaker.rate)
        sound = np.concatenate([resampler.feed(spoken.pcm), resampler.flush()])
        _write_wav(folder / name, np.asarray(np.clip(sound, -1, 1) * 32767, np.int16))
        book[name] = timed_classes(
            TimedPhone(one.classes, one.start / speaker.rate, one.stop / speaker.rate)
            for one in spoken.phones
        )
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


_MISSING = "words and their phones need pocketsphinx: pip install 'lipstream[align]'"
_STEPS_A_SECOND = 100
_LATE_S = 0.008
"""A step's window is 25.6 ms long and begins with it: what it tells is of a moment later."""
_DIGITS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_GRID_WORDS: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: f"{letter}." for letter in "bcdefghijklmnopqrstuvxy"}
    | {"a": "letter-a", "z": "letter-z"},
    {"z": "zero"} | {str(number): word for number, word in enumerate(_DIGITS, 1)},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
"""What each letter of a GRID clip's name stands for, in order (Cooke et al. 2006, table 1)."""
_ADDED_WORDS = {"letter-a": "EY", "letter-z": "Z EH D"}
"""Letters whose word means something else, too; GRID's speakers are British."""


def grid_sentence(clip: str) -> str:
    """Return the words of a GRID clip by its name, "bbaf2n"; raises InputError."""
    if len(clip) != len(_GRID_WORDS):
        raise InputError(f"{clip} is no name of a GRID clip: six letters, such as bbaf2n")
    try:
        return " ".join(words[letter] for words, letter in zip(_GRID_WORDS, clip, strict=True))
    except KeyError as error:
        raise InputError(f"{clip} is no name of a GRID clip: it has no letter {error}") from None


def dictionary_words() -> list[str]:
    """Return the English words of pocketsphinx's dictionary; raises BackendUnavailable."""
    try:
        from pocketsphinx import get_model_path  # noqa: PLC0415
    except ImportError:
        raise BackendUnavailable(_MISSING) from None
    lines = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text("utf-8").splitlines()
    return [line.partition(" ")[0] for line in lines]


class ForcedAligner:
    """pocketsphinx with its own English model."""

    def __init__(self) -> None:
        """Raises BackendUnavailable without pocketsphinx."""
        try:
            from pocketsphinx import Decoder  # noqa: PLC0415
        except ImportError:
            raise BackendUnavailable(_MISSING) from None
        # With its search for the best path, a tenth of short clips cannot be aligned.
        self._decoder: Any = Decoder(lm=None, loglevel="FATAL", bestpath=False)
        for word, phones in _ADDED_WORDS.items():
            self._decoder.add_word(word, phones, True)

    def align(self, sound: Float32, text: str) -> list[TimedClass] | None:
        """Return the lip classes of (n,) float32 at 16 kHz and its words; None if they do not fit.

        Raises InputError for a word that the dictionary lacks.
        """
        words = [self._word(word) for word in text.lower().split()]
        pcm = np.asarray(np.clip(sound, -1, 1) * 32767, np.int16).tobytes()
        self._decoder.set_align_text(" ".join(words))
        self._listen(pcm)
        if self._decoder.hyp() is None:
            return None
        self._decoder.set_alignment()
        self._listen(pcm)
        alignment = self._decoder.get_alignment()
        return None if alignment is None else timed_classes(_phones(alignment))

    def _word(self, word: str) -> str:
        letters = "".join(letter for letter in word if letter.isalnum() or letter in "'.-")
        for known in (letters, letters.strip(".")):
            if known and self._decoder.lookup_word(known):
                return known
        raise InputError(f"the aligner's dictionary lacks {word!r}: leave this recording out")

    def _listen(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()


def _phones(alignment: Any) -> list[TimedPhone]:
    return [
        TimedPhone(
            classes_of_arpabet(phone.name),
            phone.start / _STEPS_A_SECOND + _LATE_S,
            (phone.start + phone.duration) / _STEPS_A_SECOND + _LATE_S,
        )
        for word in alignment
        for phone in word
    ]
