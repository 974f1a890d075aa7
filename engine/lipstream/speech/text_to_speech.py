"""A text spoken sentence by sentence: at once for files, a bounded time ahead for live use."""

import json
import logging
import queue
import struct
import threading
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import SEEK_CUR, SEEK_END
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np

from lipstream.errors import InputError, LipstreamError, MediaError
from lipstream.lips.phones import CLASSES, Phone
from lipstream.speech.language import check_scripts, split_sentences
from lipstream.speech.voices import Mark, SpeechChunk, Voice
from lipstream.storage import atomic_write

log = logging.getLogger(__name__)

LONGEST_TEXT = 1_000_000
"""Characters of a text: about eighteen hours of speech."""
PIECE_MS = 100
"""Longest piece that waits: what the bound of the queue counts."""
AHEAD_MS = 2000
"""How much speech is made ahead of who takes it. When so much waits, the voice pauses."""


def check_text(text: str, voice: Voice) -> None:
    """Raise InputError when a text has no words, is too long, or cannot be read by the voice."""
    if not any(letter.isalnum() for letter in text):
        raise InputError("the text has no words in it: give something to say")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError("the text holds half characters (surrogates): send it as UTF-8")
    if len(text) > LONGEST_TEXT:
        raise InputError(f"the text has {len(text)} characters: give {LONGEST_TEXT} at most")
    check_scripts(text, voice.name, voice.language)


def read_aloud(voice: Voice, text: str) -> Iterator[SpeechChunk]:
    """Yield the speech of a text as it is made, with a mark at each sentence.

    Marks count characters of ``text``. Raises InputError before the first piece when the text
    cannot be spoken, and as ``Voice.say`` does.
    """
    check_text(text, voice)
    yield from _spoken(voice, text, lambda: False)


def _spoken(voice: Voice, text: str, is_over: Callable[[], bool]) -> Iterator[SpeechChunk]:
    for sentence in split_sentences(text):
        if is_over():
            return
        begins: tuple[Mark, ...] = (Mark("sentence", sentence.start, sentence.stop, 0),)
        for spoken in voice.say(text[sentence.start : sentence.stop]):
            words = (
                replace(mark, start=mark.start + sentence.start, stop=mark.stop + sentence.start)
                for mark in spoken.marks
            )
            yield SpeechChunk(spoken.pcm, (*begins, *words), spoken.phones)
            begins = ()


class SpeechQueue:
    """A text being spoken on a thread of its own, which it owns and ends.

    Speech waits in a queue of ``AHEAD_MS``; when it is full the voice pauses until some is taken.
    """

    def __init__(self, voice: Voice, text: str, on_made: Callable[[], None] = lambda: None) -> None:
        """Begin at once. Raises InputError when the text cannot be spoken; closes no voice.

        ``on_made`` is called on the thread whenever there is something more to take.
        """
        check_text(text, voice)
        self._voice, self._text, self._on_made = voice, text, on_made
        self._queue: queue.Queue[SpeechChunk | LipstreamError | None] = queue.Queue(
            AHEAD_MS // PIECE_MS
        )
        self._stopping = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._speak, name="lipstream speech", daemon=True)
        self._thread.start()

    @property
    def rate(self) -> int:
        """Samples a second of the speech."""
        return self._voice.rate

    @property
    def ended(self) -> bool:
        """Whether all has been taken."""
        return self._ended

    def take(self) -> SpeechChunk | None:
        """Return the next piece, at most ``PIECE_MS``; None when none is ready, or all is taken.

        Never waits. Raises the error that kept the voice from going on, once.
        """
        if self._ended:
            return None
        try:
            item = self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(item, SpeechChunk):
            return item
        self._ended = True
        if item is not None:
            raise item
        return None

    def close(self) -> None:
        """Stop speaking and forget what waits; the thread ends soon after. Twice is fine."""
        self._ended = True
        self._stopping.set()
        self._voice.stop()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the thread has ended."""
        self._thread.join(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _speak(self) -> None:
        outcome: LipstreamError | None = None
        try:
            for spoken in _spoken(self._voice, self._text, self._stopping.is_set):
                for piece in cut(spoken, self._voice.rate * PIECE_MS // 1000):
                    self._put(piece)
                if self._stopping.is_set():
                    return
        except LipstreamError as error:
            outcome = error
        except Exception:
            log.exception("speech failed")
            outcome = LipstreamError("speech failed by a fault of the program: see its log")
        self._put(outcome)

    def _put(self, item: SpeechChunk | LipstreamError | None) -> None:
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            self._on_made()
            return


def cut(spoken: SpeechChunk, longest: int) -> Iterator[SpeechChunk]:
    """Yield a piece in pieces of at most ``longest`` samples, each with its own marks."""
    for at in range(0, len(spoken.pcm), longest):
        pcm = spoken.pcm[at : at + longest]
        stop = at + len(pcm)
        marks = (mark for mark in spoken.marks if at <= mark.sample < stop)
        phones = (phone for phone in spoken.phones if at <= phone.start < stop)
        yield SpeechChunk(
            pcm,
            tuple(replace(mark, sample=mark.sample - at) for mark in marks),
            tuple(phone.later(-at) for phone in phones),
        )


@dataclass(frozen=True, slots=True)
class SpokenSentence:
    """A sentence, and the samples in which it is heard."""

    text: str
    start: int
    stop: int
    """One past the last."""


_PHONES, _SENTENCES = b"phon", b"sent"
"""Chunks of a WAV file that say what is spoken in it when."""
_LARGEST_CHUNK = 1 << 26
_UNKNOWN = -1


def append_sentences(path: Path, sentences: Sequence[SpokenSentence], rate: int) -> None:
    """Write into a WAV file which sentences are spoken in it when, as a chunk after its sound.

    The chunk ``sent`` is JSON: [[text, start_s, end_s], ...]. Other readers pass it over.
    """
    rows = [[one.text, round(one.start / rate, 5), round(one.stop / rate, 5)] for one in sentences]
    _append_chunk(path, _SENTENCES, json.dumps(rows, ensure_ascii=False).encode())


def load_sentences(path: Path, rate: int) -> tuple[SpokenSentence, ...]:
    """Read what ``append_sentences`` wrote, in samples of ``rate``; nothing where none are known.

    Raises InputError for a chunk that cannot be understood.
    """
    chunk = _read_chunk(path, _SENTENCES)
    try:
        return tuple(
            SpokenSentence(str(text), round(float(start) * rate), round(float(stop) * rate))
            for text, start, stop in json.loads(chunk or "[]")
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: its chunk of sentences is broken: make the speech again"
        ) from error


def append_phones(path: Path, phones: Sequence[Phone], rate: int) -> None:
    """Write into a WAV file what is spoken in it when, as a chunk after its sound.

    The chunk ``phon`` is JSON: [[class or -1, start_s, end_s], ...]. Other readers pass it over.
    """
    rows = []
    for phone in phones:
        classes = phone.classes or (_UNKNOWN,)
        edges = np.linspace(phone.start / rate, phone.stop / rate, len(classes) + 1).round(5)
        rows += [[k, *pair] for k, pair in zip(classes, pairwise(edges.tolist()), strict=True)]
    _append_chunk(path, _PHONES, json.dumps(rows, separators=(",", ":")).encode())


def load_phones(path: Path, rate: int) -> tuple[Phone, ...]:
    """Read what ``append_phones`` wrote, in samples of ``rate``; nothing where nothing is known.

    Raises InputError for a chunk that cannot be understood.
    """
    text = _read_chunk(path, _PHONES)
    try:
        return tuple(_phone_of(*row, rate=rate) for row in json.loads(text or "[]"))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: its chunk of phones is broken: make the speech again") from error


def _phone_of(index: int, start_s: float, stop_s: float, *, rate: int) -> Phone:
    if index != _UNKNOWN and index not in range(len(CLASSES)):
        raise ValueError(f"class {index}")
    edges = (round(float(edge) * rate) for edge in (start_s, stop_s))
    return Phone(None if index == _UNKNOWN else (index,), *edges)


def _append_chunk(path: Path, name: bytes, text: bytes) -> None:
    """Write a chunk of four letters' name behind all others of a WAV file. Raises OSError."""
    with path.open("r+b") as file:
        end = file.seek(0, SEEK_END)
        file.write(b"\0" * (end % 2) + name + struct.pack("<I", len(text)) + text)
        file.write(b"\0" * (len(text) % 2))
        whole = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", min(whole - 8, 0xFFFFFFFF)))


def _read_chunk(path: Path, name: bytes) -> bytes | None:
    """Return a chunk of a WAV file by its four letters' name; None where there is none."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
            return None
        while len(head := file.read(8)) == 8:
            size = int(struct.unpack("<I", head[4:])[0])
            if head[:4] == name:
                return file.read(min(size, _LARGEST_CHUNK))
            file.seek(size + size % 2, SEEK_CUR)
    return None


def write_speech(
    voice: Voice,
    text: str,
    path: Path,
    *,
    longest_s: float | None = None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Say a text into a wav file; return its samples, at the voice's rate.

    The file gets its name when it is whole; an error leaves nothing of it. ``on_progress`` is told
    the seconds so far. What is spoken when stands in the file too: sentences, and phones where the
    voice knows; see ``append_sentences`` and ``append_phones``. Raises as ``read_aloud`` does,
    InputError when the speech is longer than ``longest_s`` or there is none, and MediaError when it
    cannot be written.
    """
    samples, phones, sentences = 0, list[Phone](), list[SpokenSentence]()
    try:
        with atomic_write(path) as unfinished:
            with unfinished.open("wb") as file, wave.open(file, "wb") as wav:
                wav.setparams((1, 2, voice.rate, 0, "NONE", ""))
                for spoken in read_aloud(voice, text):
                    wav.writeframes(spoken.pcm.astype("<i2").tobytes())
                    phones += [phone.later(samples) for phone in spoken.phones]
                    begun = [mark for mark in spoken.marks if mark.kind == "sentence"]
                    sentences += [
                        SpokenSentence(text[one.start : one.stop], samples + one.sample, 0)
                        for one in begun
                    ]
                    samples += len(spoken.pcm)
                    sentences[-1] = replace(sentences[-1], stop=samples)
                    if longest_s is not None and samples > longest_s * voice.rate:
                        raise InputError(f"the text takes longer than {longest_s:g} s: shorten it")
                    on_progress(samples / voice.rate)
            if samples == 0:
                raise InputError(f"voice {voice.name} says nothing for this text: use its words")
            if phones:
                append_phones(unfinished, phones, voice.rate)
            append_sentences(unfinished, sentences, voice.rate)
    except OSError as error:
        raise MediaError(f"speech cannot be written to {path.parent}: {error.strerror}") from error
    return samples
