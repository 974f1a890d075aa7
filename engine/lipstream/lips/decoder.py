"""From what the lip network says of a frame to how the lips stand.

The network gives two answers: how likely each lip class is (``phones.CLASSES``), and seventeen lip
measures. A brief event must happen or not happen, and a mean of both is neither: so the classes
decide, with hysteresis, whether the lips close (p, b, m) or the lower lip touches the teeth (f, v),
and the measures move the lips otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from lipstream.errors import ModelError
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES, LipFrame
from lipstream.types import Float32

NEWEST_COLUMNS = 3
"""Mel columns of 12.5 ms whose classes are looked at for one frame: 37.5 ms."""
_SILENCE, _PRESSED, _TUCKED = (CLASSES.index(name) for name in ("sil", "MBP", "FV"))
_ROUNDED = [CLASSES.index(name) for name in ("UW", "OW")]
_TONGUE_UP, _TONGUE_OUT = CLASSES.index("L"), CLASSES.index("TH")
_TONGUE_NEAR, _NEAR = CLASSES.index("TDN"), 0.5
_MAYBE_SILENT, _SURELY_SILENT = 0.65, 0.95
"""Likelihoods of silence from which lips need not be parted, and from which they may rest: with
voices or noise behind it, speech is thought to be half silent."""


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """Two thresholds of a likelihood: an event begins at one and lasts down to the other."""

    begin: float
    end: float

    def holds(self, likelihood: float, before: bool) -> bool:
        """Return whether the event is on, given whether it was on in the frame before."""
        return likelihood > (self.end if before else self.begin)

    def amount(self, likelihood: float, on: bool, soft: float) -> float:
        """Return 1 while the event is on, else a share of ``soft`` that grows towards its start."""
        if on:
            return 1.0
        low = self.end / 2
        return soft * min(1.0, max(0.0, (likelihood - low) / (self.begin - low)))


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """Thresholds, and the directions in which an event moves the measures. All (17,) in SPREADs."""

    closing: Float32
    """(17,): how the measures go along when the gap closes by one."""
    tuck: Float32
    """(17,): the measures while the lower lip touches the teeth."""
    rounding: Float32
    """(17,): what rounding adds."""
    closed: Hysteresis
    tucked: Hysteresis
    soft: float
    """Most that an event which does not happen moves the lips, 0 to 1."""
    pressed: float
    """How far below rest the gap is while the lips are pressed together, SPREADs."""
    parted: float
    """Least gap in speech while nothing closes the lips, SPREADs."""
    tuck_share: float
    """How far towards ``tuck`` the measures go."""
    rounding_gain: float
    """What ``rounding`` is multiplied by."""
    gain: Float32 = field(default_factory=lambda: np.ones(MEASURES, np.float32))
    """(17,): what the measures are multiplied by, because a network is timid with strangers."""

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Self:
        """Read the table ``[decoder]`` of a ``model.toml``. Raises ModelError."""
        return cls(
            closing=_vector("closing", table),
            tuck=_vector("tuck", table),
            rounding=_vector("rounding", table),
            closed=_hysteresis("closed", table),
            tucked=_hysteresis("tucked", table),
            soft=_number("soft", table),
            pressed=_number("pressed", table),
            parted=_number("parted", table),
            tuck_share=_number("tuck_share", table),
            rounding_gain=_number("rounding_gain", table),
            **({"gain": _vector("gain", table)} if "gain" in table else {}),
        )


class LipDecoder:
    """Lips of one session, frame by frame. Two bits of memory; not for several threads."""

    def __init__(self, settings: DecoderSettings) -> None:
        self._settings = settings
        self._closed = self._tucked = False

    def reset(self) -> None:
        """Forget the events that were on."""
        self._closed = self._tucked = False

    def step(self, classes: Float32, measures: Float32) -> LipFrame:
        """Return how the lips stand in the next frame.

        ``classes`` (k, 14) are likelihoods of the frame's newest columns, ``measures`` (17,) those
        of its last one. Neither is changed. Whether lips close is told by the last column alone:
        with the others they stay closed a frame longer than filmed people's do.
        """
        likely = classes.max(0)
        settings = self._settings
        pressed = float(classes[-1, _PRESSED])
        self._closed = settings.closed.holds(pressed, self._closed)
        self._tucked = settings.tucked.holds(float(likely[_TUCKED]), self._tucked)
        closed = settings.closed.amount(pressed, self._closed, settings.soft)
        tucked = settings.tucked.amount(float(likely[_TUCKED]), self._tucked, settings.soft)
        rounded = min(1.0, float(likely[_ROUNDED].sum()))
        lips = (
            measures * settings.gain
            + np.float32(settings.rounding_gain * rounded) * settings.rounding
        )
        lips = self._part(lips.astype(np.float32), float(classes[:, _SILENCE].max()))
        if not self._closed:
            lips = lips + np.float32(tucked * settings.tuck_share) * (settings.tuck - lips)
        lips = lips - np.float32(closed * max(float(lips[0]) + settings.pressed, 0.0)) * (
            settings.closing
        )
        return LipFrame(
            lips.astype(np.float32),
            closed=closed,
            tucked=0.0 if self._closed else tucked,
            rounded=rounded,
            tongue_up=max(float(likely[_TONGUE_UP]), _NEAR * float(likely[_TONGUE_NEAR])),
            tongue_out=float(likely[_TONGUE_OUT]),
        )

    def _part(self, lips: Float32, silent: float) -> Float32:
        """Return the lips, parted a little where somebody speaks: silence is not likely."""
        rest = (silent - _MAYBE_SILENT) / (_SURELY_SILENT - _MAYBE_SILENT)
        least = self._settings.parted * (1.0 - min(1.0, max(0.0, rest)))
        if least <= float(lips[0]):
            return lips
        moved = lips + np.float32(least - float(lips[0])) * self._settings.closing
        return moved.astype(np.float32)


def _vector(name: str, table: Mapping[str, Any]) -> Float32:
    try:
        vector = np.asarray(_entry(name, table), np.float32)
    except (TypeError, ValueError):
        vector = np.zeros(0, np.float32)
    if vector.shape != (MEASURES,) or not np.isfinite(vector).all():
        raise ModelError(f"model.toml: [decoder] {name} must be {MEASURES} finite numbers")
    return vector


def _hysteresis(name: str, table: Mapping[str, Any]) -> Hysteresis:
    begin, end = (_number(f"{name}_{edge}", table) for edge in ("begin", "end"))
    if not 0 < end <= begin <= 1:
        raise ModelError(
            f"model.toml: [decoder] {name}_end {end:g} and {name}_begin {begin:g} must lie between"
            " 0 and 1, the end not above the beginning"
        )
    return Hysteresis(begin, end)


def _number(name: str, table: Mapping[str, Any]) -> float:
    given = _entry(name, table)
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < 1e6:
        raise ModelError(f"model.toml: [decoder] {name} must be a number, not {given!r:.40}")
    return float(given)


def _entry(name: str, table: Mapping[str, Any]) -> object:
    if name not in table:
        raise ModelError(f"model.toml: [decoder] has no {name}: fetch or export the model again")
    return table[name]
