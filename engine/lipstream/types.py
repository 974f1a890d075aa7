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
Float64 = NDArray[np.float64]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Planes:
    """A picture of even sides as video encoders take it: I420, BT.601, 16 to 235."""

    y: NDArray[np.uint8]
    """(H, W)."""
    u: NDArray[np.uint8]
    """(H / 2, W / 2): blue against luma, of the mean of two by two pixels."""
    v: NDArray[np.uint8]
    """(H / 2, W / 2): red against luma."""


@dataclass(slots=True, eq=False)
class Still:
    """A picture before any mouth: one object for all frames of all sessions that show it."""

    image: Image
    """(H, W, 3) uint8 BGR, never written to."""
    planes: Planes | None = None
    """The same for encoders, never written to; set by whoever needs it first."""


Box = tuple[slice, slice]
"""Rows and columns of a picture."""
NOWHERE: Box = (slice(0, 0), slice(0, 0))


@dataclass(slots=True, eq=False)
class Patch:
    """A picture that differs from a still in one part; put together when somebody asks for it."""

    still: Still
    box: Box
    """Where it differs: even edges, or those of the picture."""
    part: Image
    """(h, w, 3) uint8 BGR: what it shows there."""
    whole: Image | None = None
    """The picture, once it was asked for; from then on it counts, and not the part."""
    planes: Planes | None = None
    """``part`` as encoders take it, where a GPU made it so; ``part`` is then made of it."""

    def image(self) -> Image:
        """Return the whole picture, the same array each time."""
        if self.whole is None:
            self.whole = self.still.image.copy()
            self.whole[self.box] = self.part
        return self.whole


@dataclass(frozen=True, slots=True)
class AvFrame:
    """A picture and the sound that is heard while it shows: they travel together."""

    index: int
    """Frame number since the session began, from 0."""
    shown: Image | Patch
    """The picture; as a patch where it differs from a still in a part alone."""
    pcm: Pcm
    """(n,) int16: the samples of this frame's own interval, untouched, at the session's rate."""
    start_sample: int
    """Absolute index of pcm[0] since the session began."""
    openness: float
    """Silence gate, 0.0 (the avatar's own resting mouth) to 1.0 (the network's mouth)."""
    generation: int = 0
    """Interruptions before it: a frame of an older generation shows what is no longer said."""
    measures: Float32 | None = None
    """(17,) float32, how the lips stand (``lips.shape``), 0 at rest; None where the model paints
    pixels."""
    tongue_out: float = 0.0
    """0 to 1: the tip of the tongue between the teeth, as in th."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``image``, which need not be put together for it."""
        return (self.shown.still.image if isinstance(self.shown, Patch) else self.shown).shape

    @property
    def image(self) -> Image:
        """The picture: (H, W, 3) uint8 BGR, owned by the receiver, the same array each time."""
        return self.shown.image() if isinstance(self.shown, Patch) else self.shown


@dataclass(frozen=True, slots=True)
class PixelBox:
    """A rectangle of a picture, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top
