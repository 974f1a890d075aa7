import threading
from fractions import Fraction

import numpy as np
import pytest

from lipstream.errors import MediaError
from lipstream.film.concurrency import open_part
from lipstream.media import FilmFormat, FilmReader
from media_files import numbered

SHAPE = FilmFormat(64, 48, Fraction(25))


def in_a_thread(work):
    """Return what ``work`` raised; fail when it does not come back."""
    raised = []

    def guarded():
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- judged by the test
            raised.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "waits for ever"
    return raised


def write(path, pictures):
    with open_part(path, SHAPE) as part:
        for picture in pictures:
            part.write(picture)


def test_a_part_holds_every_picture_in_order(tmp_path):
    write(tmp_path / "a.mp4", numbered(20))
    shown = [
        int(np.rint(picture[0, 0, 0] / 5)) for picture in FilmReader(tmp_path / "a.mp4").pictures()
    ]
    assert shown == list(range(20))


def test_what_goes_wrong_at_the_very_end_is_said(tmp_path):
    (tmp_path / "a.mp4").mkdir()  # the finished file cannot take this name
    (error,) = in_a_thread(lambda: write(tmp_path / "a.mp4", numbered(2)))
    assert isinstance(error, MediaError)
    assert [one.name for one in tmp_path.iterdir()] == ["a.mp4"]


def test_what_goes_wrong_midway_is_said_while_pictures_still_come(tmp_path):
    pictures = [*numbered(2), np.zeros((48, 64), np.uint8), *numbered(20)]
    assert in_a_thread(lambda: write(tmp_path / "a.mp4", pictures))
    assert not list(tmp_path.iterdir())


def test_a_part_given_up_leaves_nothing(tmp_path):
    def stop():
        yield numbered(1)[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "a.mp4", stop())
    assert not list(tmp_path.iterdir())
