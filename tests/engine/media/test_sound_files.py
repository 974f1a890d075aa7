from pathlib import Path

import numpy as np
import pytest

from lipstream.errors import MediaError
from lipstream.media import SoundFile
from media_files import numbered, tone, write_film, write_riff, write_sound, write_wav


def heard(path: Path, rate: int, block: int = 4096) -> np.ndarray:
    return np.concatenate(list(SoundFile.open(path).blocks(rate, block)))


def test_a_mono_wav_comes_back_sample_for_sample(tmp_path):
    pcm = tone(16_000, 12_345)
    assert np.array_equal(heard(write_wav(tmp_path / "a.wav", pcm, 16_000), 16_000), pcm)


@pytest.mark.parametrize("block", [1, 7, 320, 100_000])
def test_any_block_size_gives_the_same_sound(tmp_path, block):
    path = write_wav(tmp_path / "a.wav", tone(44_100, 5000), 44_100)
    assert np.array_equal(heard(path, 16_000, block), heard(path, 16_000))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_resampling_neither_shifts_nor_shortens(tmp_path, rate):
    click = np.zeros(rate + 17, np.int16)
    click[rate // 2 - rate // 2000 : rate // 2 + rate // 2000 + 1] = 8000
    out = heard(write_wav(tmp_path / "a.wav", click, rate), 16_000).astype(float)
    assert abs((out * np.arange(len(out))).sum() / out.sum() - 8000) < 1
    assert abs(len(out) - (rate + 17) * 16_000 / rate) < 1


@pytest.mark.parametrize("channels", range(1, 9))
def test_one_to_eight_channels_become_one_that_is_heard(tmp_path, channels):
    out = heard(write_wav(tmp_path / "a.wav", tone(48_000, 9600), 48_000, channels), 48_000)
    assert len(out) == 9600
    assert np.abs(out).max() > 3000


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.flac", "flac"), ("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.mkv", "libopus")],
)
def test_compressed_sound_keeps_its_length_and_shape(tmp_path, name, codec):
    pcm = tone(48_000, 48_000)
    out = heard(write_sound(tmp_path / name, pcm, 48_000, codec), 48_000)
    assert abs(len(out) - len(pcm)) <= 1500
    both = min(len(out), len(pcm))
    assert np.corrcoef(out[:both], pcm[:both])[0, 1] > 0.98


def test_the_end_of_an_m4a_has_no_encoder_padding(tmp_path):
    path = write_sound(tmp_path / "a.m4a", tone(16_000, 16_000), 16_000, "aac")
    assert SoundFile.open(path).samples == 16_000


def test_a_wav_written_into_a_pipe_has_no_length_and_is_read_to_its_end(tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(16_000, 3200), 16_000)
    written = bytearray(path.read_bytes())
    written[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(written)
    assert SoundFile.open(path).samples == 3200


def _missing(folder: Path) -> Path:
    return folder / "none.wav"


def _folder(folder: Path) -> Path:
    return folder


def _empty(folder: Path) -> Path:
    (folder / "a.wav").touch()
    return folder / "a.wav"


def _no_samples(folder: Path) -> Path:
    return write_wav(folder / "a.wav", tone(16_000, 0), 16_000)


def _zero_hertz(folder: Path) -> Path:
    return write_wav(folder / "a.wav", tone(16_000, 16_000), 0)


def _slow(folder: Path) -> Path:
    return write_wav(folder / "a.wav", tone(4_000, 16_000), 4_000)


def _fast(folder: Path) -> Path:
    return write_wav(folder / "a.wav", tone(384_000, 16_000), 384_000)


def _nan(folder: Path) -> Path:
    pcm = np.zeros(16_000, np.float32)
    pcm[8000] = np.nan
    return write_riff(folder / "a.wav", pcm.tobytes(), 16_000, kind=3)


def _infinite(folder: Path) -> Path:
    pcm = np.zeros(16_000, np.float32)
    pcm[-1] = np.inf
    return write_riff(folder / "a.wav", pcm.tobytes(), 16_000, kind=3)


def _cut_wav(folder: Path) -> Path:
    path = write_wav(folder / "a.wav", tone(16_000, 16_000), 16_000)
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def _cut_flac(folder: Path) -> Path:
    path = write_sound(folder / "a.flac", tone(16_000, 320_000), 16_000, "flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _text(folder: Path) -> Path:
    (folder / "a.wav").write_text("this is not sound\n" * 50)
    return folder / "a.wav"


def _silent_film(folder: Path) -> Path:
    return write_film(folder / "a.mkv", numbered(3))


def _nine_channels(folder: Path) -> Path:
    return write_wav(folder / "a.wav", tone(16_000, 160), 16_000, 9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_missing, "there is no file"),
        (_folder, "not a file"),
        (_empty, "is empty"),
        (_no_samples, "no sound"),
        (_zero_hertz, "0 Hz"),
        (_slow, "4000 Hz"),
        (_fast, "384000 Hz"),
        (_nan, "not numbers"),
        (_infinite, "not numbers"),
        (_cut_wav, "cut short"),
        (_cut_flac, "cut short"),
        (_text, "cannot be read"),
        (_silent_film, "no sound track"),
        (_nine_channels, "9 channels"),
    ],
)
def test_unusable_sound_is_refused_in_one_line(tmp_path, make, says):
    with pytest.raises(MediaError, match=says) as caught:
        SoundFile.open(make(tmp_path))
    assert "\n" not in str(caught.value)
