"""Everything that people are filmed with: anatomy, stage, and the tracker of real films."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.landmarks import FaceTracker
from lipstream.types import Float32
from lipstream_models.heads.anatomy import Anatomy
from lipstream_models.heads.figure import Figure
from lipstream_models.heads.film import develop, draw_film, exposure
from lipstream_models.heads.motion import views
from lipstream_models.heads.stage import Stage, draw_scene
from lipstream_models.portrait.source import HeadSource

SIDE = 176
"""Side of the pictures that the tracker sees, pixels."""


class Studio:
    """Films figures. Used by one thread. Raises InputError where the head model is missing."""

    def __init__(self, side: int = SIDE) -> None:
        cv2.setNumThreads(1)
        self.anatomy = Anatomy(HeadSource())
        self.stage = Stage(side)
        self.tracker = FaceTracker.open(threads=1)

    def film(self, figure: Figure, units: Float32, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Film a figure that goes through (T, U) units: (T, S, S, 3) uint8 BGR."""
        scene, camera = draw_scene(rng), draw_film(rng)
        frames, gain = [], 0.0
        for row, view in zip(units, views(rng, len(units)), strict=True):
            solid = figure.pose(self.anatomy.named(row))
            picture = self.stage.render(figure, solid, view, scene)
            gain = gain or exposure(picture, camera)  # set once, as the first frame wants it
            frames.append(develop(picture, camera, gain, rng))
        return np.stack(frames)


@cache
def studio() -> Studio:
    """Return the studio of this process, opened on first use."""
    return Studio()
