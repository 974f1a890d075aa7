"""The idle loop of a rendered avatar: a seamless loop of breath, a slight sway and blinks.

Eyes and mouth are rendered as patches and laid over the resting picture. Every motion is a sum of
whole cycles over the loop, so the last frame leads into the first. The picture is moved by one
smooth displacement field; the face's landmarks go through the same field, so the crops of the loop
are exact and free of jitter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.avatar.pack import Avatar
from lipstream.errors import FaceNotFound
from lipstream.face.crop import FacePicture, fit_crop, smooth_step
from lipstream.face.tracker import FaceTracker
from lipstream.types import Image


@dataclass(frozen=True, slots=True)
class PixelRectangle:
    """A rectangle of a picture in pixels, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def scaled(self, scale: float) -> "PixelRectangle":
        """Return the same rectangle of the picture drawn ``scale`` as large."""
        sides = (self.left, self.top, self.right, self.bottom)
        return PixelRectangle(*(round(side * scale) for side in sides))


# Parts of the rendered picture, as if it were 512 wide.
MOUTH = PixelRectangle(152, 214, 360, 408)
"""What a speaking mouth moves: nose base to neck."""
EYES = PixelRectangle(172, 184, 340, 242)
"""What a blink moves."""

VIEW = PixelRectangle(23, 12, 489, 478)
"""What the avatar shows of the picture: the face large, the edges cut off."""
SIZE = 512
"""Side of the avatar's frames."""


def feather(height: int, width: int, border: int) -> NDArray[np.float64]:
    """Return weights (height, width, 1): 0 at the edge, 1 from ``border`` pixels inward."""
    y = np.minimum(np.arange(height), np.arange(height)[::-1]) / border
    x = np.minimum(np.arange(width), np.arange(width)[::-1]) / border
    return smooth_step(np.minimum(y[:, None], x[None]))[..., None]


def blend_patch(plate: Image, patch: Image, at: PixelRectangle, *, border: int) -> Image:
    """Return a copy of the plate with the patch blended onto a rectangle of its size."""
    height, width = patch.shape[:2]
    weight = feather(height, width, border)
    out = plate.copy()
    area = out[at.top : at.top + height, at.left : at.left + width]
    area[:] = np.rint(area * (1 - weight) + patch * weight)
    return out


def crop_to_view(picture: Image) -> Image:
    """Return a view of the part of a (1024, 1024, 3) picture that the avatar shows."""
    area = VIEW.scaled(2)
    return picture[area.top : area.bottom, area.left : area.right]


def fit(picture: Image) -> Image:
    """Return the square picture averaged down to the avatar's size."""
    return np.asarray(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Idle:
    """The loop's timing and how much moves, in pixels of a picture 512 wide."""

    frames: int = 115
    """4.6 s: as long as five megabytes of JPEG allow."""
    fps: int = 25
    breaths: int = 1
    """Breaths in the loop."""
    blink_at: tuple[float, ...] = (0.92, 3.36)
    """When each blink begins, seconds."""
    sway_px: float = 2.4
    nod_px: float = 1.5
    roll_degrees: float = 0.45
    turn_px: float = 1.3
    """How far the nose leads when the head turns."""
    breath_px: float = 1.6


_FIELD = 128
"""Side of the grid on which a displacement field is worked out; it is smooth."""

LIDS = (0.55, 0.70, 0.55, 0.35, 0.10)
"""The unit eyeBlink in each frame of a blink at 25 fps: 80 ms shutting, 40 ms shut, 120 ms opening.
At 0.7 the lids meet; beyond it they pass through each other. Between blinks it is 0."""


@dataclass(frozen=True, slots=True)
class BodyLayout:
    """Where the person is in the picture, in pixels of a picture 512 wide."""

    face: tuple[float, float] = (256.0, 250.0)
    """The nose: what a turn of the head moves most."""
    pivot: tuple[float, float] = (256.0, 470.0)
    """Where the head turns: the base of the neck."""
    head: tuple[float, float, float, float] = (79.0, 20.0, 433.0, 417.0)
    """Left, top, right, bottom of what moves as one with the head."""
    shoulders: float = 426.0
    """Row where the breathing begins to show."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Displacements at one moment, in pixels (angle in radians)."""

    shift_x: float
    shift_y: float
    roll: float
    turn: float
    breath: float


def pose_at(idle: Idle, index: int) -> Pose:
    """Return the pose of frame ``index``; frame ``idle.frames`` equals frame 0."""
    t = 2 * np.pi * index / idle.frames
    sway = 0.7 * np.sin(t + 0.4) + 0.3 * np.sin(2 * t + 2.1)
    nod = 0.6 * np.sin(t + 1.9) + 0.4 * np.sin(2 * t + 0.2)
    turn = 0.65 * np.sin(t + 0.9) + 0.35 * np.sin(3 * t + 1.0)
    roll = 0.75 * np.sin(t - 0.3) + 0.25 * np.sin(2 * t + 1.2)
    cycle = idle.breaths * t
    breath = (1 - np.cos(cycle + 0.35 * np.sin(cycle))) / 2  # in faster than out
    return Pose(
        idle.sway_px * float(sway),
        idle.nod_px * float(nod) - 0.3 * idle.breath_px * float(breath),
        float(np.radians(idle.roll_degrees) * roll),
        idle.turn_px * float(turn),
        idle.breath_px * float(breath),
    )


def lid_at(idle: Idle, index: int) -> int | None:
    """Return which of LIDS shows in frame ``index``, or None for open eyes."""
    for start in idle.blink_at:
        step = (index - round(start * idle.fps)) % idle.frames
        if step < len(LIDS):
            return step
    return None


def _ramp(low: float, high: float, x: Float) -> Float:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * t * (t * (6 * t - 15) + 10))


def displacement(figure: BodyLayout, pose: Pose, x: Float, y: Float) -> tuple[Float, Float]:
    """Return how far the picture moves at points (x, y), in the units of the figure (512 wide).

    The head moves as one: sway, nod and roll about the neck, and a turn that fades from the nose
    outward. It fades out down the neck and towards the edges of the picture, where there is only
    background; the shoulders rise with the breath.
    """
    left, top, right, bottom = figure.head
    weight = _ramp(0, left, x) * _ramp(SIZE, right, x) * _ramp(0, top, y)
    weight = weight * _ramp(bottom + 75, bottom, y)
    from_x, from_y = x - figure.pivot[0], y - figure.pivot[1]
    near = np.exp(-(((x - figure.face[0]) / 85) ** 2) - ((y - figure.face[1]) / 130) ** 2)
    move_x = weight * (pose.shift_x - pose.roll * from_y + pose.turn * near)
    move_y = weight * (pose.shift_y + pose.roll * from_x)
    chest = _ramp(figure.shoulders, figure.shoulders + 55, y)
    move_y = move_y - pose.breath * chest
    move_x = move_x + 0.5 * pose.breath * chest * (x - figure.pivot[0]) / (SIZE / 2)
    return move_x, move_y


def move_picture(picture: Image, figure: BodyLayout, pose: Pose) -> Image:
    """Return the picture (S, S, 3), of any size, moved by a pose."""
    size = picture.shape[0]
    coarse = (np.arange(_FIELD) + 0.5) * (SIZE / _FIELD)
    x, y = (np.asarray(axis, np.float64) for axis in np.meshgrid(coarse, coarse))
    from_x, from_y = x, y
    for _ in range(3):  # the field says where a point goes; look back along it
        move_x, move_y = displacement(figure, pose, from_x, from_y)
        from_x, from_y = x - move_x, y - move_y
    back = np.stack([x - from_x, y - from_y], -1) * (size / SIZE)
    back = cv2.resize(back.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    at = np.arange(size, dtype=np.float32)
    map_x, map_y = at[None] - back[..., 0], at[:, None] - back[..., 1]
    moved = cv2.remap(picture, map_x, map_y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def move_points(points: NDArray[np.float32], figure: BodyLayout, pose: Pose) -> NDArray[np.float32]:
    """Return points (n, 2), pixels of a picture 512 wide, moved as the picture is."""
    x, y = points.T.astype(np.float64)
    move_x, move_y = displacement(figure, pose, x, y)
    return np.column_stack([x + move_x, y + move_y]).astype(np.float32)


def idle_frames(plate: Image, blinks: Sequence[Image], idle: Idle) -> Iterator[Image]:
    """Yield the (512, 512, 3) frames of the loop from a plate (1024, 1024, 3).

    ``blinks`` are the patches of LIDS over EYES. Moving the large picture and then averaging keeps
    fine hair from shimmering as it crosses pixels.
    """
    figure = BodyLayout()
    pictures = [
        crop_to_view(blend_patch(plate, patch, EYES.scaled(2), border=16)) for patch in blinks
    ]
    for index in range(idle.frames):
        lid = lid_at(idle, index)
        picture = crop_to_view(plate) if lid is None else pictures[lid]
        yield fit(move_picture(picture, figure, pose_at(idle, index)))


LICENCE = "CC0-1.0"


def open_face(plate: Image, patch: Image) -> FacePicture:
    """Return the face with its mouth open: a patch over MOUTH in a plate (1024, 1024, 3).

    It is twice as large as the frames: teeth are cut out of it. Raises FaceNotFound.
    """
    picture = crop_to_view(blend_patch(plate, patch, MOUTH.scaled(2), border=24)).copy()
    with FaceTracker.open() as tracker:
        face = tracker.step(picture)
    if face is None:
        raise FaceNotFound("there is no face in the picture of the open mouth")
    return FacePicture(picture, fit_crop(face.points))


def looping(plate: Image, frames: Sequence[Image], idle: Idle, name: str) -> Avatar:
    """Return the avatar of frames (512, 512, 3) that were made from ``plate`` (1024, 1024, 3)."""
    tracker = FaceTracker.open()
    try:
        face = tracker.step(fit(crop_to_view(plate)))
    finally:
        tracker.close()
    if face is None:
        raise FaceNotFound("there is no face in the plate")
    figure = BodyLayout()
    crops = [
        fit_crop(move_points(face.points, figure, pose_at(idle, index)))
        for index in range(len(frames))
    ]
    return Avatar.from_frames(frames, crops, fps=idle.fps, name=name, licence=LICENCE)


def pack(plate: Image, frames: Sequence[Image], idle: Idle, path: Path, quality: int = 95) -> None:
    """Write the pack of ``looping`` frames; ``quality`` is that of their JPEG."""
    looping(plate, frames, idle, path.stem).save(path, codec="jpeg", quality=quality)
