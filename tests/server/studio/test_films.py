"""From files to a film, over HTTP."""

import av
import pytest

ADA = {"avatar": "ada"}


@pytest.fixture(scope="module")
def sound(visitor, speech):
    return visitor.added("sound", speech)


def test_a_picture_and_a_sound_become_a_film(visitor, portrait, sound, tmp_path):
    face = visitor.added("face", portrait)
    asked = visitor.order({"media": face}, {"sound": sound})
    assert asked.status == 201
    job = visitor.wait(asked.said["id"])
    assert (job["state"], job["message"]) == ("done", None)
    film = visitor.ask("GET", job["film"]["link"])
    assert (film.status, film.headers["content-type"]) == (200, "video/mp4")
    (tmp_path / "film.mp4").write_bytes(film.body)
    with av.open(str(tmp_path / "film.mp4")) as opened:
        pictures = list(opened.decode(video=0))
        assert (len(pictures), pictures[0].width, pictures[0].height) == (10, 192, 192)
        assert opened.streams.audio[0].duration > 0
        assert "synthetic" in opened.metadata["comment"]
