"""Speech into a sound file."""

import wave
from collections.abc import Callable
from pathlib import Path

from lipstream.errors import InputError, MediaError
from lipstream.files import written_whole
from lipstream.speaking.reading import read_aloud
from lipstream.speaking.voice import Voice


def write_speech(
    voice: Voice,
    text: str,
    path: Path,
    *,
    longest_s: float | None = None,
    on_written: Callable[[float], None] = lambda _: None,
) -> int:
    """Say a text into a wav file; return its samples, at the voice's rate.

    The file gets its name when it is whole; an error leaves nothing of it. ``on_written`` is told
    the seconds so far. Raises as ``read_aloud`` does, InputError when the speech is longer than
    ``longest_s`` or there is none, and MediaError when it cannot be written.
    """
    samples = 0
    try:
        with (
            written_whole(path) as unfinished,
            unfinished.open("wb") as file,
            wave.open(file, "wb") as written,
        ):
            written.setparams((1, 2, voice.rate, 0, "NONE", ""))
            for spoken in read_aloud(voice, text):
                written.writeframes(spoken.pcm.astype("<i2").tobytes())
                samples += len(spoken.pcm)
                if longest_s is not None and samples > longest_s * voice.rate:
                    raise InputError(f"the text takes longer than {longest_s:g} s: shorten it")
                on_written(samples / voice.rate)
            if samples == 0:
                raise InputError(f"voice {voice.name} says nothing for this text: use its words")
    except OSError as error:
        raise MediaError(f"speech cannot be written to {path.parent}: {error.strerror}") from error
    return samples
