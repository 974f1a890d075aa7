from fractions import Fraction
from pathlib import Path

import pytest

from lipstream.errors import InputError
from lipstream.film.job import (
    Cut,
    FaceChoice,
    Segment,
    SpokenText,
    parse_face_choice,
    parse_segment,
    parse_time,
    read_segments,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("63.5", Fraction(127, 2)), ("1:03.5", Fraction(127, 2)), ("1:00:03", 3603), ("0", 0)],
)
def test_times_are_read_as_people_write_them(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "soon", "1,5"])
def test_what_is_no_time_is_said(text):
    with pytest.raises(InputError, match="is no time"):
        parse_time(text)


def test_a_segment_on_the_command_line():
    segment = parse_segment("sound=a,b.wav,at=3,until=0:08,from=1,to=4,who=120,80")
    assert segment == Segment(
        Path("a,b.wav"),
        Fraction(3),
        Fraction(8),
        Cut(Fraction(1), Fraction(4)),
        FaceChoice("nearest", x=120, y=80),
    )


def test_a_segment_of_text_on_the_command_line():
    segment = parse_segment("text=Well, hello: a=b, you there,voice=en-in, speed=1.2,at=3")
    words = SpokenText("Well, hello: a=b, you there", "en-in", 1.2)
    assert segment == Segment(words, Fraction(3))
    assert parse_segment("text=Hello").sound == SpokenText("Hello")


def test_segments_of_text_in_a_file(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[[segment]]\ntext = "First, at=2.\\nThen."\nvoice = "ar"\nspeed = 0.8\nat = 1')
    assert read_segments(path) == [
        Segment(SpokenText("First, at=2.\nThen.", "ar", 0.8), Fraction(1))
    ]


def test_segments_in_a_file_are_found_beside_it(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        '[[segment]]\nsound = "a.wav"\nat = 1.5\n[[segment]]\nsound = "b.wav"\nat = "0:04"\n'
    )
    first, second = read_segments(path)
    assert first.sound == tmp_path / "a.wav"
    assert (first.at_s, second.at_s) == (Fraction(3, 2), 4)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("segment = 3", "should hold"),
        ("segment = [3]", "should hold"),
        ("", "should hold"),
        ("[[segment", "as TOML"),
        ("[[segment]]\nat = 3", "segment 1: it names no sound"),
        ('[[segment]]\ntext = ""', "segment 1: it names no sound and no text"),
        ('[[segment]]\ntext = "a"\nsound = "a"', "names a sound and a text; leave one out"),
        ('[[segment]]\nsound = "a"\nvoice = "ar"', "voice: for a text, not for a sound"),
        ('[[segment]]\nsound = "a"\nspeed = 1\nvoice = "ar"', "voice and speed: for a text"),
        ("[[segment]]\ntext = 5", "text and voice are strings"),
        ('[[segment]]\ntext = "a"\nvoice = 5', "text and voice are strings"),
        ('[[segment]]\ntext = "a"\nspeed = "fast"', "speed 'fast' is no number"),
        ('[[segment]]\nsound = "a"\nstart = 1', "unknown start"),
        ('[[segment]]\nsound = "a"\nat = "x"', "segment 1, at: 'x' is no time"),
        ('[[segment]]\nsound = "a"\nwho = "nobody"', "picks no face"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, written, says):
    path = tmp_path / "s.toml"
    path.write_text(written)
    with pytest.raises(InputError, match=says):
        read_segments(path)


def test_a_missing_file_and_a_word_without_key_are_named(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_segments(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is not key=value"):
        parse_segment("a.wav")


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("largest", FaceChoice()),
        ("2", FaceChoice("nth", place=2)),
        ("10.5, 20", FaceChoice("nearest", x=10.5, y=20.0)),
    ],
)
def test_faces_are_picked_by_a_word(text, who):
    assert parse_face_choice(text) == who
    assert parse_face_choice(text, follow=True).follow


@pytest.mark.parametrize("text", ["0", "", "-1", "1,", "\u00b2", "smallest"])
def test_a_word_that_picks_nobody_is_said(text):
    with pytest.raises(InputError, match="picks no face"):
        parse_face_choice(text)
