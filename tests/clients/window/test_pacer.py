import numpy as np
import pytest

from lipstream import AvFrame
from lipstream_clients.window.playback import Pacer


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def frame(index, rate=1000, fps=25):
    start = index * rate // fps
    image = np.full((2, 2, 3), index % 256, np.uint8)
    return AvFrame(index, image, np.zeros(rate // fps, np.int16), start, 1.0)


@pytest.fixture
def pacer():
    return Pacer(rate=1000, delay_ms=200, clock=Clock())


def test_sound_is_due_a_fixed_delay_after_it_came(pacer):
    assert not pacer.started
    pacer.hear(np.arange(20, dtype=np.int16))
    assert pacer.started
    assert pacer.due(0) == pytest.approx(100.2)
    assert pacer.due(500) == pytest.approx(100.7)


def test_sound_comes_out_whole_whatever_the_blocks(pacer):
    sound = np.random.default_rng(0).integers(-99, 99, 997).astype(np.int16)
    for at in range(0, 997, 13):
        pacer.hear(sound[at : at + 13])
    out = np.concatenate([pacer.sound(count) for count in (1, 500, 13, 400, 83)])
    np.testing.assert_array_equal(out, sound)
    assert pacer.stats().silent_samples == 0


def test_missing_sound_is_silence_and_counted(pacer):
    pacer.hear(np.ones(5, np.int16))
    assert pacer.sound(8).tolist() == [1] * 5 + [0] * 3
    assert pacer.stats().silent_samples == 3


def test_each_picture_shows_from_its_own_sample(pacer):
    for k in range(4):
        pacer.push(frame(k))
    assert [pacer.picture(s).index for s in (0, 39, 40, 80, 120)] == [0, 0, 1, 2, 3]


def test_a_late_picture_repeats_the_one_before_and_sound_goes_on(pacer):
    pacer.hear(np.arange(200, dtype=np.int16))
    pacer.push(frame(0))
    assert [pacer.picture(s).index for s in (0, 40, 80)] == [0, 0, 0]
    assert pacer.sound(120).tolist() == list(range(120))
    for k in (1, 2, 3):
        pacer.push(frame(k))
    assert pacer.picture(120).index == 3
    stats = pacer.stats()
    assert (stats.repeated_pictures, stats.skipped_pictures) == (2, 2)


def test_before_the_first_picture_there_is_none(pacer):
    assert pacer.picture(0) is None
    pacer.push(frame(3))
    assert pacer.picture(100) is None


def test_reset_equals_fresh(pacer):
    pacer.hear(np.ones(50, np.int16))
    pacer.push(frame(0))
    pacer.picture(0)
    pacer.reset()
    assert not pacer.started
    assert pacer.picture(0) is None
    assert pacer.stats().waiting_ms == 0


def test_an_hour_of_virtual_time_keeps_both_tracks_on_one_schedule():
    clock = Clock()
    pacer = Pacer(rate=48_000, delay_ms=230, clock=clock)
    block = np.zeros(960, np.int16)
    for step in range(3600 * 50):
        pacer.hear(block)
        if step % 2 == 0:
            pacer.push(frame(step // 2, 48_000))
        clock.now += 0.02
        if step >= 12:
            played = step - 12
            assert len(pacer.sound(960)) == 960
            if played % 2 == 0:
                assert pacer.picture(played * 960).start_sample == played * 960
    stats = pacer.stats()
    assert (stats.repeated_pictures, stats.skipped_pictures, stats.silent_samples) == (0, 0, 0)
    assert stats.waiting_ms == 240
    assert pacer.due(3600 * 48_000) == pytest.approx(100.0 + 3600 + 0.23)
