"""Make the avatar pack of an idle loop; its crops come from the plate's landmarks, moved along."""

from collections.abc import Sequence
from pathlib import Path

from lipstream.avatar import Avatar
from lipstream.errors import FaceNotFound
from lipstream.faces import fit_crop
from lipstream.landmarks import FaceTracker
from lipstream.types import Image

from .loop import Figure, Idle, move_points, pose_at
from .plate import fit, shown

LICENCE = "CC0-1.0"


def looping(plate: Image, frames: Sequence[Image], idle: Idle, name: str) -> Avatar:
    """Return the avatar of frames (512, 512, 3) that were made from ``plate`` (1024, 1024, 3)."""
    tracker = FaceTracker.open()
    try:
        face = tracker.step(fit(shown(plate)))
    finally:
        tracker.close()
    if face is None:
        raise FaceNotFound("there is no face in the plate")
    figure = Figure()
    crops = [
        fit_crop(move_points(face.points, figure, pose_at(idle, index)))
        for index in range(len(frames))
    ]
    return Avatar.from_frames(frames, crops, fps=idle.fps, name=name, licence=LICENCE)


def pack(plate: Image, frames: Sequence[Image], idle: Idle, path: Path, quality: int = 95) -> None:
    """Write the pack of ``looping`` frames; ``quality`` is that of their JPEG."""
    looping(plate, frames, idle, path.stem).save(path, codec="jpeg", quality=quality)
