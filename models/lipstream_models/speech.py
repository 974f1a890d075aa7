"""Made-up speech in many voices, with the mouth shape of every moment.

The speech is espeak-ng's, which says when each phoneme begins; a table turns phonemes into visemes,
and visemes run into each other as lips do. It teaches a mouth network to follow voices that no film
of the training set has.
"""

import ctypes
import ctypes.util
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lipstream.audio import Resampler
from lipstream.errors import InputError
from lipstream.types import Float32
from lipstream_models.portrait.visemes import VISEMES

NAMES = tuple(VISEMES)
"""Visemes in the order of weight vectors."""

_LEAD_S = 0.03
"""Lips are at their place this much before the sound."""
_PAD_S = 0.35
"""Silence put before and after an utterance."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How an utterance is spoken."""

    name: str
    """espeak-ng's voice and variant, such as ``en-us+f3``."""
    words_a_minute: int
    pitch: int
    """0 to 99."""


@dataclass(frozen=True, slots=True)
class Phoneme:
    """A phoneme and when it begins."""

    name: str
    """espeak-ng's mnemonic, without stress."""
    start_s: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """Spoken words."""

    sound: Float32
    """(n,) float32 in -1..1, 16 kHz mono."""
    phonemes: tuple[Phoneme, ...]
    """In order; ends with a pause (an empty name)."""


def random_voice(rng: np.random.Generator) -> Voice:
    """Return a random voice of a woman, a man or a child."""
    accent = rng.choice(["en-us", "en", "en-us", "en-gb-x-rp", "en-gb-scotland"])
    variant = rng.choice(
        [
            "f1",
            "f2",
            "f3",
            "f4",
            "f5",
            "m1",
            "m2",
            "m3",
            "m4",
            "m6",
            "m7",
            "Annie",
            "Andrea",
            "steph",
        ]
    )
    woman = str(variant)[0] not in "m"
    pitch = rng.integers(45, 80) if woman else rng.integers(15, 55)
    return Voice(f"{accent}+{variant}", int(rng.integers(120, 200)), int(pitch))


class _Identity(ctypes.Union):
    _fields_: ClassVar = [("number", ctypes.c_int), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of espeak-ng's ``speak_lib.h``."""

    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_SYNCHRONOUS, _PHONEME_EVENTS = 2, 1
_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _PITCH = 1, 3
_UTF8 = 1


class Speaker:
    """espeak-ng, loaded once a process. Used by one thread."""

    def __init__(self) -> None:
        path = ctypes.util.find_library("espeak-ng")
        if path is None:
            raise InputError("made-up speech needs espeak-ng: apt-get install espeak-ng")
        self._library = ctypes.CDLL(path)
        self.rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS))
        if self.rate <= 0:
            raise InputError("espeak-ng does not start: reinstall its package and voices")
        self._blocks: list[NDArray[np.int16]] = []
        self._phonemes: list[Phoneme] = []
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: Voice) -> Utterance:
        """Speak a text. Raises InputError for a voice that espeak-ng lacks."""
        self._blocks, self._phonemes = [], []
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise InputError(f"espeak-ng has no voice {voice.name}")
        self._library.espeak_SetParameter(_RATE, voice.words_a_minute, 0)
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        spoken = text.encode() + b"\0"
        self._library.espeak_Synth(spoken, len(spoken), 0, 0, 0, _UTF8, None, None)
        pcm = np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.int16)
        return self._padded(pcm)

    def _padded(self, pcm: NDArray[np.int16]) -> Utterance:
        pad = np.zeros(round(_PAD_S * self.rate), np.int16)
        sound = np.concatenate([pad, pcm, pad])
        resampler = Resampler(self.rate)
        whole = np.concatenate([resampler.feed(sound), resampler.flush()])
        ends = Phoneme("", _PAD_S + len(pcm) / self.rate)
        shifted = [Phoneme(p.name, p.start_s + _PAD_S) for p in self._phonemes]
        return Utterance(whole.astype(np.float32), (Phoneme("", 0.0), *shifted, ends))

    def _take(
        self, pcm: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        if count > 0 and pcm:
            self._blocks.append(np.ctypeslib.as_array(pcm, (count,)).astype(np.int16))
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                name = event.id.string.decode("utf-8", "replace").strip("'!,%=_:; ")
                self._phonemes.append(Phoneme(name, event.audio_position / 1000))
            index += 1
        return 0


_VISEME_OF: dict[str, tuple[str, float, float]] = {
    # mnemonic: viseme, weight, how firmly it is held (1: the lips must get there)
    "": ("rest", 1.0, 0.6),
    **dict.fromkeys("pbm", ("MBP", 1.0, 1.0)),
    **dict.fromkeys("fv", ("FV", 0.9, 1.0)),
    **dict.fromkeys("szTD", ("S", 0.75, 0.7)),
    **dict.fromkeys(("S", "Z", "tS", "dZ"), ("SH", 0.9, 0.8)),
    **dict.fromkeys(("t", "d", "n", "t#", "k", "g", "N"), ("S", 0.45, 0.35)),
    "l": ("L", 0.8, 0.6),
    "r": ("UH", 0.9, 0.5),
    "w": ("OO", 0.9, 0.9),
    "j": ("EE", 0.6, 0.5),
    "h": ("AH", 0.4, 0.2),
    "?": ("AH", 0.3, 0.1),
    "@": ("AH", 0.5, 0.4),
    "3": ("UH", 0.9, 0.7),
    "a": ("AA", 0.65, 0.8),
    "A": ("AA", 0.8, 0.9),
    "V": ("AH", 0.9, 0.7),
    "E": ("EH", 0.95, 0.8),
    "e": ("EH", 0.85, 0.8),
    "i": ("EE", 0.9, 0.8),
    "I": ("EE", 0.6, 0.6),
    "O": ("OH", 0.9, 0.9),
    "0": ("OH", 0.8, 0.8),
    "o": ("OH", 0.8, 0.8),
    "U": ("OO", 0.7, 0.7),
    "u": ("OO", 0.95, 0.9),
}
_GLIDES = {"aI": "aI", "eI": "eI", "OI": "OI", "aU": "aU", "oU": "oU", "@U": "oU"}
"""Diphthongs: the mouth goes from the first letter's shape to the second's."""


def visemes_of(name: str) -> tuple[tuple[str, float, float], ...]:
    """Return the visemes of a phoneme, in order: (viseme, weight, firmness)."""
    glide = _GLIDES.get(name)
    if glide is not None:
        return _VISEME_OF[glide[0]], _VISEME_OF[glide[1]]
    found = _VISEME_OF.get(name) or _VISEME_OF.get(name[:2]) or _VISEME_OF.get(name[:1])
    return (found or ("AH", 0.4, 0.2),)


@dataclass(frozen=True, slots=True)
class _Goal:
    """A shape the mouth heads for."""

    at_s: float
    width_s: float
    viseme: str
    weight: float
    firmness: float


def viseme_track(phonemes: tuple[Phoneme, ...], frames: int, fps: int) -> Float32:
    """Return (frames, visemes) weights, each row summing to 1, for frames at ``fps``.

    Each viseme pulls with a bell round its middle; firm ones (closed lips) win over loose ones:
    a dominance model after Cohen and Massaro, "Modeling coarticulation in synthetic visual speech"
    (1993).
    """
    goals = _goals(phonemes)
    at = np.arange(frames)[:, None] / fps + _LEAD_S
    middle = np.array([goal.at_s for goal in goals])
    width = np.array([goal.width_s for goal in goals])
    firmness = np.array([goal.firmness for goal in goals])
    outside = np.maximum(0.0, np.abs(at - middle) - 0.5 * width)
    pull = (0.05 + firmness) ** 2 * np.exp(-((outside / 0.045) ** 1.5))
    pull /= pull.sum(1, keepdims=True) + 1e-9
    track = np.zeros((frames, len(NAMES)))
    for column, goal in enumerate(goals):
        track[:, NAMES.index(goal.viseme)] += pull[:, column] * goal.weight
    track[:, NAMES.index("rest")] += 1.0 - track.sum(1)
    return track.astype(np.float32)


def _goals(phonemes: tuple[Phoneme, ...]) -> list[_Goal]:
    last = Phoneme("", phonemes[-1].start_s + 2 * _PAD_S)
    goals = []
    for phoneme, following in pairwise([*phonemes, last]):
        shapes = visemes_of(phoneme.name)
        length = (following.start_s - phoneme.start_s) / len(shapes)
        for number, (viseme, weight, firmness) in enumerate(shapes):
            middle = phoneme.start_s + (number + 0.5) * length
            # a short vowel does not reach its full opening
            reach = weight if firmness == 1.0 else weight * min(1.0, 0.55 + length / 0.2)
            goals.append(_Goal(middle, 0.7 * length, viseme, reach, firmness))
    return goals
