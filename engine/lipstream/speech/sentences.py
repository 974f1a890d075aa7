"""Cut a text into sentences, so that the first can be heard while the rest is being made."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
        yield from _short(text, at, stop)
        at = stop


def _short(text: str, start: int, stop: int) -> Iterator[Sentence]:
    """Yield a sentence trimmed and, when too long, in parts."""
    while stop - start > LONGEST_SENTENCE:
        cut = _pause(text, start, start + LONGEST_SENTENCE)
        yield from _trimmed(text, start, cut)
        start = cut
    yield from _trimmed(text, start, stop)


def _pause(text: str, start: int, stop: int) -> int:
    """Return where best to cut between: after the last comma, else space, else at ``stop``."""
    for pause in _PAUSES:
        ends = [found.end() for found in pause.finditer(text, start, stop)]
        if ends and ends[-1] > start + LONGEST_SENTENCE // 4:
            return ends[-1]
    return stop


def _trimmed(text: str, start: int, stop: int) -> Iterator[Sentence]:
    sentence = text[start:stop]
    if not any(letter.isalnum() for letter in sentence):
        return
    yield Sentence(start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip()))
