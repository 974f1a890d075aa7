"""Pictures as phones, cameras and messengers store them."""

import struct
import zlib

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from lipstream.media import FilmReader, is_picture, read_picture
from media_files import numbered, write_film, write_picture
from turned_media import BLUE, GREEN, box, is_upright, quartered, stored, write_avif


def tiff(orientation: int) -> bytes:
    """An EXIF block that says nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def with_exif(path, orientation):
    written = path.read_bytes()
    if path.suffix == ".png":
        body = b"eXIf" + tiff(orientation)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(written[:33] + chunk + written[33:])
    elif path.suffix == ".webp":
        height, width = stored(orientation).shape[:2]
        size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        exif = tiff(orientation)
        body = b"WEBPVP8X" + struct.pack("<II", 10, 8) + size + written[12:]
        body += b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
        path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    else:
        exif = b"Exif\0\0" + tiff(orientation)
        path.write_bytes(
            written[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + written[2:]
        )
    return path


def write_tiff(path, picture, orientation):
    """Write an uncompressed TIFF of one strip."""
    height, width = picture.shape[:2]
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 8), (274, orientation))
    tags += ((277, 3), (278, height), (279, picture.size))
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    rgb = picture[..., ::-1].tobytes()
    head = b"II*\0" + struct.pack("<I", 8 + len(rgb))
    path.write_bytes(head + rgb + struct.pack("<H", len(tags)) + listed + bytes(4))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_exif_turns_and_mirrors_pictures_of_every_kind(tmp_path, ending, orientation):
    path = write_picture(tmp_path / f"a{ending}", stored(orientation))
    assert is_upright(read_picture(with_exif(path, orientation)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_and_mirrored(tmp_path, orientation):
    path = write_tiff(tmp_path / "a.tiff", stored(orientation), orientation)
    assert is_upright(read_picture(path))


TURNS = {
    1: [],
    2: [box(b"imir", b"\1")],
    3: [box(b"irot", b"\2")],
    4: [box(b"imir", b"\0")],
    5: [box(b"irot", b"\1"), box(b"imir", b"\0")],
    6: [box(b"irot", b"\3")],
    7: [box(b"irot", b"\3"), box(b"imir", b"\0")],
    8: [box(b"irot", b"\1")],
}
"""By EXIF orientation: quarter turns against the clock, then a mirror (ISO/IEC 23008-12, 6.5)."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_and_mirror_an_avif_picture(tmp_path, orientation):
    path = write_avif(tmp_path / "a.avif", [stored(orientation)], turns=TURNS[orientation])
    assert is_upright(read_picture(path))


def test_tiles_become_one_picture_cut_to_its_size(tmp_path):
    whole = cv2.resize(quartered(), (192, 128), interpolation=cv2.INTER_NEAREST)
    tiles = [whole[row : row + 64, at : at + 96] for row in (0, 64) for at in (0, 96)]
    picture = read_picture(write_avif(tmp_path / "a.avif", tiles, grid=(2, 2, 180, 120)))
    assert picture.shape == (120, 180, 3)
    assert np.abs(picture[90, 150].astype(int) - GREEN).max() < 90
    assert np.abs(picture[20, 150].astype(int) - BLUE).max() < 90


def test_the_content_and_not_the_name_says_what_a_file_is(tmp_path):
    photo = write_avif(tmp_path / "a.avif", [quartered()])
    named = photo.rename(tmp_path / "photo.jpg")
    assert is_picture(named)
    assert is_upright(read_picture(named))
    png = write_picture(tmp_path / "a.png", quartered()).rename(tmp_path / "clip.mp4")
    assert is_picture(png)
    film = write_film(tmp_path / "film.mp4", numbered(3)).rename(tmp_path / "still.png")
    assert not is_picture(film)
    assert FilmReader(film).count() == 3


def test_a_motion_photo_is_read_whatever_its_film_holds(tmp_path):
    path = write_picture(tmp_path / "a.jpg", quartered())
    path.write_bytes(path.read_bytes() + b"\0\0\0\x18ftypmp42\xff\xda\xff\xda" + bytes(100))
    assert is_picture(path)
    assert is_upright(read_picture(path))


def write_animation(path, codec, frames, ms):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000 // ms)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"gif": "rgb8", "apng": "rgb24"}.get(codec, "bgra")
        if codec == "libwebp_anim":
            stream.options = {"lossless": "1"}
        for picture in frames:
            frame = VideoFrame.from_ndarray(picture, format="bgr24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))
    return path


KINDS = [("a.gif", "gif"), ("a.png", "apng"), ("a.webp", "libwebp_anim")]


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_an_animation_is_a_film_with_its_own_times(tmp_path, name, codec):
    frames = [np.full((48, 64, 3), 40 * index, np.uint8) for index in range(5)]
    named = tmp_path / name
    made = named.with_suffix(".apng") if codec == "apng" else named
    path = write_animation(made, codec, frames, 100).rename(named)
    assert not is_picture(path)
    film = FilmReader(path)
    pictures = list(film.pictures())
    assert film.fps == 10
    assert [round(picture.mean() / 40) for picture in pictures] == [0, 1, 2, 3, 4]


def test_a_gif_of_one_picture_is_a_picture(tmp_path):
    path = write_animation(tmp_path / "a.gif", "gif", [quartered()], 100)
    assert is_picture(path)
    assert is_upright(read_picture(path))
