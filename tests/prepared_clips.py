"""A tiny prepared folder: three clips whose mouth opens with the loudness of a made-up sound."""

from pathlib import Path

import numpy as np

from lipstream_models.corpora.grid_corpus import (
    COLUMNS,
    FACE_SIZE,
    FRAMES,
    PREPARED,
    PreparedClip,
    PreparedFolder,
)

CLIPS = 22
"""Two of them are held out: every twentieth."""


def opening(frames: np.ndarray, clip: int) -> np.ndarray:
    """Return how far the mouth of a clip is open, 0 to 1."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (frames / 25 + 0.1 * clip))


def make_clip(number: int) -> PreparedClip:
    """Return a clip: grey faces with a dark mouth, and a mel as loud as the mouth is open."""
    frames = np.arange(FRAMES)
    open_by = opening(frames, number)
    crops = np.full((FRAMES, FACE_SIZE, FACE_SIZE, 3), 150 + number, np.uint8)
    points = np.tile(np.linspace(0.2, 0.8, 468)[:, None], (FRAMES, 1, 2)).astype(np.float32)
    for frame, amount in enumerate(open_by):
        crops[frame, 64 : 66 + int(12 * amount), 36:60] = 30
        points[frame, [81, 13, 311], 1] = 0.66
        points[frame, [178, 14, 402], 1] = 0.66 + 0.1 * amount
    loudness = opening(np.arange(COLUMNS) * 25 / 80 - 1.5, number)
    mel = np.tile(-4 + 7 * loudness, (80, 1)).astype(np.float32)
    return PreparedClip(crops, points, mel)


def make_folder(path: Path, clips: int = CLIPS) -> PreparedFolder:
    """Write a prepared folder of ``clips`` clips."""
    names = [f"clip{number:02}" for number in range(clips)]
    folder = PreparedFolder.create(path, names, np.zeros((clips, FRAMES), bool))
    for number in range(clips):
        folder.write(number, make_clip(number))
    assert (np.asarray(folder.done) == PREPARED).all()
    return folder
