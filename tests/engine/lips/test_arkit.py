"""Lip measures as ARKit's face units."""

from dataclasses import replace

import numpy as np
import pytest

from lipstream.lips.shape import (
    _EASE,
    _EFFECTS,
    _ENTRIES,
    FITTED,
    MEASURES,
    REST,
    UNIT_NAMES,
    LipFrame,
    arkit_units,
    named_units,
)


def random_lips(seed):
    return LipFrame((2 * np.random.default_rng(seed).standard_normal(MEASURES)).astype(np.float32))


def moved_by(lips):
    """The measures that the units of a frame make together, each side's unit counted once."""
    units = named_units(lips)
    each = {index: units[name] for index, name in _ENTRIES}
    return sum(unit * _EFFECTS[index] for index, unit in each.items())


def test_lips_at_rest_have_no_units():
    assert not arkit_units(REST).any()


def test_an_open_mouth_opens_the_jaw_and_a_closed_one_does_not():
    effect = _EFFECTS[FITTED.index("jawOpen")]
    open_mouth = LipFrame((0.3 * effect).astype(np.float32))
    units = named_units(open_mouth)
    assert units["jawOpen"] == pytest.approx(0.3, abs=0.05)
    assert sum(units.values()) < 0.6
    assert named_units(LipFrame((-0.1 * effect).astype(np.float32)))["jawOpen"] == 0


def test_pursed_lips_pucker():
    effect = _EFFECTS[FITTED.index("mouthPucker")]
    units = named_units(LipFrame((0.4 * effect).astype(np.float32)))
    assert units["mouthPucker"] > 0.25
    assert units["mouthStretchLeft"] == units["mouthStretchRight"] == 0


def test_the_measures_come_back_from_the_units():
    lips = LipFrame(np.zeros(MEASURES, np.float32))
    lips = replace(
        lips,
        measures=(0.2 * _EFFECTS[0] + 0.1 * _EFFECTS[3] + 0.2 * _EFFECTS[4]).astype(np.float32),
    )
    assert np.abs(moved_by(lips) - lips.measures).max() < 0.35


@pytest.mark.parametrize("seed", range(12))
def test_no_unit_within_its_bounds_comes_nearer_to_the_measures(seed):
    """The conditions of Karush, Kuhn and Tucker."""
    lips = random_lips(seed)
    named = dict(zip(UNIT_NAMES, arkit_units(lips).tolist(), strict=True))
    units = np.array([0.0] * len(FITTED))
    for index, name in _ENTRIES:
        units[index] = named[name]
    assert units.min() >= 0
    assert units.max() <= 1
    pull = _EFFECTS @ (lips.measures - units @ _EFFECTS) - _EASE * units
    inside = (units > 0) & (units < 1)
    assert np.abs(pull[inside]).max(initial=0) < 1e-2
    assert pull[units == 0].max(initial=-1) < 1e-2
    assert pull[units == 1].min(initial=1) > -1e-2


def test_sides_are_named_as_arkit_names_them_and_the_tongue_is_told_apart():
    assert len(UNIT_NAMES) == 17
    assert {"mouthLowerDownLeft", "mouthLowerDownRight", "jawOpen"} < set(UNIT_NAMES)
    assert named_units(replace(REST, tongue_out=0.5))["tongueOut"] == pytest.approx(0.15)
