"""The values that travel through the engine."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR channel order."""

Pcm = NDArray[np.int16]
"""(n,) int16, mono, at the session's rate."""

Float32 = NDArray[np.float32]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class AvFrame:
    """A picture and the sound that is heard while it shows: they travel together."""

    index: int
    """Frame number since the session began, from 0."""
    image: Image
    """(H, W, 3) uint8 BGR, owned by the receiver."""
    pcm: Pcm
    """(n,) int16: the samples of this frame's own interval, untouched, at the session's rate."""
    start_sample: int
    """Absolute index of pcm[0] since the session began."""
    openness: float
    """Silence gate, 0.0 (the avatar's own resting mouth) to 1.0 (the network's mouth)."""
