import resource
import signal
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from lipstream.errors import MediaError
from lipstream.media import (
    AudioTrack,
    Encoding,
    FilmFormat,
    PictureWriter,
    join_parts,
    playable_rate,
    resolve_encoding,
)
from lipstream.media.codecs import _ENCODERS
from media_files import film_contents, numbered, tone


def write_part(path, pictures):
    height, width = pictures[0].shape[:2]
    with PictureWriter(path, FilmFormat(width, height, Fraction(25))) as writer:
        for picture in pictures:
            writer.write(picture)


def write(path, pictures, pcm, fps=Fraction(25), rate=16_000, part=10, **encoding):
    """Write a film in parts of ``part`` pictures, and its sound."""
    height, width = pictures[0].shape[:2]
    chosen = resolve_encoding(Encoding(**encoding), path)
    shape = FilmFormat(width, height, fps, Fraction(1), chosen.video, chosen.quality)
    parts = []
    for start in range(0, len(pictures), part):
        parts.append(path.parent / f"{start}{shape.part_suffix}")
        with PictureWriter(parts[-1], shape) as writer:
            for picture in pictures[start : start + part]:
                writer.write(picture)
    sound = pcm[:, None] if pcm.ndim == 1 else pcm
    blocks = [sound[at : at + 1600] for at in range(0, len(sound), 1600)]
    join_parts(parts, fps, AudioTrack(rate, sound.shape[1], chosen.audio, blocks), path)
    for one in parts:
        one.unlink()
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_every_frame_and_every_sample_is_in_the_film(tmp_path, suffix):
    pcm = tone(16_000, 16_000 - 100)
    pictures, sound, rate = film_contents(write(tmp_path / f"a{suffix}", numbered(25), pcm))
    assert len(pictures) == 25
    assert rate == 16_000
    assert len(sound) >= len(pcm)
    assert np.corrcoef(sound[: len(pcm)], pcm)[0, 1] > 0.98
    assert max(abs(int(p[0, 0, 0]) - 5 * i) for i, p in enumerate(pictures)) <= 3


def test_an_odd_size_is_filled_up_not_squeezed(tmp_path):
    picture = np.zeros((47, 63, 3), np.uint8)
    picture[:, -1] = 255
    pictures, _, _ = film_contents(write(tmp_path / "a.mp4", [picture] * 3, tone(16_000, 1920)))
    assert pictures[0].shape == (48, 64, 3)
    assert pictures[0][:, -2:].min() > 200
    assert pictures[0][:, :-4].max() < 60


def test_film_rates_stay_exact(tmp_path):
    fps = Fraction(30_000, 1001)
    path = write(tmp_path / "a.mp4", numbered(30), tone(48_000, 48_048), fps, 48_000)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == fps


def test_the_film_says_that_it_is_synthetic(tmp_path):
    path = write(tmp_path / "a.mp4", numbered(2), tone(16_000, 1280))
    with av.open(str(path)) as container:
        assert "synthetic=true" in container.metadata["comment"]


def test_an_error_leaves_nothing_behind_and_an_older_film_alone(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")
    with pytest.raises(cv2.error):
        write_part(path, [*numbered(1), np.zeros((0, 0, 3), np.uint8)])
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("name", "says"), [("a.avi2", "must end in"), ("no/such/a.mp4", "no folder")]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, name, says):
    with pytest.raises(MediaError, match=says):
        write(tmp_path / name, numbered(2), tone(16_000, 1280))


def test_sound_rates_that_players_lack_become_48_kilohertz():
    assert [playable_rate(rate) for rate in (8000, 44_100, 96_000, 11_000)] == [
        8000,
        44_100,
        48_000,
        48_000,
    ]


@pytest.mark.parametrize(
    ("name", "video"),
    [("a.mp4", "h264"), ("a.webm", "vp9"), ("a.mkv", "av1"), ("a.mov", "prores"), ("a.mp4", "av1")],
)
def test_every_codec_gives_every_picture_in_order_at_its_time(tmp_path, name, video):
    if not any(encoder.name in av.codecs_available for encoder in _ENCODERS[video]):
        pytest.skip(f"this FFmpeg has no encoder for {video}")
    pictures = [
        np.roll(np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1)), 7 * k, 1) for k in range(25)
    ]
    pictures = [np.repeat(picture[..., None], 3, 2) for picture in pictures]
    path = write(tmp_path / name, pictures, tone(48_000, 48_000), rate=48_000, video=video)
    found, sound, _ = film_contents(path)
    assert len(found) == 25
    for index, picture in enumerate(found):
        apart = [np.abs(picture.astype(int) - other).mean() for other in pictures]
        assert int(np.argmin(apart)) == index
    assert np.corrcoef(sound[:48_000], tone(48_000, 48_000))[0, 1] > 0.98
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert np.allclose(times, np.arange(25) / 25, atol=0.001)


def test_stereo_stays_stereo(tmp_path):
    sound = np.stack([tone(16_000, 16_000), tone(16_000, 16_000, 2)], 1)
    path = write(tmp_path / "a.mp4", numbered(25), sound)
    with av.open(str(path)) as container:
        heard = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], 1)
    for side in range(2):
        assert np.corrcoef(heard[side][:16_000], sound[:, side])[0, 1] > 0.98


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("a.mp4", {"video": "prores"}),
        ("a.webm", {"video": "h264"}),
        ("a.webm", {"audio": "aac"}),
        ("a.mp4", {"audio": "pcm"}),
    ],
)
def test_what_a_file_cannot_hold_is_said(tmp_path, name, encoding):
    with pytest.raises(MediaError, match="players do not take"):
        resolve_encoding(Encoding(**encoding), tmp_path / name)


def test_higher_quality_is_closer_to_the_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (5, 16, 24, 3), np.uint8)
    pictures = [cv2.resize(one, (96, 64), interpolation=cv2.INTER_CUBIC) for one in noise]
    errors = []
    for quality in ("low", "medium", "high"):
        path = write(tmp_path / f"{quality}.mp4", pictures, tone(16_000, 3200), quality=quality)
        found = film_contents(path)[0]
        errors.append(
            np.mean([np.abs(a.astype(int) - b) for a, b in zip(found, pictures, strict=True)])
        )
    assert errors == sorted(errors, reverse=True)


@pytest.fixture
def small_disk():
    """Let files grow to 30 kB and no further, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path, small_disk):
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 96, 3), np.uint8)
    with pytest.raises(MediaError, match="cannot write"):
        write_part(tmp_path / "a.mp4", list(noise))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_parts_are_joined_leaves_the_parts_alone(tmp_path, small_disk):
    parts = []
    for number in range(6):
        parts.append(tmp_path / f"{number}.mp4")
        noise = np.random.default_rng(number).integers(0, 255, (4, 64, 96, 3), np.uint8)
        write_part(parts[-1], list(noise))
    silence = AudioTrack(16_000, 1, "aac", [np.zeros((1600, 1), np.int16)])
    with pytest.raises(MediaError, match="cannot write"):
        join_parts(parts, Fraction(25), silence, tmp_path / "a.mp4")
    assert sorted(tmp_path.iterdir()) == parts
