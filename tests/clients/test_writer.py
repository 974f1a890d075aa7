import resource
import signal
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from clients.making import film_contents, numbered, tone
from lipstream.errors import MediaError
from lipstream_clients.media import FilmFormat, FilmWriter, playable_rate


def write(path, pictures, pcm, fps=Fraction(25), rate=16_000):
    height, width = pictures[0].shape[:2]
    with FilmWriter(path, FilmFormat(width, height, fps, rate)) as writer:
        for index, picture in enumerate(pictures):
            start, stop = (int(at * rate / fps) for at in (index, index + 1))
            writer.write(picture, pcm[start:stop])
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
        write(path, [*numbered(1), np.zeros((0, 0, 3), np.uint8)], tone(16_000, 1280))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("name", "says"), [("a.avi2", "must end in"), ("no/such/a.mp4", "cannot write")]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, name, says):
    with pytest.raises(MediaError, match=says):
        FilmWriter(tmp_path / name, FilmFormat(64, 48, Fraction(25), 16_000))


def test_sound_rates_that_players_lack_become_48_kilohertz():
    assert [playable_rate(rate) for rate in (8000, 44_100, 96_000, 11_000)] == [
        8000,
        44_100,
        48_000,
        48_000,
    ]


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
        write(tmp_path / "a.mp4", list(noise), tone(16_000, 20_000))
    assert list(tmp_path.iterdir()) == []
