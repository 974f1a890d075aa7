"""Pictures as encoders take them: what FFmpeg would have made of them, at a part of its cost."""

import numpy as np
import pytest
from av import VideoFrame

from lipstream.avatar.pack import Avatar
from lipstream.live.compositor import Compositor, MouthArea
from lipstream.types import AvFrame
from lipstream_server.webrtc.tracks import video_frame

SILENT = np.zeros(640, np.int16)


@pytest.fixture
def spoken():
    """A frame of the embedded avatar with a changed mouth."""
    avatar, compositor = Avatar.open(), Compositor(MouthArea(96, 48, 96))
    target = compositor.target(avatar.frames[0], avatar.crops[0])
    mouth = target.rest.copy()
    mouth[14:30, 34:62] = (40, 30, 120)
    return AvFrame(0, compositor.patch(target, mouth, 1.0), SILENT, 0, 1.0)


def planes(frame):
    assert frame.format.name == "yuv420p"
    height, width = frame.height, frame.width
    flat = frame.to_ndarray().astype(int)
    return flat[:height], flat[height:].reshape(2, height // 2, width // 2)


def test_it_is_within_a_level_of_the_whole_picture_converted_by_ffmpeg(spoken):
    luma, colour = planes(video_frame(spoken))
    plain = VideoFrame.from_ndarray(spoken.image, format="bgr24").reformat(format="yuv420p")
    plain_luma, plain_colour = planes(plain)
    assert np.abs(luma - plain_luma).max() <= 1
    assert np.abs(colour - plain_colour).max() <= 1


def test_converting_the_box_alone_gives_what_converting_all_gives(spoken):
    alone = video_frame(spoken)
    assert spoken.shown.whole is None  # nobody put the picture together
    whole = video_frame(AvFrame(0, spoken.image, SILENT, 0, 1.0))
    np.testing.assert_array_equal(alone.to_ndarray(), whole.to_ndarray())


def test_sides_that_are_no_multiple_of_a_lines_padding_are_kept_straight():
    image = np.random.default_rng(1).integers(0, 256, (50, 86, 3), dtype=np.uint8)
    luma, _ = planes(video_frame(AvFrame(0, image, SILENT, 0, 0.0)))
    grey = image @ np.array([0.114, 0.587, 0.299]) * 219 / 255 + 16
    assert np.abs(luma - grey).max() <= 1


def test_a_picture_of_odd_sides_is_left_to_the_encoder():
    image = np.zeros((51, 86, 3), np.uint8)
    assert video_frame(AvFrame(0, image, SILENT, 0, 0.0)).format.name == "bgr24"
