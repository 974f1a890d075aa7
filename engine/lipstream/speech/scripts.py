"""Which scripts a language is written in, and whether a text keeps to them.

A voice given letters it does not know spells out their names, or says nothing at all.
"""

import unicodedata
from functools import cache
from itertools import groupby

from lipstream.errors import InputError

_OF_LANGUAGE = {
    ("Arabic",): "ar fa ur ug sd ps ckb",
    ("Hebrew",): "he iw yi",
    ("Cyrillic",): "ru uk be bg mk kk ky tt ba cv nog mn tg",
    ("Cyrillic", "Latin"): "sr bs hr lv",
    ("Greek",): "el grc",
    ("Devanagari",): "hi mr ne sa kok bho mai",
    ("Bengali",): "bn as bpy",
    ("Gurmukhi",): "pa",
    ("Gujarati",): "gu",
    ("Oriya",): "or",
    ("Tamil",): "ta",
    ("Telugu",): "te",
    ("Kannada",): "kn",
    ("Malayalam",): "ml",
    ("Sinhala",): "si",
    ("Thai",): "th",
    ("Lao",): "lo",
    ("Khmer",): "km",
    ("Myanmar",): "my shn",
    ("Georgian",): "ka",
    ("Armenian",): "hy hyw",
    ("Ethiopic",): "am ti",
    ("Hangul",): "ko",
    ("Hiragana", "Katakana"): "ja",
    ("Han", "Bopomofo"): "cmn zh yue",
}
_SCRIPTS = {tag: scripts for scripts, tags in _OF_LANGUAGE.items() for tag in tags.split()}
_EVERYWHERE = frozenset({"Latin"})
"""Letters that every voice reads: those of other scripts say Latin words as English."""
_NAMES = {"Cjk": "Han", "Kangxi": "Han", "Ideographic": "Han"}
_LEAST_RUN = 2
"""Letters in a row that count: a single one, such as pi or alpha, is named, which is right."""


def scripts_of(language: str) -> frozenset[str]:
    """Return the scripts that a voice of a language (BCP 47) reads: Latin, and its own."""
    parts = language.lower().replace("_", "-").split("-")
    if "latn" in parts:
        return _EVERYWHERE
    return _EVERYWHERE.union(_SCRIPTS.get(parts[0], ()))


def check_scripts(text: str, voice: str, language: str | None) -> None:
    """Raise InputError when a text has words in a script that the voice cannot read.

    With an unknown language nothing is checked.
    """
    if language is None:
        return
    known = scripts_of(language)
    letters = ((letter, _script(letter)) for letter in text)
    for script, run in groupby(letters, lambda pair: pair[1]):
        word = "".join(letter for letter, _ in run)
        if script is not None and script not in known and len(word) >= _LEAST_RUN:
            raise InputError(
                f"voice {voice} reads {', '.join(sorted(known))} script and cannot say"
                f" '{word[:20]}', which is {script}: choose a voice of that language"
            )


@cache
def _script(letter: str) -> str | None:
    """Return the script of a letter by its Unicode name; None for what is no letter."""
    if unicodedata.category(letter) not in {"Lu", "Ll", "Lt", "Lo"}:
        return None
    word = unicodedata.name(letter, "UNKNOWN").split()[0].partition("-")[0].capitalize()
    if word in {"Fullwidth", "Halfwidth", "Mathematical", "Modifier", "Feminine", "Masculine"}:
        return None
    return _NAMES.get(word, word)
