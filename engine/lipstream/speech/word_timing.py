"""The words of a sentence, and the moment at which each begins."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lipstream.speech.voice import Mark

# Scripts written without spaces between words: one letter counts as a word.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\uff00\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")


def word_spans(sentence: str) -> list[tuple[int, int]]:
    """Return where words begin and end, without the punctuation round them."""
    spans = []
    for found in _WORD.finditer(sentence):
        start, stop = found.span()
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
