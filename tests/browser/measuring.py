"""Find out from what a viewer saw and heard how far the lips are out of step.

The sound that was heard is put through the same engine again, offline: that gives what the mouth
should look like at every moment of it. The pictures that were seen are laid over that curve; the
shift at which they fit best is the offset.
"""

import base64
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lipstream import Avatar, LipSync

FRAME_SECONDS = 0.040
SEARCHED_MS = 200.0


@dataclass(frozen=True, slots=True)
class Box:
    """Part of a picture, pixels."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of_mouth(cls, avatar: Avatar) -> "Box":
        """Return where the mouth is in the avatar's first frame."""
        (left, top), (right, bottom) = (
            avatar.crops[0] @ np.array([u, v, 1.0]) for u, v in ((0.30, 0.60), (0.70, 0.85))
        )
        return cls(int(left), int(top), int(right - left), int(bottom - top))

    def level(self, image: NDArray[np.uint8]) -> float:
        """Return its mean brightness."""
        part = image[self.y : self.y + self.height, self.x : self.x + self.width]
        return float(part.mean())


@dataclass(frozen=True, slots=True)
class Recording:
    """What a viewer saw and heard, in seconds of one clock."""

    rate: float
    """Pictures a second."""
    seen_at: NDArray[np.float64]
    """(n,) when each picture was displayed."""
    levels: NDArray[np.float64]
    """(n,) brightness of the box in each."""
    pcm: NDArray[np.int16]
    """(m,) the sound, 48 kHz mono."""
    heard_at: float
    """When its first sample was heard."""
    spoken: NDArray[np.int16]
    """(m,) what the microphone said at the same samples; nothing where it was not kept."""
    spoken_at: float
    """When its first sample came from the microphone."""
    output_ms: float = 0.0
    """How long before it was heard a sample left the graph: nothing can take it back then. 0 where
    it was not looked at."""

    @classmethod
    def of(cls, recorded: dict) -> "Recording":
        pictures = np.array(recorded["pictures"], np.float64)
        pcm, spoken = (
            np.frombuffer(base64.b64decode(recorded[name]), "<i2").astype(np.int16)
            for name in ("pcm", "spoken")
        )
        assert recorded["sampleRate"] == 48_000
        heard_at, spoken_at = recorded["heardAt"], recorded["spokenAt"]
        seen_at, levels = pictures[:, 0], pictures[:, 1]
        output_ms = recorded["outputSeconds"] * 1000
        return cls(recorded["rate"], seen_at, levels, pcm, heard_at, spoken, spoken_at, output_ms)

    def as_spoken(self) -> "Recording":
        """Return the same with what was said in place of what was heard."""
        return replace(self, pcm=self.spoken, heard_at=self.spoken_at)

    def speaker_delay_ms(self) -> float:
        """Return how long after it was said the voice is heard, by how loud both are."""
        hop = 48
        count = len(self.pcm) // hop
        said, heard = (
            np.sqrt((pcm[: count * hop].astype(float).reshape(count, hop) ** 2).mean(axis=1))
            for pcm in (self.spoken, self.pcm)
        )
        lags = np.arange(0, 500)
        scores = [_correlation(said[: count - 500], heard[lag : count - 500 + lag]) for lag in lags]
        return float(np.argmax(scores))


@dataclass(frozen=True, slots=True)
class Fit:
    """How the pictures lie over the sound."""

    offset_ms: float
    """Picture behind its sound; negative when it is ahead."""
    correlation: float
    """At that shift, of picture and expected picture."""


def expected_levels(
    lips: LipSync, pcm: NDArray[np.int16], box: Box, fine: int
) -> tuple[NDArray[np.float64], float]:
    """Return the brightness of the box over the sound, and the seconds from one value to the next.

    The sound is rendered ``fine`` times, each a fraction of a frame later.
    """
    rate = lips.timing.rate
    curves = []
    for part in range(fine):
        lips.reset()
        later = pcm[round(part * FRAME_SECONDS / fine * rate) :]
        curves.append([box.level(f.image) for f in (*lips.stream(later), *lips.flush())])
    count = min(map(len, curves))
    return np.array([curve[:count] for curve in curves]).T.ravel(), FRAME_SECONDS / fine


def fit(
    recording: Recording,
    expected: NDArray[np.float64],
    step: float,
    searched_ms: float = SEARCHED_MS,
) -> Fit:
    """Lay the pictures over the expected curve, whose values are ``step`` seconds apart."""
    at = np.arange(len(expected)) * step
    # Only pictures whose moment lies inside the sound for every shift that is tried.
    moments = recording.seen_at - recording.heard_at
    margin = searched_ms / 1000
    inside = (moments > margin) & (moments < at[-1] - margin)
    moments, levels = moments[inside], recording.levels[inside]
    shifts = np.arange(-searched_ms, searched_ms + 1, 1.0)
    scores = [_correlation(levels, np.interp(moments - ms / 1000, at, expected)) for ms in shifts]
    best = int(np.argmax(scores))
    return Fit(float(shifts[best]), float(scores[best]))


def speaking_parts(pcm: NDArray[np.int16], seen: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Return which of the moments (seconds of the sound) lie in speech, and which in silence."""
    block = 480
    count = len(pcm) // block
    loud = np.abs(pcm[: count * block].astype(np.float64)).reshape(count, block).max(1) > 600
    reach = 30  # blocks of 10 ms: a moment counts when all of 0.3 s round it is alike
    near = np.convolve(loud, np.ones(2 * reach + 1), "same")
    index = np.clip((seen * 48_000 / block).astype(int), 0, count - 1)
    inside = (seen > 0.5) & (seen < count * block / 48_000 - 0.5)
    return inside & (near[index] > reach), inside & (near[index] == 0)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9))
