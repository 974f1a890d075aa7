"""What painted faces are measured by: pictures against pictures, lips against lips.

Crops are (T, 96, 96, 3) uint8 BGR, points (T, 468, 2) in crop sizes, lip gaps (T,) in crop sizes.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.types import Array, Float32, Image

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
_SIGMA, _SIDE = 1.5, 11
_C1, _C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2


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
