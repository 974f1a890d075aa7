"""When each phone of a recording is spoken, from its words: pocketsphinx's aligner, English."""

from typing import Any

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.lips.phones import classes_of_arpabet
from lipstream.types import Float32
from lipstream_models.corpora.labelled_speech import TimedClass
from lipstream_models.corpora.made_voices import TimedPhone, timed_classes

_STEPS_A_SECOND = 100
_LATE_S = 0.008
"""A step's window is 25.6 ms long and begins with it: what it tells is of a moment later."""
_DIGITS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_GRID_WORDS: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: f"{letter}." for letter in "bcdefghijklmnopqrstuvxy"}
    | {"a": "letter-a", "z": "letter-z"},
    {"z": "zero"} | {str(number): word for number, word in enumerate(_DIGITS, 1)},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
"""What each letter of a GRID clip's name stands for, in order (Cooke et al. 2006, table 1)."""
_ADDED_WORDS = {"letter-a": "EY", "letter-z": "Z EH D"}
"""Letters whose word means something else, too; GRID's speakers are British."""


def grid_sentence(clip: str) -> str:
    """Return the words of a GRID clip by its name, "bbaf2n"; raises InputError."""
    if len(clip) != len(_GRID_WORDS):
        raise InputError(f"{clip} is no name of a GRID clip: six letters, such as bbaf2n")
    try:
        return " ".join(words[letter] for words, letter in zip(_GRID_WORDS, clip, strict=True))
    except KeyError as error:
        raise InputError(f"{clip} is no name of a GRID clip: it has no letter {error}") from None


class ForcedAligner:
    """pocketsphinx with its own English model."""

    def __init__(self) -> None:
        """Raises BackendUnavailable without pocketsphinx."""
        try:
            from pocketsphinx import Decoder  # noqa: PLC0415
        except ImportError:
            raise BackendUnavailable(
                "aligning words needs pocketsphinx: pip install 'lipstream[align]'"
            ) from None
        # With its search for the best path, a tenth of short clips cannot be aligned.
        self._decoder: Any = Decoder(lm=None, loglevel="FATAL", bestpath=False)
        for word, phones in _ADDED_WORDS.items():
            self._decoder.add_word(word, phones, True)

    def align(self, sound: Float32, text: str) -> list[TimedClass] | None:
        """Return the lip classes of (n,) float32 at 16 kHz and its words; None if they do not fit.

        Raises InputError for a word that the dictionary lacks.
        """
        words = [self._word(word) for word in text.lower().split()]
        pcm = np.asarray(np.clip(sound, -1, 1) * 32767, np.int16).tobytes()
        self._decoder.set_align_text(" ".join(words))
        self._listen(pcm)
        if self._decoder.hyp() is None:
            return None
        self._decoder.set_alignment()
        self._listen(pcm)
        found = self._decoder.get_alignment()
        return None if found is None else timed_classes(_phones(found))

    def _word(self, word: str) -> str:
        kept = "".join(letter for letter in word if letter.isalnum() or letter in "'.-")
        for known in (kept, kept.strip(".")):
            if known and self._decoder.lookup_word(known):
                return known
        raise InputError(f"the aligner's dictionary lacks {word!r}: leave this recording out")

    def _listen(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()


def _phones(alignment: Any) -> list[TimedPhone]:
    return [
        TimedPhone(
            classes_of_arpabet(phone.name),
            phone.start / _STEPS_A_SECOND + _LATE_S,
            (phone.start + phone.duration) / _STEPS_A_SECOND + _LATE_S,
        )
        for word in alignment
        for phone in word
    ]
