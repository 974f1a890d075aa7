"""A still portrait that lives."""

from dataclasses import dataclass
from fractions import Fraction

from lipstream.model import MouthModel
from lipstream.pipeline import Picture, PreparedAvatar


@dataclass(frozen=True, slots=True)
class LivingPicture:
    """Stub."""

    still: PreparedAvatar
    rests: bool = True

    @classmethod
    def of(cls, still: PreparedAvatar, model: MouthModel) -> "LivingPicture":  # noqa: ARG003
        """Make."""
        return cls(still)

    def picture(self, index: int, fps: Fraction) -> Picture:
        """Return."""
        return self.still.picture(index, fps)
