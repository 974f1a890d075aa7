"""Preparing a corpus: films into arrays, and going on where an earlier run stopped."""

import av
import numpy as np
import pytest

from lipstream.errors import FaceNotFound, InputError, MediaError
from lipstream.face.crop import fit_crop
from lipstream_models.corpora.grid_corpus import (
    FACELESS,
    PREPARED,
    TO_DO,
    PreparedFolder,
    find_clips,
    quiet_frames,
    read_clip,
    read_sound,
    split_rows,
    steady_crops,
    to_crop_units,
    track_points,
)
from prepared_clips import CLIPS, make_clip, make_folder


def write_film(path, frames=60, rate=44_100):
    """Write grey frames, each a little lighter, with a 440 Hz tone on two channels."""
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(frames * rate // 25) / rate)
    pcm = (32767 * np.stack([tone, tone], 1)).astype(np.int16)
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25, options={})
        video.width, video.height, video.pix_fmt = 64, 48, "bgr0"
        audio = container.add_stream("pcm_s16le", rate=rate, layout="stereo")
        for number in range(frames):
            picture = np.full((48, 64, 3), 40 + number, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        block = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), "s16", "stereo")
        block.sample_rate = rate
        container.mux(audio.encode(block))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def test_a_film_gives_75_frames_and_three_seconds_of_16_khz(tmp_path):
    film = read_clip(write_film(tmp_path / "clip.mkv"))
    assert film.frames.shape == (75, 48, 64, 3)
    assert film.frames[[0, 10, 59, 74], 0, 0, 0].tolist() == [40, 50, 99, 99]
    assert film.sound.shape == (48_000,)
    spectrum = np.abs(np.fft.rfft(film.sound[8000:24_000]))
    assert spectrum.argmax() == 440
    assert np.abs(film.sound[40_000:]).max() < 1e-3


def test_a_file_that_is_no_film_is_named(tmp_path):
    path = tmp_path / "page.mkv"
    path.write_text("<html>")
    with pytest.raises(MediaError, match=r"page\.mkv"):
        read_clip(path)


def test_a_file_that_holds_no_sound_is_named(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"noise" * 30)
    with pytest.raises(MediaError, match=r"a\.wav"):
        read_sound(tmp_path / "a.wav")


def test_a_folder_without_films_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no \.mkv"):
        find_clips(tmp_path)


def face(scale=100.0, shift=(200.0, 150.0)):
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.9, (468, 2))
    for index, place in {33: (-0.5, 0.0), 263: (0.5, 0.0), 2: (0.0, 0.55), 168: (0, -0.05)}.items():
        points[index] = place
    return (points * scale + shift).astype(np.float32)


def test_trembling_crops_are_steadied_without_lag():
    rng = np.random.default_rng(1)
    moving = [face(shift=(200 + frame, 150)) for frame in range(40)]
    shaken = [points + rng.normal(0, 1, (1, 2)).astype(np.float32) for points in moving]
    true = np.stack([fit_crop(points) for points in moving])
    steady, raw = steady_crops(np.stack(shaken)), np.stack([fit_crop(p) for p in shaken])
    inner = slice(8, 32)
    error, before = (np.abs(crops - true)[inner, :, 2] for crops in (steady, raw))
    assert error.mean() < 0.55 * before.mean()
    assert abs((steady - true)[inner, 0, 2].mean()) < 0.5


def test_points_in_crop_units_come_back_to_pixels():
    points = np.stack([face(), face(scale=80)])
    crops = np.stack([fit_crop(frame) for frame in points])
    units = to_crop_units(points, crops)
    back = np.einsum("tij,tpj->tpi", crops[:, :, :2], units) + crops[:, None, :, 2]
    assert np.abs(back - points).max() < 1e-2


class NoFace:
    def reset(self):
        pass

    def step(self, image):
        return None


def test_a_film_without_a_face_says_so():
    with pytest.raises(FaceNotFound, match="3 of 3 frames"):
        track_points(np.zeros((3, 8, 8, 3), np.uint8), NoFace())


def test_silent_words_mark_quiet_frames(tmp_path):
    table = tmp_path / "s1.tsv"
    table.write_text(
        "clip\tstart_s\tend_s\tword\na\t0.000\t0.400\tsil\na\t0.400\t0.800\tbin\nz\t0\t1\tsil\n"
    )
    quiet = quiet_frames(table, ["b", "a"])
    assert quiet[1, :10].all()
    assert not quiet[1, 10:].any()
    assert not quiet[0].any()


def test_an_unfinished_folder_is_continued(tmp_path):
    folder = make_folder(tmp_path / "prepared", clips=3)
    folder.done[2] = TO_DO
    again = PreparedFolder.create(tmp_path / "prepared", folder.names, np.zeros((3, 75), bool))
    assert np.asarray(again.done).tolist() == [PREPARED, PREPARED, TO_DO]
    again.write(2, None)
    assert PreparedFolder(tmp_path / "prepared").done[2] == FACELESS
    assert np.array_equal(again.crops[1], make_clip(1).crops)


def test_a_folder_of_other_clips_is_not_overwritten(tmp_path):
    make_folder(tmp_path / "prepared", clips=2)
    with pytest.raises(InputError, match="other clips"):
        PreparedFolder.create(tmp_path / "prepared", ["x"], np.zeros((1, 75), bool))


def test_a_folder_that_was_not_prepared_is_named(tmp_path):
    with pytest.raises(InputError, match="train prepare"):
        PreparedFolder(tmp_path)


def test_every_twentieth_clip_is_held_out(tmp_path):
    folder = make_folder(tmp_path / "prepared")
    trained_on, held_out = split_rows(folder)
    assert held_out.tolist() == [0, 20]
    assert len(trained_on) == CLIPS - 2


def test_clips_without_a_face_are_in_neither_part(tmp_path):
    folder = make_folder(tmp_path / "prepared", clips=3)
    folder.write(1, None)
    trained_on, held_out = split_rows(folder)
    assert (trained_on.tolist(), held_out.tolist()) == ([2], [0])
