"""Write the head of ``examples/three``: ICT-FaceKit's with ARKit's units, as a binary glTF.

    python tools/convert_ict_head.py FACEKIT.npz LANDMARKS.json examples/three/head.glb

``FACEKIT.npz`` holds ICT-FaceKit light (MIT licence, Copyright (c) 2020 USC Institute for Creative
Technologies): ``neutral`` (26719, 3) cm, ``faces`` and ``faces_uv`` (n, 4), ``uv`` (m, 2),
``expression`` (57, 26719, 3), ``expression_names``; ``LANDMARKS.json`` its ``vertex_indices.json``.
It has no skin: that is painted here, from where each texel lies on the head. Written are the units
of ``lipstream.lips.shape.UNIT_NAMES`` and the two that blink, quantised (KHR_mesh_quantization) and
sparse, in metres, Y up, looking along +Z.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ict_head import (
    Floats,
    Head,
    Integers,
    close_lips,
    eye_uv,
    lower_tongue,
    normals_of,
    teeth_shade,
    tongue_of,
    tongue_out,
)
from paint_head import (
    HAIR,
    above_hairline,
    chart_of,
    curve,
    mark,
    mask_of,
    openness_to_light,
    paint_eye,
    paint_lashes,
    paint_skin,
    paint_strands,
    pores,
    rise,
    roughness,
)
from write_gltf import BYTE, SHORT, UNSIGNED_BYTE, UNSIGNED_SHORT, Gltf, material

MOST = 0.2
"""Metres that the largest coordinate stands for."""
LEAST_MOVE = 3e-5
"""Metres below which a vertex counts as not moved by a unit."""


@dataclass(frozen=True, slots=True)
class Part:
    """A mesh of its own, with a material of its own."""

    name: str
    faces: NDArray[np.bool_]
    """(F,): which of the head's."""
    material: int
    uv: Floats | None = None
    """(T, 2): places in its texture, v upwards."""
    dark: Floats | None = None
    """(V,), 0 to 1: what its colour is multiplied by."""


def add_part(gltf: Gltf, head: Head, part: Part, normals: Floats) -> int:
    """Append a mesh with the units that move it; return its node."""
    quads, quads_uv = head.faces[part.faces], head.faces_uv[part.faces]
    pairs = np.stack([quads.ravel(), quads_uv.ravel() if part.uv is not None else quads.ravel()], 1)
    corners, where = np.unique(pairs, axis=0, return_inverse=True)
    vertices, where = corners[:, 0], where.reshape(quads.shape)
    triangles = np.concatenate([where[:, [0, 1, 2]], where[:, [0, 2, 3]]])
    attributes = {
        "POSITION": gltf.attribute(_short(head.points[vertices]), SHORT),
        "NORMAL": gltf.attribute(_byte(normals[vertices]), BYTE),
    }
    if part.uv is not None:
        places = np.clip(part.uv[corners[:, 1]] * [1, -1] + [0, 1], 0, 1)
        attributes["TEXCOORD_0"] = gltf.attribute(np.rint(places * 65535), UNSIGNED_SHORT)
    if part.dark is not None:
        shade = np.rint(np.repeat(part.dark[vertices, None], 4, 1) * 255)
        shade[:, 3] = 255
        attributes["COLOR_0"] = gltf.attribute(shade, UNSIGNED_BYTE)
    view = gltf.view(triangles.astype("<u2").tobytes(), target=34963)
    names, targets = [], []
    for name, moves in head.units.items():
        if (target := _target(gltf, head, moves, vertices, normals)) is not None:
            names.append(name)
            targets.append(target)
    primitive = {
        "attributes": attributes,
        "indices": gltf.accessor(triangles.ravel(), UNSIGNED_SHORT, normal=False, bufferView=view),
        "material": part.material,
        **({"targets": targets} if targets else {}),
    }
    about = {"weights": [0] * len(names), "extras": {"targetNames": names}} if names else {}
    mesh = gltf.add("meshes", name=part.name, primitives=[primitive], **about)
    return gltf.add("nodes", name=part.name, mesh=mesh, scale=[MOST] * 3)


def _target(
    gltf: Gltf, head: Head, moves: Floats, vertices: Integers, normals: Floats
) -> dict[str, int] | None:
    moved = np.linalg.norm(moves[vertices], axis=1) > LEAST_MOVE
    if not moved.any():
        return None
    turned = (normals_of(head.points + moves, head.faces) - normals)[vertices]
    rows = np.flatnonzero(moved)
    places = _short(moves[vertices][rows])
    leans = _byte(turned[rows])
    return {
        "POSITION": gltf.sparse(rows, places, SHORT, len(vertices)),
        "NORMAL": gltf.sparse(rows, leans, BYTE, len(vertices)),
    }


def _short(metres: Floats) -> NDArray[np.int16]:
    return np.asarray(np.rint(np.clip(metres / MOST, -1, 1) * 32767), np.int16)


def _byte(unit: Floats) -> NDArray[np.int8]:
    return np.asarray(np.rint(np.clip(unit, -1, 1) * 127), np.int8)


def add_parts(gltf: Gltf, head: Head, normals: Floats) -> list[int]:
    """Append all meshes but the hair; return their nodes."""
    sampler = gltf.add("samplers", magFilter=9729, minFilter=9987)
    tongue = tongue_of(head)
    depth = np.clip((head.points[:, 2] - 0.045) / 0.058, 0.0, 1.0)
    dark = 0.03 + 0.97 * depth**2.2  # what stands deep in the mouth gets little light
    flesh: dict[str, Any] = {"rough": 0.7, "extensions": dull(0.25)}
    cavity = material(gltf, "cavity", (0.13, 0.02, 0.02), **flesh)
    gums = material(gltf, "gums", (0.42, 0.11, 0.11), **flesh)
    red = material(gltf, "tongue", (0.40, 0.105, 0.10), **flesh)
    enamel = material(gltf, "teeth", (0.70, 0.62, 0.49), 0.28, extensions=wet(0.3, 0.3))
    eyes = material(
        gltf,
        "eyes",
        rough=0.35,
        surface={"baseColorTexture": gltf.texture(paint_eye(), 92, sampler)},
        extensions=wet(1.0, 0.03),
    )
    lashes = material(
        gltf,
        "lashes",
        rough=0.9,
        surface={"baseColorTexture": gltf.picture(paint_lashes(), ".png", sampler)},
        alphaMode="BLEND",
        doubleSided=True,
    )
    upper_lids = head.part("lashes left") | head.part("lashes right")
    parts = [
        Part("skin", head.part("skin"), add_skin(gltf, head, normals, sampler), head.uv / [2, 1]),
        Part("lids", head.part("lids"), material(gltf, "lids", (0.35, 0.14, 0.12), 0.5)),
        Part("cavity", head.part("cavity"), cavity, dark=dark),
        Part("gums", head.part("gums") & ~tongue, gums, dark=dark),
        Part("tongue", tongue, red, dark=dark**1.4),
        Part("teeth", head.part("teeth"), enamel, dark=dark * teeth_shade(head)),
        Part("lashes", upper_lids, lashes, head.uv - [6, 0]),
    ]
    for side in ("left", "right"):
        faces = head.part(f"eye {side}")
        parts.append(Part(f"eye {side}", faces, eyes, eye_uv(head, faces)))
    return [add_part(gltf, head, part, normals) for part in parts]


def add_skin(gltf: Gltf, head: Head, normals: Floats, sampler: int) -> int:
    """Paint the skin; return its material."""
    chart = chart_of(head, normals)
    light = openness_to_light(chart)
    lips = mask_of(curve(mark(head, [*range(48, 60)]), closed=True), 2.0)
    light = np.maximum(light, 0.6 * lips)  # they are not always shut
    rough = gltf.texture(roughness(chart, light), 85, sampler)
    tiles = {"KHR_texture_transform": {"scale": [26.0, 13.0]}}
    return material(
        gltf,
        "skin",
        surface={
            "baseColorTexture": gltf.texture(paint_skin(head, chart, light), 88, sampler),
            "metallicRoughnessTexture": rough,
        },
        occlusionTexture=rough,
        normalTexture={**gltf.texture(pores(), 88, sampler), "scale": 0.4, "extensions": tiles},
        extensions=dull(0.75),
    )


def wet(much: float, rough: float) -> dict[str, Any]:
    """Return the extension of a material that is wet."""
    return {"KHR_materials_clearcoat": {"clearcoatFactor": much, "clearcoatRoughnessFactor": rough}}


def dull(share: float) -> dict[str, Any]:
    """Return the extension of a material that mirrors less."""
    return {"KHR_materials_specular": {"specularFactor": share}}


SHELLS = 7


def add_hair(gltf: Gltf, head: Head, normals: Floats) -> list[int]:
    """Append hair cut short: shells over the scalp, each with fewer of the hairs; return its nodes.

    A hair is a spot of the texture, whose alpha is its length: it ends at the shell whose cutoff
    lies above that. All shells are one geometry, which two targets lift and lay over.
    """
    grown = rise((above_hairline(head.points) - 0.05) / 2.0)
    quads = head.faces[head.part("skin") & (grown[head.faces].max(1) > 0)]
    vertices, where = np.unique(quads, return_inverse=True)
    where = where.reshape(quads.shape)
    triangles = np.concatenate([where[:, [0, 1, 2]], where[:, [0, 2, 3]]])
    points, outwards, share = head.points[vertices], normals[vertices], grown[vertices]
    shade = np.full((len(points), 4), 255.0)
    shade[:, 3] = 255 * np.clip(0.25 + 0.9 * share, 0, 1)
    length = (0.0035 + 0.0055 * rise((points[:, 1] - 0.06) / 0.05)) * (0.35 + 0.65 * share)
    down = np.cross(np.cross(outwards, points - [0, 0.24, 0]), outwards)
    down /= np.maximum(np.linalg.norm(down, axis=1, keepdims=True), 1e-6)
    view = gltf.view(triangles.astype("<u2").tobytes(), target=34963)
    primitive = {
        "attributes": {
            "POSITION": gltf.attribute(_short(points), SHORT),
            "NORMAL": gltf.attribute(_byte(outwards), BYTE),
            "TEXCOORD_0": gltf.attribute(np.rint(_from_crown(points) * 65535), UNSIGNED_SHORT),
            "COLOR_0": gltf.attribute(np.rint(shade), UNSIGNED_BYTE),
        },
        "indices": gltf.accessor(triangles.ravel(), UNSIGNED_SHORT, normal=False, bufferView=view),
        "targets": [
            {"POSITION": gltf.attribute(_short(move * length[:, None]), SHORT)}
            for move in (outwards, down)
        ],
    }
    tiles = {"KHR_texture_transform": {"scale": [5.0, 5.0]}}
    strands = {**gltf.picture(paint_strands(), ".png", 0), "extensions": tiles}
    return [_add_shell(gltf, primitive, strands, (k + 1) / SHELLS) for k in range(SHELLS)]


def _add_shell(gltf: Gltf, primitive: dict[str, Any], strands: dict[str, Any], up: float) -> int:
    shell = material(
        gltf,
        "hair",
        tuple(one**2.2 * (0.45 + 1.1 * up) for one in HAIR),
        rough=0.75,
        surface={"baseColorTexture": strands},
        alphaMode="MASK",
        alphaCutoff=0.30 + 0.52 * up,
    )
    mesh = gltf.add(
        "meshes",
        name="hair",
        primitives=[{**primitive, "material": shell}],
        weights=[up - 0.25 * up**2, 0.55 * up**2],
        extras={"targetNames": ["hairUp", "hairOver"]},
    )
    return gltf.add("nodes", name="hair", mesh=mesh, scale=[MOST] * 3)


def _from_crown(points: Floats) -> Floats:
    """Return (n, 2), 0 to 1: points seen from above, as far from the middle as along the scalp."""
    away = points - np.array([0, 0.04, 0], np.float32)
    polar = np.arccos(away[:, 1] / np.linalg.norm(away, axis=1)) / 2.6
    around = np.arctan2(away[:, 0], away[:, 2])
    uv = 0.5 + 0.5 * polar[:, None] * np.stack([np.sin(around), np.cos(around)], 1)
    return np.asarray(np.clip(uv, 0, 1), np.float32)


def main() -> None:
    """Convert."""
    head = Head.load(Path(sys.argv[1]), Path(sys.argv[2]))
    tongue = np.unique(head.faces[tongue_of(head)])
    lower_tongue(head, tongue)
    head.units["tongueOut"] = tongue_out(head, tongue)
    close_lips(head)
    normals = normals_of(head.points, head.faces)
    gltf = Gltf()
    gltf.tree["asset"] = {
        "version": "2.0",
        "generator": "lipstream tools/convert_ict_head.py",
        "copyright": "ICT-FaceKit: (c) 2020 USC Institute for Creative Technologies, MIT licence",
    }
    nodes = [*add_parts(gltf, head, normals), *add_hair(gltf, head, normals)]
    root = gltf.add("nodes", name="head", children=nodes)
    gltf.add("scenes", nodes=[root])
    gltf.tree["scene"] = 0
    gltf.tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    gltf.tree["extensionsUsed"] = [
        "KHR_mesh_quantization",
        "KHR_materials_clearcoat",
        "KHR_materials_specular",
        "KHR_texture_transform",
    ]
    path = Path(sys.argv[3])
    gltf.write(path)
    sys.stdout.write(f"wrote {path}: {path.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
