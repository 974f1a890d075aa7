"""How far a mouth is from its sound, read from distances at several shifts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lipstream.types import Float32
from lipstream_models.measures import peak

LONGEST_SHIFT = 15
"""Frames by which the picture is shifted, both ways, as SyncNet's evaluation does (vshift)."""


@dataclass(frozen=True, slots=True)
class Sync:
    """What an expert says of one clip."""

    offset: float
    """Frames by which the mouth comes after its sound; negative: before."""
    confidence: float
    """Median distance over the shifts less the smallest: LSE-C."""
    distance: float
    """Smallest distance over the shifts: LSE-D."""


class SyncJudge(Protocol):
    """An expert that judges whole clips."""

    def sync(self, crops: NDArray[np.uint8], mel: Float32, first: int = 0) -> Sync:
        """Judge (T, 96, 96, 3) crops, frames ``first`` on of a clip, against its (80, n) mel."""
        ...


def shifted_distances(
    faces: Float32, sounds: Float32, longest: int = LONGEST_SHIFT
) -> dict[int, float]:
    """Return the mean distance of embeddings at each shift of the picture, in frames.

    ``faces`` and ``sounds`` are (T, n); at shift s the face of frame t + s meets the sound of
    frame t. Shifts that leave less than half of the frames are left out.
    """
    count = len(faces)
    longest = min(longest, count // 2)
    means = {}
    for shift in range(-longest, longest + 1):
        first, last = max(0, -shift), min(count, count - shift)
        apart = np.linalg.norm(faces[first + shift : last + shift] - sounds[first:last], axis=1)
        means[shift] = float(apart.mean())
    return means


def read_sync(distances: Mapping[int, float]) -> Sync:
    """Read offset and confidence off the distances.

    LSE-D and LSE-C as Prajwal et al. 2020 (section 4.2) take them from SyncNet's evaluation (Chung
    and Zisserman, "Out of time: automated lip sync in the wild", ACCV 2016 workshops, section 3.2;
    ``SyncNetInstance.evaluate``): the mean over the frames of the distance at each shift, then the
    smallest, and the median less the smallest. Here frames without a partner are left out, where
    the original pads with zeros, and the offset is refined by a parabola.
    """
    smallest = min(distances.values())
    confidence = float(np.median(list(distances.values()))) - smallest
    nearness = {shift: -distance for shift, distance in distances.items()}
    return Sync(peak(nearness), confidence, smallest)
