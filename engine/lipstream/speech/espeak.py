"""Voices of espeak-ng: offline, about a hundred languages, with the times of words.

libespeak-ng is called through ctypes: a sentence in, sound and the moments of words and phonemes
out. It keeps its state in globals, so a process has one, and one thread uses it at a time. Numbers
are of ``speak_lib.h`` of espeak-ng 1.49 to 1.52.
"""

import contextlib
import ctypes
import ctypes.util
import os
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.lips.phones import Phone, classes_of_espeak
from lipstream.speech.language import marks_at
from lipstream.speech.voices import SpeechChunk, SpeechSettings, VoiceCard
from lipstream.types import Pcm

_OWN_VOICES = Path(__file__).with_name("espeak_voices")
_LONGEST_PATH = 38
"""Longest path of a voice of our own, with its variant: espeak-ng 1.51 copies it into 40 bytes."""


@dataclass(frozen=True, slots=True)
class EspeakOptions:
    """How something is spoken."""

    voice: str
    """espeak-ng's voice by file, with a variant: ``gmw/en-US+f3``; or a path of our own."""
    words_a_minute: int = 175
    pitch: int = 50
    """0 to 99."""
    ends_with_pause: bool = True
    """Whether the pause after a sentence is part of its sound."""


@dataclass(frozen=True, slots=True)
class EspeakEvent:
    """When a word or a phoneme begins."""

    kind: Literal["word", "phoneme"]
    at: int
    """Index of a word's first character in the text; 0 for a phoneme."""
    length: int
    """Characters of the word."""
    name: str
    """The phoneme's mnemonic; empty for a word."""
    sample: int
    """Sample of the speech at which it begins, by espeak-ng's count."""
    time_ms: int
    """The same in milliseconds, as espeak-ng rounds it."""


@dataclass(frozen=True, slots=True)
class EspeakSpeech:
    """A sentence, spoken."""

    pcm: Pcm
    """(n,) int16 at the library's rate."""
    events: tuple[EspeakEvent, ...]


@dataclass(frozen=True, slots=True)
class InstalledVoice:
    """An entry of espeak-ng's list of voices."""

    name: str
    """Such as ``English_(Great_Britain)``."""
    languages: tuple[str, ...]
    """Such as ``en-gb`` and ``en``, its own first."""
    file: str
    """Such as ``gmw/en``: unique, and what the library is asked for."""


class _Identity(ctypes.Union):
    _fields_: ClassVar = [("number", ctypes.c_int), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """``espeak_EVENT``."""

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


class _Voice(ctypes.Structure):
    """``espeak_VOICE``, as far as it is read; the list holds pointers, so its size is of no use."""

    _fields_: ClassVar = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.POINTER(ctypes.c_char)),
        ("identifier", ctypes.c_char_p),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_SYNCHRONOUS = 2
_PHONEME_EVENTS, _DO_NOT_EXIT = 1, 0x8000
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_RATE, _PITCH = 1, 3
_UTF8, _END_PAUSE = 1, 0x1000
_IPA = 2
_KINDS: dict[int, Literal["word", "phoneme"]] = {_EVENT_WORD: "word", _EVENT_PHONEME: "phoneme"}


@contextlib.contextmanager
def _without_sound_server() -> Generator[None]:
    """Keep the library from leaving PulseAudio's folder in the home: it opens it unasked."""
    if "PULSE_RUNTIME_PATH" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULSE_RUNTIME_PATH"] = folder
        try:
            yield
        finally:
            del os.environ["PULSE_RUNTIME_PATH"]


class EspeakLibrary:
    """The loaded library. Its methods may be called on any thread; they wait for each other."""

    def __init__(self) -> None:
        path = ctypes.util.find_library("espeak-ng")
        if path is None:
            raise BackendUnavailable(
                "speech needs espeak-ng, which is not installed: on Debian or Ubuntu"
                " 'apt install espeak-ng', elsewhere see its own page; or choose another provider"
            )
        self._library = ctypes.CDLL(path)
        options = _PHONEME_EVENTS | _DO_NOT_EXIT
        with _without_sound_server():
            self.rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, options))
        """Samples a second of what it says."""
        if self.rate <= 0:
            raise BackendUnavailable(
                "espeak-ng does not start, its voices are missing: on Debian or Ubuntu"
                " 'apt install --reinstall espeak-ng-data'"
            )
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._library.espeak_SetVoiceByFile.argtypes = [ctypes.c_char_p]
        self._lock = threading.Lock()  # guards the library and what follows, for one sentence
        self._blocks: list[Pcm] = []
        self._events: list[EspeakEvent] = []
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def voices(self) -> list[InstalledVoice]:
        """Return the voices of languages, not those that need the program mbrola."""
        with self._lock:
            listed = self._library.espeak_ListVoices(None)
            voices, index = [], 0
            while listed[index]:
                voices.append(_installed(listed[index].contents))
                index += 1
        return [voice for voice in voices if not voice.file.startswith(("mb/", "!v/", "test/"))]

    def say(self, text: str, options: EspeakOptions) -> EspeakSpeech:
        """Speak a sentence. Raises InputError for a voice that espeak-ng lacks."""
        spoken = text.replace("\0", " ").encode() + b"\0"
        flags = _UTF8 | (_END_PAUSE if options.ends_with_pause else 0)
        with self._lock:
            self._blocks, self._events = [], []
            self._choose(options.voice)
            self._library.espeak_SetParameter(_RATE, options.words_a_minute, 0)
            self._library.espeak_SetParameter(_PITCH, options.pitch, 0)
            failed = self._library.espeak_Synth(spoken, len(spoken), 0, 0, 0, flags, None, None)
            if failed:
                raise BackendUnavailable(
                    f"espeak-ng gave up on a sentence (error {failed}): try again"
                )
            pcm = np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.int16)
            return EspeakSpeech(pcm, tuple(self._events))

    def phonemes(self, text: str, voice: str) -> str:
        """Return how a clause sounds, in IPA with stress, its words apart by spaces."""
        spoken = ctypes.create_string_buffer(text.replace("\0", " ").encode())
        at = ctypes.c_void_p(ctypes.addressof(spoken))
        parts = []
        with self._lock:
            self._choose(voice)
            while at.value is not None:
                part = self._library.espeak_TextToPhonemes(ctypes.byref(at), _UTF8, _IPA)
                parts.append((part or b"").decode("utf-8", "replace").strip())
        return " ".join(part for part in parts if part)

    def _choose(self, voice: str) -> None:
        if Path(voice).is_absolute():
            with _copied(Path(voice)) as path:
                failed = self._library.espeak_SetVoiceByFile(path.encode())
        else:
            failed = self._library.espeak_SetVoiceByName(voice.encode())
        if failed:
            raise InputError(f"espeak-ng has no voice {voice}: 'espeak-ng --voices' lists them")

    def _take(
        self, pcm: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        if count > 0 and pcm:
            self._blocks.append(np.ctypeslib.as_array(pcm, (count,)).astype(np.int16))
        index = 0
        while (event := events[index]).type != _EVENT_END:
            if (kind := _KINDS.get(event.type)) is not None:
                self._events.append(_event(kind, event))
            index += 1
        return 0


def _event(kind: Literal["word", "phoneme"], event: _Event) -> EspeakEvent:
    if kind == "word":
        at, name = max(0, event.text_position - 1), ""
    else:
        at, name = 0, event.id.string.decode("utf-8", "replace")
    return EspeakEvent(kind, at, event.length, name, event.sample, event.audio_position)


def _installed(voice: _Voice) -> InstalledVoice:
    """Read an entry; each language is a byte of priority and a string, the last is empty."""
    languages, at = [], ctypes.addressof(voice.languages.contents)
    while tag := ctypes.string_at(at + 1) if ctypes.string_at(at, 1) != b"\0" else b"":
        languages.append(tag.decode())
        at += len(tag) + 2
    return InstalledVoice(voice.name.decode(), tuple(languages), voice.identifier.decode())


@contextlib.contextmanager
def _copied(voice: Path) -> Generator[str]:
    """Give a path short enough for a voice of our own, its variant after a +, while it is read."""
    name, _, _ = voice.name.partition("+")
    with tempfile.TemporaryDirectory(prefix="voices") as folder:
        path = str(Path(folder) / voice.name)
        if len(path) > _LONGEST_PATH:  # espeak-ng crashes on a longer one
            raise BackendUnavailable(
                f"espeak-ng cannot read a voice from a path as long as {path}: set TMPDIR=/tmp"
            )
        shutil.copy(voice.with_name(name), folder)
        yield path


def espeak_library() -> EspeakLibrary:
    """Return the process's library; raises BackendUnavailable saying which package to install."""
    with _opening:
        return _opened_library()


_opening = threading.Lock()  # two who come first at once would open two, which share C's state


@cache
def _opened_library() -> EspeakLibrary:
    return EspeakLibrary()


DEFAULT_VOICE = "en-us"
_WORDS_A_MINUTE = 175
_ADDED_VOICES = {"en-in": "English (India)"}
"""Voices of ``espeak_voices`` and their titles."""
_VARIANTS = (
    *("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"),
    *("Andrea", "Annie", "steph", "whisper", "whisperf", "croak"),
)
"""Variants that change who speaks: women, men, children's voices and a few more."""


_STRESS = "'!,%=_:; "
"""What stands round a phoneme's mnemonic and is none."""


class EspeakVoice:
    """A voice of espeak-ng. A sentence takes it milliseconds."""

    def __init__(self, name: str, language: str, options: EspeakOptions) -> None:
        self.name, self.language = name, language
        self._options = options
        self._library = espeak_library()
        self.rate = self._library.rate

    def say(self, sentence: str, /) -> Iterator[SpeechChunk]:
        """Yield the whole sentence, with a mark at each word."""
        speech = self._library.say(sentence, self._options)
        if len(speech.pcm) == 0:
            return
        begins: dict[int, int] = {}
        for event in speech.events:
            if event.kind == "word" and event.length > 0:
                begins.setdefault(event.at, event.sample)
        marks = marks_at(sentence, begins, len(speech.pcm))
        yield SpeechChunk(speech.pcm, marks, self._phones(speech))

    def _phones(self, speech: EspeakSpeech) -> tuple[Phone, ...]:
        begun = [event for event in speech.events if event.kind == "phoneme"]
        edges = [*(event.sample for event in begun), len(speech.pcm)]
        english = self.language.startswith("en")
        return tuple(
            Phone(classes_of_espeak(event.name.strip(_STRESS), english), start, stop)
            for event, (start, stop) in zip(begun, pairwise(edges), strict=True)
            if start < stop
        )

    def stop(self) -> None:
        """Do nothing: a sentence is over before anybody could stop it."""

    def close(self) -> None:
        """Do nothing: the library stays loaded."""


def open_voice(settings: SpeechSettings) -> EspeakVoice:
    """Open ``en-us``, ``ar`` or ``en-in+f3``: a language, and after a + a variant."""
    asked = settings.voice or DEFAULT_VOICE
    language, plus, variant = asked.partition("+")
    files = _files()
    if language.lower() not in files:
        near = [name for name in files if name.split("-")[0] == language.lower().split("-")[0]]
        others = f"of that language it has {', '.join(near)}" if near else "it has en-us, ar, hi .."
        raise InputError(f"espeak-ng has no voice '{asked}': {others}; 'espeak-ng --voices' lists")
    if plus and variant not in _VARIANTS:
        raise InputError(
            f"espeak-ng's voice '{asked}' has an unknown variant: give {', '.join(_VARIANTS)}"
        )
    speed = round(_WORDS_A_MINUTE * settings.speed)
    return EspeakVoice(
        asked, language, EspeakOptions(files[language.lower()] + plus + variant, speed)
    )


def list_voices(_: SpeechSettings) -> Sequence[VoiceCard]:
    """Return a voice for each language, in the order of their tags."""
    titles = {
        voice.languages[0]: voice.name.replace("_", " ") for voice in _installed_voices()
    } | _ADDED_VOICES
    return [VoiceCard(tag, tag, titles[tag].strip()) for tag in sorted(titles)]


@cache
def _installed_voices() -> tuple[InstalledVoice, ...]:
    return tuple(espeak_library().voices())


def _files() -> dict[str, str]:
    """Return the file of each language; ``fr`` is the first voice that also speaks it."""
    installed = list(reversed(_installed_voices()))
    also = {tag.lower(): voice.file for voice in installed for tag in voice.languages[1:]}
    first = {voice.languages[0].lower(): voice.file for voice in installed}
    bare = {"en": "gmw/en-US", "fr": "roa/fr"}
    return also | first | bare | {name: str(_OWN_VOICES / name) for name in _ADDED_VOICES}
