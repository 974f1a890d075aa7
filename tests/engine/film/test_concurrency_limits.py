"""Room for pictures: few large ones at once, and small ones in one thread."""

from fractions import Fraction

import numpy as np

from lipstream.film.concurrency import pictures_in_budget
from lipstream.media import FilmFormat, FilmReader, PictureWriter
from lipstream.media.codecs import LARGE_PIXELS, ONE_THREAD_PIXELS, video_encoder


def test_small_pictures_wait_as_asked_and_of_large_ones_at_least_one():
    assert pictures_in_budget(512, 512, 4) == 4
    assert pictures_in_budget(2560, 1440, 4) == 2
    assert pictures_in_budget(3840, 2160, 4) == 1
    assert pictures_in_budget(8192, 8192, 4) == 1


def test_x264_takes_one_thread_for_small_pictures_and_little_memory_for_large_ones():
    encoder = video_encoder("h264")
    small = encoder.settings("medium", ONE_THREAD_PIXELS - 1)
    middle = encoder.settings("medium", ONE_THREAD_PIXELS)
    large = encoder.settings("medium", LARGE_PIXELS)
    assert small == middle | {"threads": "1"}
    assert "bframes=0" in large["x264-params"]
    assert small["crf"] == middle["crf"] == large["crf"]
    other = video_encoder("vp9")
    assert other.settings("low", 100) == other.settings("low", LARGE_PIXELS)


def test_a_large_picture_is_encoded_to_the_last(tmp_path):
    picture = np.zeros((2000, 2000, 3), np.uint8)
    picture[500:900, 700:] = (30, 160, 220)
    with PictureWriter(tmp_path / "large.mp4", FilmFormat(2000, 2000, Fraction(25))) as writer:
        for _ in range(3):
            writer.write(picture)
    shown = list(FilmReader(tmp_path / "large.mp4").pictures())
    assert len(shown) == 3
    assert np.abs(shown[-1][::50, ::50].astype(int) - picture[::50, ::50]).max() < 12
