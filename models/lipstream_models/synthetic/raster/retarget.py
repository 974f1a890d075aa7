"""Take lip movements from a film: face units from the mesh points of a speaking face.

A regressor learns on renders, where the units are known: from lip shapes, relative to the same
person at rest, to units. Quadratic ridge regression; nothing of it depends on the person.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from lipstream.types import Float32
from lipstream_models.synthetic.body.head_model import Float

_RIDGE = 3.0
_STEADY_FRAMES = 0.7
"""Smoothing of lip shapes over time, frames: the mesh trembles a little."""
_REST_SHARE = 6
"""One frame of so many, those with the smallest gap, counts as rest."""


def lip_shape(points: Float32) -> Float32:
    """Describe lips by (..., 468, 2) points in crop units: (..., 16), in crop sizes.

    Opening at three places, widths, heights of lips, corners and chin below the nose.
    """
    x, y = points[..., 0], points[..., 1]
    nose = (y[..., 2] + y[..., 94] + y[..., 1] + y[..., 168]) / 4
    corners = (y[..., 61] + y[..., 291]) / 2
    return np.stack(
        [
            y[..., 14] - y[..., 13],
            (y[..., 87] - y[..., 82] + y[..., 317] - y[..., 312]) / 2,
            (y[..., 88] - y[..., 80] + y[..., 318] - y[..., 310]) / 2,
            x[..., 291] - x[..., 61],
            x[..., 308] - x[..., 78],
            y[..., 0] - nose,
            y[..., 17] - nose,
            y[..., 152] - nose,
            y[..., 13] - y[..., 0],
            y[..., 17] - y[..., 14],
            corners - y[..., 0],
            y[..., 17] - corners,
            x[..., 267] - x[..., 37],
            x[..., 314] - x[..., 84],
            y[..., 200] - nose,
            x[..., 287] - x[..., 57],
        ],
        -1,
    ).astype(np.float32)


def rest_shape(shapes: Float32) -> Float32:
    """Return the (F,) resting shape of a clip's (T, F): of its frames with the smallest gap."""
    order = np.argsort(shapes[:, 0])
    return np.asarray(np.median(shapes[order[: max(1, len(order) // _REST_SHARE)]], 0), np.float32)


@dataclass(frozen=True, slots=True)
class Retargeter:
    """Face units from lip shapes relative to rest."""

    scale: Float
    """(F,) spread of each feature."""
    weights: Float
    """(1 + F + F (F + 1) / 2, U)."""

    def units(self, relative: Float32) -> Float32:
        """Return (T, U) units, 0 to 1.1, of a clip's (T, F) shapes less the resting one."""
        steady = cv2.GaussianBlur(relative, (1, 7), sigmaX=0.1, sigmaY=_STEADY_FRAMES)
        found = _terms(steady / self.scale) @ self.weights
        at_rest = _terms(np.zeros((1, len(self.scale)))) @ self.weights
        return np.clip(found - at_rest, 0, 1.1).astype(np.float32)


def _terms(x: Float) -> Float:
    """Return one, x and all products of two: (n, 1 + F + F (F + 1) / 2)."""
    soft = np.clip(x, -3.5, 3.5)
    i, j = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones((len(x), 1)), soft, 0.3 * soft[:, i] * soft[:, j]], 1)


def fit(relative: Float32, units: Float32) -> Retargeter:
    """Learn from (n, F) shapes relative to rest and the (n, U) units that made them."""
    scale = relative.std(0).astype(np.float64) + 1e-4
    terms = _terms(relative / scale)
    penalty = _RIDGE * np.sqrt(len(terms)) * np.eye(terms.shape[1])
    penalty[0, 0] = 1e-6
    weights = np.linalg.solve(terms.T @ terms + penalty, terms.T @ units.astype(np.float64))
    return Retargeter(scale, weights)
