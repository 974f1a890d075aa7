from fractions import Fraction

import pytest

from lipstream.errors import InputError
from lipstream.timing import Span, Timing, exact_fps

TRAINED = Timing(16_000, Fraction(25))


def test_first_columns_are_those_the_original_was_trained_with():
    assert [TRAINED.first_column(k) for k in range(1, 200)] == [
        int(80.0 * (k - 1) / 25) for k in range(1, 200)
    ]


def test_inference_alignment_is_the_original_scripts():
    timing = Timing(16_000, Fraction(25), window_start_ms=0)
    assert [timing.first_column(k) for k in range(200)] == [int(80.0 * k / 25) for k in range(200)]


def test_a_window_of_sixteen_columns_is_a_function_of_3801_samples():
    assert len(TRAINED.mel_span(7)) == 3801
    assert TRAINED.mel_span(1) == Span(-401, 3400)


@pytest.mark.parametrize(("start_ms", "look_ahead"), [(-40, 172.5), (0, 212.5)])
def test_look_ahead_is_what_the_design_says(start_ms, look_ahead):
    timing = Timing(16_000, Fraction(25), window_start_ms=start_ms)
    assert timing.look_ahead_ms == look_ahead
    reach = max(timing.mel_span(k).stop - timing.frame_start(k) for k in range(1, 100))
    assert reach == look_ahead * 16


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), Fraction(30_000, 1001)])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_frames_tile_the_sound_without_gap_for_an_hour(rate, fps):
    timing = Timing(rate, fps)
    last = int(3600 * fps)
    assert timing.frame_start(0) == 0
    assert abs(timing.frame_start(last) - Fraction(last * rate) / fps) < 1
    for k in range(0, last, 997):
        assert timing.frame_span(k).stop == timing.frame_span(k + 1).start


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (640, 1), (641, 2), (16_000, 25)])
def test_frame_count_covers_the_last_sample(samples, frames):
    assert TRAINED.frame_count(samples) == frames


def test_frame_count_covers_the_last_sample_at_odd_rates():
    timing = Timing(44_100, Fraction(30_000, 1001))
    for samples in range(1, 9000, 7):
        count = timing.frame_count(samples)
        assert timing.frame_start(count) >= samples > timing.frame_start(count - 1)


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        (25, Fraction(25)),
        (30.0, Fraction(30)),
        (29.97002997, Fraction(30_000, 1001)),
        (29.97, Fraction(2997, 100)),
        ("24000/1001", Fraction(24_000, 1001)),
        (Fraction(48_000, 1001), Fraction(48_000, 1001)),
    ],
)
def test_a_frame_rate_is_taken_as_it_is_written(written, exact):
    assert exact_fps(written) == exact


@pytest.mark.parametrize("written", ["fast", None, float("nan"), float("inf"), 0, -25.0, "1/0"])
def test_what_is_no_frame_rate_is_refused(written):
    with pytest.raises(InputError, match="give"):
        exact_fps(written)
