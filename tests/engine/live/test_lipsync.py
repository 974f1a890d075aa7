"""What people try first with the library."""

from pathlib import Path

import numpy as np
import pytest

from lipstream import LipstreamError, LipSync, MouthModel, Options
from lipstream.errors import InputError

RATE = 16_000


def hum(samples=RATE // 2):
    return (9000 * np.sin(np.arange(samples) / 20)).astype(np.int16)


def images(lips, sound):
    return [frame.image for frame in (*lips.feed(sound), *lips.flush())]


def test_files_may_be_given_as_text_and_options_by_name(toy_folder, toy_pack):
    with LipSync.open(Options(str(toy_folder), str(toy_pack), RATE)) as lips:
        by_text = images(lips, hum())
    with LipSync.open(model=toy_folder, avatar=toy_pack, fps=25.0) as lips:
        by_name = images(lips, hum())
    assert len(by_text) == 13
    assert all(np.array_equal(a, b) for a, b in zip(by_text, by_name, strict=True))


@pytest.mark.slow
def test_an_avatar_may_be_named_or_be_a_picture(toy_folder, portrait):
    with LipSync.open(model=toy_folder, avatar="ada") as lips:
        assert len(images(lips, hum())) == 13
    with LipSync.open(model=toy_folder, avatar=str(portrait), fps="30000/1001") as lips:
        assert lips.timing.fps.denominator == 1001
        assert len(images(lips, hum())) == 15


def test_bytes_and_floats_move_the_mouth_as_int16_does(toy_folder, toy_pack):
    with LipSync.open(model=toy_folder, avatar=toy_pack) as lips:
        told = [hum(), hum().tobytes(), hum().tolist(), (hum() / 32767).astype(np.float32)]
        heard = []
        for sound in told:
            heard.append(images(lips, sound))
            lips.reset()
    for other in heard[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(heard[0], other, strict=True))


def test_what_is_closed_says_so(toy_folder, toy_pack):
    lips = LipSync.open(model=toy_folder, avatar=toy_pack)
    lips.close()
    lips.close()
    for call in (lambda: lips.feed(hum()), lips.flush, lips.reset):
        with pytest.raises(InputError, match="closed"):
            call()


def test_what_cannot_be_opened_whole_leaves_no_model_open(toy_folder, toy_pack, monkeypatch):
    close, closed = MouthModel.close, []
    monkeypatch.setattr(MouthModel, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(InputError, match="500 frames a second: give 1 to 240"):
        LipSync.open(model=toy_folder, avatar=toy_pack, fps=500)
    assert len(closed) == 1
    LipSync.open(model=toy_folder, avatar=toy_pack).close()
    assert len(closed) == 2


def test_an_avatar_that_is_not_there_is_one_sentence(toy_folder):
    with pytest.raises(LipstreamError, match="nobody"):
        LipSync.open(model=toy_folder, avatar="nobody")
    with pytest.raises(LipstreamError, match=r"no\.jpg"):
        LipSync.open(model=toy_folder, avatar=Path("no.jpg"))
