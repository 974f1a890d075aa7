"""Captions: what is said when, in files and in pictures."""

import ctypes.util
import wave
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream.film.captions import (
    Caption,
    check_drawable,
    draw_caption,
    film_captions,
    srt_of_vtt,
    write_captions,
)
from lipstream.film.job import Cut
from lipstream.film.render import RenderJob, render
from lipstream.film.timeline import ClipPlacement, EditTimeline, SoundClip, place_clips
from lipstream.speech import Mark, SpeechChunk, load_sentences, write_speech
from lipstream.timing import Timing

RATE = 8000
TEXT = "Good morning. This one is so long that nobody could read it in a line; it is broken up."


class Hum:
    """A voice that takes half a second for a sentence."""

    name, language, rate = "hum", None, RATE

    def say(self, sentence: str):
        tone = (4000 * np.sin(np.arange(RATE // 2) / 5)).astype(np.int16)
        yield SpeechChunk(tone, (Mark("word", 0, 3, 0),))

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def spoken(tmp_path):
    path = tmp_path / "said.wav"
    write_speech(Hum(), TEXT, path)
    return path


def timeline(*placed: ClipPlacement) -> EditTimeline:
    ranges = place_clips(list(placed), Timing(RATE, Fraction(25)), None)
    return EditTimeline(Fraction(25), RATE, 1, ranges[-1].stop, tuple(ranges))


def test_a_spoken_file_says_its_sentences_and_plays_as_before(spoken):
    first, second = load_sentences(spoken, RATE)
    assert (first.text, first.start, first.stop) == ("Good morning.", 0, RATE // 2)
    assert (second.start, second.stop) == (RATE // 2, RATE)
    with wave.open(str(spoken)) as opened:
        assert opened.getnframes() == RATE


def test_captions_lie_where_their_sentences_are_heard(spoken):
    whole = ClipPlacement(SoundClip.open(spoken), Fraction(2))
    captions = film_captions(timeline(whole))
    assert captions[0] == Caption("Good morning.", 2 * RATE, 2 * RATE + RATE // 2)
    assert captions[-1].stop == 3 * RATE
    part = ClipPlacement(SoundClip.open(spoken, Cut(Fraction(1, 4), Fraction(3, 4))))
    captions = film_captions(timeline(part))
    assert [(one.start, one.stop) for one in captions] == [(0, 2000), (2000, 4000)]


def test_a_long_sentence_is_broken_between_words_into_lines_of_42(spoken):
    captions = film_captions(timeline(ClipPlacement(SoundClip.open(spoken))))
    lines = [line for one in captions for line in one.text.split("\n")]
    assert max(map(len, lines)) <= 42
    assert " ".join(lines) == TEXT
    assert all(len(one.text.split("\n")) <= 2 for one in captions)
    assert all(a.stop <= b.start for a, b in pairwise(captions))


def test_both_files_are_written_as_players_read_them(tmp_path):
    captions = [Caption("a < b & c", 0, RATE), Caption("two\nlines", RATE, 3700 * RATE + 40)]
    write_captions(tmp_path / "a.vtt", captions, RATE)
    write_captions(tmp_path / "a.srt", captions, RATE)
    web = (tmp_path / "a.vtt").read_text()
    plain = (tmp_path / "a.srt").read_text()
    assert web.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na &lt; b &amp; c\n\n")
    assert "2\n00:00:01,000 --> 01:01:40,005\ntwo\nlines\n" in plain
    assert srt_of_vtt(web) == plain
    with av.open(str(tmp_path / "a.srt")) as opened:
        assert opened.streams.subtitles[0].codec_context.name in ("srt", "subrip")


def test_a_caption_is_drawn_below_in_the_middle_and_fits():
    picture = np.full((240, 320, 3), 128, np.uint8)
    drawn = draw_caption(picture, "A line that is a good deal too wide\nand one more")
    changed = np.argwhere((drawn != picture).any(2))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert top > 140
    assert bottom < 235
    assert abs((left + right) / 2 - 160) < 4
    assert left > 5
    assert drawn.max() == 255
    assert picture.min() == 128


def test_letters_that_cannot_be_drawn_are_refused():
    check_drawable([Caption("Zoë, Привет, 你好", 0, 1)])
    for text in ("مرحبا", "नमस्ते"):
        with pytest.raises(InputError, match="--captions"):
            check_drawable([Caption(text, 0, 1)])


def test_a_sound_whose_words_nobody_knows_is_refused(portrait, noise, toy_folder, tmp_path):
    job = RenderJob(
        portrait, noise, tmp_path / "o.mp4", model=toy_folder, captions=tmp_path / "o.srt"
    )
    with pytest.raises(InputError, match=r"nobody knows the words of noise\.wav"):
        render(job)


@pytest.mark.slow
@pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="no espeak-ng")
def test_a_text_is_written_and_drawn_while_it_is_heard(portrait, toy_folder, tmp_path):
    files = {"model": toy_folder, "still": True, "text": "One. Two."}
    plain = RenderJob(portrait, None, tmp_path / "a.mkv", **files)
    drawn = RenderJob(
        *(portrait, None, tmp_path / "b.mkv"),
        **files,
        burn_captions=True,
        captions=tmp_path / "b.srt",
    )
    render(plain)
    render(drawn)
    assert (tmp_path / "b.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:00,")
    pictures = []
    for path in (plain.output, drawn.output):
        with av.open(str(path)) as opened:
            pictures.append([f.to_ndarray(format="gray") for f in opened.decode(video=0)])
    assert abs(len(pictures[0]) - len(pictures[1])) <= 1  # espeak-ng speaks a little at random
    pairs = list(zip(*pictures, strict=False))
    below = [np.abs(a[-100:].astype(int) - b[-100:]).max() > 60 for a, b in pairs]
    above = [np.abs(a[:200].astype(int) - b[:200]).max() for a, b in pairs]
    assert all(below[1:-1])
    assert max(above) < 40
