"""Score how well lips keep in step with their sound, by our own network or SyncNet_color.

A scorer is checked on films that are in step: moved against their sound, does it say by how much?
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipstream.audio.mel import SILENCE
from lipstream.errors import ModelError
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import FPS, PreparedFolder
from lipstream_models.corpora.grid_corpus import FRAMES as CLIP_FRAMES
from lipstream_models.evaluation.metrics import SyncScore, peak
from lipstream_models.networks.loading import load_weights, read_checkpoint
from lipstream_models.networks.sync_networks import COLUMNS, FRAMES, SyncNetColor, SyncNetwork

LONGEST_SHIFT = 15
"""Frames by which the picture is shifted, both ways, as SyncNet's evaluation does (vshift)."""


class SyncScorer(Protocol):
    """A scorer of whole clips."""

    def sync(self, crops: NDArray[np.uint8], mel: Float32, first: int = 0) -> SyncScore:
        """Score (T, 96, 96, 3) crops, frames ``first`` on of a clip, against its (80, n) mel."""
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


def read_sync(distances: Mapping[int, float]) -> SyncScore:
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
    return SyncScore(peak(nearness), confidence, smallest)


TIMING = Timing(MODEL_RATE, Fraction(FPS), COLUMNS, 0)
"""The sound of five frames begins with the first: ``crop_audio_window`` of Wav2Lip's
``color_syncnet_train.py``."""
_AT_ONCE = 16
"""Moments seen in one batch by the large network."""
NETWORK = "sync_expert"
"""What a checkpoint of our own says it is; the name is older than the word scorer."""
EMBEDDED = Path(__file__).parents[1] / "embedded" / "sync_scorer" / "weights.pt"


class OwnSyncScorer:
    """Score by our own network. Used by one thread."""

    def __init__(self, network: SyncNetwork) -> None:
        self._network = network.eval()

    def sync(self, crops: NDArray[np.uint8], mel: Float32, first: int = 0) -> SyncScore:
        """Score (T, 96, 96, 3) crops, frames ``first`` on of a clip, against its (80, n) mel."""
        with torch.no_grad():
            views = self._network.views(lower_halves(crops))
            faces = self._network.face_points(views.unfold(0, FRAMES, 1).transpose(1, 2))
            sounds = self._network.sound_points(sound_windows(mel, first, len(faces)))
        return read_sync(shifted_distances(faces.numpy(), sounds.numpy()))


class SyncNetScorer:
    """Score by the published SyncNet_color. Used by one thread.

    LSE-D and LSE-C of the literature come from another network (Chung and Zisserman's own SyncNet),
    whose vectors are not of length 1: these figures compare among themselves alone.
    """

    def __init__(self, network: SyncNetColor) -> None:
        self._network = network.eval()

    def sync(self, crops: NDArray[np.uint8], mel: Float32, first: int = 0) -> SyncScore:
        """Score (T, 96, 96, 3) crops, frames ``first`` on of a clip, against its (80, n) mel."""
        halves = lower_halves(crops)
        count = len(halves) - FRAMES + 1
        stacks = torch.stack([halves[at : at + FRAMES].flatten(0, 1) for at in range(count)])
        parts = [stacks[at : at + _AT_ONCE] for at in range(0, count, _AT_ONCE)]
        with torch.no_grad():
            faces = torch.cat([self._network.face_points(part) for part in parts])
            sounds = self._network.sound_points(sound_windows(mel, first, count))
        return read_sync(shifted_distances(faces.numpy(), sounds.numpy()))


def lower_halves(crops: NDArray[np.uint8]) -> Tensor:
    """Return (T, 3, 48, 96) float32 in 0..1 of (T, 96, 96, 3) crops."""
    lower = np.ascontiguousarray(crops[:, crops.shape[1] // 2 :])
    return torch.from_numpy(lower).permute(0, 3, 1, 2).float() / 255.0


def sound_windows(mel: Float32, first: int, count: int) -> Tensor:
    """Return the (count, 1, 80, 16) windows that begin with frames ``first`` on of a clip."""
    starts = [TIMING.first_column(first + at) for at in range(count)]
    missing = max(0, starts[-1] + COLUMNS - mel.shape[1])
    padded = np.pad(mel, ((0, 0), (0, missing)), constant_values=SILENCE)
    windows = np.stack([padded[:, start : start + COLUMNS] for start in starts])
    return torch.from_numpy(windows)[:, None]


def load_sync_network(path: Path = EMBEDDED) -> SyncNetwork:
    """Load our own network, by default the embedded one, in eval mode. Raises ModelError."""
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint, dict) or checkpoint.get("network") != NETWORK:
        raise ModelError(
            f"{path} is no sync scorer of this project: train one with 'lipstream train"
            " sync-scorer'; the published SyncNet_color goes with --syncnet"
        )
    state = {name: tensor.float() if tensor.is_floating_point() else tensor
             for name, tensor in checkpoint["state_dict"].items()}  # fmt: skip
    network = SyncNetwork()
    load_weights(network, state, path)
    return network.eval().requires_grad_(False)


SHIFTS = (-3, 0, 2)
"""Frames by which the pictures are made to come late."""
_EDGE = 6
"""Frames at both ends that are left out, so that every shift has pictures and sound."""


@dataclass(frozen=True, slots=True)
class ScorerCheck:
    """How well a scorer finds known offsets in the clips of a folder."""

    folder: str
    clips: int
    correct_share: float
    """Share of offsets found to within one frame, over clips and shifts."""
    error_frames: float
    """Median of |offset found - offset made|."""
    confidence: float
    """Median."""
    lowest_confidence: float


def check_scorer(scorer: SyncScorer, folder: PreparedFolder, rows: Iterable[int]) -> ScorerCheck:
    """Score the clips of some rows at every shift."""
    errors, confidences = [], []
    rows = [int(row) for row in rows]
    for row in rows:
        for shift in SHIFTS:
            crops = folder.crops[row][_EDGE - shift : CLIP_FRAMES - _EDGE - shift]
            score = scorer.sync(crops, folder.mel[row], _EDGE)
            errors.append(abs(score.offset - shift))
            confidences.append(score.confidence)
    return ScorerCheck(
        folder.folder.name,
        len(rows),
        float(np.mean(np.array(errors) <= 1.0)),
        float(np.median(errors)),
        float(np.median(confidences)),
        min(confidences),
    )
