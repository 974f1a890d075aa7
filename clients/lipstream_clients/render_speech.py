"""The text of a job, spoken into a file that lasts as long as the work on the film does.

Beside ``out.mp4`` stands ``.out.mp4.KEY.wav``. It is there before any picture is made, and a run
that goes on after a crash hears the same speech: no voice says a text twice alike.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lipstream.errors import InputError, LipstreamError
from lipstream.speaking import open_voice, write_speech
from lipstream_clients.render_job import RenderJob


@contextlib.contextmanager
def spoken(job: RenderJob) -> Iterator[RenderJob]:
    """Give the job with a sound file in place of its text; a job without a text as it is.

    Raises LipstreamError when the text cannot be spoken; then no file is left.
    """
    if job.text is None:
        yield job
        return
    if job.sound is not None or job.segments:
        raise InputError("give one of a sound, a text and segments: not several")
    file = _place(job)
    for other in file.parent.glob(f".{job.output.name}.*.wav"):
        if other != file:  # of an unfinished film with another text
            other.unlink(missing_ok=True)
    try:
        if not file.is_file():
            with closing(open_voice(job.speech)) as voice:
                write_speech(voice, job.text, file)
        yield replace(job, sound=file, text=None)
    except LipstreamError:
        file.unlink(missing_ok=True)
        raise
    file.unlink(missing_ok=True)


def _place(job: RenderJob) -> Path:
    key = hashlib.sha256(repr((job.text, job.speech)).encode("utf-8", "replace")).hexdigest()[:16]
    return job.output.with_name(f".{job.output.name}.{key}.wav")
