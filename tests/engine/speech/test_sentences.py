"""Where texts are cut, which scripts they are in, and where words stand."""

import random

import pytest

from lipstream.errors import InputError
from lipstream.speech.language import (
    LONGEST_SENTENCE,
    check_scripts,
    guessed_marks,
    marks_at,
    scripts_of,
    split_sentences,
    word_spans,
)


def cut(text):
    return [text[s.start : s.stop] for s in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("“Go!” he said. Then he left…", ["“Go!”", "he said.", "Then he left…"]),
        ("Mr. Smith paid 3.5 dollars to Dr. No.", ["Mr. Smith paid 3.5 dollars to Dr. No."]),
        ("See e.g. lipstream.org for more", ["See e.g. lipstream.org for more"]),
        ("كيف حالك؟ أنا بخير.", ["كيف حالك؟", "أنا بخير."]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
        ("你好。今天天气很好！", ["你好。", "今天天气很好！"]),
        ("A title\n\nAnd a text", ["A title", "And a text"]),
        ("One line\nbroken", ["One line\nbroken"]),
        ("... !? —", []),
        ("", []),
    ],
)
def test_texts_are_cut_at_the_ends_of_sentences(text, sentences):
    assert cut(text) == sentences


def test_a_sentence_without_end_is_cut_at_a_pause():
    commas = cut("and so on, " * 100)
    assert all(len(part) <= LONGEST_SENTENCE and part.endswith(",") for part in commas)
    spaces = cut("word " * 200)
    assert all(len(part) <= LONGEST_SENTENCE and part.endswith("word") for part in spaces)
    assert [len(part) for part in cut("x" * 1000)] == [400, 400, 200]


def test_no_letter_is_lost_or_said_twice_wherever_it_is_cut():
    draw = random.Random(4)
    for _ in range(200):
        text = "".join(draw.choice("ab3 .,?!\n。؟Mr") for _ in range(draw.randrange(900)))
        said = "".join(cut(text))
        letters = [c for c in text if c.isalnum()]
        assert [c for c in said if c.isalnum()] == letters


def test_a_text_of_short_forms_alone_is_cut_where_it_gets_too_long():
    assert all(len(part) <= LONGEST_SENTENCE for part in cut("a. " * 10_000))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en-US", "Hello 42 π!"),
        ("ar", "مرحبا hello"),
        ("cmn", "你好 hello"),
        ("ja", "こんにちは"),
        ("sr", "здраво zdravo"),
        ("hi", "नमस्ते"),
        ("fa-latn", "salam"),
        (None, "anything שלום"),
        ("en", "２ＡＢ and ℃"),
    ],
)
def test_texts_in_scripts_of_the_language_pass(language, text):
    check_scripts(text, "somebody", language)


@pytest.mark.parametrize(
    ("language", "text", "script"),
    [
        ("en", "مرحبا", "Arabic"),
        ("en", "all of it привет", "Cyrillic"),
        ("ar", "नमस्ते", "Devanagari"),
        ("ja", "日本", "Han"),
        ("de", "αβγ", "Greek"),
        ("fa-latn", "سلام", "Arabic"),
    ],
)
def test_other_scripts_are_refused_by_name(language, text, script):
    with pytest.raises(InputError, match=f"which is {script}"):
        check_scripts(text, "somebody", language)


def test_every_voice_reads_latin_letters():
    assert all("Latin" in scripts_of(language) for language in ("en", "ar", "zh", "xx"))


def test_words_are_without_the_punctuation_round_them():
    text = "“Don’t”, he said – 3.5 times (twice)!"
    assert [text[a:b] for a, b in word_spans(text)] == [
        "Don’t",
        "he",
        "said",
        "3.5",
        "times",
        "twice",
    ]
    assert word_spans("你好, go") == [(0, 1), (1, 2), (4, 6)]


def test_words_that_a_voice_does_not_time_begin_between_their_neighbours():
    marks = marks_at("one two three four", {0: 0, 8: 2000, 99: 7}, 4000)
    assert [mark.sample for mark in marks] == [0, 1000, 2000, 3000]


def test_times_never_fall_and_never_leave_the_sound():
    draw = random.Random(5)
    for _ in range(100):
        begins = {at: draw.randrange(6000) for at in range(0, 40, 4) if draw.random() < 0.6}
        times = [m.sample for m in marks_at("abc " * 10, begins, 5000)]
        assert times == sorted(times)
        assert all(0 <= time < 5000 for time in times)


def test_guessed_words_are_spread_by_their_letters():
    assert [m.sample for m in guessed_marks("aaaa bb", 100, 800)] == [100, 600]
