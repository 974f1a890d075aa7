import numpy as np
import pytest

from lipstream.audio.resampler import Resampler, to_pcm
from lipstream.errors import InputError
from lipstream.timing import check_rate

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]


def tone(rate, hertz, seconds=1.0, peak=12_000):
    return (peak * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(
        np.int16
    )


def whole(resampler, pcm):
    return np.concatenate([resampler.feed(pcm), resampler.flush()])


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_level_and_place(rate):
    out = whole(Resampler(rate), tone(rate, 440))
    wanted = 12_000 / 32_768 * np.sin(2 * np.pi * 440 * np.arange(len(out)) / 16_000)
    error = (out - wanted)[200:-200]
    assert 10 * np.log10(np.mean(error**2) / np.mean(wanted**2)) < -70
    assert abs(len(out) - 16_000) <= 2


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 192_000])
def test_what_16_khz_cannot_hold_is_gone(rate):
    out = whole(Resampler(rate), tone(rate, 9_500))
    assert np.sqrt(np.mean(out[200:-200] ** 2)) < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_chunked_equals_whole(rate):
    rng = np.random.default_rng(rate)
    pcm = rng.integers(-20_000, 20_000, rate // 2).astype(np.int16)
    resampler = Resampler(rate)
    expected = whole(resampler, pcm)
    resampler.reset()
    parts, at = [], 0
    while at < len(pcm):
        step = int(rng.integers(0, rate // 50))
        parts.append(resampler.feed(pcm[at : at + step]))
        at += step
    parts.append(resampler.flush())
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_reset_equals_fresh():
    used, pcm = Resampler(44_100), tone(44_100, 300, 0.2)
    used.feed(tone(44_100, 1000, 0.123))
    used.reset()
    np.testing.assert_array_equal(whole(used, pcm), whole(Resampler(44_100), pcm))


@pytest.mark.parametrize("rate", RATES)
def test_a_sample_is_out_two_milliseconds_after_its_time_at_most(rate):
    resampler = Resampler(rate)
    assert resampler.delay / rate <= 0.002
    fed = out = 0
    for _ in range(50):
        fed += rate // 100
        out += len(resampler.feed(np.zeros(rate // 100, np.int16)))
        assert fed / rate - out / 16_000 <= 0.0022


@pytest.mark.parametrize("rate", [0, -1, 7_999, 192_001])
def test_a_rate_that_cannot_be_used_says_which_can(rate):
    with pytest.raises(InputError, match="8000 to 192000"):
        check_rate(rate)


@pytest.mark.parametrize("sound", [np.zeros((4, 2), np.int16), np.zeros(4, np.uint8)])
def test_sound_of_another_shape_or_type_is_refused(sound):
    with pytest.raises(InputError, match="int16"):
        to_pcm(sound)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_what_an_output_needs_is_what_makes_it_appear(rate):
    resampler, came = Resampler(rate), 0
    assert resampler.needed(0) == 0
    for fed in range(1, 400):
        came += len(resampler.feed(np.ones(1, np.int16)))
        assert resampler.needed(came) <= fed < resampler.needed(came + 1)


@pytest.mark.parametrize(
    "sound",
    [
        np.array([0, 16_384, -32_768], np.int16).tobytes(),
        bytearray(np.array([0, 16_384, -32_768], "<i2").tobytes()),
        [0, 16_384, -32_768],
        np.array([0, 16_384, -32_768], np.int64),
        np.array([[0], [16_384], [-32_768]], np.int16),
        np.array([[0, 16_384, -32_768]], np.int16),
    ],
    ids=["bytes", "bytearray", "list", "int64", "column", "row"],
)
def test_samples_in_another_container_are_the_same_sound(sound):
    pcm = to_pcm(sound)
    assert pcm.dtype == np.int16
    assert pcm.tolist() == [0, 16_384, -32_768]


@pytest.mark.parametrize("kind", [np.float32, np.float64, list])
def test_floats_from_minus_one_to_one_are_full_scale(kind):
    values = [0.0, 0.5, -1.0, 1.0, 1.2]
    sound = values if kind is list else np.array(values, kind)
    assert to_pcm(sound).tolist() == [0, 16_384, -32_767, 32_767, 32_767]


def test_int16_is_handed_on_as_it_is():
    pcm = np.arange(5, dtype=np.int16)
    assert to_pcm(pcm) is pcm
    assert to_pcm(b"").tolist() == to_pcm([]).tolist() == []


@pytest.mark.parametrize(
    ("sound", "got"),
    [
        (b"odd", "3 bytes"),
        (np.zeros((10, 2), np.int16), "(10, 2)"),
        (np.array([0.0, 30_000.0]), "up to 30000"),
        (np.array([0, 40_000]), "up to 40000"),
        (np.array([np.nan], np.float32), "nan"),
        ([[1, 2], [3]], "no row of numbers"),
        ((n for n in range(3)), "generator"),
        (None, "NoneType"),
        ("hello", "str"),
        (np.zeros(4, np.uint8), "uint8"),
    ],
)
def test_what_is_no_sound_is_told_in_one_sentence(sound, got):
    with pytest.raises(InputError, match="int16") as refused:
        to_pcm(sound)
    assert got in str(refused.value)
