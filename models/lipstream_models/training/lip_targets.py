"""What the lips are taught: film where there is film, put right at closures; phones elsewhere.

The face mesh sees closed lips in about a fifth of the p, b and m of a small film, so film alone
teaches lips that never close. Here the film's measures are closed where the phones say so. Speech
without film gets its measures from a small network that learned on film how phones move lips.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES
from lipstream.types import Array, Float32
from lipstream_models.corpora.labelled_speech import LabelledUtterance, frame_columns

_PRESSED, _TUCKED, _UW, _OW = (CLASSES.index(name) for name in ("MBP", "FV", "UW", "OW"))
_LEAD_COLUMNS, _TRIM_COLUMNS = 1, 1
"""Lips are together a little before the sound's middle, and part a little before its end."""
_PRESSED_BELOW_REST, _TUCK_SHARE = 0.15, 0.8
_NEAR_CLOSURE_FRAMES = 5
_REACH = (-6.0, 8.0)
"""Measures beyond this are mistakes of the mesh, SPREADs."""
_SMOOTHING = np.array([0.15, 0.7, 0.15])


@dataclass(frozen=True, slots=True)
class EventDirections:
    """How the measures move with an event. All (17,) float32, SPREADs."""

    closing: Float32
    """What goes along when the gap closes by one."""
    tuck: Float32
    """How the lips stand at f and v."""
    rounding: Float32
    """What u, w and o add to the mean of other sounds."""


def smoothed_lips(utterance: LabelledUtterance) -> Float32:
    """Return a clip's (75, 17) measures without the mesh's jumps; a new array."""
    assert utterance.lips is not None, "only film has lips"
    inside = np.clip(utterance.lips, *_REACH)
    padded = np.pad(inside, ((1, 1), (0, 0)), mode="edge")
    return np.asarray(
        sum(w * padded[k : k + len(inside)] for k, w in enumerate(_SMOOTHING)), np.float32
    )


def find_directions(film: Sequence[LabelledUtterance]) -> EventDirections:
    """Measure on film with phones how events move the lips."""
    lips = np.concatenate([smoothed_lips(one) for one in film])
    classes = np.concatenate([_frame_classes(one) for one in film])
    near = np.concatenate([_near_closures(one) for one in film])
    gap, others = lips[near, 0], lips[near]
    closing = np.array([np.polyfit(gap, others[:, k], 1)[0] for k in range(MEASURES)])
    tuck = lips[classes == _TUCKED].mean(0)
    closing[:3], tuck[:3] = 1.0, _PRESSED_BELOW_REST
    rounded = np.isin(classes, (_UW, _OW))
    plain = (classes > 0) & ~rounded & (classes != _PRESSED)
    rounding = lips[rounded].mean(0) - lips[plain].mean(0)
    rounding[:3] = 0.0
    return EventDirections(*(v.astype(np.float32) for v in (closing, tuck, rounding)))


def _frame_classes(clip: LabelledUtterance) -> NDArray[np.int64]:
    columns = np.minimum(frame_columns(len(smoothed_lips(clip))), len(clip.classes) - 1)
    return np.asarray(clip.classes[columns], np.int64)


def _near_closures(clip: LabelledUtterance) -> NDArray[np.bool_]:
    closed = (_frame_classes(clip) == _PRESSED).astype(float)
    return np.convolve(closed, np.ones(_NEAR_CLOSURE_FRAMES), "same") > 0


def film_targets(clip: LabelledUtterance, directions: EventDirections) -> Float32:
    """Return a clip's (columns, 17) measures at 80 a second, closed where its phones say so."""
    lips, columns = smoothed_lips(clip), len(clip.classes)
    at = np.minimum(np.arange(columns) * 25 / 80, len(lips) - 1)
    steps = np.arange(len(lips))
    whole = np.stack([np.interp(at, steps, lips[:, k]) for k in range(MEASURES)], 1)
    return put_right(whole.astype(np.float32), clip.classes, directions)


def put_right(lips: Float32, classes: NDArray[np.int64], directions: EventDirections) -> Float32:
    """Close the lips of (columns, 17) at p, b and m, and tuck the lower one at f and v; new."""
    closed = _event_strength(classes, _PRESSED)[:, None]
    excess = np.maximum(lips[:, :1] + _PRESSED_BELOW_REST, 0.0)
    moved = lips - closed * excess * directions.closing
    tucked = _event_strength(classes, _TUCKED)[:, None]
    return np.asarray(moved + tucked * _TUCK_SHARE * (directions.tuck - moved), np.float32)


def _event_strength(classes: NDArray[np.int64], index: int) -> Array:
    """Return 0 to 1 a column: 1 during an event, with soft edges."""
    on = np.zeros(len(classes))
    edges = np.diff(np.concatenate([[0], (classes == index).astype(int), [0]]))
    for start, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        first = start - _LEAD_COLUMNS
        on[max(0, first) : max(first + 2, stop - _LEAD_COLUMNS - _TRIM_COLUMNS)] = 1.0
    window = np.hanning(7)[1:-1]
    return np.maximum(np.convolve(on, window / window.sum(), "same"), on)


class PhoneToLips(nn.Module):
    """Lip classes around a moment to lip measures: (N, 14, columns) -> (N, 17, columns)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(len(CLASSES), width, 9, padding=4),
            nn.ReLU(),
            nn.Conv1d(width, width, 9, padding=8, dilation=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 9, padding=4),
            nn.ReLU(),
            nn.Conv1d(width, MEASURES, 1),
        )

    def forward(self, classes: Tensor) -> Tensor:
        """Return the measures, the same number of columns."""
        moved: Tensor = self.layers(classes)
        return moved


@dataclass(frozen=True, slots=True)
class PhoneTeacher:
    """Gives speech without film its measures."""

    network: PhoneToLips
    directions: EventDirections
    spread: Float32
    """(17,): film's standard deviation over the network's, whose means are timid; 1 to 1.6."""

    def targets(self, utterance: LabelledUtterance) -> Float32:
        """Return (columns, 17) measures of an utterance by its phones."""
        with torch.no_grad():
            moved = self.network(_one_hot([utterance]))[0].numpy().T * self.spread
        return put_right(moved.astype(np.float32), utterance.classes, self.directions)


def train_teacher(
    film: Sequence[LabelledUtterance], directions: EventDirections, steps: int = 1500, seed: int = 0
) -> PhoneTeacher:
    """Learn from clips of one length how phones move the lips of the filmed speaker."""
    torch.manual_seed(seed)
    network, classes = PhoneToLips(), _one_hot(film)
    lips = np.stack([film_targets(one, directions) for one in film])
    wanted = torch.from_numpy(lips).transpose(1, 2)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    for rows in _draws(len(film), steps, seed):
        shown = classes[rows]
        shown = shown * (torch.rand(len(rows), 1, shown.shape[2]) > 0.03)
        loss = (network(shown) - wanted[rows]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
    with torch.no_grad():
        given = network.eval()(classes)
    ratio = wanted.transpose(0, 1).flatten(1).std(1) / given.transpose(0, 1).flatten(1).std(1)
    return PhoneTeacher(network, directions, ratio.clamp(1, 1.6).numpy())


def _draws(rows: int, steps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield rng.choice(rows, min(24, rows), replace=False)


def _one_hot(utterances: Sequence[LabelledUtterance]) -> Tensor:
    """Return (N, 14, columns) of utterances of one length; nothing where a class is UNKNOWN."""
    classes = torch.from_numpy(np.stack([one.classes for one in utterances]))
    shown = nn.functional.one_hot(classes.clamp(min=0), len(CLASSES)).float()
    return (shown * (classes >= 0)[..., None]).transpose(1, 2)
