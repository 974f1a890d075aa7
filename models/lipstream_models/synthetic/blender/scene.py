"""Materials, light and camera, rendered with Cycles; needs Blender (``pip install bpy``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from lipstream_models.synthetic.blender.hair import Strands
from lipstream_models.synthetic.blender.idle_loop import PixelRectangle
from lipstream_models.synthetic.body.appearance import Appearance, Colour, HairTone, Light
from lipstream_models.synthetic.body.head_model import Float, Index


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


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera stands and what it sees."""

    target: Float
    """(3,) the point in the middle of the picture."""
    distance: float = 13.0
    height_dm: float = 3.62
    """Height of the picture at the target."""
    size: int = 512


@dataclass(frozen=True, slots=True)
class SubdivisionMesh:
    """A mesh to add to the stage."""

    vertices: Float
    """(N, 3) dm."""
    quads: Index
    colours: Float | None = None
    """(N, 4) linear RGB and gloss."""
    places: Float | None = None
    """(N, 3) what fine relief is fixed to."""
    levels: int = 0
    """How often it is subdivided when rendered."""


class BlenderScene:
    """One Blender scene; only one can be alive at a time."""

    def __init__(self, camera: Camera, appearance: Appearance, threads: int = 1) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._scene: Any = bpy.context.scene
        self._size = camera.size
        self._meshes: dict[str, Any] = {}
        self._strands: dict[str, Any] = {}
        self._set_up_cycles(threads)
        self._set_up_camera(camera)
        self._set_up_lights(camera.target, appearance.lights)
        corners = np.array([[-40, -40], [40, -40], [40, 40], [-40, 40]]) + camera.target[:2]
        wall = np.column_stack([corners, np.full(4, -9.0)])
        square = SubdivisionMesh(wall, np.array([[0, 1, 2, 3]]))
        self.add_mesh("wall", square, plain("wall", appearance.background, 1.0, 0.0))

    def add_mesh(self, name: str, solid: SubdivisionMesh, material: Any) -> None:
        """Add a smooth mesh; its colours become the attribute ``paint``, its places ``place``."""
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(solid.vertices.tolist(), [], solid.quads.tolist())
        mesh.polygons.foreach_set("use_smooth", np.ones(len(solid.quads), bool))
        if solid.colours is not None:
            paint = mesh.color_attributes.new("paint", "FLOAT_COLOR", "POINT")
            paint.data.foreach_set("color", solid.colours.ravel().astype(np.float32))
        if solid.places is not None:
            place = mesh.attributes.new("place", "FLOAT_VECTOR", "POINT")
            place.data.foreach_set("vector", solid.places.ravel().astype(np.float32))
        mesh.update()
        mesh.materials.append(material)
        thing = bpy.data.objects.new(name, mesh)
        self._scene.collection.objects.link(thing)
        if solid.levels:
            modifier = thing.modifiers.new("smooth", "SUBSURF")
            modifier.levels = 0
            modifier.render_levels = solid.levels
        self._meshes[name] = mesh

    def move_mesh(self, name: str, vertices: Float) -> None:
        """Move the vertices of a mesh."""
        mesh = self._meshes[name]
        mesh.vertices.foreach_set("co", vertices.ravel().astype(np.float32))
        mesh.update()

    def add_strands(self, name: str, strands: Strands, material: Any) -> None:
        """Add hairs (at least one: Blender crashes on none)."""
        count, samples, _ = strands.points.shape
        curves = bpy.data.hair_curves.new(name)
        curves.add_curves([samples] * count)
        curves.points.foreach_set("radius", strands.radii.ravel().astype(np.float32))
        curves.materials.append(material)
        self._scene.collection.objects.link(bpy.data.objects.new(name, curves))
        self._strands[name] = curves
        self.move_strands(name, strands)

    def move_strands(self, name: str, strands: Strands) -> None:
        """Move hairs; their number stays."""
        curves = self._strands[name]
        curves.position_data.foreach_set("vector", strands.points.ravel().astype(np.float32))
        curves.update_tag()

    def render(
        self, path: Path, samples: int, part: PixelRectangle | None = None, scale: float = 1.0
    ) -> None:
        """Render the picture, or ``part`` of it alone, to a PNG; ``scale`` shrinks it."""
        settings = self._scene.render
        self._scene.cycles.samples = samples
        settings.resolution_percentage = round(100 * scale)
        settings.use_border = settings.use_crop_to_border = part is not None
        if part is not None:
            settings.border_min_x = part.left / self._size
            settings.border_max_x = part.right / self._size
            settings.border_min_y = 1 - part.bottom / self._size
            settings.border_max_y = 1 - part.top / self._size
        settings.filepath = str(path)
        bpy.ops.render.render(write_still=True)

    def _set_up_cycles(self, threads: int) -> None:
        scene = self._scene
        scene.render.engine = "CYCLES"
        cycles = scene.cycles
        cycles.device = "CPU"
        cycles.use_denoising = True
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.use_adaptive_sampling = True
        cycles.adaptive_threshold = 0.03
        cycles.debug_bvh_type = "DYNAMIC_BVH"  # a pose rebuilds the face alone, not the hair
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 6, 3, 2
        cycles.transmission_bounces, cycles.transparent_max_bounces = 3, 4
        cycles.caustics_reflective = cycles.caustics_refractive = False
        scene.cycles_curves.shape = "RIBBONS"
        render = scene.render
        render.resolution_x = render.resolution_y = self._size
        render.use_persistent_data = True
        render.threads_mode, render.threads = "FIXED", threads
        render.image_settings.file_format = "PNG"
        render.image_settings.color_mode = "RGB"
        scene.view_settings.view_transform = "Khronos PBR Neutral"

    def _set_up_camera(self, camera: Camera) -> None:
        lens = bpy.data.cameras.new("camera")
        lens.sensor_width = 36
        lens.lens = 36 * camera.distance / camera.height_dm
        thing = bpy.data.objects.new("camera", lens)
        self._scene.collection.objects.link(thing)
        self._scene.camera = thing
        place = np.eye(4)
        place[:3, 3] = camera.target + np.array([0.0, 0.0, camera.distance])
        thing.matrix_world = Matrix(place.tolist())

    def _set_up_lights(self, face: Float, lights: Sequence[Light]) -> None:
        world = bpy.data.worlds.new("world")
        self._scene.world = world
        world.use_nodes = True
        sky = world.node_tree.nodes["Background"]
        sky.inputs[0].default_value = (0.78, 0.84, 0.92, 1)
        sky.inputs[1].default_value = 0.42
        for light in lights:
            self._add_light(light, face)

    def _add_light(self, light: Light, face: Float) -> None:
        lamp = bpy.data.lights.new(light.name, "AREA")
        lamp.size, lamp.energy, lamp.color = light.size, light.power, light.colour
        thing = bpy.data.objects.new(light.name, lamp)
        offset = np.array(light.offset)
        thing.location = (face + offset).tolist()
        thing.rotation_euler = Vector((-offset).tolist()).to_track_quat("-Z", "Y").to_euler()
        thing.visible_glossy = light.mirrored
        self._scene.collection.objects.link(thing)
