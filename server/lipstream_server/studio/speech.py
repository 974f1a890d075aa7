"""Typed text to a sound file, and the voices there are to say it."""

import contextlib
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipstream.errors import InputError, MediaError
from lipstream.speaking import SpeechSettings, list_voices, open_voice, read_aloud
from lipstream_server.studio.child import Reply


def voices(order: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Return the voices of a provider."""
    cards = list_voices(SpeechSettings(**order["speech"]))
    return {
        "voices": [
            {"name": card.name, "language": card.language, "title": card.title} for card in cards
        ]
    }


def speak(order: Mapping[str, Any], _: Reply) -> dict[str, Any]:
    """Say a text into a wav file."""
    settings = SpeechSettings(**order["speech"])
    with contextlib.closing(open_voice(settings)) as voice:
        most = order["longest_s"] * voice.rate
        samples = 0
        try:
            with wave.open(order["file"], "wb") as written:
                written.setparams((1, 2, voice.rate, 0, "NONE", ""))
                for spoken in read_aloud(voice, order["text"]):
                    written.writeframes(spoken.pcm.astype("<i2").tobytes())
                    samples += len(spoken.pcm)
                    if samples > most:
                        raise InputError(
                            f"the text takes longer than {order['longest_s']} s to say: shorten it"
                        )
        except OSError as error:
            raise MediaError("the speech cannot be written") from error
        if samples == 0:
            Path(order["file"]).unlink(missing_ok=True)
            raise InputError("the voice says nothing for this text: write words it can read")
        return {"kind": "sound", "rate": voice.rate, "channels": 1, "samples": samples}
