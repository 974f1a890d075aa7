"""The texts of a job, spoken into files that last as long as the work on the film does.

Beside ``out.mp4`` stands ``.out.mp4.KEY.wav``, one for each text. They are there before any picture
is made, and a run that goes on after a crash hears the same speech: no voice says a text twice
alike.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lipstream.errors import InputError, LipstreamError
from lipstream.speaking import SpeechSettings, open_voice, write_speech
from lipstream_clients.dubbing.programme import Segment, Words
from lipstream_clients.render_job import RenderJob

_NAME = 32
"""Letters of a text by which messages call it."""


@contextlib.contextmanager
def spoken(job: RenderJob) -> Iterator[RenderJob]:
    """Give the job with sound files in place of its texts; a job without a text as it is.

    Raises LipstreamError when a text cannot be spoken; then no file is left.
    """
    if job.text is not None and (job.sound is not None or job.segments):
        raise InputError("give one of a sound, a text and segments: not several")
    texts = _texts(job)
    files = {words: _place(job, words) for words in texts}
    for other in job.output.parent.glob(f".{job.output.name}.*.wav") if texts else ():
        if other not in files.values():  # of an unfinished film with other texts
            other.unlink(missing_ok=True)
    try:
        for words, file in files.items():
            if not file.is_file():
                _speak(job, words, file)
        yield _with_files(job, files)
    except LipstreamError:
        _remove(files.values())
        raise
    _remove(files.values())


def _texts(job: RenderJob) -> list[Words]:
    """Return all that is to be spoken, in order, each once."""
    whole = [] if job.text is None else [Words(job.text)]
    parts = [one.sound for one in job.segments if isinstance(one.sound, Words)]
    return list(dict.fromkeys(whole + parts))


def _with_files(job: RenderJob, files: dict[Words, Path]) -> RenderJob:
    def heard(one: Segment) -> Segment:
        words = one.sound
        if not isinstance(words, Words):
            return one
        return replace(one, sound=files[words], name=_called(words))

    segments = tuple(heard(one) for one in job.segments)
    if job.text is None:
        return replace(job, segments=segments)
    return replace(job, sound=files[Words(job.text)], text=None)


def _speak(job: RenderJob, words: Words, file: Path) -> None:
    """Raises LipstreamError, which names the text where there may be several."""
    try:
        with closing(open_voice(_settings(job, words))) as voice:
            write_speech(voice, words.text, file)
    except LipstreamError as error:
        if job.text is not None:
            raise
        raise type(error)(f"segment {_called(words)}: {error}") from error


def _settings(job: RenderJob, words: Words) -> SpeechSettings:
    voice = words.voice or job.speech.voice
    speed = job.speech.speed if words.speed is None else words.speed
    return replace(job.speech, voice=voice, speed=speed)


def _called(words: Words) -> str:
    line = " ".join(words.text.split())
    return f"'{line}'" if len(line) <= _NAME else f"'{line[: _NAME - 1].rstrip()}\u2026'"


def _place(job: RenderJob, words: Words) -> Path:
    said = repr((words.text, _settings(job, words)))
    key = hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:16]
    return job.output.with_name(f".{job.output.name}.{key}.wav")


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
