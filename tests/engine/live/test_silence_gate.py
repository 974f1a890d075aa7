import numpy as np

from lipstream.live.pipeline import SilenceGate, level_dbfs


def noise(dbfs):
    return np.full(2560, 10 ** (dbfs / 20), np.float32)


def test_level_of_full_scale_is_zero_and_silence_is_finite():
    assert abs(level_dbfs(np.ones(10, np.float32))) < 1e-6
    assert level_dbfs(np.zeros(10, np.float32)) == -200.0
    assert level_dbfs(np.zeros(0, np.float32)) == -200.0


def test_opens_in_two_frames_and_closes_after_its_hold():
    gate = SilenceGate()
    assert [gate.step(noise(-20)) for _ in range(3)] == [0.5, 1.0, 1.0]
    closing = [gate.step(noise(-90)) for _ in range(12)]
    assert closing[:4] == [1.0] * 4
    assert closing[-1] == 0.0
    assert np.diff(closing).min() > -0.21


def test_a_level_between_the_thresholds_changes_nothing():
    gate = SilenceGate()
    assert gate.step(noise(-55)) == 0.0
    for _ in range(3):
        gate.step(noise(-20))
    assert [gate.step(noise(-55)) for _ in range(50)][-1] == 1.0


def test_reset_equals_fresh():
    gate = SilenceGate()
    for _ in range(5):
        gate.step(noise(-10))
    gate.reset()
    assert gate.step(noise(-90)) == 0.0
