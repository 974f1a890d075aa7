from pathlib import Path

import cv2
import numpy as np
import pytest

from lipstream import Avatar
from lipstream.avatar.making import AvatarSettings, make_avatar, open_avatar
from lipstream.cli import main
from lipstream.errors import AvatarError, FaceNotFound, InputError
from media_files import numbered, write_film, write_picture
from mouth_faces import compositor, found, opened, resized, target
from mouth_faces import portrait as known_face


def test_a_still_picture_becomes_an_avatar_of_one_frame(portrait, tmp_path, capsys):
    output = tmp_path / "b.avatar"
    assert (
        main(["avatar", "make", str(portrait), "-o", str(output), "--size", "256", "--still"]) == 0
    )
    avatar = Avatar.open(output)
    assert (len(avatar), avatar.width, avatar.height, avatar.name) == (1, 256, 256, "b")
    assert "1 frame, 256x256" in capsys.readouterr().out


def test_a_picture_becomes_an_avatar_that_moves_without_a_seam(portrait):
    avatar = make_avatar(portrait, AvatarSettings("x", longest_side=128, seconds=2))
    assert len(avatar) == 50
    steps = [np.abs(avatar.frames[k].astype(int) - avatar.frames[k - 1]).mean() for k in range(50)]
    assert min(steps) > 0
    assert steps[0] <= max(steps[1:])
    assert np.ptp(avatar.crops[:, 0, 2]) > 0.5


@pytest.mark.slow
def test_a_film_goes_forth_and_back_over_the_longest_sight_of_the_face(
    portrait,
    tmp_path,
):
    source = cv2.imread(str(portrait))
    shades = [np.clip(source.astype(int) + 3 * k, 0, 255).astype(np.uint8) for k in range(4)]
    blank = np.zeros_like(source)
    film = write_film(tmp_path / "film.mkv", [shades[0], blank, *shades, blank])
    avatar = make_avatar(film, AvatarSettings("x"))
    assert len(avatar) == 6
    assert [np.array_equal(a, b) for a, b in zip(avatar.frames[:4], shades, strict=True)] == [
        True
    ] * 4
    assert np.array_equal(avatar.frames[4], shades[2])


@pytest.mark.parametrize("name", ["a.png", "a.mkv"])
def test_nobody_in_sight_is_said(tmp_path, name):
    path = tmp_path / name
    if name == "a.png":
        write_picture(path, numbered(9)[8])
    else:
        write_film(path, numbered(4))
    with pytest.raises(FaceNotFound, match="no face found"):
        make_avatar(path, AvatarSettings("x"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--size", "9"], "--size"),
        (["--seconds", "0"], "--seconds"),
        (["-o", "no/a.avatar"], "no folder"),
        (["--no-bounce"], "--no-bounce is for films"),
    ],
)
def test_unfit_settings_are_named(tmp_path, capsys, words, says):
    path = write_picture(tmp_path / "a.png", numbered(1)[0])
    assert main(["avatar", "make", str(path), "-o", str(tmp_path / "a.avatar"), *words]) == 2
    assert says in capsys.readouterr().err


def test_a_film_cannot_be_kept_still(tmp_path):
    film = write_film(tmp_path / "a.mkv", numbered(2))
    with pytest.raises(InputError, match="--still is for pictures"):
        make_avatar(film, AvatarSettings("x", still=True))


def test_an_avatar_is_taken_by_name_and_an_unknown_one_is_told_the_names():
    assert open_avatar(Path("ada")).name == "ada"
    with pytest.raises(AvatarError, match="ada"):
        open_avatar(Path("nobody"))


def test_the_size_asked_for_is_the_size_of_the_avatar(portrait, tmp_path):
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), cv2.resize(cv2.imread(str(portrait)), (200, 200)))
    output = tmp_path / "b.avatar"
    command = ["avatar", "make", str(small), "-o", str(output), "--still"]
    assert main([*command, "--size", "400"]) == 0
    assert Avatar.open(output).width == 400
    assert main(command) == 0
    assert Avatar.open(output).width == 200


def speaking(rests: int) -> list[np.ndarray]:
    """Return a film's pictures: the mouth rests, opens wide, rests."""
    face = resized(known_face(), 0.9)
    wide = [compositor().patch(target(face), opened(k)).image() for k in (2.0, 4.5, 4.5, 4.5, 2.0)]
    return [face.image] * rests + wide + [face.image] * 3


@pytest.mark.slow
def test_of_a_film_of_speech_the_longest_rest_is_shown_and_the_widest_frame_kept(tmp_path):
    film = write_film(tmp_path / "me.mkv", speaking(26))
    avatar = make_avatar(film, AvatarSettings("me", bounce=False))
    assert len(avatar) == 26
    assert np.array_equal(avatar.frames[0], speaking(1)[0])
    assert avatar.open_mouth is not None
    assert any(np.array_equal(avatar.open_mouth.image, frame) for frame in speaking(1)[2:5])


@pytest.mark.slow
def test_where_no_rest_is_long_enough_one_picture_lives(tmp_path):
    film = write_film(tmp_path / "me.mkv", speaking(6))
    avatar = make_avatar(film, AvatarSettings("me", seconds=1))
    assert len(avatar) == 25
    face = found(np.array(avatar.frames[0]))
    assert not compositor().target(face.image, face.crop, face.points).rig.curves.open


@pytest.mark.slow
def test_a_second_picture_gives_the_teeth_and_one_without_is_refused(tmp_path, capsys):
    closed, *_, wide = speaking(1)[:4]
    paths = [write_picture(tmp_path / f"{k}.png", one) for k, one in enumerate((closed, wide))]
    command = ["avatar", "make", str(paths[0]), "-o", str(tmp_path / "a.avatar"), "--still"]
    assert main([*command, "--open-mouth", str(paths[1])]) == 0
    assert Avatar.open(tmp_path / "a.avatar").open_mouth is not None
    assert main([*command, "--open-mouth", str(paths[0])]) == 2
    assert "no teeth are seen" in capsys.readouterr().err
