from fractions import Fraction

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream.film import video_source
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
    monkeypatch.setattr(video_source, "_BACKWARDS_BYTES", held)
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


def test_a_size_of_other_proportions_pads_crops_or_stretches():
    image = np.full((60, 60, 3), 100, np.uint8)
    image[:10] = 200
    padded = Framing(size=(160, 80)).of(image)
    assert padded.shape == (80, 160, 3)
    assert (padded[:, :40] == 0).all()
    assert (padded[:, 121:] == 0).all()
    assert padded[40, 41].tolist() == padded[40, 118].tolist() == [100, 100, 100]
    cropped = Framing(size=(160, 80), fit="crop").of(image)
    assert cropped.shape == (80, 160, 3)
    assert (cropped == 100).all()  # the upper and the lower quarter are left out
    stretched = Framing(size=(160, 80), fit="stretch").of(image)
    assert stretched[2, 80].tolist() == [200, 200, 200]
    assert stretched[78, 2].tolist() == [100, 100, 100]


@pytest.mark.parametrize(
    "view",
    [
        Framing(),
        Framing(shrink=2),
        Framing(Rectangle(20, 220, 40, 360), size=(-1, 100)),
        Framing(size=(300, 300)),
        Framing(Rectangle(0, -1, 30, -1), size=(300, 100), fit="crop"),
        Framing(size=(100, 300), fit="crop"),
        Framing(size=(600, 200), fit="stretch"),
    ],
)
def test_where_a_place_in_a_picture_is_shown_is_known(view):
    image = np.zeros((240, 400, 3), np.uint8)
    image[112:128, 180:196] = 255  # its middle is at 188, 120
    shown = view.of(image)[..., 0].astype(float)
    rows, columns = np.mgrid[: shown.shape[0], : shown.shape[1]] + 0.5
    middle = [(places * shown).sum() / shown.sum() for places in (columns, rows)]
    assert view.affine(400, 240) @ [188, 120, 1] == pytest.approx(middle, abs=0.3)


@pytest.mark.parametrize(
    "view", [Framing(), Framing(Rectangle(8, 40, 8, 56)), Framing(Rectangle(0, 12, 0, 12), 0.25)]
)
def test_what_is_not_sized_or_too_small_to_be_looked_at_is_itself(film, view):
    video = VideoSource(film, Fraction(25), view=view)
    assert video.unsized is video
    assert np.array_equal(video.affine_from(video), [[1, 0, 0], [0, 1, 0]])


def test_a_sized_video_knows_itself_as_filmed_and_cropped(film):
    view = Framing(Rectangle(8, 40, 0, -1), size=(128, -1))
    video = VideoSource(film, Fraction(25), Cut(Fraction(1)), view)
    assert video.unsized.count == video.count == 25
    assert (video.unsized.width, video.unsized.height) == (64, 32)
    assert np.array_equal(video.affine_from(video.unsized), [[2, 0, 0], [0, 2, 0]])
