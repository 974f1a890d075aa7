"""Measure a mouth network on clips it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.face.landmarks import FaceMesh, region_of_points
from lipstream.types import Float32, Image
from lipstream_models.corpora.grid_corpus import FACE_SIZE, FRAMES, PreparedFolder
from lipstream_models.evaluation import metrics
from lipstream_models.evaluation import test_sounds as sounds
from lipstream_models.evaluation.renderers import MouthRenderer, windows_of
from lipstream_models.evaluation.results import (
    ClipMetrics,
    LipMetrics,
    PictureMetrics,
    RestMetrics,
    StillMetrics,
)
from lipstream_models.evaluation.sync_scorer import SyncScorer

_HALF = FACE_SIZE // 2
MEASURED = range(3, FRAMES - 4)
"""Frames of a clip that are painted: at the ends half of the sound is missing."""
_SOUND_FRAMES = range(12, 60)
"""Frames of a made-up sound that are painted."""
_CALM_SHARE = 0.2
"""The frames of a film that change least."""


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """What is known of a clip before any network: measured once."""

    crops: NDArray[np.uint8]
    """(T, 96, 96, 3) uint8, the frames of ``MEASURED``."""
    where: Float32
    """(T, 468, 2) float32 in crop sizes, as prepared: where to look for the face."""
    points: Float32
    """(T, 468, 2) float32 in crop sizes, seen in the crops as in painted ones."""
    reference: Image
    """(96, 96, 3) uint8: the clip's resting frame."""
    rest_where: Float32
    """(1, 468, 2): where its face is."""
    rest_points: Float32
    """(1, 468, 2): the mesh seen in it."""


class Evaluation:
    """Measure one network, clip by clip."""

    def __init__(
        self,
        renderer: MouthRenderer,
        folder: PreparedFolder,
        mesh: FaceMesh,
        scorer: SyncScorer | None = None,
    ) -> None:
        self._renderer, self._folder, self._mesh, self._scorer = renderer, folder, mesh, scorer
        self._clip_truths: dict[int, ClipTruth] = {}

    def clip(self, row: int) -> ClipMetrics:
        """Measure one clip painted anew from its own upper halves and one resting frame."""
        truth, mel = self._truth(row), self._folder.mel[row]
        rendered = self._render(truth.crops, truth.reference, mel)
        points = points_of(rendered, truth.where, self._mesh)
        scorer, name = self._scorer, self._folder.names[row]
        return ClipMetrics(
            name,
            compare_pictures(rendered, truth.crops, truth.reference),
            compare_lips(points, truth.points, truth.rest_points),
            scorer.sync(rendered, mel, MEASURED[0]) if scorer else None,
            scorer.sync(truth.crops, mel, MEASURED[0]) if scorer else None,
        )

    def still(self, row: int) -> StillMetrics:
        """Measure what the clip's resting frame does in speech and while nobody speaks.

        The sounds are made up anew for every clip, the same on every run.
        """
        truth, mel = self._truth(row), self._folder.mel[row]
        rng = np.random.default_rng((7, row))
        film = np.broadcast_to(truth.reference, truth.crops.shape)
        points = self._see_still(self._render(film, truth.reference, mel), truth)
        spoken = float(metrics.lip_gap(points).var())
        vowel = self._render_still(truth, sounds.vowel(rng))
        calm = np.sort(metrics.changes(truth.crops))
        return StillMetrics(
            self._folder.names[row],
            compare_lips(points, truth.points, truth.rest_points),
            self._rest(truth, sounds.silence(), spoken),
            self._rest(truth, sounds.room_noise(rng), spoken),
            self._rest(truth, sounds.music(rng), spoken),
            float(metrics.changes(vowel).mean()),
            float(calm[: round(_CALM_SHARE * len(calm))].mean()),
        )

    def rendered(self, row: int) -> NDArray[np.uint8]:
        """Return the (T, 96, 96, 3) crops of ``MEASURED`` as the network paints them."""
        truth = self._truth(row)
        return self._render(truth.crops, truth.reference, self._folder.mel[row])

    def truth(self, row: int) -> ClipTruth:
        """Return what is known of a clip."""
        return self._truth(row)

    def _rest(self, truth: ClipTruth, mel: Float32, spoken: float) -> RestMetrics:
        points = self._see_still(self._render_still(truth, mel), truth)
        gap, own = metrics.lip_gap(points), float(metrics.lip_gap(truth.rest_points)[0])
        eyes = float(metrics.eye_distance(truth.rest_points)[0])
        return RestMetrics(
            float(gap.var()) / max(spoken, 1e-12), 100.0 * (float(gap.mean()) - own) / eyes
        )

    def _render_still(self, truth: ClipTruth, mel: Float32) -> NDArray[np.uint8]:
        film = np.broadcast_to(truth.reference, (len(_SOUND_FRAMES), *truth.reference.shape))
        return self._render(film, truth.reference, mel, _SOUND_FRAMES)

    def _render(
        self,
        upper: NDArray[np.uint8],
        reference: Image,
        mel: Float32,
        frames: Sequence[int] = MEASURED,
    ) -> NDArray[np.uint8]:
        windows = windows_of(mel, frames, self._renderer.timing)
        return self._renderer.render(upper, reference, windows)

    def _see_still(self, rendered: NDArray[np.uint8], truth: ClipTruth) -> Float32:
        where = np.broadcast_to(truth.rest_where[0], (len(rendered), *truth.rest_where.shape[1:]))
        return points_of(rendered, where, self._mesh)

    def _truth(self, row: int) -> ClipTruth:
        if row not in self._clip_truths:
            frames, all_points = list(MEASURED), self._folder.points[row]
            crops, where = self._folder.crops[row][frames], all_points[frames]
            rest = resting_frame(all_points)
            reference = np.array(self._folder.crops[row][rest], np.uint8)
            rest_where = all_points[[rest]]
            tracked = points_of(crops, where, self._mesh)
            rested = points_of(reference[None], rest_where, self._mesh)
            self._clip_truths[row] = ClipTruth(crops, where, tracked, reference, rest_where, rested)
        return self._clip_truths[row]


def points_of(crops: NDArray[np.uint8], where: Float32, mesh: FaceMesh) -> Float32:
    """Find the mesh in (T, 96, 96, 3) crops: (T, 468, 2) in crop sizes.

    ``where`` is (T, 468, 2) in crop sizes and says where the face is.
    """
    meshes = []
    for crop, place in zip(crops, where, strict=True):
        large = cv2.resize(crop, None, fx=2.0, fy=2.0, interpolation=cv2.INTER_CUBIC)
        region = region_of_points(place * np.float32(2 * FACE_SIZE))
        meshes.append(mesh.landmarks(np.asarray(large, np.uint8), region).points)
    return np.asarray(np.stack(meshes) / np.float32(2 * FACE_SIZE), np.float32)


def resting_frame(points: Float32) -> int:
    """Return the frame of a clip whose lip gap is a typical closed one."""
    order = np.argsort(metrics.lip_gap(points))
    return int(order[len(order) // 10])


def compare_pictures(
    rendered: NDArray[np.uint8], truth: NDArray[np.uint8], reference: Image
) -> PictureMetrics:
    """Compare the lower halves of (T, 96, 96, 3) crops, and the reference's with the truth's."""
    pairs = list(zip(rendered[:, _HALF:], truth[:, _HALF:], strict=True))
    own, rest = reference[_HALF:], reference[None]
    sharp, fine = (max(of(rest), 1e-6) for of in (metrics.sharpness, metrics.detail))
    return PictureMetrics(
        psnr_db=float(np.mean([metrics.psnr(a, b) for a, b in pairs])),
        copy_psnr_db=float(np.mean([metrics.psnr(own, b) for _, b in pairs])),
        ssim=float(np.mean([metrics.ssim(a, b) for a, b in pairs])),
        copy_ssim=float(np.mean([metrics.ssim(own, b) for _, b in pairs])),
        brightness_correlation=metrics.correlation(
            metrics.brightness(rendered), metrics.brightness(truth)
        ),
        sharpness=metrics.sharpness(rendered) / sharp,
        truth_sharpness=metrics.sharpness(truth) / sharp,
        detail=metrics.detail(rendered) / fine,
        truth_detail=metrics.detail(truth) / fine,
    )


def compare_lips(rendered: Float32, truth: Float32, reference: Float32) -> LipMetrics:
    """Compare the lips of (T, 468, 2) points, and those of the reference (1, 468, 2)."""
    gap, true_gap = metrics.lip_gap(rendered), metrics.lip_gap(truth)
    still = np.repeat(reference, len(truth), 0)
    lags = metrics.lag_correlations(gap, true_gap)
    return LipMetrics(
        gap_correlation=metrics.correlation(gap, true_gap),
        gap_spread=float(gap.std()) / max(float(true_gap.std()), 1e-6),
        gap_offset=metrics.peak(lags),
        gap_peak=max(lags.values()),
        lmd_percent=metrics.landmark_distance(rendered, truth),
        copy_lmd_percent=metrics.landmark_distance(still, truth),
        lve_percent=metrics.lip_vertex_error(rendered, truth),
        copy_lve_percent=metrics.lip_vertex_error(still, truth),
    )


_FRAMES = range(4, len(MEASURED) - 4, 6)
"""Places among the measured frames that are shown."""
_LARGER = 2


def make_sheet(evaluation: Evaluation, rows: Sequence[int]) -> Image:
    """Return a picture: two strips for each clip, the reference at their left ends."""
    strips = []
    for row in rows:
        truth, frames = evaluation.truth(row), list(_FRAMES)
        rendered = evaluation.rendered(row)
        strips.append(_strip("truth", truth.reference, truth.crops[frames]))
        strips.append(_strip("painted", truth.reference, rendered[frames]))
    return np.concatenate(strips, 0)


def _strip(label: str, reference: Image, crops: NDArray[np.uint8]) -> Image:
    strip = np.concatenate([reference, *crops], 1)
    large = cv2.resize(strip, None, fx=_LARGER, fy=_LARGER, interpolation=cv2.INTER_CUBIC)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(large, label, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width)
    return np.asarray(large, np.uint8)
