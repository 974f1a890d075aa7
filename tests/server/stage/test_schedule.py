"""What is sent, and when."""

from fractions import Fraction

import numpy as np
import pytest

from lipstream import AvFrame, Pacer
from lipstream_server.stage.schedule import (
    BLOCK,
    RATE,
    SOUND_LEAD,
    AudioBlock,
    Playout,
    VideoPicture,
)

DELAY_MS = 300.0
SAMPLES = 1920


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def play(clock, seconds, fps=25, late=frozenset()):
    """Feed a ramp and its frames as they come; return what was sent, with the time of each."""
    pacer = Pacer(rate=RATE, delay_ms=DELAY_MS, clock=clock)
    playout = Playout(pacer, Fraction(fps))
    image = np.zeros((2, 2, 3), np.uint8)
    begun, fed, sent = clock.now, 0, []
    frame_samples = RATE // fps
    while clock.now < begun + seconds:
        fed_until = int((clock.now - begun) * RATE)
        while fed + BLOCK <= fed_until:
            pacer.hear(np.arange(fed, fed + BLOCK).astype(np.int16))
            fed += BLOCK
            if fed % frame_samples == 0 and (index := fed // frame_samples - 1) not in late:
                pcm = np.zeros(frame_samples, np.int16)
                pacer.push(AvFrame(index, image, pcm, index * frame_samples, 0.0))
        sent += [(clock.now, item) for item in playout.play(clock.now)]
        clock.now += 0.001
    return playout, sent


def test_nothing_is_due_before_any_sound(clock):
    playout = Playout(Pacer(rate=RATE, delay_ms=DELAY_MS, clock=clock), Fraction(25))
    assert playout.next_due is None
    assert playout.play(clock.now + 1e6) == []


@pytest.mark.parametrize("fps", [25, 30, 50])
def test_each_picture_leaves_on_time_and_sound_ahead_of_it_by_the_lead(clock, fps):
    _, sent = play(clock, 3, fps)
    begin = sent[0][0] + SOUND_LEAD / RATE
    for at, item in sent:
        lead = SOUND_LEAD / RATE if isinstance(item, AudioBlock) else 0.0
        assert at == pytest.approx(begin + item.sample / RATE - lead, abs=0.0021)


def test_sound_is_sent_whole_and_in_order(clock):
    _, sent = play(clock, 3)
    sounds = [item for _, item in sent if isinstance(item, AudioBlock)]
    assert [s.sample for s in sounds] == list(range(0, BLOCK * len(sounds), BLOCK))
    whole = np.concatenate([s.pcm for s in sounds])
    assert np.array_equal(whole, np.arange(len(whole)).astype(np.int16))


def test_a_late_picture_is_replaced_by_the_one_before_it_in_its_own_place(clock):
    _, sent = play(clock, 3, late={20, 21})
    shown = [item for _, item in sent if isinstance(item, VideoPicture)]
    assert [p.sample for p in shown] == [SAMPLES * k for k in range(len(shown))]
    assert [p.frame.index for p in shown[18:24]] == [18, 19, 19, 19, 22, 23]


def test_after_a_stall_of_the_caller_everything_due_leaves_in_order(clock):
    playout, sent = play(clock, 2)
    before = sent[-1][1].sample
    missed = playout.play(clock.now + 0.2)
    leaving = [item.sample - (SOUND_LEAD if isinstance(item, AudioBlock) else 0) for item in missed]
    assert leaving == sorted(leaving)
    assert missed[0].sample - before <= max(SAMPLES, SOUND_LEAD + BLOCK)
