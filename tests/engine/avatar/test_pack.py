import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipstream import Avatar, MouthModel
from lipstream.avatar.pack import EMBEDDED, embedded_avatars, embedded_pack
from lipstream.errors import AvatarError, InputError
from lipstream.face.crop import FacePicture


def test_a_raw_pack_gives_back_every_pixel_without_a_copy(toy_avatar, toy_pack):
    opened = Avatar.open(toy_pack)
    np.testing.assert_array_equal(opened.frames, toy_avatar.frames)
    np.testing.assert_array_equal(opened.crops, toy_avatar.crops)
    assert (opened.name, opened.licence, opened.fps) == ("toy", "CC0-1.0", Fraction(25))
    assert not opened.frames.flags.owndata


def test_jpeg_pack_is_small_and_close(toy_avatar, toy_pack, tmp_path):
    path = tmp_path / "small.avatar"
    toy_avatar.save(path, codec="jpeg")
    assert path.stat().st_size < toy_pack.stat().st_size / 10
    difference = Avatar.open(path).frames.astype(int) - toy_avatar.frames
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_pack_keeps_the_picture_that_shows_the_teeth(toy_avatar, tmp_path, codec):
    shown = FacePicture(np.full((40, 30, 3), 90, np.uint8), np.float32([[9, 0, 4], [0, 9, 5]]))
    toy_avatar.with_open_mouth(shown).save(tmp_path / "a.avatar", codec=codec)
    opened = Avatar.open(tmp_path / "a.avatar").open_mouth
    assert opened is not None
    np.testing.assert_allclose(opened.image, shown.image, atol=2)
    np.testing.assert_array_equal(opened.crop, shown.crop)
    assert not opened.image.flags.writeable


def test_a_pack_without_such_a_picture_has_the_sections_it_always_had(toy_avatar, tmp_path):
    """So old programs read new packs, and new programs old ones."""
    toy_avatar.save(tmp_path / "a.avatar")
    assert Avatar.open(tmp_path / "a.avatar").open_mouth is None
    header = (tmp_path / "a.avatar").read_bytes()[48:4096]
    assert b"open mouth" not in header


def test_a_lower_quality_makes_a_smaller_jpeg_pack(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    avatar = Avatar.from_frames(frames, [np.eye(2, 3)] * 2)
    sizes = []
    for quality in (95, 60):
        avatar.save(tmp_path / "a.avatar", codec="jpeg", quality=quality)
        sizes.append((tmp_path / "a.avatar").stat().st_size)
        assert Avatar.open(tmp_path / "a.avatar").frames.shape == frames.shape
    assert sizes[1] < 0.7 * sizes[0]


def test_every_embedded_avatar_opens_by_its_name():
    for name in embedded_avatars():
        assert Avatar.open(Path(name)).name == name
    assert EMBEDDED in embedded_avatars()


def test_an_unknown_name_is_told_the_names_there_are():
    with pytest.raises(AvatarError, match=r"'nobody'.*ada"):
        Avatar.open(Path("nobody"))


@pytest.mark.parametrize("path", ["ada.avatar", "folder/ada", "./a.png"])
def test_a_path_is_no_name(path):
    assert embedded_pack(Path(path)) is None


def test_a_file_goes_before_a_name(toy_pack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ada").write_bytes(toy_pack.read_bytes())
    assert Avatar.open(Path("ada")).name == "toy"


def test_frames_cannot_be_written(toy_pack, toy_avatar):
    for avatar in (toy_avatar, Avatar.open(toy_pack)):
        with pytest.raises(ValueError, match="read-only"):
            avatar.frames[0, 0, 0] = 1


def test_frames_repeat_and_follow_another_rate(toy_avatar):
    assert [toy_avatar.at(k, Fraction(25)) for k in range(7)] == [0, 1, 2, 3, 4, 0, 1]
    assert [toy_avatar.at(k, Fraction(50)) for k in range(6)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda b: b"", "empty"),
        (lambda b: b"\0" * 400, "not an avatar"),
        (lambda b: b[: len(b) // 2], "damaged"),
        (lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], "damaged"),
        (lambda b: b[:8] + b"\7\0\0\0" + b[12:], "version 7"),
    ],
)
def test_a_damaged_pack_is_refused(toy_pack, tmp_path, damage, said):
    path = tmp_path / "bad.avatar"
    path.write_bytes(damage(toy_pack.read_bytes()))
    with pytest.raises(AvatarError, match=said):
        Avatar.open(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"fps": [25', b'"fps": [-5'),
        (b'"codec": "raw"', b'"codec": "zip"'),
        (b'"sections"', b'"sektions"'),
        (b'"dtype": "<f4"', b'"dtype": "|O8"'),
        (b'{"name"', b'["name"'),
    ],
)
def test_a_pack_written_wrong_is_refused_though_its_checksum_holds(toy_pack, tmp_path, old, new):
    content = toy_pack.read_bytes()
    rest = content[48:].replace(old, new, 1)
    assert rest != content[48:]
    path = tmp_path / "wrong.avatar"
    path.write_bytes(content[:16] + hashlib.sha256(rest).digest() + rest)
    with pytest.raises(AvatarError, match="not a usable avatar"):
        Avatar.open(path)


def test_a_missing_pack_says_how_to_make_one(tmp_path):
    with pytest.raises(AvatarError, match="lipstream avatar make"):
        Avatar.open(tmp_path / "none.avatar")


def test_nothing_half_written_stays(toy_avatar, tmp_path):
    folder = tmp_path / "taken.avatar"
    folder.mkdir()
    with pytest.raises(AvatarError, match="cannot be written"):
        toy_avatar.save(folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("frames", "crops"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 2, 3))),
        (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 2, 3))),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 2, 3))),
        (np.zeros((1, 8, 8, 3), np.uint8), np.full((1, 2, 3), np.nan)),
    ],
)
def test_frames_and_crops_that_do_not_fit_are_refused(frames, crops):
    with pytest.raises(InputError):
        Avatar.from_frames(frames, crops)


@pytest.mark.slow
def test_names_and_places_may_be_text(tmp_path, toy_folder):
    avatar = Avatar.open("omar")
    avatar.save(str(tmp_path / "o.avatar"), "jpeg")
    assert Avatar.open(str(tmp_path / "o.avatar")).name == avatar.name
    with MouthModel.open(str(toy_folder)) as model:
        assert model.manifest.name
