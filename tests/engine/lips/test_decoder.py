"""Lips decoded from classes and measures: events happen or do not, and nothing depends on cuts."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from lipstream.errors import ModelError
from lipstream.lips.decoder import DecoderSettings, Hysteresis, LipDecoder
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES

ONES = np.ones(MEASURES, np.float32)
SETTINGS = DecoderSettings(
    closing=ONES,
    tuck=0.5 * ONES,
    rounding=np.where(np.arange(MEASURES) == 3, -1, 0).astype(np.float32),
    closed=Hysteresis(0.65, 0.4),
    tucked=Hysteresis(0.6, 0.4),
    soft=0.2,
    pressed=0.15,
    parted=0.32,
    tuck_share=0.85,
    rounding_gain=1.5,
)


def likely(**classes):
    row = np.zeros((3, len(CLASSES)), np.float32)
    for name, value in classes.items():
        row[:, CLASSES.index(name)] = value
    return row


def test_lips_close_below_rest_on_p_b_and_m_whatever_the_measures_say():
    lips = LipDecoder(SETTINGS).step(likely(MBP=0.9), 2 * ONES)
    assert lips.measures[0] == pytest.approx(-0.15, abs=1e-6)
    assert lips.closed == 1.0
    assert lips.tucked == 0.0


def test_a_closure_lasts_down_to_the_lower_threshold_and_begins_at_the_upper():
    decoder = LipDecoder(SETTINGS)
    levels = [0.5, 0.7, 0.5, 0.3, 0.5]
    assert [decoder.step(likely(MBP=p), ONES).closed == 1.0 for p in levels] == [
        *(False, True, True, False, False)
    ]


def test_lips_part_with_the_newest_column_and_not_a_frame_later():
    decoder = LipDecoder(SETTINGS)
    assert decoder.step(likely(MBP=0.9), ONES).closed == 1.0
    ending = likely(MBP=0.9)
    ending[-1, CLASSES.index("MBP")] = 0.1
    assert decoder.step(ending, ONES).closed < 1.0


def test_the_lower_lip_goes_to_the_teeth_on_f_and_v():
    lips = LipDecoder(SETTINGS).step(likely(FV=0.9), 2 * ONES)
    assert lips.tucked == 1.0
    assert lips.measures == pytest.approx(2 - 0.85 * 1.5)


def test_rounding_narrows_and_is_told():
    decoder = LipDecoder(SETTINGS)
    plain, rounded = decoder.step(likely(AA=1), ONES), decoder.step(likely(UW=0.6), ONES)
    assert rounded.measures[3] == pytest.approx(plain.measures[3] - 0.9)
    assert rounded.rounded == pytest.approx(0.6)


def test_lips_are_parted_in_speech_and_left_alone_in_silence():
    decoder = LipDecoder(SETTINGS)
    assert decoder.step(likely(AA=1), 0 * ONES).measures[0] == pytest.approx(0.32)
    assert decoder.step(likely(sil=1), 0 * ONES).measures == pytest.approx(0 * ONES)


def test_the_tongue_rises_for_l_and_comes_out_for_th():
    decoder = LipDecoder(SETTINGS)
    assert decoder.step(likely(L=0.8), ONES).tongue_up == pytest.approx(0.8)
    assert decoder.step(likely(TDN=0.8), ONES).tongue_up == pytest.approx(0.4)
    assert decoder.step(likely(TH=0.7), ONES).tongue_out == pytest.approx(0.7)


def test_a_decoder_that_was_reset_is_as_a_new_one():
    rng = np.random.default_rng(3)
    classes = rng.dirichlet(np.full(len(CLASSES), 0.2), (40, 3)).astype(np.float32)
    measures = rng.normal(0, 1, (40, MEASURES)).astype(np.float32)

    def lips(decoder):
        return np.stack(
            [decoder.step(c, m).measures for c, m in zip(classes, measures, strict=True)]
        )

    used = LipDecoder(SETTINGS)
    first = lips(used)
    used.reset()
    assert np.array_equal(lips(used), first)
    assert np.array_equal(lips(LipDecoder(SETTINGS)), first)


def test_what_is_given_is_not_changed():
    classes, measures = likely(MBP=0.9), 2 * ONES
    LipDecoder(SETTINGS).step(classes, measures)
    assert np.array_equal(classes, likely(MBP=0.9))
    assert np.array_equal(measures, 2 * ONES)


def table():
    written = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in asdict(SETTINGS).items()
        if not isinstance(value, dict)
    }
    return written | {
        **{"closed_begin": 0.65, "closed_end": 0.4},
        **{"tucked_begin": 0.6, "tucked_end": 0.4},
    }


def test_settings_are_read_as_they_are_written():
    read = DecoderSettings.parse(table())
    assert read.closed == SETTINGS.closed
    assert read.rounding_gain == 1.5
    assert np.array_equal(read.rounding, SETTINGS.rounding)
    assert replace(read, soft=0.1).soft == 0.1


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("tuck", [1.0] * 16, "tuck must be 17"),
        ("closing", ["a"] * 17, "closing must be 17"),
        ("rounding", [float("nan")] * 17, "rounding must be 17"),
        ("soft", "much", "soft must be a number"),
        ("soft", True, "soft must be a number"),
        ("closed_end", 0.9, "the end not above"),
        ("parted", None, "has no parted"),
    ],
)
def test_wrong_settings_are_told_by_name(name, wrong, told):
    given = table()
    if wrong is None:
        del given[name]
    else:
        given[name] = wrong
    with pytest.raises(ModelError, match=told):
        DecoderSettings.parse(given)


def test_measures_are_enlarged_by_their_gains_and_closures_are_not():
    gain = np.where(np.arange(MEASURES) == 0, 1.5, 1.0).astype(np.float32)
    timid, bold = LipDecoder(SETTINGS), LipDecoder(replace(SETTINGS, gain=gain))
    small, large = (each.step(likely(AA=0.9), 2 * ONES).measures for each in (timid, bold))
    assert large[0] == pytest.approx(1.5 * small[0])
    np.testing.assert_array_equal(large[1:], small[1:])
    assert bold.step(likely(MBP=0.9), 2 * ONES).measures[0] == pytest.approx(-0.15, abs=1e-6)


def test_a_model_without_gains_has_none():
    table = {"closed_begin": 0.65, "closed_end": 0.4, "tucked_begin": 0.6, "tucked_end": 0.4}
    table |= dict.fromkeys(("soft", "pressed", "parted", "tuck_share", "rounding_gain"), 0.3)
    table |= {name: [1.0] * MEASURES for name in ("closing", "tuck", "rounding")}
    np.testing.assert_array_equal(DecoderSettings.parse(table).gain, ONES)
    with_gains = DecoderSettings.parse(table | {"gain": [2.0] * MEASURES})
    np.testing.assert_array_equal(with_gains.gain, 2 * ONES)
    with pytest.raises(ModelError, match="gain must be 17"):
        DecoderSettings.parse(table | {"gain": [2.0] * 3})
