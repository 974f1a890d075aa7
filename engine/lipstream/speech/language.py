"""Texts as people write them: sentences, words and when each begins, and scripts.

Sentences are cut so that the first can be heard while the rest is being made. Scripts are checked
because a voice given letters it does not know spells out their names, or says nothing at all.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise

from lipstream.errors import InputError
from lipstream.speech.voices import Mark

LONGEST_SENTENCE = 400
"""Characters after which a sentence is cut at a comma, a space, or anywhere."""

_END = re.compile(
    r"""[.!?…]+["'”’»)\]]*(?=\s|$)      # Latin, Cyrillic, Greek, ...; 3.5 and a.b go on
      | [。！？｡．]+[」』”’）]*            # Chinese and Japanese: no space follows
      | [\u061f\u06d4\u0964\u0965\u1362\u104b\u17d4\u0589\u037e]+(?=\s|$)
        # Arabic and Urdu, Indic, Ethiopic, Burmese, Khmer, Armenian, Greek
      | \n\s*\n                         # a paragraph ends without a stop, too
    """,
    re.VERBOSE,
)
_SHORT_FORM = re.compile(
    r"(?:^|[\s(\"'“])(?:[A-Za-z]|[A-Z]\.[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|approx)\.$"
)
_PAUSES = (re.compile(r"[,;:،؛、，；：]\s*"), re.compile(r"\s+"))


@dataclass(frozen=True, slots=True)
class Sentence:
    """Where a sentence stands in a text; it begins and ends with something other than space."""

    start: int
    """Index of its first character."""
    stop: int
    """Index past its last character."""


def split_sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of a text in order; what has no letter or digit is left out."""
    at = 0
    for end in [*_END.finditer(text), None]:
        stop = len(text) if end is None else end.end()
        if stop < len(text) and _SHORT_FORM.search(text[max(at, stop - 12) : stop]):
            continue
        yield from _shorten(text, at, stop)
        at = stop


def _shorten(text: str, start: int, stop: int) -> Iterator[Sentence]:
    """Yield a sentence trimmed and, when too long, in parts."""
    while stop - start > LONGEST_SENTENCE:
        cut = _pause(text, start, start + LONGEST_SENTENCE)
        yield from _trim(text, start, cut)
        start = cut
    yield from _trim(text, start, stop)


def _pause(text: str, start: int, stop: int) -> int:
    """Return where best to cut between: after the last comma, else space, else at ``stop``."""
    for pause in _PAUSES:
        ends = [match.end() for match in pause.finditer(text, start, stop)]
        if ends and ends[-1] > start + LONGEST_SENTENCE // 4:
            return ends[-1]
    return stop


def _trim(text: str, start: int, stop: int) -> Iterator[Sentence]:
    sentence = text[start:stop]
    if not any(letter.isalnum() for letter in sentence):
        return
    yield Sentence(start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip()))


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


# Scripts written without spaces between words: one letter counts as a word.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\uff00\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")


def word_spans(sentence: str) -> list[tuple[int, int]]:
    """Return where words begin and end, without the punctuation round them."""
    spans = []
    for match in _WORD.finditer(sentence):
        start, stop = match.span()
        while start < stop and unicodedata.category(sentence[start])[0] in "PSZC":
            start += 1
        while stop > start and unicodedata.category(sentence[stop - 1])[0] in "PSZC":
            stop -= 1
        if start < stop:
            spans.append((start, stop))
    return spans


def marks_at(sentence: str, begins: Mapping[int, int], samples: int) -> tuple[Mark, ...]:
    """Return a mark for each word of a sentence whose sound has ``samples``.

    ``begins`` says at which sample the character of an index begins to be heard. A word without
    one, such as the second of two that are spoken as one, begins between its neighbours.
    """
    spans = word_spans(sentence)
    known = []
    for start, stop in spans:
        inside = [sample for at, sample in begins.items() if start <= at < stop]
        known.append(min(inside) if inside else None)
    times = _filled(known, samples)
    return tuple(
        Mark("word", start, stop, time) for (start, stop), time in zip(spans, times, strict=True)
    )


def guessed_marks(sentence: str, first: int, stop: int) -> tuple[Mark, ...]:
    """Return a mark for each word, as if every letter took equally long.

    The sentence is heard from sample ``first`` to ``stop``. For voices that tell no times.
    """
    length = max(1, len(sentence.rstrip()))
    return tuple(
        Mark("word", start, end, first + start * max(0, stop - first) // length)
        for start, end in word_spans(sentence)
    )


def _filled(known: Sequence[int | None], samples: int) -> list[int]:
    """Return rising times, those that are missing spread evenly between their neighbours."""
    rising: list[int | None] = []
    latest = 0
    for time in known:
        if time is not None and latest <= time < samples:
            latest = time
            rising.append(time)
        else:
            rising.append(None)
    fixed = [(-1, 0), *((k, t) for k, t in enumerate(rising) if t is not None)]
    times = []
    for (k, time), (following, ahead) in pairwise([*fixed, (len(rising), samples)]):
        step = (ahead - time) / (following - k)
        times += [round(time + n * step) for n in range(following - k)]
    return [min(time, max(0, samples - 1)) for time in times[1:]]
