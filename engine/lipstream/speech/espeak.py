"""Voices of espeak-ng: offline, about a hundred languages, with the times of words."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from lipstream.errors import InputError
from lipstream.speech.espeak_library import InstalledVoice, Manner, espeak_library, own_voices
from lipstream.speech.voice import Spoken, VoiceCard
from lipstream.speech.word_timing import marks_at

if TYPE_CHECKING:
    from lipstream.speech.providers import SpeechSettings

USUAL_VOICE = "en-us"
_WORDS_A_MINUTE = 175
_OWN = {"en-in": "English (India)"}
"""Voices of ``espeak_voices`` and their titles."""
_VARIANTS = (
    *("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"),
    *("Andrea", "Annie", "steph", "whisper", "whisperf", "croak"),
)
"""Variants that change who speaks: women, men, children's voices and a few more."""


class EspeakVoice:
    """A voice of espeak-ng. A sentence takes it milliseconds."""

    def __init__(self, name: str, language: str, manner: Manner) -> None:
        self.name, self.language = name, language
        self._manner = manner
        self._library = espeak_library()
        self.rate = self._library.rate

    def say(self, sentence: str, /) -> Iterator[Spoken]:
        """Yield the whole sentence, with a mark at each word."""
        said = self._library.say(sentence, self._manner)
        if len(said.pcm) == 0:
            return
        begins: dict[int, int] = {}
        for moment in said.moments:
            if moment.kind == "word" and moment.length > 0:
                begins.setdefault(moment.at, moment.sample)
        yield Spoken(said.pcm, marks_at(sentence, begins, len(said.pcm)))

    def stop(self) -> None:
        """Do nothing: a sentence is over before anybody could stop it."""

    def close(self) -> None:
        """Do nothing: the library stays loaded."""


def open_voice(settings: "SpeechSettings") -> EspeakVoice:
    """Open ``en-us``, ``ar`` or ``en-in+f3``: a language, and after a + a variant."""
    asked = settings.voice or USUAL_VOICE
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
    return EspeakVoice(asked, language, Manner(files[language.lower()] + plus + variant, speed))


def list_voices(_: "SpeechSettings") -> Sequence[VoiceCard]:
    """Return a voice for each language, in the order of their tags."""
    titles = {voice.languages[0]: voice.name.replace("_", " ") for voice in _installed()} | _OWN
    return [VoiceCard(tag, tag, titles[tag].strip()) for tag in sorted(titles)]


@cache
def _installed() -> tuple[InstalledVoice, ...]:
    return tuple(espeak_library().voices())


def _files() -> dict[str, str]:
    """Return the file of each language; ``fr`` is the first voice that also speaks it."""
    installed = list(reversed(_installed()))
    also = {tag.lower(): voice.file for voice in installed for tag in voice.languages[1:]}
    first = {voice.languages[0].lower(): voice.file for voice in installed}
    bare = {"en": "gmw/en-US", "fr": "roa/fr"}
    return also | first | bare | {name: str(own_voices() / name) for name in _OWN}
