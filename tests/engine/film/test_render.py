from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from lipstream import Avatar, LipSync, MouthModel, Options
from lipstream.cli import main
from lipstream.errors import InputError
from lipstream.film.job import Framing
from lipstream.film.plan import open_face
from lipstream.film.render import RenderJob, render, render_film, render_frames
from lipstream.media import FilmReader
from media_files import film_contents, numbered, tone, write_film, write_picture, write_wav
from mouth_faces import portrait as portrait_face
from toys import make_toy_shape_model

RATE = 16_000


@pytest.fixture
def job(tmp_path, toy_folder, toy_pack):
    """Render the toy avatar with one second and a bit of sound."""
    sound = write_wav(tmp_path / "a.wav", tone(RATE, RATE + 123), RATE)
    return RenderJob(toy_pack, sound, tmp_path / "a.mp4", toy_folder)


def test_rendered_frames_are_those_of_the_live_engine(job, tmp_path, toy_folder, toy_pack):
    with MouthModel.open(toy_folder) as model:
        rendered = list(render_frames(job, model, tmp_path))
    pcm = tone(RATE, RATE + 123)
    with LipSync.open(Options(toy_folder, toy_pack, RATE)) as lips:
        blocks = np.split(pcm, range(317, len(pcm), 317))
        live = [frame for block in blocks for frame in lips.feed(block)] + lips.flush()
    assert len(rendered) == len(live)
    for ours, theirs in zip(rendered, live, strict=True):
        assert np.array_equal(ours, theirs.image)


@pytest.mark.slow
def test_a_model_of_shapes_renders_what_it_shows_live(tmp_path):
    """With sound and silence, on an avatar whose frames move."""
    face = portrait_face()
    shifted = [np.roll(face.image, 2 * k, 1) for k in range(2)]
    crops = [face.crop + np.float32([[0, 0, 2 * k], [0, 0, 0]]) for k in range(2)]
    pack = tmp_path / "a.avatar"
    Avatar.from_frames(shifted, crops).save(pack)
    folder = make_toy_shape_model(tmp_path / "shapes")
    noise = np.random.default_rng(7).normal(0, 6000, RATE // 2).clip(-32768, 32767)
    pcm = np.concatenate([noise, np.zeros(RATE // 2)]).astype(np.int16)
    job = RenderJob(pack, write_wav(tmp_path / "a.wav", pcm, RATE), tmp_path / "a.mp4", folder)
    with MouthModel.open(folder) as model:
        rendered = list(render_frames(job, model, tmp_path))
    with LipSync.open(Options(folder, pack, RATE)) as lips:
        blocks = np.split(pcm, range(331, len(pcm), 331))
        live = [frame for block in blocks for frame in lips.feed(block)] + lips.flush()
    assert len(rendered) == len(live)
    assert all(np.array_equal(a, b.image) for a, b in zip(rendered, live, strict=True))
    assert any(not np.array_equal(one, shifted[k % 2]) for k, one in enumerate(rendered))


def test_the_film_covers_the_sound_to_its_last_sample(job):
    rendered = render(job)
    pictures, sound, rate = film_contents(job.output)
    assert rendered.frames == len(pictures) == 26
    assert rate == RATE
    assert len(sound) >= RATE + 123
    assert np.corrcoef(sound[:RATE], tone(RATE, RATE))[0, 1] > 0.98


@pytest.mark.parametrize("fps", [Fraction(10), Fraction(30_000, 1001), Fraction(50)])
def test_any_frame_rate_gives_as_many_frames_as_the_sound_needs(job, fps):
    rendered = render(RenderJob(job.face, job.sound, job.output, job.model, fps=fps))
    assert rendered.frames == -(-(RATE + 123) * fps // RATE)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
def test_sound_and_picture_are_in_step_in_the_file(job, tmp_path, rate):
    time = np.arange(3 * rate) / rate
    loud = (np.sin(2 * np.pi * 0.9 * time) + np.sin(2 * np.pi * 0.37 * time) > 0.2) * 8000.0
    noise = np.random.default_rng(3).standard_normal(len(time))
    sound = write_wav(tmp_path / "b.wav", (noise * loud).clip(-32768, 32767).astype(np.int16), rate)
    render(RenderJob(job.face, sound, job.output, job.model))
    pictures, heard, out_rate = film_contents(job.output)
    mouth = np.array([p[80:110, 50:80].mean() - p[10:40, 50:80].mean() for p in pictures[:75]])
    blocks = heard[: 75 * (out_rate // 25)].reshape(75, -1).astype(float)
    level = np.abs(blocks).mean(1)
    score = {lag: np.corrcoef(mouth[5:70], level[5 - lag : 70 - lag])[0, 1] for lag in (-2, 0, 2)}
    assert score[0] > 0.85
    assert score[0] > max(score[-2], score[2]) + 0.05


def test_progress_counts_to_the_end(job):
    told = []
    render(job, lambda done, total: told.append((done, total)))
    assert told == [(k, 26) for k in range(1, 27)]


def test_a_still_picture_speaks(job, portrait):
    render(RenderJob(portrait, job.sound, job.output, job.model, still=True))
    pictures, _, _ = film_contents(job.output)
    change = np.max(pictures, 0).astype(int) - np.min(pictures, 0)
    height = change.shape[0]
    assert change[height // 2 :].max() > 20
    assert change[: height // 5].max() < 12


@pytest.mark.slow
def test_frames_without_a_face_pass_untouched_and_a_short_film_begins_anew(
    job, tmp_path, toy_folder, portrait
):
    face = cv2.resize(cv2.imread(str(portrait)), (256, 256), interpolation=cv2.INTER_AREA)
    blank = [np.full((256, 256, 3), 40 + index, np.uint8) for index in range(4)]
    film = write_film(tmp_path / "film.mkv", [*blank, face, face, face])
    with MouthModel.open(toy_folder) as model:
        frames = list(render_frames(replace(job, face=film), model, tmp_path))
    assert len(frames) == 26
    for index, frame in enumerate(frames):
        if index % 7 < 4:
            assert np.array_equal(frame, blank[index % 7])
        else:
            assert np.array_equal(frame[:60], face[:60])
    assert any(not np.array_equal(frames[k], face) for k in (4, 5, 6, 11, 12, 13))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "order"),
    [
        ("repeat", [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),
        ("bounce", [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]),
        ("hold", [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]),
        ("cut", [0, 1, 2, 3]),
    ],
)
def test_the_end_of_a_short_film_is_a_choice(job, tmp_path, toy_model, ends, order):
    film = write_film(tmp_path / "film.mkv", numbered(4))
    sound = write_wav(tmp_path / "b.wav", tone(RATE, 10 * RATE // 25), RATE)
    asked = replace(job, face=film, sound=sound, ends=ends)
    shown = [image[0, 0, 0] // 5 for image in render_frames(asked, toy_model, tmp_path)]
    assert shown == order


@pytest.mark.slow
def test_the_embedded_avatar_has_a_name(job):
    face = open_face(replace(job, face=Path("ada")))
    assert (face.width, face.height) == (512, 512)


def test_an_unknown_name_is_told_the_names_there_are(job, capsys):
    command = ["render", "nobody", str(job.sound), "-o", str(job.output), "--model", str(job.model)]
    assert main(command) == 2
    assert "one of ada" in capsys.readouterr().err


def test_the_command_says_what_it_made(job, capsys):
    words = ["render", job.face, job.sound, "-o", job.output, "--model", job.model]
    assert main([str(word) for word in words]) == 0
    assert "26 frames at 25 fps" in capsys.readouterr().out


@pytest.mark.slow
def test_a_number_of_a_face_that_is_never_there_is_told(job, tmp_path, capsys):
    film = write_film(tmp_path / "one.mp4", [portrait_face().image[::2, ::2]] * 5)
    words = ["render", film, job.sound, "-o", job.output, "--model", job.model, "--who", "2"]
    assert main([str(word) for word in words]) == 0
    assert "--who 2: there are never 2 faces in one.mp4" in capsys.readouterr().err


def test_a_precision_that_the_model_lacks_is_said_and_writes_nothing(job, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    words = ["render", job.face, job.sound, "-o", job.output, "--model", job.model]
    assert main([*map(str, words), "--precision", "int8"]) == 2
    assert "'toy' has no int8 graph" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def _bad(kind, job, folder):
    """Return (face, sound, output) of which one is unfit."""
    if kind == "face":
        return write_picture(folder / "grey.png", numbered(9)[8]), job.sound, job.output
    if kind == "missing":
        return folder / "none.png", job.sound, job.output
    if kind == "sound":
        return job.face, job.face, job.output
    if kind == "ending":
        return job.face, job.sound, folder / "a.txt"
    return job.face, job.sound, folder / "no" / "a.mp4"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("face", "no face found"),
        ("missing", "there is no file"),
        ("sound", "cannot be read"),
        ("ending", "must end in"),
        ("folder", "no folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(job, tmp_path, capsys, kind, says):
    face, sound, output = _bad(kind, job, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    words = ["render", face, sound, "-o", output, "--model", job.model]
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_input_is_never_overwritten(job, tmp_path, capsys):
    film = write_film(tmp_path / "film.mkv", numbered(3))
    words = ["render", film, job.sound, "-o", film, "--model", job.model]
    before = film.read_bytes()
    assert main([str(word) for word in words]) == 2
    assert "also an input" in capsys.readouterr().err
    assert film.read_bytes() == before


def test_a_contact_sheet_never_overwrites_the_picture_either(job, tmp_path, capsys):
    picture = write_picture(tmp_path / "face.png", numbered(1)[0])
    words = ["render", picture, job.sound, "-o", job.output, "--model", job.model]
    before = picture.read_bytes()
    assert main([*map(str, words), "--sheet", str(picture)]) == 2
    assert "also an input: choose another name with --sheet" in capsys.readouterr().err
    assert picture.read_bytes() == before


def test_a_job_takes_files_as_text_and_any_number_of_frames(job):
    asked = RenderJob(str(job.face), str(job.sound), str(job.output), str(job.model), fps=12.5)
    assert asked == replace(job, fps=Fraction(25, 2))
    assert render(asked).frames == 13
    with pytest.raises(InputError, match="frame rate"):
        RenderJob(job.face, job.sound, job.output, fps="fast")


def test_one_call_renders_a_film_and_tells_its_progress(job):
    told = []
    result = render_film(
        str(job.face),
        str(job.sound),
        str(job.output),
        lambda done, total: told.append((done, total)),
        model=job.model,
        fps=12.5,
    )
    assert result.frames == len(told) == 13
    assert told[-1] == (13, 13)
    assert job.output.is_file()


@pytest.mark.parametrize(
    ("view", "size"),
    [(Framing(size=(-1, 180)), (180, 180)), (Framing(size=(320, 180)), (320, 180))],
)
def test_an_avatar_is_rendered_at_the_size_asked_for(job, toy_pack, view, size):
    result = render(replace(job, face=toy_pack, view=view))
    film = FilmReader(job.output)
    assert (film.width, film.height) == size
    assert film.count() == result.frames
