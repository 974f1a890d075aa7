"""What things are made of, as Blender materials; needs ``bpy``."""

from collections.abc import Mapping
from typing import Any

import bpy

from lipstream_models.synthetic.body.appearance import Colour, HairTone


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


def pores(material: Any, depth: float) -> None:
    """Give painted skin pores and fine lines, and a tone that varies as finely."""
    tree = material.node_tree
    shader, place = tree.nodes["Principled BSDF"], tree.nodes["Attribute"]
    cells = tree.nodes.new("ShaderNodeTexVoronoi")
    cells.inputs["Scale"].default_value = 42.0
    relief = tree.nodes.new("ShaderNodeBump")
    relief.invert = True
    relief.inputs["Strength"].default_value = 0.22 * depth
    relief.inputs["Distance"].default_value = 0.012
    tree.links.new(place.outputs["Vector"], cells.inputs["Vector"])
    tree.links.new(cells.outputs["Distance"], relief.inputs["Height"])
    tree.links.new(tree.nodes["Bump"].outputs[0], relief.inputs["Normal"])
    tree.links.new(relief.outputs[0], shader.inputs["Normal"])
    speck = tree.nodes.new("ShaderNodeTexNoise")
    speck.inputs["Scale"].default_value = 26.0
    speck.inputs["Detail"].default_value = 4
    tone = tree.nodes.new("ShaderNodeMapRange")
    tone.inputs["To Min"].default_value = 1 - 0.22 * depth
    tone.inputs["To Max"].default_value = 1 + 0.22 * depth
    mix = tree.nodes.new("ShaderNodeVectorMath")
    mix.operation = "SCALE"
    tree.links.new(place.outputs["Vector"], speck.inputs["Vector"])
    tree.links.new(speck.outputs[0], tone.inputs["Value"])
    tree.links.new(tree.nodes["Color Attribute"].outputs["Color"], mix.inputs[0])
    tree.links.new(tone.outputs[0], mix.inputs["Scale"])
    tree.links.new(mix.outputs[0], shader.inputs["Base Color"])


def cloth(name: str, colour: Colour) -> Any:
    """Return a matt, slightly fuzzy material."""
    inputs = {"Base Color": (*colour, 1), "Roughness": 0.9, "Sheen Weight": 0.35}
    return bump(_principled(name, inputs)[0], 55.0, 0.3, 0.02)


def hairs(name: str, tone: HairTone) -> Any:
    """Return a hair material."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader = tree.nodes.new("ShaderNodeBsdfHairPrincipled")
    shader.parametrization = "MELANIN"
    for key, value in {
        "Melanin": tone.melanin,
        "Melanin Redness": tone.redness,
        "Roughness": tone.roughness,
        "Radial Roughness": 0.4,
        "Random Color": 0.3,
        "Random Roughness": 0.2,
    }.items():
        shader.inputs[key].default_value = value
    tree.links.new(shader.outputs[0], output.inputs[0])
    return material
