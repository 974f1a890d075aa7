"""How well an exported lip model hears: closures, lip at the teeth, rounding, chatter, film's gap.

What is judged is the model folder, through its own decoder, on utterances with phones by forced
alignment. A closure counts as heard when the lips are closed within a frame of the phone; a closed
lip counts as right when p, b, m, f or v is within a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import BANDS, SILENCE
from lipstream.errors import InputError
from lipstream.inference.backends import Backend, open_backend
from lipstream.inference.manifest import checked_file, read_toml
from lipstream.lips.decoder import DecoderSettings, LipDecoder
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import FPS
from lipstream_models.corpora.labelled_speech import (
    COLUMNS_A_SECOND,
    LabelledUtterance,
    smoothed_lips,
)

_PRESSED, _TUCKED = CLASSES.index("MBP"), CLASSES.index("FV")
_ROUNDED = (CLASSES.index("UW"), CLASSES.index("OW"))
_WIDTH = 3
"""Index of ``outer_width`` among the measures."""
_CLOSED_GAP, _TUCKED_GAP, _OPEN_GAP = 0.3, 0.5, 0.5
"""SPREADs."""
_FRAME_S = 1 / FPS
GAINS_END = 1.5
"""No measure is enlarged further."""
_PAUSE_S, _PAUSE_EDGE_S = 0.1, 0.06
"""A silence this long is a pause, in which, and a little round it, closed lips are right."""
_INSIDE_S = -0.01
"""What is taken off both ends of a rounded sound: lips are on their way there."""
_EDGE = slice(3, -4)
"""Frames of a clip that are compared with film."""

Mask = NDArray[np.bool_]
"""(frames,)."""


@dataclass(frozen=True, slots=True)
class LipTrack:
    """An utterance and what lips did to it."""

    lips: Float32
    """(frames, 17) at 25 frames a second."""
    classes: NDArray[np.int64]
    """(columns,): lip classes that were spoken, or UNKNOWN."""
    film: Float32 | None = None
    """(frames, 17) what the film shows, its closures put right."""


@dataclass(frozen=True, slots=True)
class LipEvents:
    """What was heard of a set of utterances; None where the set has nothing of the kind."""

    closures: int
    closure_recall: float | None
    closure_precision: float | None
    """Of the frames whose lips are closed while somebody speaks, those with a reason."""
    tuck_recall: float | None
    rounding_sd: float | None
    """How much narrower u, w and o are than other sounds, standard deviations."""
    toggles_a_second: float | None
    """Openings and closings a second of speech."""
    gap_correlation: float | None
    """With the film, closures put right; the median over clips."""
    gap_spread: float | None
    """Over the film's."""


@dataclass(frozen=True, slots=True)
class HeardFrames:
    """What the network said of an utterance, before it is decoded."""

    classes: Float32
    """(frames, 3, 14)."""
    measures: Float32
    """(frames, 17)."""

    def decoded(self, settings: DecoderSettings) -> Float32:
        """Return the (frames, 17) measures after the events."""
        decoder = LipDecoder(settings)
        steps = zip(self.classes, self.measures, strict=True)
        return np.stack([decoder.step(*step).measures for step in steps])


class LipModel:
    """A model folder of the second format, run over whole mels. A context manager."""

    def __init__(self, folder: Path, backend: str = "cpu") -> None:
        """Raises ModelError or BackendUnavailable."""
        table = read_toml(folder)
        self.settings = DecoderSettings.parse(table["decoder"])
        """How its answers are decoded."""
        self._timing = Timing(
            MODEL_RATE, Fraction(FPS), int(table["mel_columns"]), int(table["window_start_ms"])
        )
        self._graph: Backend = open_backend(checked_file(folder, table, "lips"), backend, 1)

    def predict(self, mel: Float32) -> HeardFrames:
        """Return what the network says of each frame of a mel (80, columns), silence round it."""
        before, columns = -self._timing.first_column(0), self._timing.mel_columns
        around = np.full((BANDS, before + mel.shape[1] + columns), SILENCE, np.float32)
        around[:, before : before + mel.shape[1]] = mel
        starts = [
            self._timing.first_column(frame) + before
            for frame in range(mel.shape[1] * FPS // COLUMNS_A_SECOND)
        ]
        windows = np.stack([around[None, :, start : start + columns] for start in starts])
        answer = self._graph.run({"mel": windows})
        return HeardFrames(answer["classes"].copy(), answer["measures"].copy())

    def close(self) -> None:
        """Free the graph."""
        self._graph.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_gains(model: LipModel, film: Sequence[LabelledUtterance]) -> Float32:
    """Return (17,): what the measures are to be multiplied by for speakers like the filmed ones.

    A speaker's ratio is the film's standard deviation over that of what is heard without a gain.
    The median ratio is taken to the power of the median correlation: the less of a measure is
    heard, the less it is enlarged. From 1 to GAINS_END.
    """
    settings = replace(model.settings, gain=np.ones(MEASURES, np.float32))
    ratios, correlations = [], []
    for one in film:
        if one.lips is None:
            continue
        heard = model.predict(one.mel).decoded(settings)
        both = min(len(heard), len(one.lips))
        lips, true = heard[:both][_EDGE], smoothed_lips(one)[:both][_EDGE]
        ratios.append(true.std(0) / lips.std(0))
        correlations.append([np.corrcoef(lips[:, k], true[:, k])[0, 1] for k in range(MEASURES)])
    if not ratios:
        raise InputError("no film to find the gains on: prepare clips first")
    power = np.maximum(np.median(correlations, 0), 0.0)
    gains = np.clip(np.median(ratios, 0) ** power, 1.0, GAINS_END)
    return np.asarray(gains, np.float32)


def count_events(tracks: Sequence[LipTrack]) -> LipEvents:
    """Judge lips against what was spoken, and against film where there is film."""
    spoken = [_Spoken(track) for track in tracks if (track.classes > 0).any()]
    closures = np.concatenate([one.heard(_PRESSED, _CLOSED_GAP) for one in spoken] or [_NONE])
    tucks = np.concatenate([one.heard(_TUCKED, _TUCKED_GAP) for one in spoken] or [_NONE])
    closed = sum(int(one.closed.sum()) for one in spoken)
    right = sum(int((one.closed & one.may_close).sum()) for one in spoken)
    seconds = sum(int(one.speech.sum()) for one in spoken) / FPS
    films = [_against_film(track) for track in tracks if track.film is not None]
    return LipEvents(
        len(closures),
        _mean(closures),
        right / closed if closed else None,
        _mean(tucks),
        _rounding(spoken),
        sum(one.toggles for one in spoken) / seconds if seconds else None,
        float(np.median([film[0] for film in films])) if films else None,
        float(np.median([film[1] for film in films])) if films else None,
    )


_NONE = np.zeros(0, bool)


class _Spoken:
    """One track, its frames sorted by what is spoken in them."""

    def __init__(self, track: LipTrack) -> None:
        self._track, self._frames = track, len(track.lips)
        pauses = [one for one in _intervals(track.classes, 0) if one[1] - one[0] > _PAUSE_S]
        self.speech = ~self._near(pauses, 0.0)
        """Frames that are not in a pause."""
        events = _intervals(track.classes, _PRESSED) + _intervals(track.classes, _TUCKED)
        self.may_close = self._near(events, _FRAME_S)
        """Frames within one of p, b, m, f or v."""
        self.closed = (track.lips[:, 0] < _CLOSED_GAP) & ~self._near(pauses, _PAUSE_EDGE_S)
        """Frames whose lips are closed while somebody speaks."""

    def heard(self, index: int, gap: float) -> Mask:
        """Return of every phone of a class whether the gap falls below ``gap`` at it."""
        hits = []
        for interval in _intervals(self._track.classes, index):
            near = self._near([interval], _FRAME_S)
            if near.any():
                hits.append(bool((self._track.lips[near, 0] < gap).any()))
        return np.array(hits, bool)

    @property
    def toggles(self) -> int:
        """Openings and closings while somebody speaks."""
        opened = self._track.lips[self.speech, 0] > _OPEN_GAP
        return int((opened[1:] != opened[:-1]).sum())

    def widths(self) -> tuple[Float32, Float32]:
        """Return the widths of rounded sounds, and of other speech."""
        sounds = [one for index in _ROUNDED for one in _intervals(self._track.classes, index)]
        rounded = self._near(sounds, _INSIDE_S)
        width = self._track.lips[:, _WIDTH]
        return width[rounded], width[self.speech & ~rounded]

    def _near(self, intervals: list[tuple[float, float]], margin: float) -> Mask:
        near = np.zeros(self._frames, bool)
        for start, stop in intervals:
            first = max(0, int(np.ceil((start - margin) * FPS - 1e-6)))
            near[first : int(np.floor((stop + margin) * FPS + 1e-6)) + 1] = True
        return near


def _intervals(classes: NDArray[np.int64], index: int) -> list[tuple[float, float]]:
    """Return when a class begins and ends, seconds."""
    edges = np.diff(np.concatenate([[0], (classes == index).astype(int), [0]]))
    starts, stops = ((np.flatnonzero(edges == sign) - 0.5) / COLUMNS_A_SECOND for sign in (1, -1))
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _rounding(spoken: Sequence[_Spoken]) -> float | None:
    widths = [one.widths() for one in spoken]
    if not widths or not sum(len(narrow) for narrow, _ in widths):
        return None
    narrow, other = (np.concatenate([pair[k] for pair in widths]) for k in (0, 1))
    spread = np.sqrt((narrow.var() + other.var()) / 2)
    return float((other.mean() - narrow.mean()) / max(float(spread), 1e-6))


def _against_film(track: LipTrack) -> tuple[float, float]:
    """Return the gap's correlation with the film and its spread over the film's."""
    assert track.film is not None
    both = min(len(track.lips), len(track.film))
    gap, film = (lips[:both, 0][_EDGE] for lips in (track.lips, track.film))
    return float(np.corrcoef(gap, film)[0, 1]), float(gap.std() / film.std())


def _mean(hits: Mask) -> float | None:
    return float(hits.mean()) if len(hits) else None
