"""Phones of several notations as lip classes, and known phones in place of heard ones."""

import itertools
import wave

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream.lips.phones import (
    CLASSES,
    Phone,
    append_phones,
    class_likelihoods,
    classes_of_arpabet,
    classes_of_espeak,
    classes_of_ipa,
    load_phones,
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


def speech_file(path, seconds=1.0):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 22_050, 0, "NONE", ""))
        file.writeframes(bytes(2 * int(22_050 * seconds) + 2))


def test_phones_written_into_a_sound_are_read_back_and_the_sound_is_as_it_was(tmp_path):
    path = tmp_path / "a.wav"
    speech_file(path)
    phones = [
        Phone(classes_of_arpabet("b"), 2205, 4410),
        Phone(classes_of_arpabet("ay"), 4410, 8820),
        Phone(None, 8820, 9000),
    ]
    append_phones(path, phones, 22_050)
    back = load_phones(path, 48_000)
    pressed, open_mouth, wide = (CLASSES.index(name) for name in ("MBP", "AA", "IY"))
    assert [one.classes for one in back] == [(pressed,), (open_mouth,), (wide,), None]
    assert [(one.start, one.stop) for one in back[:2]] == [(4800, 9600), (9600, 14_400)]
    with wave.open(str(path)) as file:
        assert file.getnframes() == 22_051
    size = path.stat().st_size
    assert int.from_bytes(path.read_bytes()[4:8], "little") == size - 8


def test_a_sound_without_phones_has_none(tmp_path):
    path = tmp_path / "a.wav"
    speech_file(path)
    assert load_phones(path, 16_000) == ()
    (tmp_path / "b.mp3").write_bytes(b"ID3 and more")
    assert load_phones(tmp_path / "b.mp3", 16_000) == ()


@pytest.mark.parametrize("text", [b"[[1, 2]]", b"[[77, 0.0, 1.0]]", b"{", b"[3]", b'"x"'])
def test_broken_phones_are_told(tmp_path, text):
    path = tmp_path / "a.wav"
    speech_file(path)
    with path.open("ab") as file:
        file.write(b"phon" + len(text).to_bytes(4, "little") + text)
    with pytest.raises(InputError, match="phones is broken"):
        load_phones(path, 16_000)
