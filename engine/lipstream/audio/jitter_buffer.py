"""Live sound that arrives unevenly, handed out evenly: as late as needed, and no later.

Times are samples of one rate. A block's *transit* is its arrival on the receiver's clock less its
place on the sender's; the least of the last seconds is the line at its fastest, and how far the
others lie above it is the unevenness. Sound is handed out that much after the fastest would have
it, as in RFC 3550 and the adaptive buffers of WebRTC:

- up at once: what is not there when its turn comes is stood in for and comes out later;
- down slowly: unevenness is forgotten after ``WINDOW_SECONDS``, and what the buffer then holds too
  much goes where the sound is quiet, so that no word is torn;
- sound that never comes takes no time: a hole in the sender's count that was waited for already is
  not waited for again.

What stands in for it is the sound before it, period by period, faded to silence within 60 ms: a gap
of silence in the midst of a vowel is heard as a click, and seen as lips that shut.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipstream.types import Array, Float32, Pcm

QUIET_PEAK = 100
"""Peak of int16 samples up to which a piece counts as a pause (-50 dBFS)."""
QUIET_SHARE = 1 / 40
"""A piece whose peak is below this share (-32 dB) of the loudest lately counts as one as well."""
WINDOW_SECONDS = 4.0
"""How long an uneven arrival is remembered."""
_PEAK_DECAY = 0.997
_LONGEST_HOLE_SECONDS = 0.2
"""Missing sound that is stood in for; a longer hole is skipped."""
_RESTART_SECONDS = 1.0
"""A step in the sender's count from which it counts as a new stream."""
_CAPACITY_SECONDS = 3.0
_FEW = 10
"""Blocks below which unevenness is assumed, not measured."""
_FLOWING_SECONDS = 0.2
"""Time without sound after which the next is given time to come unevenly again."""
_LEAST_PERIOD, _MOST_PERIOD = 0.003, 0.015
"""Seconds of a period of a voice, 66 to 330 Hz."""
_COMPARED_SECONDS = 0.02
"""Sound whose likeness to that a period earlier is looked at (ITU-T G.711, appendix I)."""
_WHOLE_SECONDS, _FADED_SECONDS = 0.01, 0.06
"""How long what stands in is as loud as what was before, and after which time it is silent."""
_JOIN_SECONDS = 0.004
"""Time over which it gives way to sound that has come."""
_COARSE = 4
"""Samples that the search for the period takes as one."""


@dataclass(frozen=True, slots=True)
class JitterBufferSettings:
    """Bounds of the waiting, milliseconds."""

    margin_ms: float = 5.0
    """Held beyond the unevenness measured."""
    first_ms: float = 20.0
    """Unevenness assumed before any was measured."""
    most_ms: float = 150.0
    """Largest unevenness that is waited for."""
    burst_ms: float = 200.0
    """What may wait beyond that; the oldest is lost, since late sound is worse than lost sound."""
    slack_ms: float = 4.0
    """Delay above what is needed that is left alone."""


@dataclass(frozen=True, slots=True)
class JitterBufferStats:
    """Counters since the buffer began."""

    waiting: int
    """Samples that wait."""
    dropped: int
    """Samples lost because too many waited, or because they came after their turn."""
    starved: int
    """Samples handed out in the midst of sound before they had come."""
    unevenness: int
    """How unevenly sound has come lately, samples."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    at: int
    transit: int


class LossConcealer:
    """Has the sound before a hole go on into it, as ITU-T G.711, appendix I, does. One thread's.

    The period is the lag at which the last 20 ms are most like what was before them.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._history = np.zeros(self._samples(_COMPARED_SECONDS + _MOST_PERIOD), np.int16)
        self._period = np.zeros(0, np.float32)
        self._given = 0

    def patch(self, out: Pcm, held: NDArray[np.bool_]) -> None:
        """Fill the samples of (n,) int16 ``out`` where (n,) ``held`` is False, in place.

        Pieces are what is handed out, one after the other.
        """
        if len(out) and (self._given or not held.all()):
            edges = np.flatnonzero(np.diff(held)) + 1
            for part in np.split(np.arange(len(out)), edges):
                piece = out[part[0] : part[-1] + 1]
                if held[part[0]]:
                    self._join(piece)
                else:
                    piece[:] = self._go_on(len(piece))
                self._remember(piece)
        else:
            self._remember(out)

    def reset(self) -> None:
        """Forget the sound: what comes has nothing to do with what was."""
        self._history[:] = 0
        self._given = 0

    def _samples(self, seconds: float) -> int:
        return int(self._rate * seconds)

    def _remember(self, pcm: Pcm) -> None:
        kept = np.concatenate([self._history, pcm])
        self._history = kept[len(kept) - len(self._history) :]

    def _join(self, piece: Pcm) -> None:
        """Have what stood in give way to what has come."""
        if self._given:
            count = min(self._samples(_JOIN_SECONDS), len(piece))
            weight = (np.arange(count, dtype=np.float32) + 1) / (count + 1)
            mixed = self._go_on(count) * (1 - weight) + piece[:count] * weight
            piece[:count] = np.rint(mixed)
            self._given = 0

    def _go_on(self, count: int) -> Float32:
        """Return the next (count,) samples of what stands in."""
        if not self._given:
            self._period = self._last_period()
        at = np.arange(self._given, self._given + count)
        self._given += count
        whole, faded = self._samples(_WHOLE_SECONDS), self._samples(_FADED_SECONDS)
        loudness = np.clip((faded - at) / (faded - whole), 0.0, 1.0)
        return np.asarray(self._period[at % len(self._period)] * loudness, np.float32)

    def _last_period(self) -> Float32:
        """Return the last period of the sound, its end led over into its beginning."""
        coarse = self._history[len(self._history) % _COARSE :].reshape(-1, _COARSE).mean(axis=1)
        count = self._samples(_COMPARED_SECONDS) // _COARSE
        last = coarse[-count:]
        best, lag = 0.0, self._samples(_MOST_PERIOD) // _COARSE
        for tried in range(self._samples(_LEAST_PERIOD) // _COARSE, lag + 1):
            before = coarse[len(coarse) - tried - count : len(coarse) - tried]
            likeness = float(last @ before) / (float(np.linalg.norm(before)) + 1.0)
            if likeness > best:
                best, lag = likeness, tried
        period = self._history[-lag * _COARSE :].astype(np.float32)
        over = len(period) // 4
        weight = (np.arange(over, dtype=np.float32) + 1) / (over + 1)
        before = self._history[-len(period) - over : -len(period)]
        period[-over:] = period[-over:] * (1 - weight) + before * weight
        return period


class JitterBuffer:
    """One live source. Used by one thread; the caller says what time it is, in samples."""

    def __init__(self, rate: int, settings: JitterBufferSettings | None = None) -> None:
        self._rate, self._settings = rate, settings or JitterBufferSettings()
        self._dropped = self._starved = 0
        self._sound = np.zeros(int(rate * _CAPACITY_SECONDS), np.int16)
        self._held = np.zeros(len(self._sound), np.bool_)
        self._concealer = LossConcealer(rate)
        self.reset()

    def reset(self) -> None:
        """Forget what waits and what was measured."""
        self._arrivals: deque[_Arrival] = deque()
        self._head = self._stop = 0  # the sender's count: next to be handed out; past the newest
        self._begun = False
        self._fastest = self._uneven = 0
        self._flowing = False
        self._silent_for = 0
        self._owed = 0
        self._loud = 0.0
        self._concealer.reset()

    def drop_waiting(self) -> None:
        """Forget what waits; what was measured of the line stays."""
        self._head, self._flowing, self._owed = self._stop, False, 0
        self._concealer.reset()

    @property
    def active(self) -> bool:
        """Whether there is sound, or was just now."""
        return self._flowing or self._stop > self._head

    def push(self, pcm: Pcm, now: int, pts: int | None = None) -> None:
        """Take (n,) int16 that arrives at ``now``, in order or not, copied.

        ``pts`` is the place of its first sample in the sender's count; None continues the newest
        block. What comes after its turn is dropped, and of more than a second all but the last.
        """
        pcm = pcm[-self._rate :]
        if len(pcm) == 0:
            return
        place = (self._stop if self._begun else now) if pts is None else pts
        if not self._begun or abs(place - self._stop) > _RESTART_SECONDS * self._rate:
            self._arrivals.clear()
            self._begun, self._owed, self._flowing = True, 0, False
            self._head = self._stop = place
        self._measure(now, now - place)
        late = min(max(0, self._head - place), len(pcm))
        self._dropped += late
        pcm, place = pcm[late:], place + late
        if place > self._stop:
            self._write(self._stop, np.zeros(place - self._stop, np.int16), held=False)
        self._write(place, pcm, held=True)
        self._stop = max(self._stop, place + len(pcm))
        if self._stop - self._head > self._wanted + self._samples(self._settings.burst_ms):
            lost = self._stop - self._head - self._wanted
            self._head, self._dropped = self._head + lost, self._dropped + lost

    def take(self, out: Pcm, now: int) -> int:
        """Fill ``out``, the samples from ``now`` on; return how many of them are no silence.

        Asked with pieces of a few milliseconds, each ``now`` one piece after the last.
        """
        excess = now - self._head - self._fastest - self._wanted
        out[:] = 0
        if not self._flowing:
            if self._stop == self._head or -excess >= len(out):
                return 0
            self._flowing, self._silent_for, self._owed = True, 0, 0
            return self._fill(out[max(0, -excess) :])
        if abs(excess) <= self._samples(self._settings.slack_ms):
            return self._fill(out)
        return self._fill(out[self._correct(out, excess) :])

    def stats(self) -> JitterBufferStats:
        """Return the counters."""
        waiting = self._stop - self._head
        return JitterBufferStats(waiting, self._dropped, self._starved, self._uneven)

    def _samples(self, duration_ms: float) -> int:
        return int(duration_ms * self._rate / 1000)

    def _measure(self, now: int, transit: int) -> None:
        self._arrivals.append(_Arrival(now, transit))
        while self._arrivals[0].at < now - WINDOW_SECONDS * self._rate:
            self._arrivals.popleft()
        transits = [one.transit for one in self._arrivals]
        self._fastest = min(transits)
        most = self._samples(self._settings.most_ms)
        self._uneven = min(max(transits) - self._fastest, most)

    @property
    def _wanted(self) -> int:
        """Samples from the fastest arrival of a sample to its turn."""
        first = self._samples(self._settings.first_ms) if len(self._arrivals) < _FEW else 0
        return max(self._uneven, first) + self._samples(self._settings.margin_ms)

    def _correct(self, out: Pcm, excess: int) -> int:
        """Leave a quiet piece out, or put one into ``out`` and return its length."""
        count = min(abs(excess), len(out), self._stop - self._head)
        piece = self._read(count)
        peak = int(np.abs(piece.astype(np.int32)).max(initial=0))
        if peak > max(QUIET_PEAK, self._loud * QUIET_SHARE):
            return 0
        if excess > 0:
            self._head += count
            return 0
        out[:count] = piece[::-1]  # noise goes on as noise
        return count

    def _fill(self, out: Pcm) -> int:
        """Hand out what is next; where nothing has come yet, wait for it with what stands in."""
        self._skip_what_was_waited_for()
        count = min(len(out), self._stop - self._head)
        out[:count] = self._read(count)
        held = np.zeros(len(out), np.bool_)
        held[:count] = self._held[self._places(self._head, count)]
        self._head += count
        loudest = int(np.abs(out[:count].astype(np.int32)).max(initial=0))
        self._loud = max(float(loudest), self._loud * _PEAK_DECAY)
        short = len(out) - count
        self._silent_for = self._silent_for + short if short else 0
        self._owed += short
        self._starved += short
        self._concealer.patch(out, held)
        if self._silent_for > _FLOWING_SECONDS * self._rate:
            self._flowing, self._owed = False, 0
            self._concealer.reset()
        return count

    def _skip_what_was_waited_for(self) -> None:
        """Go past a hole for which silence was handed out already, and past a long one."""
        at = self._head % len(self._held)
        if self._head == self._stop or self._held[at]:
            return
        ahead = np.flatnonzero(self._held[self._places(self._head, self._stop - self._head)])
        hole = int(ahead[0]) if len(ahead) else self._stop - self._head
        waited = min(hole, self._owed)
        self._owed -= waited
        long = hole - waited > _LONGEST_HOLE_SECONDS * self._rate
        self._head += hole if long else waited

    def _places(self, start: int, count: int) -> Array:
        return np.arange(start, start + count) % len(self._held)

    def _write(self, start: int, pcm: Pcm, *, held: bool) -> None:
        places = self._places(start, len(pcm))
        self._sound[places] = pcm
        self._held[places] = held

    def _read(self, count: int) -> Pcm:
        return self._sound[self._places(self._head, count)]
