"""Crops of faces, cut out of pictures."""

import math

import cv2
import numpy as np
import pytest

from lipstream.face.crop import cut_crop, pixel_affine

WIDTH, HEIGHT = 150, 110


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def crop_at(x, y, width, roll):
    """Return the crop of a width with its middle at a place, turned."""
    cosine, sine = width * math.cos(roll), width * math.sin(roll)
    turn = np.array([[cosine, -1.25 * sine], [sine, 1.25 * cosine]])
    return np.column_stack([turn, [x, y] - turn @ [0.5, 0.5]]).astype(np.float32)


@pytest.mark.parametrize("side", [24, 48])
@pytest.mark.parametrize("width", [20.0, 47.0, 90.0, 400.0])
@pytest.mark.parametrize("place", [(75, 55), (0, 0), (151, 60), (-300, 400)])
def test_a_crop_is_what_sampling_the_whole_picture_gives(picture, place, width, side):
    for roll in (0.0, -0.4, 2.0):
        crop = crop_at(*place, width, roll)
        shrink = width * math.sqrt(1.25) / side
        fine = side * (math.ceil(shrink) if shrink > 1.5 else 1)
        wanted = cv2.warpAffine(
            picture,
            pixel_affine(crop, fine),
            (fine, fine),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        wanted = cv2.resize(wanted, (side, side), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(cut_crop(picture, crop, side), wanted)
