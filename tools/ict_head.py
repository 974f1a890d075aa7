"""ICT-FaceKit's head: its parts, its tongue and how ARKit's units move it.

Read by ``convert_ict_head.py``, which says where it comes from.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipstream.lips.shape import UNIT_NAMES

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

UNITS = (*UNIT_NAMES, "eyeBlinkLeft", "eyeBlinkRight")
PARTS = {
    "skin": (0, 11248),
    "cavity": (11248, 13294),
    "lids": (13294, 14062),
    "gums": (14062, 17039),
    "teeth": (17039, 21451),
    "eye left": (21451, 22221),
    "eye right": (23021, 23791),
    "lashes left": (25351, 25693),
    "lashes right": (26035, 26377),
}
"""Vertices of each part, as ICT-FaceKit's list has them; of the lashes those of the upper lids."""
TONGUE_SEEDS = (16565, 17038)
"""A vertex of the tongue's underside, and one of its back: each a chart of its own."""


@dataclass(frozen=True, slots=True)
class Head:
    """ICT-FaceKit, metres."""

    points: Floats
    """(V, 3)."""
    faces: Integers
    """(F, 4) vertices."""
    faces_uv: Integers
    """(F, 4) texture places."""
    uv: Floats
    """(T, 2): the face's chart from 0 to 1, the head's from 1 to 2; v upwards."""
    units: dict[str, Floats]
    """Name -> (V, 3): how the unit moves each vertex."""
    landmarks: Integers
    """(68,) vertices: iBUG's points."""

    @classmethod
    def load(cls, facekit: Path, landmarks: Path) -> "Head":
        """Read it; a side is ``_L`` there and ``Left`` here."""
        with np.load(facekit, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
        moves = dict(zip(arrays["expression_names"], arrays["expression"], strict=True))
        sides = {"Left": "_L", "Right": "_R"}
        units = {}
        points = arrays["neutral"].astype(np.float32) / 100
        for unit in UNITS:
            name = next((unit[: -len(s)] + t for s, t in sides.items() if unit.endswith(s)), unit)
            if name in moves:
                enough = 1.06 if unit.startswith("eyeBlink") else 1.0  # else a slit is left
                units[unit] = enough * moves[name].astype(np.float32) / 100
        listed = json.loads(landmarks.read_text("utf-8"))["idx_to_landmark_verts"]
        faces, faces_uv = (arrays[name].astype(np.int64) for name in ("faces", "faces_uv"))
        uv = arrays["uv"].astype(np.float32)
        return cls(points, faces, faces_uv, uv, units, np.array(listed))

    def part(self, name: str) -> NDArray[np.bool_]:
        """Return (F,): which faces are of a part."""
        first, last = PARTS[name]
        return np.asarray(((self.faces >= first) & (self.faces < last)).all(1))


def tongue_of(head: Head) -> NDArray[np.bool_]:
    """Return (F,): which faces are the tongue's, found by the charts of TONGUE_SEEDS."""
    inside = head.part("gums")
    label = np.arange(len(head.uv))
    quads = head.faces_uv[inside]
    for _ in range(len(quads)):
        least = label[quads].min(1)
        before = label.copy()
        for corner in range(4):
            np.minimum.at(label, quads[:, corner], least)
        if (label == before).all():
            break
    charts = {
        int(label[head.faces_uv[row][head.faces[row] == seed][0]])
        for seed in TONGUE_SEEDS
        for row in [np.flatnonzero(inside & (head.faces == seed).any(1))[0]]
    }
    return np.asarray(inside & np.isin(label[head.faces_uv[:, 0]], list(charts)))


def tongue_out(head: Head, vertices: Integers) -> Floats:
    """Return (V, 3): ICT-FaceKit has no such unit; the tip goes 3 cm forward over the teeth."""
    points = head.points[vertices]
    back, tip = points[:, 2].max() - 0.055, points[:, 2].max()
    far = np.clip((points[:, 2] - back) / (tip - back), 0.0, 1.0)
    moved = np.zeros_like(head.points)
    moved[vertices, 2] = 0.030 * far**1.5
    moved[vertices, 1] = 0.0110 * np.sin(np.pi * far**0.8) + 0.0065 * far**2 - 0.008 * far**4
    moved[vertices, 0] = -0.22 * points[:, 0] * far
    return moved


def lower_tongue(head: Head, vertices: Integers) -> None:
    """Let the tongue lie lower, and more so as the jaw opens: as it is, it fills the mouth."""
    front = np.clip((head.points[vertices, 2] - 0.045) / 0.04, 0.0, 1.0)
    head.points[vertices, 1] -= 0.0030 * front
    head.units["jawOpen"][vertices, 1] -= 0.0075 * front


def normals_of(points: Floats, quads: Integers) -> Floats:
    """Return (V, 3) unit normals: the mean of the faces round each vertex, large ones more."""
    a, b, c, d = (points[quads[:, k]] for k in range(4))
    across = np.cross(c - a, d - b)
    normals = np.zeros_like(points)
    for corner in range(4):
        np.add.at(normals, quads[:, corner], across)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(length, 1e-12), np.float32)


def teeth_shade(head: Head) -> Floats:
    """Return (V,), 0 to 1: each tooth darker at its sides and at the gum."""
    shade = np.ones(len(head.points), np.float32)
    first, last = PARTS["teeth"]
    label = np.arange(len(head.points))
    quads = head.faces[head.part("teeth")]
    for _ in range(200):
        least = label[quads].min(1)
        for corner in range(4):
            np.minimum.at(label, quads[:, corner], least)
    for tooth in np.unique(label[first:last]):
        vertices = np.flatnonzero(label == tooth)
        points = head.points[vertices]
        angle = np.arctan2(points[:, 0], points[:, 2] - 0.05)
        middle, half = (angle.max() + angle.min()) / 2, (angle.max() - angle.min()) / 2
        aside = np.abs(angle - middle) / half
        upper = points[:, 1].mean() > -0.034
        height = (points[:, 1] - points[:, 1].min()) / np.ptp(points[:, 1])
        root = height if upper else 1 - height
        shade[vertices] = (1 - 0.55 * aside**4) * (1 - 0.45 * np.clip((root - 0.45) / 0.5, 0, 1))
    return shade


def eye_uv(head: Head, faces: NDArray[np.bool_]) -> Floats:
    """Return (T, 2): the eye's front seen from the front, by texture place of the head."""
    vertices, places = head.faces[faces].ravel(), head.faces_uv[faces].ravel()
    points = head.points[vertices]
    middle = (points.max(0) + points.min(0)) / 2
    apex = points[points[:, 2] > np.quantile(points[:, 2], 0.985)].mean(0)
    half = (points[:, 0].max() - points[:, 0].min()) / 2
    uv = np.zeros_like(head.uv)
    flat = (points - [apex[0], apex[1], middle[2]])[:, :2] / half
    uv[places] = 0.5 + 0.5 * flat
    return uv


def close_lips(head: Head) -> None:
    """Bring the resting lips together: they stand 0.8 mm apart."""
    head.points[:] += 0.021 * head.units["mouthClose"]
