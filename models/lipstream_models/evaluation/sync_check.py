"""Check an expert on films that are in step: moved against their sound, does it say by how much?"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lipstream_models.evaluation.sync_scorer import SyncJudge
from lipstream_models.training.grid_corpus import FRAMES as CLIP_FRAMES
from lipstream_models.training.grid_corpus import PreparedFolder

SHIFTS = (-3, 0, 2)
"""Frames by which the pictures are made to come late."""
_EDGE = 6
"""Frames at both ends that are left out, so that every shift has pictures and sound."""


@dataclass(frozen=True, slots=True)
class Check:
    """How well an expert finds known offsets in the clips of a folder."""

    folder: str
    clips: int
    found: float
    """Share of offsets found to within one frame, over clips and shifts."""
    error_frames: float
    """Median of |offset found - offset made|."""
    confidence: float
    """Median."""
    lowest_confidence: float


def check_expert(judge: SyncJudge, folder: PreparedFolder, rows: Iterable[int]) -> Check:
    """Judge the clips of some rows at every shift."""
    errors, confidences = [], []
    rows = [int(row) for row in rows]
    for row in rows:
        for shift in SHIFTS:
            crops = folder.crops[row][_EDGE - shift : CLIP_FRAMES - _EDGE - shift]
            found = judge.sync(crops, folder.mel[row], _EDGE)
            errors.append(abs(found.offset - shift))
            confidences.append(found.confidence)
    return Check(
        folder.folder.name,
        len(rows),
        float(np.mean(np.array(errors) <= 1.0)),
        float(np.median(errors)),
        float(np.median(confidences)),
        min(confidences),
    )
