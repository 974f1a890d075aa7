"""Sound as recorders, editors and messengers store it."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame

from lipstream.errors import MediaError
from lipstream.media import (
    AudioTrack,
    FilmFormat,
    FilmReader,
    PictureWriter,
    SoundFile,
    join_parts,
)
from media_files import numbered, tone, write_sound, write_wav


def hum(seconds: float, rate: int, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (level * 32767 * np.sin(2 * np.pi * 200 * time)).astype(np.int16)


def heard(path, rate=16_000):
    return np.concatenate(list(SoundFile.open(path).heard(rate)))[:, 0]


def loud(sound, rate, start, stop):
    part = sound[round(start * rate) : round(stop * rate)].astype(float) / 32768
    return 20 * np.log10(np.sqrt(np.square(part).mean()) + 1e-9)


def written(path, pcm, rate, codec, layout):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        channels = len(stream.layout.channels)
        shaped = pcm.reshape(-1, 1) if pcm.ndim == 1 else pcm
        packed = np.repeat(shaped, channels // shaped.shape[1], 1).reshape(1, -1)
        frame = AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("rate", "layout"), [(32_000, "mono"), (44_100, "stereo"), (48_000, "mono")]
)
def test_a_sound_that_changes_its_rate_or_channels_goes_on_at_the_same_pitch(
    tmp_path, rate, layout
):
    one = written(tmp_path / "a.mp3", hum(1, 44_100), 44_100, "libmp3lame", "mono")
    other = written(tmp_path / "b.mp3", hum(1, rate), rate, "libmp3lame", layout)
    both = tmp_path / "both.mp3"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    sound = heard(both)
    assert abs(len(sound) / 16_000 - 2) < 0.12
    for start in (0.3, 1.4):
        part = sound[round(start * 16_000) : round((start + 0.5) * 16_000)].astype(float)
        assert abs(np.abs(np.fft.rfft(part)).argmax() * 2 - 200) <= 2
        assert -16 < loud(sound, 16_000, start, start + 0.5) < -10


@pytest.mark.parametrize(("rate", "layout"), [(44_100, "mono"), (48_000, "stereo")])
def test_all_chains_of_an_ogg_file_are_heard(tmp_path, rate, layout):
    one = written(tmp_path / "a.ogg", hum(1, 44_100), 44_100, "flac", "mono")
    other = written(tmp_path / "b.ogg", hum(2, rate), rate, "flac", layout)
    both = tmp_path / "both.ogg"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    sound = heard(both)
    assert abs(len(sound) - 48_000) < 100
    assert min(loud(sound, 16_000, at, at + 0.4) for at in (0.3, 1.3, 2.3)) > -16


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".ts", ".flv"])
def test_a_hole_in_the_sound_is_silent_and_what_follows_keeps_its_time(tmp_path, ending):
    rate, path = 48_000, tmp_path / f"a{ending}"
    clicks = np.zeros(4 * rate, np.int16)
    for second in range(4):
        clicks[second * rate + rate // 2 :][: rate // 10] = hum(0.1, rate)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        for at in range(0, len(clicks) - 1023, 1024):
            frame = AudioFrame.from_ndarray(clicks[None, at : at + 1024], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            container.mux(p for p in stream.encode(frame) if not 1.0 < p.pts * p.time_base < 2.0)
        container.mux(stream.encode(None))
    sound = heard(path)
    assert loud(sound, 16_000, 1.1, 1.9) < -60
    for second in (0, 2, 3):
        begins = np.flatnonzero(np.abs(sound[second * 16_000 :]) > 3000)[0] / 16_000
        assert abs(begins - 0.5) < 0.03


def click_heard(path, at, **options):
    """Encode one click after half a second, shown ``at`` seconds; return when it is heard."""
    rate = 44_100
    pcm = np.zeros(2 * rate, np.int16)
    pcm[rate // 2 : rate // 2 + 60] = 25_000 * (-1) ** (np.arange(60) // 4)
    with av.open(str(path), "w", options=options) as container:
        codecs = {".mp3": "libmp3lame", ".wav": "libmp3lame", ".mp2": "mp2", ".ac3": "ac3"}
        codec = codecs.get(path.suffix, "aac")
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, round(at * rate), Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    opened = SoundFile.open(path)
    sound = np.concatenate([one[:, 0] for one in opened.resampled(rate, 1)])
    assert opened.samples == pytest.approx(len(sound), abs=2048)
    return float(np.flatnonzero(np.abs(sound) > np.abs(sound.astype(int)).max() / 2)[0] / rate)


PRIMED = ["a.aac", "a.ts", "a.flv", "bare.mp3", "a.mp3", "a.mp2", "a.wav", "a.ac3", "a.mka"]


@pytest.mark.parametrize("name", PRIMED)
def test_what_every_encoder_puts_before_a_sound_is_left_out(tmp_path, name):
    # No field of ADTS, MPEG-TS, FLV or a bare MP3 tells it; a.mp3 has LAME's header, a.mka another.
    options = {"write_xing": "0"} if name == "bare.mp3" else {}
    assert click_heard(tmp_path / name, 0, **options) == pytest.approx(0.5, abs=0.001)


def test_so_it_is_where_matroska_does_not_tell_it(tmp_path):
    click_heard(tmp_path / "told.mka", 0)
    told = (tmp_path / "told.mka").read_bytes()
    at = told.index(b"\x56\xaa")  # CodecDelay (RFC 9559, 5.1.4.1.25), which many writers leave out
    size = told[at + 2] & 127
    (tmp_path / "a.mka").write_bytes(told[: at + 3] + bytes(size) + told[at + 3 + size :])
    sound = heard(tmp_path / "a.mka", 44_100)
    at_s = np.flatnonzero(np.abs(sound) > np.abs(sound.astype(int)).max() / 2)[0] / 44_100
    assert at_s == pytest.approx(0.5, abs=0.001)


def test_samples_without_a_header_are_refused_with_a_way_out(tmp_path):
    (tmp_path / "a.ul").write_bytes(bytes(8000))
    with pytest.raises(MediaError, match="without a header that tells their rate: give it as wav"):
        SoundFile.open(tmp_path / "a.ul")


@pytest.mark.parametrize("name", ["a.aac", "a.ts", "bare.mp3", "a.m4a"])
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_a_copied_sound_begins_with_the_pictures(tmp_path, name, ending):
    options = {"write_xing": "0"} if name == "bare.mp3" else {}
    click_heard(tmp_path / name, 0, **options)
    part, out = tmp_path / "part.mp4", tmp_path / f"out{ending}"
    with PictureWriter(part, FilmFormat(64, 48, Fraction(25))) as writer:
        for picture in numbered(10):
            writer.write(picture)
    join_parts([part], Fraction(25), AudioTrack(44_100, 1, "copy", (), tmp_path / name), out)
    reader = FilmReader(out)
    sound = np.concatenate([one[:, 0] for one in SoundFile.open(out).resampled(44_100, 1)])
    at = np.flatnonzero(np.abs(sound) > np.abs(sound.astype(int)).max() / 2)[0] / 44_100
    assert at + float(reader.sound_start) == pytest.approx(0.5, abs=0.002)


def test_a_packet_without_content_ends_no_sound(tmp_path):
    path = written(tmp_path / "a.nut", hum(1, 48_000), 48_000, "flac", "mono")
    assert SoundFile.open(path).samples == 48_000


@pytest.mark.parametrize("name", ["a.m4a", "a.mp4", "a.mov"])
def test_the_edit_list_of_an_mp4_is_obeyed(tmp_path, name):
    assert click_heard(tmp_path / name, 0) == pytest.approx(0.5, abs=0.001)
    assert click_heard(tmp_path / f"late_{name}", 0.3) == pytest.approx(0.8, abs=0.002)


def test_a_side_is_heard_where_both_cancel_out_and_the_film_keeps_both(tmp_path):
    pcm = np.stack([hum(3, 16_000), -hum(3, 16_000)], 1)
    pcm[16_000:, 1] = hum(2, 16_000)  # from the first second on they agree
    path = written(tmp_path / "a.wav", pcm, 16_000, "pcm_s16le", "stereo")
    sound = heard(path)
    assert all(abs(loud(sound, 16_000, at, at + 0.2) + 13.5) < 1 for at in (0.1, 0.4, 1.8, 2.7))
    both = np.concatenate(list(SoundFile.open(path).resampled(16_000, 2)))
    np.testing.assert_array_equal(both, pcm)


def test_one_silent_side_is_no_cancelling(tmp_path):
    pcm = np.stack([hum(2, 16_000), np.zeros(32_000, np.int16)], 1)
    path = written(tmp_path / "a.wav", pcm, 16_000, "pcm_s16le", "stereo")
    assert SoundFile.open(path).sides == b""


def test_the_centre_of_surround_sound_keeps_its_level(tmp_path):
    pcm = np.zeros((32_000, 6), np.int16)
    pcm[:, 2] = hum(2, 16_000)
    path = written(tmp_path / "a.flac", pcm, 16_000, "flac", "5.1")
    assert abs(loud(heard(path), 16_000, 0.5, 1.5) + 13.5) < 0.5
    both = np.concatenate(list(SoundFile.open(path).resampled(16_000, 2)))
    assert abs(loud(both[:, 0], 16_000, 0.5, 1.5) + 16.5) < 0.5  # 3 dB down on both sides


def test_loud_surround_sound_is_written_without_clipping(tmp_path):
    pcm = np.repeat(hum(1, 16_000, 0.95)[:, None], 6, 1)
    path = written(tmp_path / "a.flac", pcm, 16_000, "flac", "5.1")
    both = np.concatenate(list(SoundFile.open(path).resampled(16_000, 2))).astype(float)
    assert np.abs(both).max() >= 32_000
    scaled = pcm[:, :2].astype(float) * np.abs(both).max() / np.abs(pcm.astype(float)).max()
    assert np.abs(both - scaled).max() < 3  # a clipped wave would be flatter


def quiet(level_db: float, noise_db: float) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(64_000) * 10 ** (noise_db / 20) * 32768
    return (tone(16_000, 64_000) * 10 ** ((level_db + 16) / 20) + noise).astype(np.int16)


def test_quiet_speech_is_made_louder_for_the_mouth_alone(tmp_path):
    path = write_wav(tmp_path / "a.wav", quiet(-55, -85), 16_000)
    found = SoundFile.open(path)
    assert 10 < 20 * np.log10(found.gain) <= 40
    written_sound = np.concatenate(list(found.resampled(16_000, 1)))[:, 0]
    np.testing.assert_array_equal(written_sound, quiet(-55, -85))
    assert loud(heard(path), 16_000, 0, 4) > -40


def test_noise_and_usual_speech_stay_as_they_are(tmp_path):
    noise = (np.random.default_rng(2).standard_normal(64_000) * 60).astype(np.int16)
    assert SoundFile.open(write_wav(tmp_path / "a.wav", noise, 16_000)).gain == 1.0
    assert SoundFile.open(write_wav(tmp_path / "b.wav", quiet(-22, -60), 16_000)).gain == 1.0


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_mp3_is_refused_in_one_sentence(tmp_path, share):
    path = write_sound(tmp_path / "a.mp3", tone(44_100, 4 * 44_100), 44_100, "libmp3lame")
    assert abs(float(SoundFile.open(path).seconds) - 4) < 0.1
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(MediaError, match="cut short"):
        SoundFile.open(path)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mka", "libopus")])
def test_eight_channels_that_lie_apart_are_heard(tmp_path, name, codec):
    rate, pcm = 48_000, np.zeros((8, 48_000), np.float32)
    pcm[2] = hum(1, rate) / 32768
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="7.1")
        frame = AudioFrame.from_ndarray(pcm.T.reshape(1, -1), format="flt", layout="7.1")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert SoundFile.open(tmp_path / name).channels == 8
    assert abs(loud(heard(tmp_path / name), 16_000, 0.3, 0.7) + 13.5) < 1


RECORDED = [
    ("ima.wav", "adpcm_ima_wav", 44_100, "stereo"),
    ("ms.wav", "adpcm_ms", 22_050, "mono"),
    ("a.amr", "libopencore_amrnb", 8_000, "mono"),
    ("a.3gp", "libopencore_amrnb", 8_000, "mono"),
    ("8k.mp3", "libmp3lame", 8_000, "mono"),
    ("48k.mp3", "libmp3lame", 48_000, "stereo"),
]


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), RECORDED)
def test_what_recorders_write_is_heard_to_its_end(tmp_path, name, codec, rate, layout):
    path = written(tmp_path / name, hum(3, rate), rate, codec, layout)
    if codec.startswith("adpcm"):  # as FFmpeg writes it: the rate asked for, not the one it has
        stored = path.read_bytes()
        path.write_bytes(stored[:28] + (16_000).to_bytes(4, "little") + stored[32:])
    assert float(SoundFile.open(path).seconds) == pytest.approx(3, abs=0.05)  # a block more
    assert loud(heard(path), 16_000, 2.9, 2.99) > -20


def test_transport_streams_put_together_are_heard_one_after_the_other(tmp_path):
    path = written(tmp_path / "a.ts", hum(2, 48_000), 48_000, "mp2", "stereo")
    path.write_bytes(path.read_bytes() * 2)
    assert float(SoundFile.open(path).seconds) == pytest.approx(4, abs=0.1)
    assert loud(heard(path), 16_000, 2.5, 3.5) > -20
