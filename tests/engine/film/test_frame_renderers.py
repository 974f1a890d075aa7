import cv2
import numpy as np
import pytest

from lipstream.face.crop import cut_crop
from lipstream.face.tracker import open_crop_tracker
from lipstream.film.frame_renderers import MouthPaster, sharpen
from lipstream.media import FilmReader

CROP = np.array([[120, 6, 40], [-5, 150, 20]], np.float32)


@pytest.fixture
def paste(toy_model):
    return MouthPaster(toy_model.manifest)


def prepared(paste, image, crop):
    return paste.target(image, crop, cut_crop(image, crop, 96))


def bright(target):
    """A mouth 60 levels lighter throughout: the worst that a network can do."""
    return np.clip(target.rest.astype(int) + 60, 0, 255).astype(np.uint8)


def edges(image):
    return np.hypot(*np.gradient(image.astype(float).mean(-1)))


def border(image, target, width=3):
    """Return which pixels lie within ``width`` of the border of what can change."""
    rows, columns, _ = target.rest.shape
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    linear = target.affine[:, :2].astype(float)
    places = (np.stack([x, y], -1) - target.affine[:, 2]) @ np.linalg.inv(linear).T + 0.5
    inside = np.minimum.reduce(
        [places[..., 0], columns - places[..., 0], places[..., 1], rows - places[..., 1]]
    )
    return np.abs(inside) < width * rows / np.linalg.norm(linear[:, 1] * rows)


def test_no_edge_is_seen_round_the_mouth_on_plain_grey(paste):
    grey = np.full((200, 200, 3), 128, np.uint8)
    target = prepared(paste, grey, CROP)
    patch = target.rest.copy()
    patch[10:40, 20:76] += 70
    pasted = paste.paste(target, patch, 1.0)
    assert np.abs(pasted.astype(int) - grey).max() > 60
    assert edges(pasted)[border(grey, target)].max() < 1.0


def test_a_change_of_colour_throughout_leaves_the_picture_alone(paste):
    grey = np.full((200, 200, 3), 128, np.uint8)
    target = prepared(paste, grey, CROP)
    assert np.abs(paste.paste(target, bright(target), 1.0).astype(int) - grey).max() <= 1


def test_strength_fades_the_mouth_out_to_the_pixel(paste):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    target = prepared(paste, noise, CROP)
    patch = np.roll(target.rest, 9, 1)
    levels = [
        np.abs(paste.paste(target, patch, s).astype(int) - noise).mean() for s in (0, 0.3, 0.6, 1)
    ]
    assert levels[0] == 0
    assert levels == sorted(levels)
    assert levels[3] > 2


def test_a_soft_mouth_becomes_as_sharp_as_its_film_and_a_sharp_one_stays():
    film = np.random.default_rng(0).integers(60, 200, (48, 96, 3), np.uint8)
    soft = np.asarray((film.astype(float) * 0.6 + film.mean() * 0.4), np.uint8)

    def strength(mouth):
        return np.abs(np.diff(mouth.astype(float), axis=1)).mean()

    assert strength(sharpen(soft, film)) == pytest.approx(strength(film), rel=0.1)
    assert sharpen(film, soft) is film


def soft_open_mouth(rows):
    """What a painting network makes of (48, 96, 3) rows: soft, a little brighter, open."""
    painted = cv2.GaussianBlur(rows, (0, 0), 1.5).astype(np.float32) + 6
    y, x = np.mgrid[: rows.shape[0], : rows.shape[1]]
    hole = np.exp(-(((x - 48) / 14) ** 2) - ((y - 20) / 6) ** 2)[..., None]
    return np.clip(painted * (1 - 0.8 * hole), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("clip", ["s1/*.mkv", "others/*.mpg"])
def test_the_border_on_a_real_clip_has_the_gradients_that_it_had(shared, clip, paste):
    path = min((shared / "data" / "grid").glob(clip), default=None)
    if path is None:
        pytest.skip(f"no clip {clip}")
    crops = open_crop_tracker(most_faces=1)
    ratios = []
    for index, image in enumerate(FilmReader(path).pictures()):
        if index % 15:
            continue
        crop = crops.step(image)[0].crop
        face = cut_crop(image, crop, 96)
        target = paste.target(image, crop, face)
        seam = border(image, target)
        pasted = edges(paste.paste(target, soft_open_mouth(face[48:]), 1.0))[seam].mean()
        ratios.append(pasted / edges(image)[seam].mean())
    crops.close()
    assert max(abs(ratio - 1) for ratio in ratios) < 0.1
