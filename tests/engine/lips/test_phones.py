"""Phones of several notations as lip classes, and known phones in place of heard ones."""

import itertools

import numpy as np
import pytest

from lipstream.lips.phones import (
    CLASSES,
    Phone,
    class_likelihoods,
    classes_of_arpabet,
    classes_of_espeak,
    classes_of_ipa,
    with_known_phones,
)


def names(classes):
    return None if classes is None else " ".join(CLASSES[index] for index in classes)


@pytest.mark.parametrize(
    ("read", "phone", "expected"),
    [
        (classes_of_arpabet, "B", "MBP"),
        (classes_of_arpabet, "oy1", "OW IY"),
        (classes_of_arpabet, "+NOISE+", "sil"),
        (classes_of_arpabet, "xx", None),
        (classes_of_espeak, "p", "MBP"),
        (classes_of_espeak, "tS", "SH"),
        (classes_of_espeak, "aI@", "AA IY"),
        (classes_of_espeak, "_:", "sil"),
        (classes_of_ipa, "ð", "TH"),
        (classes_of_ipa, "ʊ", "UW"),
        (classes_of_ipa, ",", "sil"),
        (classes_of_ipa, "ʘ", None),
    ],
)
def test_phones_are_read_in_their_notation(read, phone, expected):
    assert names(read(phone)) == expected


def test_the_english_r_is_rounded_and_others_are_not():
    assert names(classes_of_espeak("r", english=True)) == "SH"
    assert names(classes_of_espeak("r")) == "L"


def test_each_column_says_the_phone_at_its_centre():
    phones = [Phone((CLASSES.index("MBP"),), 0, 1000), Phone((5, 7), 1000, 3000)]
    columns = class_likelihoods(phones, 16_000, 0, 16)  # a column every 200 samples
    assert columns.argmax(1)[:15].tolist() == [1] * 5 + [5] * 5 + [7] * 5
    assert not columns[15].any()


def test_a_part_of_the_columns_is_that_part_of_all():
    rng = np.random.default_rng(4)
    edges = np.cumsum(rng.integers(300, 3000, 30)).tolist()
    phones = [
        Phone((int(rng.integers(14)),) if rng.random() < 0.8 else None, *span)
        for span in itertools.pairwise(edges)
    ]
    whole = class_likelihoods(phones, 22_050, 0, 200)
    assert whole.any()
    for start in (0, 7, 100, 250):
        part = class_likelihoods(phones, 22_050, start, 40)
        expected = np.zeros_like(part)
        inside = whole[start : start + 40]
        expected[: len(inside)] = inside
        assert np.array_equal(part[: len(inside)], expected[: len(inside)])


def test_what_is_known_replaces_what_is_heard_and_nothing_else():
    heard = np.full((3, len(CLASSES)), 1 / 14, np.float32)
    known = np.zeros_like(heard)
    known[1, 2] = 1
    both = with_known_phones(heard, known)
    assert np.array_equal(both[[0, 2]], heard[[0, 2]])
    assert np.array_equal(both[1], known[1])
