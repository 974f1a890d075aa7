"""Text to speech: providers behind one Protocol, spoken sentence by sentence.

``open_voice(SpeechSettings(...))`` gives a ``Voice``; ``read_aloud(voice, text)`` yields its speech
as it is made, for files; ``SpeechQueue`` makes it on a thread, a bounded time ahead, for live use.
What the lips do in it is ``lips``'; a provider is a module here and a line in ``voices``.
"""

from lipstream.speech.text_to_speech import (
    SpeechQueue,
    SpokenSentence,
    check_text,
    load_phones,
    load_sentences,
    read_aloud,
    write_speech,
)
from lipstream.speech.voices import (
    PROVIDERS,
    Mark,
    SpeechChunk,
    SpeechSettings,
    Voice,
    VoiceCard,
    list_voices,
    open_voice,
    provider_names,
)

__all__ = [
    "PROVIDERS",
    "Mark",
    "SpeechChunk",
    "SpeechQueue",
    "SpeechSettings",
    "SpokenSentence",
    "Voice",
    "VoiceCard",
    "check_text",
    "list_voices",
    "load_phones",
    "load_sentences",
    "open_voice",
    "provider_names",
    "read_aloud",
    "write_speech",
]
