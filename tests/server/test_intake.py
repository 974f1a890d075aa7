"""Sound that comes when it likes becomes sound that never stops."""

import numpy as np
import pytest

from lipstream_server.stage.input_buffer import Intake, IntakePolicy
from lipstream_server.webrtc.sample_clock import samples

BLOCK = samples(20)
POLICY = IntakePolicy(
    idle_lag=samples(30), patience=samples(70), live_queue=samples(200), speech_queue=samples(2000)
)


@pytest.fixture
def intake():
    return Intake(POLICY)


def loud(count=BLOCK, level=9000):
    return np.full(count, level, np.int16)


def run(intake, until, start=0, arrive=()):
    """Let time pass in steps of 10 ms; `arrive` gives (moment, pcm). Return what was fed."""
    arriving, fed = list(arrive), []
    for due in range(start, until + 1, samples(10)):
        while arriving and arriving[0][0] <= due:
            intake.hear(arriving.pop(0)[1])
            fed += intake.take(due)
        fed += intake.take(due)
    return np.concatenate(fed) if fed else np.zeros(0, np.int16)


def test_while_nobody_speaks_silence_keeps_the_clock_going(intake):
    fed = run(intake, samples(1000))
    assert not fed.any()
    assert len(fed) == intake.fed == samples(1000) - POLICY.idle_lag


def test_an_hour_of_silence_loses_no_sample(intake):
    for due in range(0, samples(3_600_000), samples(500)):
        intake.take(due)
    assert intake.fed == samples(3_600_000) - samples(500) - POLICY.idle_lag
    assert intake.queued == 0


def test_speech_is_fed_untouched_and_without_a_gap_though_it_comes_unevenly(intake):
    random = np.random.default_rng(3)
    speech = random.integers(500, 9000, (50, BLOCK)).astype(np.int16)
    begin = samples(500)
    moments = begin + BLOCK * np.arange(50) + random.integers(0, samples(35), 50)
    moments = np.maximum.accumulate(moments)
    fed = run(intake, samples(1600), arrive=zip(moments, speech, strict=True))
    spoken = fed[np.argmax(fed != 0) :][: speech.size]
    assert np.array_equal(spoken, speech.ravel())
    assert intake.dropped == 0


def test_a_stall_is_given_time_then_silence_takes_its_place(intake):
    fed = run(intake, samples(100), arrive=[(samples(100), loud())])
    before = intake.filled
    late = samples(100) - len(fed)
    intake.take(samples(100) + POLICY.patience - late - 1)
    assert intake.filled == before
    intake.take(samples(200) + POLICY.patience)
    assert intake.filled > before


def test_live_sound_that_piles_up_loses_its_oldest_part(intake):
    for level in range(1000, 1020):
        intake.hear(loud(level=level))
    assert intake.queued <= POLICY.live_queue
    assert intake.dropped == 20 * BLOCK - intake.queued
    assert intake.take(BLOCK)[0][0] == 1010


def test_a_queue_empties_in_the_pauses(intake):
    for _ in range(5):
        intake.hear(loud())
    intake.hear(loud(level=3))
    assert intake.queued == 5 * BLOCK


def test_speech_sent_at_once_is_fed_in_its_own_time(intake):
    assert intake.speak(loud(samples(1000)))
    fed = run(intake, samples(500))
    assert samples(500) <= len(fed) <= samples(500) + BLOCK
    assert fed.all()


def test_speech_that_does_not_fit_is_refused_whole(intake):
    assert intake.speak(loud(POLICY.speech_queue))
    assert not intake.speak(loud(1))
    assert intake.queued == POLICY.speech_queue


def test_live_sound_does_not_mix_into_speech_that_waits(intake):
    intake.speak(loud(samples(100), level=5))
    intake.hear(loud(level=900))
    assert set(run(intake, samples(100))[: samples(100)]) == {5}


def test_an_interrupt_forgets_what_waits_and_the_clock_goes_on(intake):
    intake.speak(loud(samples(1000)))
    run(intake, samples(100))
    intake.interrupt()
    assert intake.queued == 0
    assert not run(intake, samples(1000), start=samples(200)).any()
    assert intake.fed == samples(1000) - POLICY.idle_lag


def test_empty_sound_is_nothing(intake):
    intake.hear(loud(0))
    assert intake.speak(loud(0))
    assert intake.queued == 0
