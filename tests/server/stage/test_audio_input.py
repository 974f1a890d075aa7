"""Sound that comes when it likes becomes sound that never stops."""

import numpy as np
import pytest

from lipstream_server.stage.audio_input import AudioInputBuffer, AudioInputLimits
from lipstream_server.stage.schedule import samples

BLOCK = samples(20)
INPUT_LIMITS = AudioInputLimits(
    idle_lag=samples(30), patience=samples(70), live_queue=samples(200), speech_queue=samples(2000)
)


@pytest.fixture
def buffer():
    return AudioInputBuffer(INPUT_LIMITS)


def loud(count=BLOCK, level=9000):
    return np.full(count, level, np.int16)


def run(buffer, until, start=0, arrive=()):
    """Let time pass in steps of 10 ms; `arrive` gives (moment, pcm). Return what was fed."""
    arriving, fed = list(arrive), []
    for due in range(start, until + 1, samples(10)):
        while arriving and arriving[0][0] <= due:
            buffer.push_live(arriving.pop(0)[1])
            fed += buffer.pull(due)
        fed += buffer.pull(due)
    return np.concatenate(fed) if fed else np.zeros(0, np.int16)


def test_while_nobody_speaks_silence_keeps_the_clock_going(buffer):
    fed = run(buffer, samples(1000))
    assert not fed.any()
    assert len(fed) == buffer.fed == samples(1000) - INPUT_LIMITS.idle_lag


def test_an_hour_of_silence_loses_no_sample(buffer):
    for due in range(0, samples(3_600_000), samples(500)):
        buffer.pull(due)
    assert buffer.fed == samples(3_600_000) - samples(500) - INPUT_LIMITS.idle_lag
    assert buffer.queued == 0


def test_speech_is_fed_untouched_and_without_a_gap_though_it_comes_unevenly(buffer):
    random = np.random.default_rng(3)
    speech = random.integers(500, 9000, (50, BLOCK)).astype(np.int16)
    begin = samples(500)
    moments = begin + BLOCK * np.arange(50) + random.integers(0, samples(35), 50)
    moments = np.maximum.accumulate(moments)
    fed = run(buffer, samples(1600), arrive=zip(moments, speech, strict=True))
    spoken = fed[np.argmax(fed != 0) :][: speech.size]
    assert np.array_equal(spoken, speech.ravel())
    assert buffer.dropped == 0


def test_a_stall_is_given_time_then_silence_takes_its_place(buffer):
    fed = run(buffer, samples(100), arrive=[(samples(100), loud())])
    before = buffer.filled
    late = samples(100) - len(fed)
    buffer.pull(samples(100) + INPUT_LIMITS.patience - late - 1)
    assert buffer.filled == before
    buffer.pull(samples(200) + INPUT_LIMITS.patience)
    assert buffer.filled > before


def test_live_sound_that_piles_up_loses_its_oldest_part(buffer):
    for level in range(1000, 1020):
        buffer.push_live(loud(level=level))
    assert buffer.queued <= INPUT_LIMITS.live_queue
    assert buffer.dropped == 20 * BLOCK - buffer.queued
    assert buffer.pull(BLOCK)[0][0] == 1010


def test_a_queue_empties_in_the_pauses(buffer):
    for _ in range(5):
        buffer.push_live(loud())
    buffer.push_live(loud(level=3))
    assert buffer.queued == 5 * BLOCK


def test_speech_sent_at_once_is_fed_in_its_own_time(buffer):
    assert buffer.push_speech(loud(samples(1000)))
    fed = run(buffer, samples(500))
    assert samples(500) <= len(fed) <= samples(500) + BLOCK
    assert fed.all()


def test_speech_that_does_not_fit_is_refused_whole(buffer):
    assert buffer.push_speech(loud(INPUT_LIMITS.speech_queue))
    assert not buffer.push_speech(loud(1))
    assert buffer.queued == INPUT_LIMITS.speech_queue


def test_live_sound_does_not_mix_into_speech_that_waits(buffer):
    buffer.push_speech(loud(samples(100), level=5))
    buffer.push_live(loud(level=900))
    assert set(run(buffer, samples(100))[: samples(100)]) == {5}


def test_an_interrupt_forgets_what_waits_and_the_clock_goes_on(buffer):
    buffer.push_speech(loud(samples(1000)))
    run(buffer, samples(100))
    buffer.interrupt()
    assert buffer.queued == 0
    assert not run(buffer, samples(1000), start=samples(200)).any()
    assert buffer.fed == samples(1000) - INPUT_LIMITS.idle_lag


def test_empty_sound_is_nothing(buffer):
    buffer.push_live(loud(0))
    assert buffer.push_speech(loud(0))
    assert buffer.queued == 0
