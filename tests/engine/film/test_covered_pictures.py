"""Pictures whose mouth something covers are left as they are, and it is said."""

from contextlib import closing

import cv2
import numpy as np
import pytest

from lipstream import Avatar, MouthModel
from lipstream.face.landmarks import FaceMesh, is_mouth_covered
from lipstream.face.tracker import FaceTracker
from lipstream.film.render import RenderJob, render, render_frames
from media_files import write_picture

MASK = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288)


@pytest.fixture(scope="module")
def looks():
    """The embedded avatars, 256 pixels wide, and their faces."""
    found = []
    with FaceTracker.open() as tracker:
        for name in ("ada", "mei", "omar"):
            image = cv2.resize(np.array(Avatar.open(name).frames[0]), (256, 256))
            tracker.reset()
            found.append((image, tracker.step(image)))
    return found


def masked(image, face):
    out = image.copy()
    outline = face.points[[*MASK, 361, 323, 454, 6]].astype(np.int32)
    cv2.fillPoly(out, [cv2.convexHull(outline)], (200, 170, 120))
    return out


def behind_a_hand(image, face):
    x, y = face.points[13]
    width = float(np.linalg.norm(face.points[61] - face.points[291]))
    skin = [float(v) for v in np.median(image[100:120, 110:146].reshape(-1, 3), 0)]
    out = image.copy()
    for finger in range(4):
        middle = (int(x), int(y + width * (0.42 * finger - 0.55)))
        axes = (int(1.3 * width), int(0.24 * width))
        cv2.ellipse(out, middle, axes, -8, 0, 360, skin, -1)
        cv2.ellipse(out, middle, axes, -8, 0, 360, [0.72 * v for v in skin], 1)
    return out


def patterned(image, face, pattern):
    """A mask of a cloth with a pattern."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    size = float(np.linalg.norm(face.points[61] - face.points[291])) * 0.35
    across, down = (np.sin(2 * np.pi * one / size) for one in (x + y, x - y))
    where = {"stripes": across > 0, "checks": across * down > 0, "dots": across + down > 0.9}
    pleats = 180 + 40 * np.sin(2 * np.pi * y / (size / 2))
    cloth = (
        np.repeat(pleats[..., None], 3, 2) * (1.0, 0.9, 0.6)  # a pale blue one, as in hospitals
        if pattern == "pleats"
        else np.where(where[pattern][..., None], (60, 160, 40), (200, 60, 150))
    )
    area = np.zeros(image.shape[:2], np.uint8)
    outline = face.points[[*MASK, 361, 323, 454, 6]].astype(np.int32)
    cv2.fillPoly(area, [cv2.convexHull(outline)], 1)
    return np.where(area[..., None] > 0, cloth, image).astype(np.uint8)


@pytest.fixture(scope="module")
def covered():
    """Whether a mouth is covered, looked at as in a picture whose face was found."""
    with closing(FaceMesh.open()) as mesh:
        yield lambda image, face: is_mouth_covered(image, face, mesh)


@pytest.mark.parametrize("pattern", ["stripes", "checks", "dots", "pleats"])
def test_no_mouth_is_seen_through_a_patterned_mask(looks, covered, pattern):
    with FaceTracker.open() as tracker:
        for image, face in looks:
            masked_image = patterned(image, face, pattern)
            tracker.reset()
            seen = tracker.step(masked_image)
            assert seen is None or covered(masked_image, seen)


def test_lips_are_seen_in_colour_and_in_grey_and_not_through_a_mask_or_a_hand(looks, covered):
    for image, face in looks:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        assert not covered(image, face)
        assert not covered(grey, face)
        assert covered(masked(image, face), face)
        assert covered(behind_a_hand(image, face), face)


@pytest.mark.slow
def test_a_covered_mouth_is_left_alone_and_told_unless_its_place_is_given(looks, noise, tmp_path):
    picture = write_picture(tmp_path / "masked.png", masked(*looks[0]))
    job = {"face": picture, "sound": noise, "still": True}
    left = render(RenderJob(output=tmp_path / "a.mkv", **job))
    assert left.notes == (
        "the mouth in masked.png is covered: the picture is left as it is; --box moves it all the"
        " same",
    )
    with MouthModel.open() as model:
        pictures = list(render_frames(RenderJob(output=tmp_path / "c.mkv", **job), model, tmp_path))
    assert len(pictures) > 20
    assert all(np.array_equal(one, pictures[0]) for one in pictures)
    moved = render(RenderJob(output=tmp_path / "b.mkv", box=(50, 220, 60, 200), **job))
    assert moved.notes == ()
