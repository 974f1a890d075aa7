"""Pictures as phones, cameras and messengers store them."""

import gc
import struct
import zlib

import av
import cv2
import numpy as np
import PIL.Image
import pytest
from av.video.frame import VideoFrame

from lipstream.errors import MediaError
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


def write_tiff(path, picture, orientation, icc=b""):
    """Write an uncompressed TIFF of one strip, and a colour profile behind it."""
    height, width = picture.shape[:2]
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 8), (274, orientation))
    tags += ((277, 3), (278, height), (279, picture.size))
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    rgb = picture[..., ::-1].tobytes() + icc
    if icc:
        tags += ((34675, 8 + picture.size),)
        listed += struct.pack("<HHII", 34675, 7, len(icc), 8 + picture.size)
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


SWATCHES = np.array([(30, 60, 200), (200, 120, 40), (90, 180, 90), (150, 150, 150)], np.uint8)
P3_OF_SRGB = np.array([[0.8225, 0.1774, 0], [0.0332, 0.9669, 0], [0.0171, 0.0724, 0.9108]])
"""Linear light, red, green, blue (the primaries of SMPTE EG 432-1 and of BT.709)."""


def p3_swatches() -> np.ndarray:
    """Four columns of 24 pixels, in the numbers that Display P3 has for the colours."""
    signal = SWATCHES[:, ::-1] / 255
    light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    wide = light @ P3_OF_SRGB.T
    shown = np.where(wide <= 0.0031308, 12.92 * wide, 1.055 * wide ** (1 / 2.4) - 0.055)
    columns = np.round(255 * shown)[:, ::-1].astype(np.uint8)
    return columns.repeat(24, 0)[None].repeat(64, 0)


def s15(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(65536 * value) for value in values))


def display_p3(curve: str = "para") -> bytes:
    """An ICC profile of three primaries and one curve, as phones write it."""
    told = s15(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    signal = np.arange(1024) / 1023
    light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    table = np.round(light * 65535).astype(">u2").tobytes()
    by_table = b"curv" + bytes(4) + struct.pack(">I", 1024) + table
    trc = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + told if curve == "para" else by_table
    xyz = b"XYZ " + bytes(4)
    tags = {
        b"rXYZ": xyz + s15(0.51512, 0.24120, -0.00105),
        b"gXYZ": xyz + s15(0.29198, 0.69225, 0.04189),
        b"bXYZ": xyz + s15(0.15710, 0.06657, 0.78407),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), trc),
    }
    listed, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        listed += name + struct.pack(">II", 132 + 12 * len(tags) + len(bodies), len(body))
        bodies += body
    size = 128 + len(listed) + len(bodies)
    head = struct.pack(">I4xI", size, 0x0400_0000) + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    head += bytes(28) + s15(0.9642, 1.0, 0.8249) + bytes(48)
    return head + listed + bodies


def with_profile(path, icc):
    written = path.read_bytes()
    if path.suffix == ".png":
        body = b"iCCPP3\0\0" + zlib.compress(icc)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(written[:33] + chunk + written[33:])
    elif path.suffix == ".webp":
        flags = struct.pack("<I", 0x20) + struct.pack("<I", 95)[:3] + struct.pack("<I", 63)[:3]
        body = b"WEBPVP8X" + struct.pack("<I", 10) + flags
        body += b"ICCP" + struct.pack("<I", len(icc)) + icc + b"\0" * (len(icc) % 2) + written[12:]
        path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    elif path.suffix == ".jpg":  # in two pieces, the second first
        half = len(icc) // 2
        pieces = [b"ICC_PROFILE\0\2\2" + icc[half:], b"ICC_PROFILE\0\1\2" + icc[:half]]
        put = b"".join(b"\xff\xe2" + struct.pack(">H", len(one) + 2) + one for one in pieces)
        path.write_bytes(written[:2] + put + written[2:])
    return path


@pytest.mark.parametrize("curve", ["para", "table"])
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tiff", ".avif"])
def test_the_colours_of_a_phone_are_shown_as_they_are_meant(tmp_path, ending, curve):
    icc, path = display_p3(curve), tmp_path / f"a{ending}"
    if ending == ".tiff":
        write_tiff(path, p3_swatches(), 1, icc)
    elif ending == ".avif":
        write_avif(path, [p3_swatches()], turns=[box(b"colr", b"prof" + icc)])
    else:
        with_profile(write_picture(path, p3_swatches()), icc)
    picture = read_picture(path)
    off = 12 if ending == ".avif" else 6  # written quickly and small
    for index, colour in enumerate(SWATCHES):
        assert np.abs(picture[32, 24 * index + 12].astype(int) - colour).max() <= off


@pytest.mark.parametrize("icc", [b"", b"no profile", display_p3()[:200], bytes(3000)])
def test_a_profile_that_says_nothing_changes_no_pixel(tmp_path, icc):
    plain = write_picture(tmp_path / "a.png", p3_swatches())
    before = read_picture(plain)
    np.testing.assert_array_equal(read_picture(with_profile(plain, icc)), before)


@pytest.mark.slow
def test_a_png_film_with_a_profile_ends_no_process(tmp_path):
    path = write_animation(tmp_path / "a.apng", "apng", numbered(3), 40).rename(tmp_path / "a.png")
    with_profile(path, display_p3())
    for _ in range(5):
        assert FilmReader(path).count() == 3
        gc.collect()


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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["PF", "Pf"])
def test_floats_of_a_pfm_are_read_from_its_last_row_up(tmp_path, kind, order):
    """Colours and greys, of either byte order: lines from the bottom, red first."""
    steps = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
    wanted = np.stack([steps, steps[::-1], steps[:, ::-1]] if kind == "PF" else [steps] * 3, -1)
    values = (wanted[::-1, :, ::-1] if kind == "PF" else steps[::-1]) / 255
    head = f"{kind}\n64 48\n{-1.0 if order == '<' else 1.0}\n".encode()
    path = tmp_path / "picture.pfm"
    path.write_bytes(head + values.astype(f"{order}f4").tobytes())
    assert np.abs(read_picture(path).astype(int) - wanted).max() <= 1


def slopes() -> np.ndarray:
    """RGB without a repetition: 64 lines of 96."""
    rows, columns = np.mgrid[0:64, 0:96]
    return np.stack([columns * 2, rows * 3, 255 - rows - columns], -1).astype(np.uint8)


GREYS = np.broadcast_to(np.linspace(60, 255, 96).astype(np.uint8), (64, 96))
ALPHA = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[:, None], (64, 96))
LAID = np.rint(slopes()[..., ::-1] * (ALPHA / 255)[..., None] + 200 * (1 - ALPHA / 255)[..., None])
"""BGR of the slopes with that alpha on grey."""


def off(path, wanted) -> int:
    """Return by how many levels a picture is read wrong where it is worst."""
    return int(np.abs(read_picture(path).astype(int) - wanted).max())


def test_colours_of_a_palette_may_be_transparent(tmp_path):
    path = tmp_path / "a.png"
    paletted = PIL.Image.fromarray(slopes()).quantize(16)
    paletted.save(path, transparency=bytes(range(0, 256, 17)))
    alpha = np.asarray(paletted)[..., None] / 15
    colours = np.asarray(paletted.convert("RGB"))[..., ::-1]
    assert off(path, colours * alpha + 200 * (1 - alpha)) <= 1


@pytest.mark.parametrize("name", ["a.avif", "a.png", "a.webp", "a.tif", "a.tga"])
def test_transparent_parts_of_every_kind_become_grey(tmp_path, name):
    picture = PIL.Image.fromarray(np.dstack([slopes(), ALPHA]))
    how = {"a.avif": {"quality": 100, "subsampling": "4:4:4"}, "a.webp": {"lossless": True}}
    picture.save(tmp_path / name, **how.get(name, {}))
    assert off(tmp_path / name, LAID) <= 2


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tga"])
def test_greys_may_be_transparent(tmp_path, name):
    PIL.Image.fromarray(np.dstack([GREYS, ALPHA])).save(tmp_path / name)
    wanted = GREYS * (ALPHA / 255) + 200 * (1 - ALPHA / 255)
    assert off(tmp_path / name, wanted[..., None]) <= 1


def write_tiles(path, picture, orientation):
    """Write a TIFF of four tiles of 48 x 32, as microscopes and editors of large pictures do."""
    parts = [picture[y : y + 32, x : x + 48, ::-1] for y in (0, 32) for x in (0, 48)]
    starts = np.arange(4) * parts[0].size + 8
    listed = starts.astype("<u4").tobytes() + np.full(4, parts[0].size, "<u4").tobytes()
    behind = 8 + picture.size
    fields = ((256, 96), (257, 64), (258, 8), (259, 1), (262, 2), (274, orientation), (277, 3))
    tags = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in fields)
    tags += b"".join(struct.pack("<HHII", tag, 3, 1, size) for tag, size in ((322, 48), (323, 32)))
    tags += struct.pack("<HHIIHHII", 324, 4, 4, behind, 325, 4, 4, behind + 16)
    head = b"II*\0" + struct.pack("<I", behind + 32)
    body = b"".join(part.tobytes() for part in parts)
    path.write_bytes(head + body + listed + struct.pack("<H", 11) + tags + bytes(4))
    return path


def test_a_tiff_in_tiles_is_whole_and_upright(tmp_path):
    picture = slopes()[..., ::-1]
    assert off(write_tiles(tmp_path / "a.tif", picture, 1), picture) == 0
    assert off(write_tiles(tmp_path / "b.tif", picture, 3), picture[::-1, ::-1]) == 0


@pytest.mark.parametrize("how", [{"big_tiff": True}, {"compression": "jpeg", "quality": 99}])
def test_large_and_compressed_tiffs_are_read(tmp_path, how):
    PIL.Image.fromarray(slopes()).save(tmp_path / "a.tif", **how)
    assert off(tmp_path / "a.tif", slopes()[..., ::-1]) <= 6


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint16, np.uint32])
@pytest.mark.parametrize("channels", [1, 3])
def test_numbers_of_every_size_in_a_tiff_are_read(tmp_path, kind, channels):
    wanted = slopes()[..., ::-1] if channels == 3 else np.repeat(GREYS[..., None], 3, 2)
    white = 1 if np.issubdtype(kind, np.floating) else np.iinfo(kind).max
    numbers = (wanted / 255.0 * white).astype(kind)
    cv2.imwrite(str(tmp_path / "a.tif"), numbers if channels == 3 else numbers[..., 0])
    assert off(tmp_path / "a.tif", wanted) <= 1


@pytest.mark.parametrize("name", ["a.tif", "a.pfm"])
def test_floats_without_a_white_are_refused_in_a_sentence(tmp_path, name):
    cv2.imwrite(str(tmp_path / name), slopes().astype(np.float32))
    with pytest.raises(MediaError, match="save it as PNG"):
        read_picture(tmp_path / name)


def test_a_tiff_of_brightness_and_two_colours_is_not_pale(tmp_path):
    PIL.Image.fromarray(slopes()).convert("YCbCr").save(tmp_path / "a.tif")
    assert off(tmp_path / "a.tif", slopes()[..., ::-1]) <= 3  # both ways are rounded; 17 before


def light(encoded: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB numbers (IEC 61966-2-1)."""
    part = encoded / 255.0
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def test_the_light_in_a_radiance_picture_is_shown_as_srgb(tmp_path):
    wanted = np.repeat(GREYS[..., None], 3, 2)
    cv2.imwrite(str(tmp_path / "a.hdr"), light(wanted).astype(np.float32))
    assert off(tmp_path / "a.hdr", wanted) <= 2
    for gamma, shown in (("1.0", wanted), ("0.454545", light(wanted) * 255)):
        told = f"GAMMA={gamma}\nFORMAT".encode()
        (tmp_path / "b.hdr").write_bytes((tmp_path / "a.hdr").read_bytes().replace(b"FORMAT", told))
        assert off(tmp_path / "b.hdr", shown) <= 2


def write_exr(path, light, alpha, told=b""):
    """Write an OpenEXR file of half floats without compression; colours times alpha.

    ``told`` is further fields of its header.
    """
    height, width = alpha.shape
    planes = {"A": alpha, "B": light[..., 2], "G": light[..., 1], "R": light[..., 0]}
    channels = b"".join(name.encode() + b"\0" + struct.pack("<IIII", 1, 0, 1, 1) for name in planes)
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = (
        ("channels", "chlist", channels + b"\0"),
        ("compression", "compression", b"\0"),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", bytes(8)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    )
    head = struct.pack("<II", 20000630, 2)
    for name, kind, content in attributes:
        head += f"{name}\0{kind}\0".encode() + struct.pack("<I", len(content)) + content
    head += told
    lines = [
        struct.pack("<ii", row, 8 * width)
        + b"".join(
            (plane[row] * (alpha[row] if name != "A" else 1)).astype("<f2").tobytes()
            for name, plane in planes.items()
        )
        for row in range(height)
    ]
    places = len(head) + 1 + 8 * height + np.arange(height) * len(lines[0])
    path.write_bytes(head + b"\0" + places.astype("<u8").tobytes() + b"".join(lines))
    return path


def test_the_light_in_an_openexr_picture_is_shown_as_srgb(tmp_path):
    path = write_exr(tmp_path / "a.exr", light(slopes()), np.ones((64, 96)))
    assert off(path, slopes()[..., ::-1]) <= 1
    assert off(write_exr(path, light(slopes()), ALPHA / 255), LAID) <= 2
    # FFmpeg names itself behind a number and writes what is to be shown.
    told = b"gamma\0float\0\4\0\0\0\0\0\x80?writer\0string\0\4\0\0\0lavc"
    write_exr(path, slopes() / 255.0, np.ones((64, 96)), told)
    assert off(path, slopes()[..., ::-1]) <= 1


def test_a_psd_whose_lines_end_with_a_pause_is_read(tmp_path):
    """As ImageMagick packs them: PackBits has a byte that says nothing."""
    lines = [
        b"\x5f" + slopes()[row, :, channel].tobytes() + b"\x80"
        for channel in range(3)
        for row in range(64)
    ]
    sizes = b"".join(struct.pack(">H", len(line)) for line in lines)
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 64, 96, 8, 3) + bytes(12)
    (tmp_path / "a.psd").write_bytes(head + b"\0\1" + sizes + b"".join(lines))
    assert off(tmp_path / "a.psd", slopes()[..., ::-1]) == 0
