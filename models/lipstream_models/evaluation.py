"""Measure a mouth network on clips it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lipstream.landmarks import FaceMesh, region_of_points
from lipstream.mel import SILENCE
from lipstream.types import Float32, Image
from lipstream_models.dataset import lip_gap, mel_window, silent_mel
from lipstream_models.grid import FACE_SIZE, FRAMES, PreparedFolder
from lipstream_models.networks.split import SplitNetwork, mask_and_join, to_pixels

SHIFTS = (-2, -1, 0, 1, 2)
"""Frames by which the sound is moved against the picture."""
_HALF = FACE_SIZE // 2
_BRIGHT = (slice(_HALF + 8, _HALF + 30), slice(30, 66))
"""Rows and columns of the crop round the lips, for the mean brightness."""
_FIRST, _LAST = 3, FRAMES - 6
"""Frames whose windows lie in the clip's sound at every shift."""


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """What was measured on one clip."""

    name: str
    psnr_db: float
    """Peak signal-to-noise ratio of the lower half, mean over frames."""
    copy_psnr_db: float
    """The same for the reference's own lower half: no network at all."""
    gap_correlation: dict[int, float]
    """Lip gap painted against lip gap in truth, by shift of the sound in frames."""
    brightness_correlation: dict[int, float]
    gap_spread: float
    """Standard deviation of the painted lip gap over that of the truth."""


@dataclass(frozen=True, slots=True)
class SilenceFigures:
    """What the mouth does when nobody speaks."""

    movement: float
    """Standard deviation of the lip gap in noise and silence over that in speech."""
    gap: float
    """Mean lip gap in silence: 0 is the reference's closed mouth, 1 the median in speech."""
    change_levels: float
    """Mean difference of consecutive frames round the lips, levels of 255."""


@dataclass(frozen=True, slots=True)
class Figures:
    """An evaluation."""

    clips: list[ClipFigures]
    silence: SilenceFigures
    summary: dict[str, float] = field(default_factory=dict)
    """Medians, and the lowest and highest clip."""


class Painter:
    """Run a network over whole clips."""

    def __init__(self, network: SplitNetwork) -> None:
        self._network = network.eval()

    def paint(
        self, upper: NDArray[np.uint8], reference: NDArray[np.uint8], windows: Float32
    ) -> NDArray[np.uint8]:
        """Return (T, 96, 96, 3): crops with the painted lower half.

        ``upper`` is (T, 96, 96, 3) and gives the upper halves, ``reference`` (96, 96, 3),
        ``windows`` (T, 80, 16).
        """
        face = mask_and_join(torch.from_numpy(np.ascontiguousarray(upper)))
        face[:, 3:] = mask_and_join(torch.from_numpy(reference[None].copy()))[:, 3:]
        with torch.no_grad():
            painted = to_pixels(self._network(torch.from_numpy(windows)[:, None], face))
        return np.concatenate([upper[:, :_HALF], painted.numpy()], 1)


def windows_of(mel: Float32, frames: Sequence[int], shift: int = 0) -> Float32:
    """Return the (T, 80, 16) windows of frames, the sound ``shift`` frames later."""
    return np.stack([mel_window(mel, frame + shift) for frame in frames])


def gap_of(crops: NDArray[np.uint8], points: Float32, mesh: FaceMesh) -> Float32:
    """Measure the lip gap in (T, 96, 96, 3) crops with the mesh, in crop sizes: (T,).

    ``points`` is (T, 468, 2) in crop units and says where the face is.
    """
    gaps = []
    for crop, where in zip(crops, points, strict=True):
        large = cv2.resize(crop, None, fx=2.0, fy=2.0, interpolation=cv2.INTER_CUBIC)
        region = region_of_points(where * np.float32(2 * FACE_SIZE))
        gaps.append(lip_gap(mesh.landmarks(np.asarray(large), region).points))
    return np.array(gaps, np.float32) / np.float32(2 * FACE_SIZE)


def psnr(painted: Image, truth: Image) -> float:
    """Return the peak signal-to-noise ratio in decibels."""
    error = float(np.mean((painted.astype(np.float32) - truth) ** 2))
    return 10.0 * float(np.log10(255.0**2 / max(error, 1e-3)))


def correlation(a: Float32, b: Float32) -> float:
    """Return Pearson's correlation; 0 when one of them does not move."""
    if min(float(a.std()), float(b.std())) < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def brightness(crops: NDArray[np.uint8]) -> Float32:
    """Return the mean level round the lips of (T, 96, 96, 3) crops: (T,)."""
    return np.asarray(crops[:, _BRIGHT[0], _BRIGHT[1]].mean((1, 2, 3)), np.float32)


def resting_frame(points: Float32) -> int:
    """Return the frame of a clip whose lip gap is a typical closed one."""
    order = np.argsort(lip_gap(points))
    return int(order[len(order) // 10])


class Evaluation:
    """Measure one network, clip by clip."""

    def __init__(self, network: SplitNetwork, folder: PreparedFolder, mesh: FaceMesh) -> None:
        self._painter, self._folder, self._mesh = Painter(network), folder, mesh

    def clip(self, row: int, shifts: Sequence[int] = SHIFTS) -> ClipFigures:
        """Measure one clip: its upper halves, one resting frame as the reference."""
        frames = list(range(_FIRST, _LAST + 1))
        crops, points = self._folder.crops[row][frames], self._folder.points[row][frames]
        reference = self._reference(row)
        truth_gap = gap_of(crops, points, self._mesh)
        gaps, bright, painted = {}, {}, {}
        for shift in shifts:
            windows = windows_of(self._folder.mel[row], frames, shift)
            painted[shift] = self._painter.paint(crops, reference, windows)
            gap = gap_of(painted[shift], points, self._mesh)
            gaps[shift] = correlation(gap, truth_gap)
            bright[shift] = correlation(brightness(painted[shift]), brightness(crops))
            if shift == 0:
                spread = float(gap.std() / max(float(truth_gap.std()), 1e-6))
        lower = crops[:, _HALF:]
        pairs = list(zip(painted[0][:, _HALF:], lower, strict=True))
        return ClipFigures(
            self._folder.names[row],
            float(np.mean([psnr(a, b) for a, b in pairs])),
            float(np.mean([psnr(reference[_HALF:], b) for b in lower])),
            gaps,
            bright,
            spread,
        )

    def silence(self, row: int, seed: int = 0) -> SilenceFigures:
        """Measure what the clip's resting face does in digital silence and room noise."""
        count, rng = 48, np.random.default_rng(seed)
        rest = resting_frame(self._folder.points[row])
        reference = self._reference(row)
        upper, where = (
            np.stack([reference] * count),
            np.stack([self._folder.points[row][rest]] * count),
        )
        quiet = np.stack([silent_mel(rng) for _ in range(count)])
        quiet[: count // 4] = SILENCE
        frames = np.linspace(_FIRST + 12, _LAST - 12, count).astype(int)
        spoken = windows_of(self._folder.mel[row], [int(frame) for frame in frames])
        painted = self._painter.paint(upper, reference, quiet)
        gap = gap_of(painted, where, self._mesh)
        speech = gap_of(self._painter.paint(upper, reference, spoken), where, self._mesh)
        closed = float(gap_of(upper[:1], where[:1], self._mesh)[0])
        opening = max(float(np.median(speech)) - closed, 1e-6)
        change = np.abs(np.diff(painted[:, _BRIGHT[0], _BRIGHT[1]].astype(np.float32), axis=0))
        return SilenceFigures(
            float(gap.std() / max(float(speech.std()), 1e-6)),
            float((gap.mean() - closed) / opening),
            float(change.mean()),
        )

    def sheet(self, rows: Sequence[int], frames: Sequence[int] = range(8, 68, 5)) -> Image:
        """Return a picture: for each clip the truth above, the network below."""
        strips = []
        for row in rows:
            crops = self._folder.crops[row][list(frames)]
            windows = windows_of(self._folder.mel[row], frames)
            painted = self._painter.paint(crops, self._reference(row), windows)
            strips += [np.concatenate(list(crops), 1), np.concatenate(list(painted), 1)]
        return np.asarray(np.concatenate(strips, 0), np.uint8)

    def _reference(self, row: int) -> Image:
        rest = resting_frame(self._folder.points[row])
        return np.array(self._folder.crops[row][rest], np.uint8)


def summarise(clips: Sequence[ClipFigures], silence: Sequence[SilenceFigures]) -> Figures:
    """Reduce clips to medians and ranges."""
    decibels = [clip.psnr_db for clip in clips]
    summary = {
        "clips": float(len(clips)),
        "psnr_db_median": float(np.median(decibels)),
        "psnr_db_lowest": min(decibels),
        "psnr_db_highest": max(decibels),
        "copy_psnr_db_median": float(np.median([clip.copy_psnr_db for clip in clips])),
        "gap_spread_median": float(np.median([clip.gap_spread for clip in clips])),
    }
    for shift in clips[0].gap_correlation:
        gap = [clip.gap_correlation[shift] for clip in clips]
        bright = [clip.brightness_correlation[shift] for clip in clips]
        summary[f"gap_correlation_{shift:+d}"] = float(np.median(gap))
        summary[f"brightness_correlation_{shift:+d}"] = float(np.median(bright))
    parts = [(figure.movement, figure.gap, figure.change_levels) for figure in silence]
    mean = SilenceFigures(*(float(value) for value in np.median(parts, 0)))
    return Figures(list(clips), mean, summary)
