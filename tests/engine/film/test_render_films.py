"""Rendering films: several faces and none, parts of films, segments."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from lipstream import Avatar, MouthModel
from lipstream.errors import InputError
from lipstream.film import face_tracks
from lipstream.film.checkpoint import Checkpoint
from lipstream.film.frame_renderers import open_renderer, render_timeline
from lipstream.film.job import Cut, Framing, Rectangle, Segment, parse_face_choice
from lipstream.film.plan import make_plan
from lipstream.film.render import RenderJob, render, render_frames
from lipstream.media import Encoding
from lipstream.mouth.prepare import LipMover
from media_files import add_sound, film_contents, numbered, tone, write_film

RATE = 16_000
SIDE = 160


@pytest.fixture
def job(tmp_path, toy_folder, noise):
    return RenderJob(tmp_path / "film.mkv", noise, tmp_path / "out.mp4", toy_folder)


def frames_of(job, toy_model):
    return list(render_frames(job, toy_model, job.output.parent))


def changed(frame, original):
    """Return how much a frame was changed, levels."""
    return float(np.abs(frame.astype(int) - original).max())


def beside(left, right):
    return np.ascontiguousarray(np.hstack([left, right]))


def test_a_film_of_all_kinds_is_rendered_frame_by_frame(job, toy_model, face):
    blank = np.full_like(face, 90)
    covered = face.copy()
    covered[88:150, 30:130] = (40, 90, 40)
    film = [face] * 12 + [blank] * 6 + [face] * 12 + [covered] * 12 + [face] * 12
    write_film(job.face, film)
    frames = frames_of(replace(job, keep=True), toy_model)
    assert len(frames) == 54
    for k in (*range(12, 18), *range(31, 54)):
        assert np.array_equal(frames[k], film[k]), k
    spoken = [changed(frame, original) for frame, original in zip(frames, film, strict=True)]
    assert max(spoken[:12]) > 20
    assert max(spoken[18:30]) > 20


@pytest.mark.slow
def test_a_result_can_be_written_as_json(job, face):
    write_film(job.face, [face] * 15 + [np.full_like(face, 90)] * 15)
    result = render(replace(job, ends="cut"))
    counts = [result.frames, result.faceless, result.resumed]
    assert counts == [30, 15, 0]
    assert json.loads(json.dumps(counts)) == counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "side"),
    [
        ("2", "right"),
        pytest.param("1", "left", marks=pytest.mark.slow),
        pytest.param("largest", "left", marks=pytest.mark.slow),
        pytest.param("300,80", "right", marks=pytest.mark.slow),
    ],
)
def test_of_several_faces_one_is_picked(job, toy_model, face, who, side):
    smaller = cv2.copyMakeBorder(cv2.resize(face, (120, 120)), 20, 20, 20, 20, cv2.BORDER_REPLICATE)
    both = beside(face, smaller)
    write_film(job.face, [both] * 40)
    frame = frames_of(replace(job, who=parse_face_choice(who)), toy_model)[20]
    left, right = changed(frame[:, :SIDE], both[:, :SIDE]), changed(frame[:, SIDE:], both[:, SIDE:])
    assert (left > 20, right > 20) == (side == "left", side == "right")


@pytest.mark.slow
def test_a_third_face_that_is_not_there_leaves_the_film_alone(job, toy_model, face):
    write_film(job.face, [face] * 40)
    assert all(
        np.array_equal(frame, face)
        for frame in frames_of(replace(job, who=parse_face_choice("3")), toy_model)
    )


@pytest.mark.slow
def test_a_person_is_followed_from_shot_to_shot(job, toy_model, face):
    other = np.asarray(cv2.resize(Avatar.open(Path("omar")).frames[0], (SIDE, SIDE)), np.uint8)
    film = [beside(face, other)] * 20 + [beside(other, face)] * 20
    write_film(job.face, film)
    frames = frames_of(replace(job, who=parse_face_choice("1", follow=True)), toy_model)
    for k, columns in ((10, slice(0, SIDE)), (30, slice(SIDE, 2 * SIDE))):
        apart = np.abs(frames[k].astype(int) - film[k])
        assert apart[:, columns].max() > 20
        apart[:, columns] = 0
        assert apart.max() == 0


@pytest.mark.slow
def test_a_mouth_fades_before_its_face_leaves(job, toy_model, face):
    film = [face] * 25 + [_sunk(face, 16 * k) for k in range(15)]
    write_film(job.face, film)
    frames = frames_of(job, toy_model)
    levels = [changed(a, b) for a, b in zip(frames, film, strict=True)]
    assert levels[15] > 20
    last = max(k for k, level in enumerate(levels) if level > 0)
    assert levels[last] < 0.5 * levels[15]


def _sunk(face, rows):
    sunk = np.full_like(face, face[2, 2])
    if rows < SIDE:
        sunk[rows:] = face[: SIDE - rows]
    return sunk


def test_a_box_given_by_hand_needs_no_face(job, toy_model):
    grey = np.full((120, 160, 3), 90, np.uint8)
    write_film(job.face, [grey] * 10)
    frame = frames_of(replace(job, box=(10, 110, 30, 130)), toy_model)[5]
    apart = np.abs(frame.astype(int) - grey).max(-1)
    rows, columns = np.nonzero(apart)
    assert apart.max() > 20
    assert rows.min() >= 60
    assert rows.max() < 110
    assert columns.min() >= 30
    assert columns.max() < 130


@pytest.mark.slow
def test_pads_move_the_mouth_region(job, toy_model, face):
    write_film(job.face, [face] * 10)
    rows = []
    for pads in ((0, 0, 0, 0), (0, 30, 0, 0)):
        frame = frames_of(replace(job, pads=pads), toy_model)[5]
        rows.append(np.nonzero(np.abs(frame.astype(int) - face).max((1, 2)))[0].max())
    assert rows[1] > rows[0] + 5


@pytest.mark.slow
def test_a_film_is_cropped_sized_and_set_to_another_rate(job, toy_model, face):
    write_film(job.face, [face] * 30)
    view = Framing(Rectangle(0, -1, 10, 150), shrink=0.5)
    asked = replace(job, view=view, fps=Fraction(50), output=job.output.with_suffix(".mkv"))
    rendered = render(asked)
    pictures, _, _ = film_contents(asked.output)
    assert rendered.frames == len(pictures) == 80
    assert pictures[0].shape == (320, 280, 3)
    assert max(changed(picture, pictures[0]) for picture in pictures) > 20


@pytest.mark.slow
def test_what_a_small_film_found_is_taken_by_the_large_one_and_changes_nothing(
    job, toy_model, face
):
    film = [np.roll(beside(face, face[:, ::-1]), k % 4, 1) for k in range(24)]
    write_film(job.face, film)
    alone = frames_of(job, toy_model)
    noted = replace(job, tracks=job.output.with_name("faces.npz"))
    view = Framing(size=(-1, 80))
    small = frames_of(replace(noted, view=view), toy_model)
    middles = [
        np.argwhere(np.abs(frame.astype(int) - original).max(2) > 20).mean(0)
        for frame, original in ((alone[10], film[10]), (small[10], view.of(film[10])))
    ]
    assert middles[0] / 2 == pytest.approx(middles[1], abs=2)  # the mouth
    with_it = frames_of(noted, toy_model)
    assert all(np.array_equal(a, b) for a, b in zip(alone, with_it, strict=True))
    with np.load(noted.tracks) as stored:
        kept = {name: stored[name] for name in stored.files}
    np.savez(noted.tracks, **{**kept, "rows": kept["rows"][:0]})
    unseen = frames_of(noted, toy_model)  # so it is read
    assert all(np.array_equal(a, film[k % 24]) for k, a in enumerate(unseen))
    other = frames_of(replace(noted, face_cut=Cut(Fraction(1, 5))), toy_model)
    assert changed(other[5], film[10]) > 20  # of another part: looked for


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 10])
def test_in_a_draft_a_picture_with_a_mouth_stands_for_the_next_one_too(job, face, first):
    film = [np.roll(face, k % 3, 1) for k in range(20)] + [np.full_like(face, 90)] * 10
    write_film(job.face, film)
    with MouthModel.open() as model:
        made = []
        for asked in (job, replace(job, draft=True)):
            plan = make_plan(replace(asked, ends="cut"), model)
            with Checkpoint(job.output, "x", ".mp4") as checkpoint:
                renderer = open_renderer(plan, checkpoint, lambda: None)
            made.append(list(render_timeline(plan, renderer, first)))
    whole, draft = made
    assert len(whole) == len(draft) == 30 - first
    with_mouth = [changed(a, film[k]) > 0 for k, a in enumerate(whole, first)]
    assert sum(with_mouth) > 5
    for k, image in enumerate(draft):
        repeated = with_mouth[k] and k % 2
        assert np.array_equal(image, draft[k - 1] if repeated else whole[k]), k


@pytest.mark.slow
def test_a_draft_is_looked_through_in_parts_and_has_the_mouths_of_the_film(job, face, monkeypatch):
    monkeypatch.setattr(face_tracks, "_PART_S", 0.6)
    film = [np.roll(face, k % 3, 1) for k in range(50)]
    write_film(job.face, film)
    with MouthModel.open() as model:
        made = []
        for asked in (job, replace(job, draft=True)):
            plan = make_plan(replace(asked, ends="repeat"), model)
            with Checkpoint(job.output, "x", ".mp4") as checkpoint:
                renderer = open_renderer(plan, checkpoint, lambda: None)
                made.append(list(render_timeline(plan, renderer)))
            assert renderer.undriven.all == 0
            monkeypatch.delattr(LipMover, "teeth", raising=False)  # not in a draft
    whole, draft = made
    assert len(whole) == len(draft) > 25
    for k in range(0, len(whole), 2):
        moved = changed(whole[k], film[k % 50])
        assert (moved > 0) == (changed(draft[k], film[k % 50]) > 0)
        assert np.abs(draft[k].astype(int) - whole[k]).mean() < 0.2, k


@pytest.mark.slow
def test_segments_are_spoken_and_the_rest_is_kept_to_the_pixel_and_the_sample(job, toy_model, face):
    film = [np.roll(face, k % 3, 1) for k in range(150)]
    own = np.stack([tone(RATE, 6 * RATE, 1), tone(RATE, 6 * RATE, 2)], 1)
    heard = add_sound(write_film(job.face, film), own, RATE)
    segments = (Segment(job.sound, Fraction(1)), Segment(job.sound, Fraction(4), Fraction(5)))
    asked = replace(
        job, face=heard, sound=None, segments=segments, output=job.output.with_suffix(".mkv"),
        encoding=Encoding(audio="flac"),
    )  # fmt: skip
    frames = frames_of(asked, toy_model)
    assert len(frames) == 150
    spoken = {k for k, frame in enumerate(frames) if not np.array_equal(frame, film[k])}
    assert spoken
    assert spoken <= {*range(25, 65), *range(100, 125)}
    assert {30, 60, 110} <= spoken
    render(asked)
    with av.open(str(asked.output)) as container:
        track = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], 1)
    track = track.reshape(-1, 2)
    assert len(track) == 6 * RATE
    assert np.array_equal(track[:RATE], own[:RATE])
    assert np.array_equal(track[65 * 640 : 4 * RATE], own[65 * 640 : 4 * RATE])
    assert np.array_equal(track[5 * RATE :], own[5 * RATE :])
    noise = film_contents_sound(job.sound)
    assert np.array_equal(track[RATE : RATE + len(noise), 0], noise)
    assert np.array_equal(track[RATE : RATE + len(noise), 1], noise)


def film_contents_sound(path):
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])


@pytest.mark.slow
def test_a_long_film_is_cut_to_the_sound_or_kept(job, toy_model, face):
    write_film(job.face, [face] * 60)
    assert len(frames_of(job, toy_model)) == 40
    kept = frames_of(replace(job, keep=True), toy_model)
    assert len(kept) == 60
    assert all(np.array_equal(frame, face) for frame in kept[40:])


def test_parts_of_film_and_sound_are_used(job, toy_model):
    write_film(job.face, numbered(50))
    asked = replace(
        job,
        face_cut=Cut(Fraction("0.4"), Fraction(1)),
        sound_cut=Cut(Fraction("0.2"), Fraction("0.6")),
    )
    assert [int(f[0, 0, 0]) // 5 for f in frames_of(asked, toy_model)] == list(range(10, 20))


@pytest.mark.slow
def test_sound_can_be_copied_as_it_is(job, toy_model, face):
    write_film(job.face, [face] * 10)
    asked = replace(job, output=job.output.with_suffix(".mkv"), encoding=Encoding(audio="copy"))
    render(asked)
    with av.open(str(asked.output)) as container:
        assert container.streams.audio[0].codec_context.name == "pcm_s16le"
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert np.array_equal(heard, film_contents_sound(job.sound))
    with pytest.raises(InputError, match="sound can be copied only"):
        render(replace(asked, sound_cut=Cut(Fraction(1))))
