"""Judge a model of lip shapes as it ships: the exported folder, the real renderer, whole pictures.

Each filmed clip is judged three times. *Still*: its resting frame speaks the clip's own sound, as
an avatar does. *Oracle*: the same picture is given the lips that the film itself shows, which parts
the renderer's errors from those of hearing. *Film*: the clip is dubbed with another clip's sound.
Points are compared in the frame of the head, so that a moving head does not count.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.audio.mel import mel_spectrogram
from lipstream.avatar.pack import Avatar
from lipstream.errors import BackendUnavailable, InputError
from lipstream.face.crop import HeadFrame, cut_crop, fit_crop
from lipstream.face.landmarks import FaceIdentity, FaceMesh, region_of_points
from lipstream.face.tracker import FaceTracker
from lipstream.film.job import RenderJob
from lipstream.film.render import render_frames
from lipstream.inference.model import MouthModel
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import SPREAD, LipFrame, measure_lips
from lipstream.live.compositor import open_shapes
from lipstream.live.frame_source import PreparedAvatar
from lipstream.live.lipsync import LipSync
from lipstream.mouth.prepare import shape_targets
from lipstream.timing import MODEL_RATE
from lipstream.types import Float32, Image
from lipstream_models.corpora.grid_corpus import FACE_SIZE, FPS, read_clip
from lipstream_models.corpora.labelled_speech import (
    ForcedAligner,
    TimedClass,
    column_classes,
    frame_columns,
    grid_sentence,
)
from lipstream_models.evaluation import metrics
from lipstream_models.evaluation.lip_events import LipModel, LipTrack, count_events
from lipstream_models.evaluation.sync_scorer import SyncScorer

_EDGE = slice(3, -4)
"""Frames of a clip that count: at the ends half of the sound is missing."""
_REST_FRAMES = 15
"""The most closed frames of a clip, whose median lips are those at rest."""
_WIDTH = 3
"""Index of ``outer_width`` among the measures."""
_CLOSING = (0.5, 1.0, 0.5)
"""How far lips are closed in the frame before p, b or m, at it, and after it."""
_OPEN_SHARE = 0.7
"""Sharpness is compared in frames whose gap in the film is above this quantile."""
_EVERY = 8
"""Of so many frames one is compared for who it shows."""
_LEAST_PIXELS = 25
"""Of a region whose sharpness is compared."""


@dataclass(frozen=True, slots=True)
class StillLips:
    """Lips drawn on the resting frame against those of the film, in the frame of the head."""

    lve_percent: float
    """Distance of the lip point furthest astray, mean over frames, % of the outer-eye distance."""
    lmd_percent: float
    """Mean distance of the lip points, % of the outer-eye distance."""
    gap_correlation: float
    gap_correlation_put_right: float | None
    """With the film's gap closed where its phones say so; None where phones are not known."""
    gap_spread: float
    """Standard deviation of the gap over that in the film."""
    width_correlation: float
    width_spread: float


@dataclass(frozen=True, slots=True)
class StillPictures:
    """The pictures themselves against those of the film."""

    sharpness_inside: float | None
    """Variance of the Laplacian between the lips over the film's; None where none is open."""
    sharpness_lips: float | None
    sharpness_skin: float | None
    flicker: float
    """Mean |second difference| in time round the mouth over the film's."""
    psnr_db: float
    """Lower half of the face against the film's."""
    copy_psnr_db: float
    seam_levels: float
    """Mean change at the border of what changes, levels: 0 where no seam can be seen."""
    silence_levels: float
    """Most that silence changes any pixel."""
    lpips: float | None
    """Perceptual distance of the mouth's box from the film's; None without its weights."""
    copy_lpips: float | None
    sharpness_lips_of_still: float | None
    """The resting frame's own lips, untouched, over the film's: what motion blurs in a film."""
    identity: float
    """Mean distance of the drawn faces from the resting one; another person's is above 0.5."""
    film_identity: float
    """Of the film's own faces from it."""


@dataclass(frozen=True, slots=True)
class ShapeClip:
    """One clip."""

    name: str
    still: StillLips
    oracle: StillLips
    """The same with the film's own lips."""
    copy_lve_percent: float
    copy_lmd_percent: float
    picture: StillPictures
    film: metrics.DubbedFilm
    closures: float | None
    """Spoken p, b and m that phones are known of; None without pocketsphinx."""
    closure_recall: float | None
    closure_precision: float | None
    toggles_a_second: float | None
    sync_distance: float | None
    sync_offset: float | None
    truth_sync_distance: float | None


@dataclass(slots=True)
class FilmTruth:
    """A clip and what is known of it before any model: measured once."""

    path: Path
    frames: NDArray[np.uint8]
    """(T, H, W, 3)."""
    sound: Float32
    points: Float32
    """(T, 468, 2) pixels."""
    rest: int
    """The frame that serves as a still: one of the most closed."""
    measures: Float32
    """(T, 17) outer-eye distances."""
    phones: list[TimedClass] | None
    mel: Float32 = field(init=False)

    def __post_init__(self) -> None:
        self.mel = mel_spectrogram(self.sound)

    @classmethod
    def read(cls, path: Path, mesh: FaceMesh, aligner: ForcedAligner | None) -> Self:
        """Decode a clip and find its face. Raises MediaError or InputError."""
        clip = read_clip(path)
        points = find_points(clip.frames, mesh)
        measures = measure_lips(points)
        order = np.argsort(measures[:, 0])
        phones = None if aligner is None else _align(aligner, path, clip.sound)
        rest = int(order[len(order) // 10])
        return cls(path, clip.frames, clip.sound, points, rest, measures, phones)

    @property
    def lips(self) -> Float32:
        """(T, 17) float32: the film's lips from its own rest, SPREADs, lightly smoothed."""
        closed = np.argsort(self.measures[:, 0])[:_REST_FRAMES]
        moved = (self.measures - np.median(self.measures[closed], 0)) / SPREAD
        padded = np.pad(moved, ((1, 1), (0, 0)), mode="edge")
        smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
        return np.asarray(smooth, np.float32)

    def classes(self) -> NDArray[np.int64] | None:
        """Return the (columns,) lip class spoken in each column, or None."""
        return None if self.phones is None else column_classes(self.phones, self.mel.shape[1])

    def gap_put_right(self) -> Float32 | None:
        """Return the (T,) gap, SPREADs, closed where p, b and m are spoken; None without phones.

        A mesh on small pictures misses half of the closures that are there.
        """
        classes = self.classes()
        if classes is None:
            return None
        columns = np.minimum(frame_columns(len(self.frames)), len(classes) - 1)
        spoken = (classes[columns] == CLASSES.index("MBP")).astype(np.float32)
        closed = np.minimum(np.convolve(spoken, _CLOSING, "same"), 1.0)
        gap = self.lips[:, 0]
        return np.asarray(gap - closed * np.maximum(gap, 0.0), np.float32)


def find_points(frames: NDArray[np.uint8], mesh: FaceMesh) -> Float32:
    """Follow one face through (T, H, W, 3): (T, 468, 2) pixels. Raises InputError without one."""
    with FaceTracker.open() as tracker:
        face = tracker.step(frames[0])
    if face is None:
        raise InputError("no face in the first frame: leave the clip out")
    region, points = region_of_points(face.points), []
    for frame in frames:
        points.append(mesh.landmarks(frame, region).points)
        region = region_of_points(points[-1])
    return np.stack(points)


def head_places(points: Float32) -> Float32:
    """Return (T, 468, 2) float32: points in the frame of the head each."""
    framed = [
        HeadFrame.of_crop(fit_crop(one)).places(one.astype(np.float64) - 0.5) for one in points
    ]
    return np.asarray(framed, np.float32)


class ShapeEvaluation:
    """Judge one model folder, clip by clip. A context manager; one thread."""

    def __init__(
        self, folder: Path, scorer: SyncScorer | None, distance: "metrics.Lpips | None" = None
    ) -> None:
        """Raises ModelError."""
        self._folder, self._scorer, self._distance = folder, scorer, distance
        self._model = MouthModel.open(folder, backend="cpu", threads=1)
        self._hearing = LipModel(folder)
        self._mesh, self._identity = FaceMesh.open(), FaceIdentity.open()
        try:
            self._aligner: ForcedAligner | None = ForcedAligner()
        except BackendUnavailable:
            self._aligner = None

    def read(self, path: Path) -> FilmTruth:
        """Decode a clip and find what is known of it."""
        return FilmTruth.read(path, self._mesh, self._aligner)

    def clip(self, truth: FilmTruth, other: FilmTruth) -> ShapeClip:
        """Judge one clip; ``other`` gives the sound that it is dubbed with."""
        spoken = self.speak(truth, truth.sound)
        oracle = self.move(truth, truth.lips)
        copied = np.repeat(head_places(truth.points[[truth.rest]]), len(truth.frames), 0)
        film = head_places(truth.points)
        tracks = self._tracks(truth)
        events = count_events(tracks) if tracks else None
        sync, true_sync = self._syncs(truth, spoken)
        return ShapeClip(
            truth.path.stem,
            self._lips(truth, spoken),
            self._lips(truth, oracle),
            metrics.lip_vertex_error(copied[_EDGE], film[_EDGE]),
            metrics.landmark_distance(copied[_EDGE], film[_EDGE]),
            self._pictures(truth, spoken),
            self._dub(truth, other),
            float(events.closures) if events else None,
            events.closure_recall if events else None,
            events.closure_precision if events else None,
            events.toggles_a_second if events else None,
            sync[0],
            sync[1],
            true_sync[0],
        )

    def speak(self, truth: FilmTruth, sound: Float32) -> NDArray[np.uint8]:
        """Return (T, H, W, 3): the resting frame speaks, through the path that is live."""
        still, crop = truth.frames[truth.rest], fit_crop(truth.points[truth.rest])
        prepared = PreparedAvatar.prepare(Avatar.from_frames([still], [crop]), self._model)
        session = LipSync(self._model, prepared, self._model.timing(MODEL_RATE, FPS))
        pcm = np.asarray(np.clip(sound, -1, 1) * 32767, np.int16)
        frames = [frame.image for frame in [*session.feed(pcm), *session.flush()]]
        frames += [still] * (len(truth.frames) - len(frames))
        return np.stack(frames[: len(truth.frames)])

    def move(self, truth: FilmTruth, lips: Float32) -> NDArray[np.uint8]:
        """Return (T, H, W, 3): the resting frame with the (T, 17) lips given."""
        still, crop = truth.frames[[truth.rest]], fit_crop(truth.points[truth.rest])
        shapes = open_shapes()
        (target,) = shape_targets(still, crop[None], shapes)
        return np.stack([shapes.patch(target, LipFrame(one)).image() for one in lips])

    def dub(self, truth: FilmTruth, sound: Path) -> NDArray[np.uint8]:
        """Return (T, H, W, 3): the clip as ``lipstream render`` makes it with another sound."""
        with tempfile.TemporaryDirectory() as folder:
            job = RenderJob(truth.path, sound, Path(folder) / "dubbed.mp4")
            frames = list(render_frames(job, self._model, Path(folder)))
        return np.stack(frames[: len(truth.frames)])

    def close(self) -> None:
        """Free the networks; closing twice is fine."""
        self._model.close()
        self._hearing.close()
        self._mesh.close()
        self._identity.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lips(self, truth: FilmTruth, drawn: NDArray[np.uint8]) -> StillLips:
        region = region_of_points(truth.points[truth.rest])
        points = np.stack([self._mesh.landmarks(frame, region).points for frame in drawn])
        seen, film = head_places(points)[_EDGE], head_places(truth.points)[_EDGE]
        measures, true = measure_lips(points)[_EDGE], truth.measures[_EDGE]
        right = truth.gap_put_right()
        gap, width = measures[:, 0], measures[:, _WIDTH]
        return StillLips(
            metrics.lip_vertex_error(seen, film),
            metrics.landmark_distance(seen, film),
            metrics.correlation(gap, true[:, 0]),
            None if right is None else metrics.correlation(gap, right[_EDGE]),
            _ratio(float(gap.std()), float(true[:, 0].std())),
            metrics.correlation(width, true[:, _WIDTH]),
            _ratio(float(width.std()), float(true[:, _WIDTH].std())),
        )

    def _pictures(self, truth: FilmTruth, drawn: NDArray[np.uint8]) -> StillPictures:
        still = truth.frames[truth.rest]
        box = metrics.mouth_box(truth.points[truth.rest], still.shape)
        inside, lips, skin = self._sharpness(truth, drawn)
        silent = self.speak(truth, np.zeros(len(truth.sound), np.float32))
        return StillPictures(
            inside,
            lips,
            skin,
            _ratio(metrics.flicker(drawn[_EDGE], box), metrics.flicker(truth.frames[_EDGE], box)),
            *self._lower_halves(truth, drawn),
            metrics.border_change(still, drawn),
            float(np.abs(silent.astype(np.int16) - still).max()),
            *self._perceived(truth, drawn),
            self._sharpness(truth, np.broadcast_to(still, drawn.shape))[1],
            self._apart(still, truth, drawn),
            self._apart(still, truth, truth.frames),
        )

    def _apart(self, still: Image, truth: FilmTruth, frames: NDArray[np.uint8]) -> float:
        """Return the mean distance of faces from the resting one, by what tells people apart."""
        drawn, rest = frames is not truth.frames, truth.points[truth.rest]
        one = self._identity.of(still, fit_crop(rest))
        others = [
            self._identity.of(frames[at], fit_crop(rest if drawn else truth.points[at]))
            for at in range(3, len(frames) - 4, _EVERY)
        ]
        return float(np.mean([np.linalg.norm(other - one) for other in others]))

    def _sharpness(self, truth: FilmTruth, drawn: NDArray[np.uint8]) -> list[float | None]:
        gap = truth.measures[:, 0]
        opened = np.flatnonzero(gap > np.quantile(gap, _OPEN_SHARE))
        region = region_of_points(truth.points[truth.rest])
        ratios: list[list[float]] = [[], [], []]
        for at in opened[(opened >= 3) & (opened < len(gap) - 4)]:
            seen = self._mesh.landmarks(drawn[at], region).points
            pairs = zip(
                metrics.mouth_masks(seen, drawn[at].shape),
                metrics.mouth_masks(truth.points[at], drawn[at].shape),
                strict=True,
            )
            for ratio, (mine, true) in zip(ratios, pairs, strict=True):
                if min(mine.sum(), true.sum()) > _LEAST_PIXELS:
                    of_film = metrics.laplacian_variance(truth.frames[at], true)
                    ratio.append(_ratio(metrics.laplacian_variance(drawn[at], mine), of_film))
        return [float(np.median(ratio)) if ratio else None for ratio in ratios]

    def _lower_halves(self, truth: FilmTruth, drawn: NDArray[np.uint8]) -> tuple[float, float]:
        """Return the PSNR of the lower halves of crops, and that of the still's own."""
        crop, half = fit_crop(truth.points[truth.rest]), FACE_SIZE // 2
        own = cut_crop(truth.frames[truth.rest], crop, FACE_SIZE)[half:]
        pairs = [
            (cut_crop(drawn[at], crop, FACE_SIZE)[half:], face[half:])
            for at in range(0, len(drawn), 4)
            for face in [cut_crop(truth.frames[at], fit_crop(truth.points[at]), FACE_SIZE)]
        ]
        mine = float(np.mean([metrics.psnr(a, b) for a, b in pairs]))
        return mine, float(np.mean([metrics.psnr(own, b) for _, b in pairs]))

    def _perceived(
        self, truth: FilmTruth, drawn: NDArray[np.uint8]
    ) -> tuple[float | None, float | None]:
        if self._distance is None:
            return None, None
        rest = _aligned_mouths(truth.frames[[truth.rest]], truth.points[[truth.rest]])
        points = np.repeat(truth.points[[truth.rest]], len(drawn), 0)
        some = slice(3, -4, 6)
        film = _aligned_mouths(truth.frames[some], truth.points[some])
        mine = _aligned_mouths(drawn[some], points[some])
        copied = np.repeat(rest, len(film), 0)
        return self._distance.between(mine, film), self._distance.between(copied, film)

    def _tracks(self, truth: FilmTruth) -> list[LipTrack]:
        classes = truth.classes()
        if classes is None:
            return []
        heard = self._hearing.predict(truth.mel).decoded(self._hearing.settings)
        return [LipTrack(heard, classes)]

    def _dub(self, truth: FilmTruth, other: FilmTruth) -> metrics.DubbedFilm:
        dubbed = self.dub(truth, other.path)
        asked = self._hearing.predict(other.mel).decoded(self._hearing.settings)[:, 0]
        points = np.stack(
            [
                self._mesh.landmarks(frame, region_of_points(where)).points
                for frame, where in zip(dubbed, truth.points, strict=False)
            ]
        )
        count = min(len(points), len(asked))
        gap = measure_lips(points)[:count, 0][_EDGE] / SPREAD[0]
        wanted, own = asked[:count][_EDGE], truth.lips[:count, 0][_EDGE]
        known = np.stack([wanted, own, np.ones(len(own))], 1)
        slope = float(np.linalg.lstsq(known, gap, rcond=None)[0][1])
        box = metrics.mouth_box(truth.points[truth.rest], dubbed.shape[1:])
        skin = [
            _ratio(
                metrics.laplacian_variance(dubbed[at], mask),
                metrics.laplacian_variance(truth.frames[at], mask),
            )
            for at in range(3, count - 4, 4)
            for mask in [metrics.mouth_masks(points[at], dubbed.shape[1:])[2]]
        ]
        return metrics.DubbedFilm(
            metrics.correlation(gap, wanted),
            metrics.correlation(gap, own),
            metrics.correlation(wanted, own),
            slope,
            _ratio(
                metrics.flicker(dubbed[:count][_EDGE], box),
                metrics.flicker(truth.frames[:count][_EDGE], box),
            ),
            float(np.median(skin)) if skin else None,
        )

    def _syncs(
        self, truth: FilmTruth, drawn: NDArray[np.uint8]
    ) -> tuple[tuple[float | None, float | None], tuple[float | None, float | None]]:
        if self._scorer is None:
            return (None, None), (None, None)
        crop = fit_crop(truth.points[truth.rest])
        mine = np.stack([cut_crop(frame, crop, FACE_SIZE) for frame in drawn[_EDGE]])
        own = np.stack(
            [
                cut_crop(frame, fit_crop(points), FACE_SIZE)
                for frame, points in zip(truth.frames[_EDGE], truth.points[_EDGE], strict=True)
            ]
        )
        scores = [self._scorer.sync(crops, truth.mel, 3) for crops in (mine, own)]
        first, second = ((score.distance, score.offset) for score in scores)
        return first, second


def sheet_row(truth: FilmTruth, renderings: Sequence[NDArray[np.uint8]], size: int = 150) -> Image:
    """Return strips of a clip's mouth: the film, then each (T, H, W, 3) rendering of its still."""
    order = np.argsort(truth.measures[_EDGE, 0])[::-1] + _EDGE.start
    at = sorted(int(one) for one in order[[2, 6, 12, 20, 30]])
    still = np.repeat(truth.points[[truth.rest]], len(truth.frames), 0)
    strips = [_aligned_mouths(truth.frames[at], truth.points[at], size)]
    strips += [_aligned_mouths(one[at], still[at], size) for one in renderings]
    return np.concatenate([np.concatenate([*strip], 1) for strip in strips])


def join_rows(rows: Sequence[Image]) -> Image:
    """Return one picture of rows, two beside each other."""
    pairs = [list(rows[at : at + 2]) for at in range(0, len(rows), 2)]
    if len(pairs) > 1 and len(pairs[-1]) == 1:
        pairs[-1].append(np.zeros_like(pairs[-1][0]))
    return np.concatenate([np.concatenate(pair, 1) for pair in pairs])


def _aligned_mouths(
    frames: NDArray[np.uint8], points: Float32, size: int = 96
) -> NDArray[np.uint8]:
    """Return (T, size, size, 3): the mouth of each frame, upright, two thirds of the eyes wide."""
    crops = []
    for frame, one in zip(frames, points, strict=True):
        head = HeadFrame.of_crop(fit_crop(one))
        corners = head.pixels(np.array([[-0.42, 0.45], [0.42, 0.45], [-0.42, 1.29]]))
        matrix = cv2.getAffineTransform(
            np.array([[0, 0], [size, 0], [0, size]], np.float32) - np.float32(0.5),
            corners.astype(np.float32),
        )
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        crops.append(cv2.warpAffine(frame, matrix, (size, size), flags=flags))
    return np.stack(crops).astype(np.uint8)


def _ratio(mine: float, true: float) -> float:
    return mine / max(true, 1e-9)


def _align(aligner: ForcedAligner, path: Path, sound: Float32) -> list[TimedClass] | None:
    """Return the lip classes of a clip of GRID, by its name; None for another's."""
    try:
        sentence = grid_sentence(path.stem.split("_")[-1])
    except InputError:
        return None
    return aligner.align(sound, sentence)
