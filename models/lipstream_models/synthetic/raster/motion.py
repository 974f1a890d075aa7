"""How a head moves by itself in three seconds: sway, nods, blinks, glances and brows."""

from dataclasses import dataclass

import cv2
import numpy as np

from lipstream.types import Float32
from lipstream_models.synthetic.body.head_model import Float
from lipstream_models.synthetic.raster.scene import View

_BLINK = (0.35, 0.9, 1.0, 0.75, 0.4, 0.15)
"""How far lids are shut in the frames of a blink, at 25 fps."""


def wander(rng: np.random.Generator, frames: int, smooth: float) -> Float:
    """Return (frames,) smooth noise of about unit size; ``smooth`` in frames."""
    pad = int(4 * smooth) + 1
    noise = rng.standard_normal((frames + 2 * pad, 1))
    soft = cv2.GaussianBlur(noise, (1, 0), sigmaX=0.1, sigmaY=smooth) if smooth else noise
    return np.asarray(soft[pad : pad + frames, 0] * np.sqrt(2 * smooth * np.sqrt(np.pi)))


def rotation(yaw: float, pitch: float, roll: float) -> Float32:
    """Return the (3, 3) rotation by angles in radians: first roll, then pitch, then yaw."""
    a, b, c = np.cos([yaw, pitch, roll])
    d, e, f = np.sin([yaw, pitch, roll])
    about_y = np.array([[a, 0, d], [0, 1, 0], [-d, 0, a]])
    about_x = np.array([[1, 0, 0], [0, b, -e], [0, e, b]])
    about_z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    return np.asarray(about_y @ about_x @ about_z, np.float32)


def views(rng: np.random.Generator, frames: int) -> list[View]:
    """Return where the head is in each frame, for a camera that stands still."""
    pose = rng.normal(0, [0.10, 0.065, 0.04])
    sway = np.abs(rng.normal(0, [0.035, 0.03, 0.02]))
    slow, quick = rng.uniform(8, 25), rng.uniform(2.5, 5)
    angles = np.stack(
        [p + s * (wander(rng, frames, slow) + 0.25 * wander(rng, frames, quick)) for p, s in
         zip(pose, sway, strict=True)], 1
    )  # fmt: skip
    place = rng.normal(0, [0.06, 0.06, 0.0])
    shift = np.stack([p + 0.02 * wander(rng, frames, slow) for p in place], 1)
    distance, height = rng.uniform(7.5, 16), rng.uniform(2.35, 3.0)
    return [
        View(rotation(*angle), move.astype(np.float32), float(distance), float(height))
        for angle, move in zip(angles, shift, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class UpperFace:
    """Face units of lids, gaze and brows over time, (frames,) each."""

    tracks: dict[str, Float]


def upper_face(rng: np.random.Generator, frames: int) -> UpperFace:
    """Return blinks, glances and brow movements."""
    shut = np.zeros(frames)
    at = int(rng.uniform(0, 80))
    while at < frames:
        length = min(len(_BLINK), frames - at)
        shut[at : at + length] = np.maximum(shut[at : at + length], _BLINK[:length])
        at += int(rng.uniform(25, 120))
    across, up = _glances(rng, frames), 0.6 * _glances(rng, frames)
    brow = rng.normal(0, 0.12) + 0.12 * wander(rng, frames, 9)
    tracks = {
        "eyeLookOutLeft": across, "eyeLookInRight": across,
        "eyeLookInLeft": -across, "eyeLookOutRight": -across,
        "eyeLookUpLeft": up, "eyeLookUpRight": up,
        "eyeLookDownLeft": -up, "eyeLookDownRight": -up,
        "browInnerUp": brow, "browOuterUpLeft": 0.7 * brow, "browOuterUpRight": 0.7 * brow,
        "browDownLeft": -brow, "browDownRight": -brow,
        "eyeBlinkLeft": shut, "eyeBlinkRight": shut,
    }  # fmt: skip
    return UpperFace({name: np.clip(track, 0, 1) for name, track in tracks.items()})


def _glances(rng: np.random.Generator, frames: int) -> Float:
    """Return a gaze that jumps and rests, -1 to 1."""
    track, at = np.zeros(frames), 0
    while at < frames:
        length = int(rng.uniform(8, 50))
        track[at : at + length] = np.clip(rng.normal(0, 0.18), -0.7, 0.7)
        at += length
    return track
