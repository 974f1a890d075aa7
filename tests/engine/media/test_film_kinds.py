"""Films as phones, cameras, editors and messengers store them."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.media import (
    AudioTrack,
    Colours,
    FilmExtras,
    FilmFormat,
    FilmReader,
    PictureWriter,
    SoundFile,
    join_parts,
)
from media_files import numbered, write_film
from turned_media import is_upright, stored

PICTURES = 40


def stamped(path, rate, codec="libx264", pictures=PICTURES, options=None):
    """Write a film of numbered pictures whose times are those of ``rate``, as the file rounds."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in numbered(pictures):
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


RATES = ["24000/1001", "25", "30000/1001", "50", "60000/1001"]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("ending", [".mkv", ".flv", ".mp4", ".ts", ".mov"])
def test_the_rate_is_the_one_the_source_means(tmp_path, ending, rate):
    film = FilmReader(stamped(tmp_path / f"a{ending}", Fraction(rate)))
    assert film.fps == Fraction(rate)
    assert film.count() == PICTURES


X264 = {"bf": "3", "b_strategy": "0", "crf": "5"}
REORDERED = [
    *((ending, "libx264", X264) for ending in (".avi", ".asf", ".mxf", ".mov", ".mkv")),
    (".avi", "libx264", X264 | {"bf": "16", "refs": "8", "x264-params": "open-gop=1:keyint=20"}),
    (".avi", "libx264", {"bf": "0", "crf": "5"}),
    (".avi", "mpeg4", {"bf": "2", "g": "12", "qmin": "1", "qmax": "2"}),
    (".avi", "mpeg2video", {"bf": "2", "g": "12", "qmin": "1", "qmax": "2"}),
]


@pytest.mark.parametrize(("ending", "codec", "options"), REORDERED)
def test_pictures_that_refer_to_later_ones_are_shown_in_their_order(
    tmp_path, ending, codec, options
):
    path = tmp_path / f"a{ending}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for picture in numbered(PICTURES):
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="bgr24")))
        frame = av.AudioFrame.from_ndarray(np.ones((1, 1920 * PICTURES), np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        for one in (stream, sound):
            container.mux(one.encode(None))
    film = FilmReader(path)
    shown = [round((picture.mean() + 2) / 5) for picture in film.pictures()]
    assert shown == list(range(PICTURES))
    assert abs(film.sound_start) <= Fraction(1, 1000)
    later = [round((next(film.pictures(first=at)).mean() + 2) / 5) for at in range(PICTURES)]
    assert later == shown


@pytest.mark.parametrize(("ending", "codec"), [(".wmv", "wmav2"), (".mkv", "aac"), (".mp4", "aac")])
def test_sound_begins_where_its_first_sample_is_heard(tmp_path, ending, codec):
    rate, path = 44_100, tmp_path / f"a{ending}"
    pcm = np.zeros(2 * rate, np.int16)
    pcm[rate : rate + 60] = 25_000
    with av.open(str(path), "w") as container:
        video = container.add_stream("wmv2" if ending == ".wmv" else "libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=rate, layout="mono")
        audio.bit_rate = 128_000
        for picture in numbered(50):
            container.mux(video.encode(VideoFrame.from_ndarray(picture, format="bgr24")))
        frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(audio.encode(frame))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    film, sound = FilmReader(path), SoundFile.open(path)
    heard = np.abs(np.concatenate([one[:, 0] for one in sound.resampled(rate, 1)]).astype(int))
    at = np.flatnonzero(heard > heard.max() / 2)[0] / rate + float(film.sound_start)
    assert at == pytest.approx(1, abs=0.003)


def test_films_put_together_byte_by_byte_are_refused_in_a_sentence(tmp_path):
    path = stamped(tmp_path / "a.ts", Fraction(25))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(MediaError, match=f"after {PICTURES} pictures their times begin anew"):
        FilmReader(path).count()


@pytest.mark.parametrize("rate", ["24", "25", "30000/1001"])
def test_a_film_in_fragments_keeps_its_rate(tmp_path, rate):
    options = {"movflags": "frag_keyframe+empty_moov"}
    film = FilmReader(stamped(tmp_path / "a.mp4", Fraction(rate), options=options))
    assert film.fps == Fraction(rate)


def test_a_quick_film_is_halved_unless_its_rate_is_asked_for(tmp_path):
    film = FilmReader(stamped(tmp_path / "a.mp4", Fraction(240)))
    assert (film.own_fps, film.fps) == (240, 120)
    assert len(list(film.pictures())) == PICTURES // 2
    shown = [round((picture.mean() + 2) / 5) for picture in film.pictures(Fraction(240))]
    assert shown == list(range(PICTURES))


MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""By EXIF orientation: a, b, c, d of a track's matrix (ISO/IEC 14496-12, 8.3.2)."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_films_are_turned_and_mirrored_by_their_matrix(tmp_path, orientation):
    path = write_film(tmp_path / "a.mp4", [stored(orientation)] * 3)
    written = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in MATRICES[orientation])
    at = written.index(b"tkhd") + 44
    written[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(written)
    film = FilmReader(path)
    assert (film.width, film.height) == (96, 64)
    assert is_upright(next(film.pictures()))


def bar(at: int) -> np.ndarray:
    picture = np.full((96, 128, 3), 40, np.uint8)
    picture[:, at : at + 12] = 220
    return picture


def combing(picture: np.ndarray) -> float:
    """Return how much rows differ from those beside them more than from the next but one."""
    rows = picture[..., 1].astype(float)
    return float(np.abs(np.diff(rows, axis=0)).mean() - np.abs(rows[2:] - rows[:-2]).mean())


def write_interlaced(path):
    with av.open(str(path), "w") as container:
        options = {"x264-params": "tff=1", "crf": "10"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index in range(12):
            picture = bar(8 * index)
            picture[1::2] = bar(8 * index + 4)[1::2]  # the second field is half a picture later
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def test_an_interlaced_film_is_not_combed(tmp_path):
    path = write_interlaced(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        raw = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    film = FilmReader(path)
    pictures = list(film.pictures())
    assert film.count() == len(pictures) == 12
    assert combing(raw[5]) > 4
    assert max(combing(picture) for picture in pictures[1:]) < 1
    middles = [np.flatnonzero(picture[48, :, 1] > 150).mean() for picture in pictures[1:-1]]
    assert np.allclose(np.diff(middles), 8, atol=1.5)


SWATCHES = [(30, 60, 200), (200, 120, 40), (90, 180, 90), (150, 150, 150)]


def swatches(height: int) -> np.ndarray:
    return np.repeat(np.array(SWATCHES, np.uint8)[None], height, 0).repeat(height // 4, 1)


@pytest.mark.parametrize("matrix", [1, 5, 6])
@pytest.mark.parametrize("colour_range", [1, 2])
def test_matrix_and_range_are_read_as_they_are_tagged(tmp_path, matrix, colour_range):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = colour_range
        frame = VideoFrame.from_ndarray(swatches(64), format="bgr24").reformat(
            format="yuv420p", dst_colorspace=matrix, dst_color_range=colour_range
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    picture = next(FilmReader(path).pictures())
    for index, colour in enumerate(SWATCHES):
        assert np.abs(picture[32, 16 * index + 8].astype(int) - colour).max() <= 5


def pq(nits: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100, table 4."""
    power = np.power(nits / 10_000, 2610 / 16384)
    return np.power(
        (3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power), 2523 / 4096 * 128
    )


@pytest.mark.slow
def test_hdr_is_shown_as_bright_and_as_coloured_as_it_is_meant(tmp_path):
    light = np.power(np.array(SWATCHES)[:, ::-1] / 255, 2.4)  # of a display, ITU-R BT.1886
    wide = (
        light
        @ np.linalg.inv(
            np.array(
                [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
            )
        ).T
    )
    picture = np.repeat(np.round(pq(wide * 203) * 65535).astype(np.uint16)[None], 64, 0)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"crf": "5"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p10le"
        frame = VideoFrame.from_ndarray(picture.repeat(16, 1), format="rgb48le").reformat(
            format="yuv420p10le", dst_colorspace=9, dst_color_range=1
        )
        frame.colorspace, frame.color_primaries, frame.color_trc = 9, 9, 16
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 9, 9, 16
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    film = FilmReader(path)
    shown = next(film.pictures())
    for index, colour in enumerate(SWATCHES):
        assert np.abs(shown[32, 16 * index + 8].astype(int) - colour).max() <= 6
    assert film.colours == Colours(6, 1, 1)


@pytest.mark.parametrize(("height", "matrix"), [(64, 6), (720, 1)])
@pytest.mark.parametrize("codec", ["h264", "vp9", "prores"])
def test_every_output_says_how_its_colours_are_meant(tmp_path, codec, height, matrix):
    shape = FilmFormat(height, height, Fraction(25), video=codec, quality="high")
    part = tmp_path / f"part{shape.part_suffix}"
    with PictureWriter(part, shape) as writer:
        writer.write(swatches(height))
    output = tmp_path / "a.mkv"
    silence = AudioTrack(48_000, 1, "flac", [np.zeros((1920, 1), np.int16)])
    join_parts([part], Fraction(25), silence, output)
    with av.open(str(output)) as container:
        frame = next(container.decode(video=0))
        tags = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
        assert tuple(map(int, tags)) == (matrix, 1, 1, 1)
        picture = frame.to_ndarray(format="bgr24")
    for index, colour in enumerate(SWATCHES):
        at = height // 4 * index + height // 8
        assert np.abs(picture[height // 2, at].astype(int) - colour).max() <= 6


@pytest.mark.parametrize("height", [64, 720])
def test_a_dithered_picture_keeps_its_hue(tmp_path, height):
    picture = np.empty((height, 64, 3), np.uint8)
    picture[:] = (255, 140, 60)
    picture[::2, ::2] = (60, 255, 140)
    part = tmp_path / "part.mp4"
    with PictureWriter(part, FilmFormat(64, height, Fraction(25), quality="high")) as writer:
        writer.write(picture)
    shown = next(FilmReader(part).pictures())
    assert np.abs(shown.mean((0, 1)) - picture.mean((0, 1))).max() < 4


SUBTITLE = b"1\n00:00:00,200 --> 00:00:00,900\nGood day\n"


def write_rich(path):
    """A film with two sounds, a title and chapters."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "A day"
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream("aac", rate=48_000, layout="mono") for _ in range(2)]
        sounds[1].metadata["language"] = "fra"
        second = {"time_base": Fraction(1, 1000)}
        container.set_chapters(
            [
                {"id": 1, "start": 0, "end": 1000, "metadata": {"title": "one"}, **second},
                {"id": 2, "start": 1000, "end": 2000, "metadata": {"title": "two"}, **second},
            ]
        )
        for picture in numbered(50):
            container.mux(video.encode(VideoFrame.from_ndarray(picture, format="bgr24")))
        for sound in sounds:
            for at in range(0, 96_000, 1024):
                frame = av.AudioFrame.from_ndarray(np.full((1, 1024), 900, np.int16), "s16", "mono")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
                container.mux(sound.encode(frame))
        for stream in (video, *sounds):
            container.mux(stream.encode(None))
    return path


def joined(tmp_path, name, source, start):
    part = tmp_path / "part.mp4"
    with PictureWriter(part, FilmFormat(64, 48, Fraction(25))) as writer:
        for picture in numbered(25):
            writer.write(picture)
    codec = "opus" if name.endswith(".webm") else "aac"
    silence = AudioTrack(48_000, 1, codec, [np.zeros((48_000, 1), np.int16)])
    extras = FilmExtras(source, Fraction(start), Fraction(1))
    output = tmp_path / name
    join_parts([part], Fraction(25), silence, output, extras)
    return output, extras.left_out(output)


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov"])
def test_a_second_sound_chapters_and_the_title_are_kept_in_their_time(tmp_path, name):
    source = write_rich(tmp_path / "rich.mkv")
    output, left_out = joined(tmp_path, name, source, "1/2")
    assert left_out == []
    with av.open(str(output)) as container:
        assert container.metadata["title"] == "A day"
        first, second = container.chapters()
        assert (first["end"] - first["start"]) * first["time_base"] == Fraction(1, 2)
        assert second["metadata"]["title"] == "two"
        extra = container.streams.audio[1]
        assert extra.metadata["language"] == "fra"
        times = [packet.pts * packet.time_base for packet in container.demux(extra) if packet.size]
    assert 0 <= times[0] < Fraction(3, 100)
    assert Fraction(95, 100) < times[-1] < 1


def test_what_a_container_cannot_hold_is_named(tmp_path):
    source = write_rich(tmp_path / "rich.mkv")
    output, left_out = joined(tmp_path, "out.mov", source, 0)
    assert left_out == []
    webm = FilmExtras(source, Fraction(0), Fraction(1)).left_out(tmp_path / "a.webm")
    assert webm == ["audio 2 (fra, aac)"]
    with av.open(str(output)) as container:
        assert len(container.streams.audio) == 2


@pytest.mark.parametrize("name", ["12:30.mp4", "a b%20c.mp4", "[x]*?.mkv", "file:a.mp4", "-o.mp4"])
def test_any_name_can_be_read_and_written(tmp_path, name):
    output, _ = joined(tmp_path, name, write_rich(tmp_path / "rich.mkv"), 0)
    assert FilmReader(output).count() == 25


def test_a_link_as_output_stays_a_link_to_the_new_film(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "film.mp4"
    target.write_bytes(b"old")
    (tmp_path / "link.mp4").symlink_to(target)
    output, _ = joined(tmp_path, "link.mp4", write_rich(tmp_path / "rich.mkv"), 0)
    assert output.is_symlink()
    assert FilmReader(target).count() == 25
    assert [one.name for one in target.parent.iterdir()] == ["film.mp4"]
