"""Counting what lips did: closures, false ones, the lip at the teeth, rounding, chatter, film."""

import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream.lips.decoder import DecoderSettings, Hysteresis
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES
from lipstream_models.corpora.labelled_speech import LabelledUtterance
from lipstream_models.evaluation.lip_events import (
    GAINS_END,
    HeardFrames,
    LipTrack,
    count_events,
    find_gains,
)

PRESSED, TUCKED, OPEN, ROUND = (CLASSES.index(name) for name in ("MBP", "FV", "AA", "UW"))


def spoken():
    """Two seconds: a closure at 0.4 s and at 0.8 s, an f at 1.2 s, an u from 1.5 to 1.8 s."""
    classes = np.full(160, OPEN, np.int64)
    for index, first, last in (
        (PRESSED, 32, 40),
        (PRESSED, 64, 72),
        (TUCKED, 96, 104),
        (ROUND, 120, 144),
    ):
        classes[first:last] = index
    lips = np.zeros((50, MEASURES), np.float32)
    lips[:, 0], lips[:, 3] = 2.0, np.linspace(0, 0.5, 50)
    lips[10:12, 0], lips[20:22, 0], lips[30:32, 0] = -0.1, -0.1, 0.4
    lips[37:45, 3] -= 3.0
    return lips, classes


def test_lips_that_do_all_they_should_are_faultless():
    events = count_events([LipTrack(*spoken())])
    assert events.closures == 2
    assert (events.closure_recall, events.closure_precision, events.tuck_recall) == (1, 1, 1)
    assert events.rounding_sd > 2
    assert events.toggles_a_second == pytest.approx(6 / 2)


def test_a_missed_closure_counts_against_recall_alone():
    lips, classes = spoken()
    lips[20:22, 0] = 2.0
    events = count_events([LipTrack(lips, classes)])
    assert (events.closure_recall, events.closure_precision) == (0.5, 1)


def test_lips_closed_without_reason_count_against_precision():
    lips, classes = spoken()
    lips[25:27, 0] = 0.0
    events = count_events([LipTrack(lips, classes)])
    assert (events.closure_recall, events.closure_precision) == (1, 4 / 6)


def test_lips_may_be_closed_in_a_pause():
    lips, classes = spoken()
    classes[:24], lips[:7, 0] = 0, 0.0
    assert count_events([LipTrack(lips, classes)]).closure_precision == 1


def test_the_film_is_compared_by_its_gap():
    lips, classes = spoken()
    events = count_events([LipTrack(lips, classes, 2 * lips)])
    assert events.gap_correlation == pytest.approx(1)
    assert events.gap_spread == pytest.approx(0.5)


def test_where_nothing_is_spoken_there_is_nothing_to_count():
    lips, _ = spoken()
    events = count_events([LipTrack(lips, np.zeros(160, np.int64))])
    assert events.closures == 0
    assert events.closure_recall is None
    assert events.toggles_a_second is None


class Timid:
    """Hears the lips that were filmed at a share of their motion, but for one measure at random."""

    settings = DecoderSettings(
        *(np.zeros(MEASURES, np.float32) for _ in range(3)),
        closed=Hysteresis(0.9, 0.9),
        tucked=Hysteresis(0.9, 0.9),
        soft=0.0,
        pressed=0.0,
        parted=-99.0,
        tuck_share=0.0,
        rounding_gain=0.0,
    )

    def __init__(self, share):
        self._share = share

    def predict(self, mel):
        lips = (self._share * mel[0, :75, None] * np.ones(MEASURES)).astype(np.float32)
        lips[:, 3] = np.random.default_rng(1).standard_normal(75)
        return HeardFrames(np.zeros((75, 3, len(CLASSES)), np.float32), lips)


def filmed(seed):
    slow = np.convolve(np.random.default_rng(seed).standard_normal(90), np.ones(16) / 4, "valid")
    mel = np.tile(slow.astype(np.float32), (80, 1))
    lips = (slow[:, None] * np.ones(MEASURES)).astype(np.float32)
    return LabelledUtterance(f"clip{seed}", mel, np.zeros(240, np.int64), lips)


def test_timid_measures_are_enlarged_and_those_that_are_not_heard_are_left():
    gains = find_gains(Timid(0.8), [filmed(seed) for seed in range(4)])
    assert gains[0] == pytest.approx(1 / 0.8, rel=0.06)
    assert gains[3] < 1.1
    assert find_gains(Timid(0.3), [filmed(seed) for seed in range(4)])[0] == GAINS_END
    assert find_gains(Timid(1.4), [filmed(seed) for seed in range(4)])[0] == 1.0


def test_gains_need_film():
    with pytest.raises(InputError, match="no film"):
        find_gains(Timid(1.0), [])
