"""Typed text to a sound file, and the voices there are to say it."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipstream.speaking import SpeechSettings, list_voices, open_voice, write_speech
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
    path, longest_s = Path(order["file"]), order["longest_s"]
    with contextlib.closing(open_voice(SpeechSettings(**order["speech"]))) as voice:
        samples = write_speech(voice, order["text"], path, longest_s=longest_s)
        return {"kind": "sound", "rate": voice.rate, "channels": 1, "samples": samples}
