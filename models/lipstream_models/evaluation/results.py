"""What an evaluation found, clip by clip and in the middle."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lipstream_models.evaluation.sync_scorer import SyncScore


@dataclass(frozen=True, slots=True)
class PictureMetrics:
    """Painted lower halves against the true ones, means over frames."""

    psnr_db: float
    """Peak signal-to-noise ratio."""
    copy_psnr_db: float
    """The same for the reference's own lower half: no network at all."""
    ssim: float
    """Structural similarity, 1 for equal pictures."""
    copy_ssim: float
    brightness_correlation: float
    """Mean level round the lips, painted against truth."""
    sharpness: float
    """Mean |Laplacian| of the painted mouth over that of the reference's."""
    truth_sharpness: float
    """The same for the true frames, which differ from a resting frame too."""
    detail: float
    """Variance of the Laplacian of the painted mouth over that of the reference's."""
    truth_detail: float
    """The same for the true frames."""


@dataclass(frozen=True, slots=True)
class LipMetrics:
    """Painted lips against the true ones, both found by the face mesh."""

    gap_correlation: float
    gap_spread: float
    """Standard deviation of the painted lip gap over that of the truth."""
    gap_offset: float
    """Frames by which the painted lips move after the true ones, to a fraction."""
    gap_peak: float
    """Correlation of the lip gaps at the best whole frame."""
    lmd_percent: float
    """Mean distance of the lip points, % of the outer-eye distance."""
    copy_lmd_percent: float
    """The same between the reference's lips and the truth's."""
    lve_percent: float
    """Distance of the lip point furthest astray, mean over frames, % of the outer-eye distance."""
    copy_lve_percent: float
    """The same between the reference's lips and the truth's."""


@dataclass(frozen=True, slots=True)
class RestMetrics:
    """What the mouth does while nobody speaks."""

    variance: float
    """Variance of the lip gap over that in speech."""
    opening_percent: float
    """Mean lip gap less the reference's, % of the outer-eye distance."""


@dataclass(frozen=True, slots=True)
class ClipMetrics:
    """One clip painted anew: upper halves of its frames, one resting frame as the reference."""

    name: str
    picture: PictureMetrics
    lips: LipMetrics
    sync: SyncScore | None = None
    """What the sync scorer says of the painted frames; None without one."""
    truth_sync: SyncScore | None = None
    """What it says of the true ones."""


@dataclass(frozen=True, slots=True)
class StillMetrics:
    """A clip's resting frame made to speak, as an avatar does, and to hear other things."""

    name: str
    lips: LipMetrics
    """Against the lips of the film, whose head moves: LMD says little here."""
    silence: RestMetrics
    noise: RestMetrics
    music: RestMetrics
    flicker_levels: float
    """Mean change of the mouth from frame to frame while a vowel is held, levels of 255."""
    truth_flicker_levels: float
    """The same in the calmest fifth of the true frames: breath, and the camera's noise."""


@dataclass(frozen=True, slots=True)
class MetricRange:
    """One figure over several clips."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """An evaluation."""

    model: str
    """File or folder that was measured."""
    clips_from: str
    """Folder of the clips."""
    clips: list[ClipMetrics]
    still: list[StillMetrics]
    summary: dict[str, MetricRange]
    """Figures of ``clips`` by name, those of ``still`` with ``still_`` before it."""


def summarise(
    model: str, clips_from: str, clips: Sequence[ClipMetrics], still: Sequence[StillMetrics]
) -> EvaluationReport:
    """Reduce clips to medians and ranges; figures that no clip has are left out."""
    summary_of_clips = _ranges([dict(_flat(asdict(clip))) for clip in clips])
    resting = _ranges([dict(_flat(asdict(clip))) for clip in still])
    summary = summary_of_clips | {f"still_{name}": range_of for name, range_of in resting.items()}
    return EvaluationReport(model, clips_from, list(clips), list(still), summary)


def _flat(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, float):
            yield name, value
        elif isinstance(value, dict):
            before = "" if name in ("picture", "lips") else f"{name}_"
            yield from ((before + inner, float(leaf)) for inner, leaf in value.items())


def _ranges(clips: Sequence[dict[str, float]]) -> dict[str, MetricRange]:
    ranges = {}
    for name in clips[0] if clips else ():
        values = [clip[name] for clip in clips]
        ranges[name] = MetricRange(float(np.median(values)), min(values), max(values))
    return ranges
