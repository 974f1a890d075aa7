"""Refine parts of the base mesh and put points on their surface, all as sparse matrices.

A matrix maps the (V, 3) base vertices to the refined part, so one product poses a whole part.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lipstream_models.synthetic.body.head_model import BaseMesh, Float, Index

SparseMatrix = Any
"""A ``scipy.sparse.csr_matrix``: scipy has no types."""


@dataclass(frozen=True, slots=True)
class Part:
    """A refined part of the mesh."""

    matrix: SparseMatrix
    """(N, V): refined vertices from base vertices."""
    quads: Index
    """(F, 4) into the refined vertices."""
    texture: Float
    """(N, 2) texture coordinate of each vertex (one side of a seam)."""

    def place(self, vertices: Float) -> Float:
        """Return the (N, 3) refined vertices of a posed base mesh."""
        return np.asarray(self.matrix @ vertices)


@dataclass(frozen=True, slots=True)
class Division:
    """The topology of one Catmull-Clark step."""

    edges: Index
    """(E, 2) vertices of each edge."""
    quad_edges: Index
    """(F, 4) edge from corner k to corner k + 1."""
    uses: Index
    """(E,) number of quads at each edge; 1 on a border."""
    quads: Index
    """(4 F, 4): vertices come first, then a point per edge, then a point per quad."""


def divide(quads: Index, vertex_count: int) -> Division:
    """Split every quad in four."""
    pairs = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    edges, inverse, uses = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    quad_edges = inverse.reshape(-1, 4)
    centre = vertex_count + len(edges) + np.arange(len(quads))
    split = [
        np.stack(
            [
                quads[:, k],
                vertex_count + quad_edges[:, k],
                centre,
                vertex_count + quad_edges[:, k - 1],
            ],
            1,
        )
        for k in range(4)
    ]
    return Division(edges, quad_edges, uses, np.stack(split, 1).reshape(-1, 4))


def _incidence(rows: Index, columns: Index, shape: tuple[int, int]) -> SparseMatrix:
    return sp.csr_matrix((np.ones(rows.size), (rows.ravel(), columns.ravel())), shape)


def smooth_step(quads: Index, count: int) -> tuple[SparseMatrix, Index]:
    """Return the matrix and quads of one Catmull-Clark step with smooth borders.

    Catmull and Clark, "Recursively generated B-spline surfaces" (1978); borders follow the cubic
    curve rule.
    """
    step = divide(quads, count)
    faces, edges = len(quads), len(step.edges)
    each_face = np.repeat(np.arange(faces), 4)
    face_points = _incidence(each_face, quads, (faces, count)) / 4
    middles = _incidence(np.repeat(np.arange(edges), 2), step.edges, (edges, count)) / 2
    edge_faces = _incidence(step.quad_edges, each_face, (edges, faces))
    border = (step.uses == 1).astype(float)
    inner = _diagonal((1 - border) / 2) @ (
        middles + _diagonal(1 / np.maximum(step.uses, 1)) @ edge_faces @ face_points
    )
    edge_points = inner + _diagonal(border) @ middles

    vertex_faces = _incidence(quads, each_face, (count, faces))
    vertex_edges = _incidence(step.edges, np.repeat(np.arange(edges), 2), (count, edges))
    valence = np.maximum(np.asarray(vertex_edges.sum(1)).ravel(), 1)
    face_count = np.maximum(np.asarray(vertex_faces.sum(1)).ravel(), 1)
    inner_points = (
        _diagonal(1 / (valence * face_count)) @ vertex_faces @ face_points
        + _diagonal(2 / valence**2) @ vertex_edges @ middles
        + _diagonal((valence - 3) / valence)
    )
    on_border = np.zeros(count)
    on_border[step.edges[step.uses == 1]] = 1
    border_edges = vertex_edges @ _diagonal(border)
    border_count = np.maximum(np.asarray(border_edges.sum(1)).ravel(), 1)
    border_points = _diagonal(0.5 / border_count) @ border_edges @ middles + 0.5 * sp.eye(count)
    points = _diagonal(1 - on_border) @ inner_points + _diagonal(on_border) @ border_points
    return sp.vstack([points, edge_points, face_points]).tocsr(), step.quads


def refine(base: BaseMesh, faces: Index, levels: int) -> Part:
    """Subdivide the given faces of the base mesh ``levels`` times."""
    used, quads = _compact(base.quads[faces])
    texture_used, texture_quads = _compact(base.texture_quads[faces])
    texture = base.texture[texture_used]
    matrix = _incidence(np.arange(len(used)), used, (len(used), len(base.vertices)))
    for _ in range(levels):
        step, quads = smooth_step(quads, matrix.shape[0])
        matrix = (step @ matrix).tocsr()
        split = divide(texture_quads, len(texture))
        centres = texture[texture_quads].mean(1)
        texture = np.concatenate([texture, texture[split.edges].mean(1), centres])
        texture_quads = split.quads
    per_vertex = np.zeros((matrix.shape[0], 2))
    per_vertex[quads.ravel()] = texture[texture_quads.ravel()]
    return Part(matrix, quads, per_vertex)


def _compact(quads: Index) -> tuple[Index, Index]:
    """Return the indices in use, and the quads renumbered to them."""
    used, inverse = np.unique(quads, return_inverse=True)
    return used, inverse.reshape(quads.shape)


def select(quads: Index, keep: Index) -> tuple[Index, Index]:
    """Return the vertices used by the kept quads, and those quads renumbered."""
    return _compact(quads[keep])


def normals(points: Float, quads: Index) -> Float:
    """Return (N, 3) unit vertex normals, weighted by area."""
    diagonal_a = points[quads[:, 2]] - points[quads[:, 0]]
    diagonal_b = points[quads[:, 3]] - points[quads[:, 1]]
    face = np.cross(diagonal_a, diagonal_b)
    total = np.stack(
        [np.bincount(quads.ravel(), np.repeat(face[:, k], 4), len(points)) for k in range(3)], 1
    )
    return unit(total.astype(np.float64))


def unit(vectors: Float) -> Float:
    """Return vectors of length one; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12))


def smoothing(quads: Index, count: int) -> SparseMatrix:
    """Return the (N, N) matrix that replaces each vertex by the mean of its neighbours."""
    a, b = quads.ravel(), np.roll(quads, -1, 1).ravel()
    links = _incidence(np.concatenate([a, b]), np.concatenate([b, a]), (count, count))
    links.data[:] = 1
    total = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    return (_diagonal(1 / total) @ links).tocsr()


@dataclass(frozen=True, slots=True)
class Roots:
    """Points scattered on a surface, fixed to its triangles."""

    corners: Index
    """(n, 3) vertices of each point's triangle."""
    weights: Float
    """(n, 3) barycentric weights."""

    def __len__(self) -> int:
        return len(self.corners)

    def take(self, keep: NDArray[np.bool_]) -> "Roots":
        """Return the chosen points."""
        return Roots(self.corners[keep], self.weights[keep])

    def at(self, field: Float) -> Float:
        """Interpolate a (N, k) field of the vertices to the points."""
        return np.asarray((field[self.corners] * self.weights[..., None]).sum(1))


def scatter(
    points: Float, quads: Index, density: Float, *, count: int, rng: np.random.Generator
) -> Roots:
    """Scatter ``count`` points; ``density`` (N,) weighs the vertices, per area of ``points``."""
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    a, b, c = (points[triangles[:, k]] for k in range(3))
    weight = np.linalg.norm(np.cross(b - a, c - a), axis=1) * density[triangles].mean(1)
    chosen = triangles[rng.choice(len(triangles), count, p=weight / weight.sum())]
    uv = rng.random((count, 2))
    outside = uv.sum(1) > 1
    uv[outside] = 1 - uv[outside]
    return Roots(chosen, np.column_stack([1 - uv.sum(1), uv]))


def _diagonal(values: Float) -> SparseMatrix:
    """Return the matrix that scales row k by ``values[k]``."""
    return sp.diags(values)
