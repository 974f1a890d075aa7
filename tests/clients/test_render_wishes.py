"""What cannot be rendered as asked is said before anything is written."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from clients.making import write_film
from lipstream.errors import InputError
from lipstream_clients.dubbing.programme import Cut, Segment
from lipstream_clients.media import Encoding
from lipstream_clients.render import RenderJob, render


@pytest.fixture
def job(tmp_path, toy_folder, noise):
    return RenderJob(tmp_path / "film.mkv", noise, tmp_path / "out.mp4", toy_folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sound": None}, "give one sound for all of the film, or segments"),
        (
            {"sound": None, "segments": (Segment(Path("a.wav")),), "sound_cut": Cut(Fraction(1))},
            "give a segment its own",
        ),
        ({"box": (0, 900, 0, 20)}, "does not lie in the picture"),
        ({"face_cut": Cut(Fraction(9))}, "is not in it"),
        ({"label": "\u00e9"}, "plain letters"),
        ({"sheet": Path("no/such/a.png")}, "no folder"),
        ({"restore": Path("none.onnx")}, "there is no file none.onnx"),
        ({"encoding": Encoding("prores")}, "players do not take prores"),
    ],
)
def test_bad_wishes_are_said_and_write_nothing(job, face, change, says):
    write_film(job.face, [face] * 10)
    before = sorted(job.output.parent.iterdir())
    with pytest.raises(Exception, match=says):
        render(replace(job, **change))
    assert sorted(job.output.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ([Fraction(9)], "outside the film"),
        ([Fraction(1)], "but the film ends"),
        ([Fraction(0), Fraction(1)], "overlaps"),
    ],
)
def test_segments_that_do_not_fit_write_nothing(job, face, at, says):
    write_film(job.face, [face] * 50)
    before = sorted(job.output.parent.iterdir())
    segments = tuple(Segment(job.sound, start) for start in at)
    with pytest.raises(InputError, match=says):
        render(replace(job, sound=None, segments=segments))
    assert sorted(job.output.parent.iterdir()) == before
