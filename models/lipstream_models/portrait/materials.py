"""What things are made of, as Blender materials; needs ``bpy``."""

from collections.abc import Mapping
from typing import Any

import bpy

Colour = tuple[float, float, float]
"""Linear RGB."""


def _principled(name: str, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    shader = material.node_tree.nodes["Principled BSDF"]
    for key, value in inputs.items():
        shader.inputs[key].default_value = value
    return material, shader


def plain(name: str, colour: Colour, roughness: float, specular: float = 0.4) -> Any:
    """Return a material of one colour."""
    inputs = {"Base Color": (*colour, 1), "Roughness": roughness, "Specular IOR Level": specular}
    return _principled(name, inputs)[0]


def painted(name: str, roughness: tuple[float, float], depth_dm: float, coat: float = 0.0) -> Any:
    """Return a material that takes its colour and gloss from the attribute ``paint``.

    ``roughness`` is that of gloss 0 and of gloss 1; ``depth_dm`` how far red light scatters.
    """
    inputs: dict[str, Any] = {
        "Subsurface Weight": 0.85 if depth_dm else 0.0,
        "Subsurface Scale": depth_dm,
        "Subsurface Radius": (1.0, 0.36, 0.20),
        "Specular IOR Level": 0.1 if coat else 0.42,
        "Coat Weight": coat,
        "Coat Roughness": 0.02,
    }
    material, shader = _principled(name, inputs)
    tree = material.node_tree
    paint = tree.nodes.new("ShaderNodeVertexColor")
    paint.layer_name = "paint"
    gloss = tree.nodes.new("ShaderNodeMapRange")
    gloss.inputs["To Min"].default_value, gloss.inputs["To Max"].default_value = roughness
    tree.links.new(paint.outputs["Color"], shader.inputs["Base Color"])
    tree.links.new(paint.outputs["Alpha"], gloss.inputs["Value"])
    tree.links.new(gloss.outputs[0], shader.inputs["Roughness"])
    return material


def bump(material: Any, scale: float, strength: float, height_dm: float) -> Any:
    """Add fine relief to a material, fixed to the attribute ``place``; returns the material."""
    tree = material.node_tree
    place = tree.nodes.new("ShaderNodeAttribute")
    place.attribute_name = "place"
    noise = tree.nodes.new("ShaderNodeTexNoise")
    noise.inputs["Scale"].default_value = scale
    noise.inputs["Detail"].default_value = 3
    relief = tree.nodes.new("ShaderNodeBump")
    relief.inputs["Strength"].default_value = strength
    relief.inputs["Distance"].default_value = height_dm
    tree.links.new(place.outputs["Vector"], noise.inputs["Vector"])
    tree.links.new(noise.outputs[0], relief.inputs["Height"])
    shader = tree.nodes["Principled BSDF"]
    tree.links.new(relief.outputs[0], shader.inputs["Normal"])
    return material


def cloth(name: str, colour: Colour) -> Any:
    """Return a matt, slightly fuzzy material."""
    inputs = {"Base Color": (*colour, 1), "Roughness": 0.9, "Sheen Weight": 0.35}
    return bump(_principled(name, inputs)[0], 55.0, 0.3, 0.02)


def hairs(name: str, melanin: float, redness: float, roughness: float) -> Any:
    """Return a hair material by melanin content."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader = tree.nodes.new("ShaderNodeBsdfHairPrincipled")
    shader.parametrization = "MELANIN"
    for key, value in {
        "Melanin": melanin,
        "Melanin Redness": redness,
        "Roughness": roughness,
        "Radial Roughness": 0.4,
        "Random Color": 0.3,
        "Random Roughness": 0.2,
    }.items():
        shader.inputs[key].default_value = value
    tree.links.new(shader.outputs[0], output.inputs[0])
    return material
