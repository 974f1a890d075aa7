"""What the lips are taught: film where there is film, put right at closures; phones elsewhere.

The face mesh sees closed lips in about a fifth of the p, b and m of a small film, so film alone
teaches lips that never close. Here the film's measures are closed where the phones say so. Speech
without film gets its measures from a small network that learned on film how phones move lips.
Two tables that go with the measures are made here as well, each once: how they move the mesh, and
what ARKit's units do to them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lipstream.errors import InputError
from lipstream.face.crop import CROP_HEIGHT, CROP_WIDTH
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import FITTED, MEASURES, SPREAD, measure_lips
from lipstream.types import Array, Float32
from lipstream_models.corpora.grid_corpus import PREPARED, PreparedFolder
from lipstream_models.corpora.labelled_speech import (
    LabelledUtterance,
    frame_columns,
    lips_from_rest,
    smoothed_lips,
)

_PRESSED, _TUCKED, _UW, _OW = (CLASSES.index(name) for name in ("MBP", "FV", "UW", "OW"))
_LEAD_COLUMNS, _TRIM_COLUMNS = 1, 1
"""Lips are together a little before the sound's middle, and part a little before its end."""
_PRESSED_BELOW_REST, _TUCK_SHARE = 0.15, 0.8
_NEAR_CLOSURE_FRAMES = 5


@dataclass(frozen=True, slots=True)
class EventDirections:
    """How the measures move with an event. All (17,) float32, SPREADs."""

    closing: Float32
    """What goes along when the gap closes by one."""
    tuck: Float32
    """How the lips stand at f and v."""
    rounding: Float32
    """What u, w and o add to the mean of other sounds."""


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
        phones = classes[rows]
        phones = phones * (torch.rand(len(rows), 1, phones.shape[2]) > 0.03)
        loss = (network(phones) - wanted[rows]).abs().mean()
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
    one_hot = nn.functional.one_hot(classes.clamp(min=0), len(CLASSES)).float()
    return (one_hot * (classes >= 0)[..., None]).transpose(1, 2)


POINTS = 468
_STEADY = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 2, 98, 327, 129, 358]
"""Points of eyes and nose, which speech hardly moves: their mean is where the head is."""
_RIDGE = 0.01
"""Of the regression, a frame."""
_FEWEST_QUIET = 4
_MIRRORED_CLIPS = 20

_LANDMARKS = {
    **{33: 1507, 263: 3721, 168: 978, 1: 4857, 2: 1147, 94: 1147, 152: 966},
    **{61: 5708, 291: 6213, 78: 5702, 308: 6207, 0: 0, 17: 5518, 13: 5533, 14: 5517},
    **{80: 5711, 310: 6216, 88: 5966, 318: 6470, 37: 2081, 267: 4275},
}
"""Point of the face mesh -> vertex of ICT-FaceKit: those of its 68 landmarks that are the same."""
_PLACES = {
    **{82: (-0.5, -3.31), 312: (0.5, -3.31), 87: (-0.5, -3.39), 317: (0.5, -3.39)},
    **{
        84: (-0.73, -4.35),
        314: (0.73, -4.35),
        200: (0.0, -5.9),
        57: (-3.1, -4.0),
        287: (3.1, -4.0),
    },
}
"""Point of the face mesh -> where it lies on the neutral ICT-FaceKit, seen from the front."""
_NEAR = 0.2
"""Units of the model, about a centimetre each."""
_SKIN = 9409
"""Vertices of the face; the mouth's inside, teeth and eyes follow."""


def motion_table(folder: PreparedFolder) -> Float32:
    """Return (17, 468, 2): how a spread of each measure moves the mesh, outer-eye distances.

    Ridge regression over all frames of a filmed speaker, the head held still by its eyes and nose;
    made the same left and right.
    """
    rows = np.flatnonzero(folder.done == PREPARED)
    if not len(rows):
        raise InputError("no prepared clip: run 'lipstream train prepare' first")
    size = MEASURES, POINTS * 2
    squares, products = np.zeros((MEASURES, MEASURES)), np.zeros(size)
    frames = 0
    for row in rows.tolist():
        lips = lips_from_rest(folder, row).astype(np.float64)
        moved = _moved_points(folder, row).reshape(len(lips), -1)
        squares += lips.T @ lips
        products += lips.T @ moved
        frames += len(lips)
    ridge = _RIDGE * frames * np.eye(MEASURES)
    solved = np.linalg.solve(squares + ridge, products).reshape(MEASURES, POINTS, 2)
    table = np.asarray(solved, np.float64)
    return _made_even(table, _mirrored(folder, rows)).astype(np.float32)


def _moved_points(folder: PreparedFolder, row: int) -> NDArray[np.float64]:
    """Return (frames, 468, 2): how far each point is from where it rests, in the head's frame."""
    points = np.array(folder.points[row], np.float64) * (CROP_WIDTH, CROP_HEIGHT)
    across = points[:, 263] - points[:, 33]
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    across /= length
    down = np.stack([-across[:, 1], across[:, 0]], -1)
    from_head = points - points[:, _STEADY].mean(1, keepdims=True)
    axes = np.stack([across, down], -1)
    placed = from_head @ axes / length[:, None]
    quiet = np.flatnonzero(folder.quiet[row])
    if len(quiet) < _FEWEST_QUIET:
        quiet = np.argsort(measure_lips(points.astype(np.float32))[:, 0])[:15]
    apart = placed - np.median(placed[quiet], 0)
    padded = np.pad(apart, ((1, 1), (0, 0), (0, 0)), mode="edge")
    return np.asarray(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:])


def _mirrored(folder: PreparedFolder, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (468,): the point on the other side of the face, in pictures with open lips."""
    apart = np.zeros((POINTS, POINTS))
    for row in rows[:_MIRRORED_CLIPS].tolist():
        points = np.array(folder.points[row], np.float64) * (CROP_WIDTH, CROP_HEIGHT)
        face = points[np.argmax(points[:, 14, 1] - points[:, 13, 1])]
        across = face[263] - face[33]
        across /= np.linalg.norm(across)
        middle = (face[33] + face[263]) / 2
        other = face - 2 * ((face - middle) @ across)[:, None] * across
        apart += np.linalg.norm(other[:, None] - face[None], axis=-1)
    return np.asarray(apart.argmin(1))


def _made_even(table: NDArray[np.float64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    mirrored = table[:, other] * np.array([-1.0, 1.0])
    return np.asarray((table + mirrored) / 2)


def unit_effects(path: Path) -> Float32:
    """Return (units, 17): what each of ``lips.shape.FITTED`` does to a neutral head.

    ``path`` is ICT-FaceKit as arrays: ``neutral`` (vertices, 3), ``expression`` (units, vertices,
    3), ``expression_names``. Units of a side are moved on both. Raises InputError.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            neutral = stored["neutral"].astype(np.float32)
            shapes = dict(
                zip(stored["expression_names"].tolist(), stored["expression"], strict=True)
            )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no ICT-FaceKit head: {error}") from error
    places = _vertices(neutral)
    rest = _measure(neutral, places)
    effects = []
    for name in FITTED:
        moved = neutral.copy()
        for side in ("", "_L", "_R"):
            if name + side in shapes:
                moved += shapes[name + side].astype(np.float32)
        effects.append((_measure(moved, places) - rest) / SPREAD)
    return np.stack(effects)


def _vertices(neutral: Float32) -> dict[int, int]:
    """Return the vertex of each measured point of the mesh; of a place, the foremost near it."""
    vertices = dict(_LANDMARKS)
    face = neutral[:_SKIN]
    for point, place in _PLACES.items():
        distance = np.linalg.norm(face[:, :2] - np.array(place, np.float32), axis=1)
        near = np.flatnonzero(distance <= max(_NEAR, float(distance.min())))
        vertices[point] = int(near[np.argmax(face[near, 2])])
    return vertices


def _measure(vertices: Float32, places: dict[int, int]) -> Float32:
    points = np.zeros((POINTS, 2), np.float32)
    for point, vertex in places.items():
        points[point] = vertices[vertex, :2] * (1.0, -1.0)  # the model's y points up
    return measure_lips(points)
