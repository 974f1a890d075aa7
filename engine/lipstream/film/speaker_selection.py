"""Whose mouth is driven in each frame, where its crop lies, and how much of it may be seen.

All of the film has been seen by now, so crops are smoothed without delay, and a mouth fades out
before its face turns away, is covered or leaves.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import CropSmoother
from lipstream.film.face_tracks import FaceTracks, FoundFaces
from lipstream.film.job import Ends, FaceChoice
from lipstream.film.video_source import EndlessVideo, VideoSource
from lipstream.lips.shape import MEASURES, SPREAD
from lipstream.types import Array, Float32, Float64, Image

_TURNED = (0.42, 0.62)
"""Offset of the nose in eye distances from which a mouth fades, and at which it is gone. About 43
and 54 degrees: beyond, the far corner of the mouth is hidden."""
_UNSURE = (0.9, 0.5)
"""Score of the face from which a mouth fades, and at which it is gone."""
_OFF = (10.5, 14.5)
_UNLIKE = (0.88, 0.78)
"""How far the lower face is off its median in levels, and how it correlates with it, from which
a mouth fades, and at which it is gone. Speech alone stays below 9.5 and above 0.91 (11 clips of 9
speakers); a hand of the skin's own colour gives 10 to 17, other things 14 to 40, or below 0.8."""
_LONGEST_LOOK = 4
"""Frames that a look stands for, at most: then the face was gone."""
_WINDOW = 500
"""Rows of one face over which the median is taken: light changes slowly."""


@dataclass(frozen=True, slots=True)
class Visibility:
    """How much of each face of ``FaceTracks`` is seen, from 0 to 1, by what hides it."""

    towards: Float64
    """(n,): 0 where it is turned away."""
    bare: Float64
    """(n,): 0 where it is covered, or hardly a face."""

    @property
    def all(self) -> Float64:
        """(n,) for both together."""
        return self.towards * self.bare


def visibility(rows: Array) -> Visibility:
    """Return what is seen of the faces of (n,) rows of ``FaceTracks``."""
    turned = _ramp(np.abs(rows["turn"].astype(np.float64)), *_TURNED)
    unsure = _ramp(rows["score"].astype(np.float64), *_UNSURE)
    return Visibility(turned, unsure * _uncovered(rows))


def _ramp(values: Float64, full: float, none: float) -> Float64:
    return np.clip((values - none) / (full - none), 0.0, 1.0)


def _uncovered(rows: Array) -> Float64:
    """Return how much every lower face looks as the same face usually does, 0 to 1."""
    default = np.ones(len(rows))
    for track in np.unique(rows["track"]):
        mine = np.flatnonzero(rows["track"] == track)
        for piece in np.array_split(mine, max(1, round(len(mine) / _WINDOW))):
            lasts = np.diff(rows["frame"][piece], append=rows["frame"][piece[-1]] + 1)
            lasts = lasts.clip(1, _LONGEST_LOOK)
            default[piece] = _likeness_to_median(rows["lower"][piece], lasts)
    return default


def _likeness_to_median(looks: Array, lasts: NDArray[np.int32]) -> Float64:
    """Return (n,) from 0 to 1 for (n, h, w, 3) looks, by their median, light taken out.

    Each counts for the frames that it ``lasts``: moving faces are looked at more often.
    """
    levels = looks.astype(np.float64)
    levels -= levels.mean((1, 2), keepdims=True)
    median = np.median(np.repeat(levels, lasts, 0), 0)
    off = np.sqrt(np.square(levels - median).mean((1, 2, 3)))
    size = np.sqrt(np.square(levels).mean((1, 2, 3)) * np.square(median).mean())
    likeness = (levels * median).mean((1, 2, 3)) / np.maximum(size, 1e-6)
    likeness[size < 1.0] = 1.0  # nothing is on this face that could be told apart
    return _ramp(off, *_OFF) * _ramp(likeness, *_UNLIKE)


_LARGER = 1.3
"""Another face must be this much larger to take over from the one that speaks."""
_ALIKE = 0.6
"""Correlation of two looks above which they are one person's."""
_FADE_S = 0.16
"""Seconds in which a mouth fades out or in."""
_CLOSED_SHARE = 0.2
"""The most closed frames of a track, whose median lips are those at rest."""
_BRIDGED_S = 0.2
"""Gaps in the sight of a face up to this long are bridged, seconds."""


@dataclass(frozen=True, slots=True)
class SpeakerTrack:
    """The face that is driven, frame by frame of the video."""

    crops: Float32
    """(frames, 2, 3) float32 unit crops; zeros where there is no face."""
    strength: Float32
    """(frames,) float32: how much of the mouth is seen, 0 where none is."""
    lips: Float32 | None = None
    """(frames, 17) float32: how the lips stand against the same person's at rest, SPREADs; None
    where that is not known."""
    turned: NDArray[np.bool_] | None = None
    """(frames,) bool: where strength is 0 because the face is turned away."""
    covered: NDArray[np.bool_] | None = None
    """(frames,) bool: where strength is 0 because the face is covered."""


@dataclass(frozen=True, slots=True)
class UndrivenFrames:
    """Spoken frames in which no face is driven, which pass through untouched, by what hides it."""

    faceless: int = 0
    """There is no face, not the one asked for, or only for an instant."""
    turned: int = 0
    covered: int = 0

    @property
    def all(self) -> int:
        """All of them."""
        return self.faceless + self.turned + self.covered


def undriven_frames(shown: Iterable[tuple[SpeakerTrack, int]]) -> UndrivenFrames:
    """Count the frames that do not drive a face, of who speaks in which frame of the video."""
    faceless = turned = covered = 0
    for speaker, at in shown:
        if speaker.strength[at] <= 0:
            hidden = speaker.turned is not None and bool(speaker.turned[at])
            under = speaker.covered is not None and bool(speaker.covered[at])
            turned, covered = turned + hidden, covered + under
            faceless += not (hidden or under)
    return UndrivenFrames(faceless, turned, covered)


@dataclass(frozen=True, slots=True)
class SelectionOptions:
    """How crops are cut."""

    smooth: bool = True
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels added above, below, left and right of the face."""
    faded: bool = True
    """Whether mouths fade by what is seen of them; not for a box given by hand."""


class FilmSpeakers:
    """A film, and the faces that may be driven in it, found as far as they are asked for.

    Used by one thread.
    """

    def __init__(
        self,
        video: VideoSource,
        ends: Ends,
        choices: Collection[FaceChoice],
        options: SelectionOptions,
        found: Iterator[FoundFaces],
    ) -> None:
        """Choose from what ``found`` gives, which is asked for more when it is needed.

        The first part is found at once: of most films, all.
        """
        self.video = video
        self.ends: Ends = ends
        self._endless = EndlessVideo(video, ends)
        self._choices, self._options = choices, options
        self._found = found
        self._until = 0
        self._pictures: dict[int, Image] = {}
        self._tracks: dict[FaceChoice, SpeakerTrack] = {}
        self._search_on()

    @property
    def whole(self) -> bool:
        """Whether all of the film has been looked through."""
        return self._until >= self.video.count

    def track(self, who: FaceChoice, at: int) -> SpeakerTrack:
        """Return a speaker's path, settled as far as a frame of the video."""
        while at >= self._until:
            self._search_on()
        return self._tracks[who]

    def _search_on(self) -> None:
        found = next(self._found)
        self._until = found.until
        self._pictures |= found.pictures
        for who in self._choices:
            self._tracks[who] = select_speaker(found.tracks, who, self.video.fps, self._options)

    def picture(self, frame: int) -> Image:
        """Return the picture under a frame of the output, new; quick in rising order."""
        at = self.video.at(frame, self.ends)
        for passed in [one for one in self._pictures if one < at]:
            del self._pictures[passed]
        image = self._pictures.pop(at, None)
        return self._endless.picture_at(frame) if image is None else image


def select_speaker(
    face_tracks: FaceTracks, who: FaceChoice, fps: Fraction, settings: SelectionOptions
) -> SpeakerTrack:
    """Pick one face for every frame by a rule."""
    crops = np.zeros((face_tracks.frames, 2, 3), np.float32)
    strength = np.zeros(face_tracks.frames, np.float32)
    lips = np.zeros((face_tracks.frames, MEASURES), np.float32)
    picked = _picked(face_tracks, who)
    standing = lips_from_rest(face_tracks.rows)
    hidden = np.zeros((2, face_tracks.frames), np.bool_)  # turned away, covered
    seen = visibility(face_tracks.rows)
    for run in _runs(face_tracks, picked, round(_BRIDGED_S * fps)):
        frames = face_tracks.rows["frame"][run]
        span = np.arange(frames[0], frames[-1] + 1)
        path = _filled(span, frames, face_tracks.crops[run].reshape(-1, 6)).reshape(-1, 2, 3)
        crops[span] = _smoothed(path, fps) if settings.smooth else path
        lips[span] = _smoothed_lips(_filled(span, frames, standing[run]))
        if settings.faded:
            parts = _filled(span, frames, np.stack([seen.towards[run], seen.bare[run]], 1))
            edges = _enters(face_tracks, run)
            strength[span] = _faded(parts[:, 0] * parts[:, 1], edges, fps)
            hidden[:, span] = _hidden_by(parts, strength[span], fps)
        else:
            strength[span] = 1.0
    known = bool(np.isfinite(standing).all())
    padded = pad_crops(crops, settings.pads)
    return SpeakerTrack(padded, strength, lips if known else None, *hidden)


def _hidden_by(parts: Float32, strength: Float32, fps: Fraction) -> NDArray[np.bool_]:
    """Return (2, n): where a mouth is gone since its face is turned away, and since it is covered.

    ``parts`` are (n, 2) how much is seen by each; what counts is the less of them nearby.
    """
    near = 2 * max(1, round(_FADE_S * fps))
    padded = np.pad(parts, ((near, near), (0, 0)), mode="edge")
    least = np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1, axis=0).min(-1)
    gone = strength <= 0.0
    turned = gone & (least[:, 0] <= least[:, 1]) & (least[:, 0] < 1.0)
    return np.stack([turned, gone & ~turned & (least[:, 1] < 1.0)])


def lips_from_rest(rows: Array) -> Float32:
    """Return (n, 17) float32: how lips stand against those of the same track at rest, SPREADs.

    At rest are the lips of a track's most closed frames: people close them often when they speak.
    NaN where no mesh was seen.
    """
    moved = np.zeros((len(rows), MEASURES), np.float32)
    for track in np.unique(rows["track"]):
        mine = np.flatnonzero(rows["track"] == track)
        measures = rows["lips"][mine]
        closed = np.argsort(measures[:, 0])[: max(1, round(_CLOSED_SHARE * len(mine)))]
        moved[mine] = (measures - np.median(measures[closed], 0)) / SPREAD
    return moved


def _smoothed_lips(lips: Float32) -> Float32:
    """Return (n, 17) without the tremble of the mesh."""
    padded = np.pad(lips, ((1, 1), (0, 0)), mode="edge")
    return np.asarray(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:], np.float32)


def _picked(face_tracks: FaceTracks, who: FaceChoice) -> NDArray[np.intp]:
    """Return, for every frame, the row of the face picked, or -1."""
    rows = face_tracks.rows
    picked = np.full(face_tracks.frames, -1, np.intp)
    ends = np.searchsorted(rows["frame"], np.arange(face_tracks.frames + 1))
    allowed = _person(face_tracks, who, ends) if who.follow else None
    last = -1
    for frame in range(face_tracks.frames):
        here = np.arange(ends[frame], ends[frame + 1])
        if allowed is not None:
            here = here[np.isin(rows["track"][here], allowed)]
        if len(here):
            row = _pick(rows, here, who if allowed is None else FaceChoice(), last)
            picked[frame] = row
            last = -1 if row < 0 else int(rows["track"][row])
    return picked


def _pick(rows: Array, here: NDArray[np.intp], who: FaceChoice, last: int) -> int:
    """Return the row of one frame that a rule picks; the face picked before is kept if it may."""
    sizes = rows["size"][here]
    stays = here[rows["track"][here] == last]
    if len(stays) and (who.rule != "largest" or sizes.max() < _LARGER * rows["size"][stays[0]]):
        return int(stays[0])
    if who.rule == "largest":
        return int(here[sizes.argmax()])
    middles = rows["crop"][here] @ np.array([0.5, 0.5, 1.0], np.float32)
    if who.rule == "nearest":
        far = np.linalg.norm(middles - np.array([who.x, who.y]), axis=1)
        return int(here[far.argmin()])
    order = here[np.argsort(middles[:, 0])]
    return int(order[who.place - 1]) if who.place <= len(order) else -1


def _person(face_tracks: FaceTracks, who: FaceChoice, ends: NDArray[np.intp]) -> list[int]:
    """Return the tracks that look like the person whom the rule picks first."""
    rows = face_tracks.rows
    for frame in range(face_tracks.frames):
        here = np.arange(ends[frame], ends[frame + 1])
        row = _pick(rows, here, who, -1) if len(here) else -1
        if row >= 0:
            person = rows["person"][row]
            if person:
                return [int(t) for t in np.unique(rows["track"][rows["person"] == person])]
            tracks = np.unique(rows["track"])
            looks = {int(t): _look(rows, int(t)) for t in tracks}
            wanted = looks[int(rows["track"][row])]
            return [t for t, look in looks.items() if float((look * wanted).mean()) > _ALIKE]
    return []


def _look(rows: Array, track: int) -> Array:
    """Return what the upper half of a face looks like on average, light and contrast taken out."""
    mean = rows["upper"][rows["track"] == track].astype(np.float32).mean(0)
    mean -= mean.mean((0, 1))
    return np.asarray(mean / max(1e-3, float(mean.std())))


def _runs(
    face_tracks: FaceTracks, picked: NDArray[np.intp], bridged: int
) -> list[NDArray[np.intp]]:
    """Return the rows of every run of one face, with gaps of at most ``bridged`` frames."""
    rows = picked[picked >= 0]
    if len(rows) == 0:
        return []
    frames, tracks = face_tracks.rows["frame"][rows], face_tracks.rows["track"][rows]
    breaks = (np.diff(frames) > bridged + 1) | (np.diff(tracks) != 0)
    return np.split(rows, np.flatnonzero(breaks) + 1)


def _filled(span: Array, frames: Array, values: Array) -> Float32:
    """Interpolate (n, k) values at some frames to all of a span."""
    columns = [np.interp(span, frames, column) for column in values.T]
    return np.stack(columns, 1).astype(np.float32)


def _smoothed(path: Float32, fps: Fraction) -> Float32:
    """Return the (n, 2, 3) crops smoothed forwards and backwards: steady, and never late."""

    def one_way(crops: Float32) -> Float32:
        step: Callable[[Float32], Float32] = CropSmoother(float(fps)).step
        return np.stack([step(crop) for crop in crops])

    return np.asarray((one_way(path) + one_way(path[::-1])[::-1]) / 2, np.float32)


@dataclass(frozen=True, slots=True)
class _Edges:
    """Whether a run begins or ends in the open, and so has to fade."""

    begins: bool
    ends: bool


def _enters(face_tracks: FaceTracks, run: NDArray[np.intp]) -> _Edges:
    cuts = face_tracks.cuts
    first, last = (int(face_tracks.rows["frame"][row]) for row in (run[0], run[-1]))
    return _Edges(first not in cuts, last + 1 < face_tracks.frames and last + 1 not in cuts)


def _faded(visible: Float32, edges: _Edges, fps: Fraction) -> Float32:
    """Return strengths that reach what is visible slowly, and are never above it."""
    fade = max(1, round(_FADE_S * fps))
    before = 0.0 if edges.begins else float(visible[0])
    after = 0.0 if edges.ends else float(visible[-1])
    pad_crops = np.concatenate([np.full(2 * fade, before), visible, np.full(2 * fade, after)])
    reach = np.lib.stride_tricks.sliding_window_view(pad_crops, 2 * fade + 1)
    least = reach.min(1)  # the least within ``fade`` frames on either side
    kernel = np.full(2 * fade + 1, 1.0 / (2 * fade + 1))
    return np.clip(np.convolve(least, kernel, "valid"), 0.0, 1.0).astype(np.float32)


def pad_crops(crops: Float32, pads: tuple[int, int, int, int]) -> Float32:
    """Return (n, 2, 3) crops grown by pixels above, below, left and right, on their own axes."""
    if not any(pads):
        return crops
    top, bottom, left, right = pads
    width = np.linalg.norm(crops[:, :, 0], axis=1).clip(1e-6)[:, None]
    height = np.linalg.norm(crops[:, :, 1], axis=1).clip(1e-6)[:, None]
    across, down = crops[:, :, 0] / width, crops[:, :, 1] / height
    corner = crops[:, :, 2] - across * left - down * top
    grown = [across * (width + left + right), down * (height + top + bottom), corner]
    return np.stack(grown, 2).astype(np.float32)
