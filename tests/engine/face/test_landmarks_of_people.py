"""Faces of real people, where the shared folder holds them."""

import av
import pytest

from lipstream.face.tracker import FaceTracker


def pictures(path, count):
    with av.open(str(path)) as film:
        for number, frame in enumerate(film.decode(video=0)):
            if number == count:
                return
            yield frame.to_ndarray(format="bgr24")


@pytest.mark.slow
def test_every_speaker_is_followed_through_a_clip(shared):
    folder = shared / "data" / "grid"
    films = [*sorted((folder / "others").glob("*.mpg")), *sorted((folder / "s1").glob("*.mkv"))[:1]]
    if not films:
        pytest.skip(f"no films in {folder}")
    with FaceTracker.open() as tracker:
        for film in films:
            tracker.reset()
            found = [tracker.step(image) for image in pictures(film, 6)]
            assert all(one is not None and one.score > 0.9 for one in found), film.name
