"""What cannot be rendered as asked is said before anything is written."""

from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lipstream.errors import BackendUnavailable, FaceNotFound, InputError
from lipstream.film.job import Cut, Segment, parse_face_choice
from lipstream.film.render import RenderJob, render, render_frames
from lipstream.media import Encoding
from media_files import write_film, write_picture


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
def test_bad_options_are_said_and_write_nothing(job, face, change, says):
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


_FOR_FILMS = [
    ({"keep": True}, "--keep"),
    ({"ends": "hold"}, "--ends"),
    ({"face_cut": Cut(Fraction(1))}, "--from and --to"),
    ({"who": parse_face_choice("largest", follow=True)}, "--follow"),
    ({"smooth": False}, "--no-smooth"),
]
_FOR_A_FACE_TO_BE_FOUND = [
    ({"who": parse_face_choice("2")}, "--who"),
    ({"pads": (0, 9, 0, 0)}, "--pads"),
    ({"box": (0, 90, 0, 90)}, "--box"),
    ({"s3fd": Path("s3fd.onnx")}, "--s3fd"),
    ({"still": True}, "--still"),
    ({"keep": True, "still": True}, "--keep, --still"),
]


@pytest.mark.parametrize(("change", "says"), _FOR_FILMS + _FOR_A_FACE_TO_BE_FOUND)
def test_what_an_avatar_has_no_use_for_is_refused(job, toy_pack, toy_model, change, says):
    asked = replace(job, face=toy_pack, **change)
    with pytest.raises(InputError, match=f"is an avatar, which has no use for {says}: leave out"):
        list(render_frames(asked, toy_model, job.output.parent))


@pytest.mark.parametrize(("change", "says"), _FOR_FILMS)
def test_what_a_picture_has_no_use_for_is_refused(job, portrait, toy_model, change, says):
    asked = replace(job, face=portrait, **change)
    with pytest.raises(InputError, match=f"is a picture, which has no use for {says}: leave out"):
        list(render_frames(asked, toy_model, job.output.parent))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"still": True}, "is a film, which has no use for --still"),
        (
            {"box": (0, 90, 0, 90), "who": parse_face_choice("2"), "s3fd": Path("s3fd.onnx")},
            "is given by --box, which has no use for --who, --s3fd",
        ),
    ],
)
def test_what_a_film_has_no_use_for_is_refused(job, toy_model, face, change, says):
    write_film(job.face, [face] * 5)
    with pytest.raises(InputError, match=says):
        list(render_frames(replace(job, **change), toy_model, job.output.parent))


def test_a_segment_picks_nobody_in_an_avatar(job, toy_pack, toy_model):
    segment = Segment(job.sound, who=parse_face_choice("1"))
    asked = replace(job, face=toy_pack, sound=None, segments=(segment,))
    with pytest.raises(InputError, match="no use for who= of a segment"):
        list(render_frames(asked, toy_model, job.output.parent))


@pytest.mark.parametrize(("who", "side"), [("1", "left"), ("2", "right"), ("240,80", "right")])
def test_of_several_people_in_a_picture_one_is_picked(job, toy_model, face, who, side):
    both = np.hstack([face, face])
    picture = write_picture(job.output.parent / "two.png", both)
    asked = replace(job, face=picture, who=parse_face_choice(who), still=True)
    frames = list(islice(render_frames(asked, toy_model, job.output.parent), 20))
    apart = np.abs(frames[-1].astype(int) - both).max((0, 2))
    left, right = apart[:160].max(), apart[160:].max()
    assert (left > 20, right > 20) == (side == "left", side == "right")


def test_a_person_who_is_not_in_a_picture_is_missed(job, toy_model, portrait):
    asked = replace(job, face=portrait, who=parse_face_choice("3"))
    with pytest.raises(FaceNotFound, match=r"not in ada\.png: 1 found"):
        list(render_frames(asked, toy_model, job.output.parent))


def test_pads_move_the_mouth_of_a_picture(job, toy_model, face):
    picture = write_picture(job.output.parent / "one.png", face)
    lowest = []
    for pads in ((0, 0, 0, 0), (0, 30, 0, 0)):
        asked = replace(job, face=picture, pads=pads, still=True)
        frame = next(islice(render_frames(asked, toy_model, job.output.parent), 19, None))
        lowest.append(np.nonzero(np.abs(frame.astype(int) - face).max((1, 2)))[0].max())
    assert lowest[1] > lowest[0] + 5


def test_a_restoration_network_runs_in_the_backend_asked_for(job, toy_pack, toy_model, tmp_path):
    network = tmp_path / "restore.onnx"
    network.write_bytes(b"any")
    asked = replace(job, face=toy_pack, restore=network, backend="abacus")
    with pytest.raises(BackendUnavailable, match="no backend 'abacus'"):
        list(render_frames(asked, toy_model, job.output.parent))
