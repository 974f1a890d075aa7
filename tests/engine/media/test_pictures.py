import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
from lipstream.media import FilmReader, is_picture, read_picture
from media_files import numbered, tone, write_film, write_picture, write_wav


def quartered() -> np.ndarray:
    """Red above left, blue above right, black below: shows how a picture lies."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30] = (0, 0, 255)
    picture[:20, 30:] = (255, 0, 0)
    return picture


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.jpg", "a.webp"])
def test_pictures_of_all_usual_kinds_are_read(tmp_path, name):
    path = write_picture(tmp_path / name, quartered())
    assert is_picture(path)
    assert np.abs(read_picture(path)[5, 5].astype(int) - (0, 0, 255)).max() < 30


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (5, 5)), (3, (-5, -5)), (6, (5, -5)), (8, (-5, 5))]
)
def test_a_photograph_is_turned_upright(tmp_path, orientation, corner):
    path = write_picture(tmp_path / "a.jpg", quartered())
    written = path.read_bytes()
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    path.write_bytes(
        written[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + written[2:]
    )
    picture = read_picture(path)
    assert np.abs(picture[corner].astype(int) - (0, 0, 255)).max() < 30


def test_transparent_parts_become_grey(tmp_path):
    layers = np.zeros((20, 20, 4), np.uint8)
    layers[:10] = (0, 0, 255, 255)
    picture = read_picture(write_picture(tmp_path / "a.png", layers))
    assert picture[5, 5].tolist() == [0, 0, 255]
    assert picture[15, 15].tolist() == [200, 200, 200]


def _bomb(folder: Path) -> Path:
    """A few bytes of png that promise 100 megapixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(30_001) * 100)
    written = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + written)
    return folder / "a.png"


def _large_jpeg(folder: Path) -> Path:
    return write_picture(folder / "a.jpg", np.zeros((10_000, 10_000, 3), np.uint8))


def _cut_picture(folder: Path, name: str) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)
    path = write_picture(folder / name, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _cut_jpeg(folder: Path) -> Path:
    return _cut_picture(folder, "a.jpg")


def _cut_png(folder: Path) -> Path:
    return _cut_picture(folder, "a.png")


def _cut_gif(folder: Path) -> Path:
    return _cut_picture(folder, "a.gif")


def _sound(folder: Path) -> Path:
    return write_wav(folder / "a.wav", tone(16_000, 1600), 16_000)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_bomb, "64 megapixels"),
        (_large_jpeg, "64 megapixels"),
        (_cut_jpeg, "cut short"),
        (_cut_gif, "cut short"),
        (_cut_png, "cannot be read|damaged"),
        (_sound, "not a picture"),
    ],
)
def test_unusable_pictures_are_refused(tmp_path, make, says):
    with pytest.raises(MediaError, match=says):
        read_picture(make(tmp_path))


def test_a_gif_without_its_last_byte_is_whole(tmp_path):
    path = write_picture(tmp_path / "a.gif", np.full((20, 20, 3), 80, np.uint8))
    whole = read_picture(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert np.array_equal(read_picture(path), whole)


def greys(film: FilmReader, fps: Fraction | None = None) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in film.pictures(fps)]


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001), Fraction(50), Fraction(12)])
def test_a_film_gives_each_of_its_pictures_once(tmp_path, fps):
    path = write_film(tmp_path / "a.mkv", numbered(40), fps)
    film = FilmReader(path)
    assert not is_picture(path)
    assert film.fps == fps
    assert greys(film) == [5 * index for index in range(40)]
    assert (film.width, film.height) == (64, 48)


def test_a_film_can_be_laid_on_another_rate(tmp_path):
    film = FilmReader(write_film(tmp_path / "a.mkv", numbered(10), 10))
    assert greys(film, Fraction(20)) == [5 * (index // 2) for index in range(20)]
    assert greys(film, Fraction(5)) == [0, 10, 20, 30, 40]


def test_a_film_of_varying_rate_keeps_time(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for picture, pts in zip(numbered(5), [0, 1, 2, 6, 7], strict=True):
            frame = VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = pts, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert greys(FilmReader(path), Fraction(25)) == [0, 5, 10, 10, 10, 10, 15, 20]


def test_a_damaged_film_goes_on_after_the_damage(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8)
    path = write_film(tmp_path / "a.mp4", list(noise))
    written = bytearray(path.read_bytes())
    written[len(written) // 2 : len(written) // 2 + 200] = bytes(200)
    path.write_bytes(written)
    assert len(list(FilmReader(path).pictures())) > 10


def test_sound_alone_is_no_film(tmp_path):
    with pytest.raises(MediaError, match="no picture"):
        FilmReader(_sound(tmp_path))


def test_a_turned_film_is_upright(tmp_path):
    path = write_film(tmp_path / "a.mp4", [quartered()] * 3)
    turned = tmp_path / "b.mp4"
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    written = turned.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 40 << 16, 0, 1 << 30)
    at = written.rfind(upright)
    turned.write_bytes(written[:at] + quarter + written[at + 36 :])
    film = FilmReader(turned)
    assert (film.width, film.height) == (40, 60)
    picture = next(film.pictures())
    assert picture.shape == (60, 40, 3)
    assert cv2.norm(picture[5, -5].astype(float) - (0, 0, 255)) < 60


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize("first", [1, 30, 77, 78])
def test_a_film_can_be_entered_anywhere_and_shows_the_same_pictures(tmp_path, name, first):
    noise = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    pictures = [cv2.resize(np.roll(noise, k, 1), (64, 48)) for k in range(79)]
    film = FilmReader(write_film(tmp_path / name, pictures))
    whole, entered = list(film.pictures()), list(film.pictures(first=first))
    assert len(entered) == len(whole) - first
    assert all(np.array_equal(a, b) for a, b in zip(whole[first:], entered, strict=True))


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(12), Fraction(30_000, 1001)])
def test_a_films_pictures_are_counted_without_decoding_them(tmp_path, fps):
    film = FilmReader(write_film(tmp_path / "a.mp4", numbered(40), fps))
    for rate in (fps, Fraction(25), Fraction(50), Fraction(7)):
        assert film.count(rate) == len(list(film.pictures(rate)))


def test_a_film_of_varying_rate_loses_no_picture(tmp_path):
    path = tmp_path / "a.mp4"
    stamps = [0, 33, 67, 100, 133, 400, 700, 1000, 1033, 1066, 1100, 1133, 1166, 1200]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for picture, stamp in zip(numbered(14), stamps, strict=True):
            frame = VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    film = FilmReader(path)
    assert film.fps == 30
    assert len(set(greys(film))) == 14
