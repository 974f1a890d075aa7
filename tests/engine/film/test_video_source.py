from fractions import Fraction

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream.film import video_source as footage_module
from lipstream.film.job import Cut, Framing, Rectangle
from lipstream.film.video_source import EndlessVideo, VideoSource
from lipstream.media import FilmReader
from media_files import numbered, write_film


@pytest.fixture
def film(tmp_path):
    return FilmReader(write_film(tmp_path / "a.mkv", numbered(50)))


def greys(images):
    return [int(image[0, 0, 0]) // 5 for image in images]


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["repeat", "bounce", "hold"])
@pytest.mark.parametrize("held", [100_000_000, 64 * 48 * 3 * 7])
def test_a_projector_can_be_set_to_any_frame(film, monkeypatch, ends, held):
    monkeypatch.setattr(footage_module, "_BACKWARDS_BYTES", held)
    video = VideoSource(film, Fraction(25), Cut(Fraction("0.4"), Fraction("1.6")))
    assert video.count == 30
    wanted = [10 + video.at(k, ends) for k in range(150)]
    projector = EndlessVideo(video, ends)
    assert greys(projector.picture_at(k) for k in range(150)) == wanted
    for first in (1, 29, 30, 31, 58, 59, 60, 100):
        entered = EndlessVideo(video, ends)
        assert greys(entered.picture_at(k) for k in range(first, 140)) == wanted[first:140]


def test_ping_pong_shows_neither_end_twice(film):
    video = VideoSource(film, Fraction(25), Cut(stop_s=Fraction("0.16")))
    assert [video.at(k, "bounce") for k in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("view", "size"),
    [
        (Framing(), (64, 48)),
        (Framing(Rectangle(8, -1, 0, 32)), (32, 40)),
        (Framing(shrink=2), (32, 24)),
        (Framing(size=(128, -1)), (128, 96)),
        (Framing(size=(-1, 24)), (32, 24)),
        (Framing(Rectangle(0, 24, 0, -1), size=(100, 50)), (100, 50)),
    ],
)
def test_pictures_are_cropped_then_sized(film, view, size):
    video = VideoSource(film, Fraction(25), view=view)
    assert (video.width, video.height) == size
    assert next(video.pictures()).shape[1::-1] == size


def test_a_view_that_changes_nothing_is_the_picture_itself():
    image = np.zeros((48, 64, 3), np.uint8)
    assert Framing().of(image) is image


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (Framing(Rectangle(0, 99, 0, 20)), "does not lie in a picture of 64x48"),
        (Framing(Rectangle(20, 20, 0, 20)), "does not lie"),
        (Framing(shrink=50), "1x1 pixels"),
    ],
)
def test_a_view_that_cannot_be_is_said(film, view, says):
    with pytest.raises(InputError, match=says):
        VideoSource(film, Fraction(25), view=view)


@pytest.mark.parametrize(("start", "stop"), [("2", None), ("1", "0.5"), ("0", "9")])
def test_a_part_outside_the_film_is_said(film, start, stop):
    cut = Cut(Fraction(start), None if stop is None else Fraction(stop))
    with pytest.raises(InputError, match=r"lasts 2.00 s"):
        VideoSource(film, Fraction(25), cut)
