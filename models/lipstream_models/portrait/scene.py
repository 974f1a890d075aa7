"""Light the person and render with Cycles; needs Blender as a module (``pip install bpy``)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from .hair import Strands
from .plate import Frame
from .source import Float, Index

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera stands and what it sees."""

    target: Float
    """(3,) the point in the middle of the picture."""
    distance: float = 13.0
    height_dm: float = 3.62
    """Height of the picture at the target."""
    size: int = 512


class Stage:
    """One Blender scene; only one can be alive at a time."""

    def __init__(self, camera: Camera, background: Colour, threads: int = 2) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._scene: Any = bpy.context.scene
        self._size = camera.size
        self._meshes: dict[str, Any] = {}
        self._strands: dict[str, Any] = {}
        self._set_up_cycles(threads)
        self._set_up_camera(camera)
        self._set_up_lights(camera.target)
        corners = np.array([[-40, -40], [40, -40], [40, 40], [-40, 40]]) + camera.target[:2]
        wall = np.column_stack([corners, np.full(4, -9.0)])
        self.add_mesh("wall", wall, np.array([[0, 1, 2, 3]]), plain("wall", background, 1.0, 0.0))

    def add_mesh(
        self, name: str, vertices: Float, quads: Index, material: Any, **extra: Any
    ) -> None:
        """Add a smooth mesh; ``colours`` (N, 4) become the attribute ``paint``, ``places`` (N, 3)
        the attribute ``place``, ``levels`` subdivides at render time."""
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(vertices.tolist(), [], quads.tolist())
        mesh.polygons.foreach_set("use_smooth", np.ones(len(quads), bool))
        if "colours" in extra:
            paint = mesh.color_attributes.new("paint", "FLOAT_COLOR", "POINT")
            paint.data.foreach_set("color", extra["colours"].ravel().astype(np.float32))
        if "places" in extra:
            place = mesh.attributes.new("place", "FLOAT_VECTOR", "POINT")
            place.data.foreach_set("vector", extra["places"].ravel().astype(np.float32))
        mesh.update()
        mesh.materials.append(material)
        thing = bpy.data.objects.new(name, mesh)
        self._scene.collection.objects.link(thing)
        if extra.get("levels"):
            modifier = thing.modifiers.new("smooth", "SUBSURF")
            modifier.levels = 0
            modifier.render_levels = extra["levels"]
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
        self, path: Path, samples: int, part: Frame | None = None, scale: float = 1.0
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

    def _set_up_lights(self, face: Float) -> None:
        world = bpy.data.worlds.new("world")
        self._scene.world = world
        world.use_nodes = True
        sky = world.node_tree.nodes["Background"]
        sky.inputs[0].default_value = (0.78, 0.84, 0.92, 1)
        sky.inputs[1].default_value = 0.42
        self._area("key", face, (5.0, 5.0, 8.5), (3.6, 1750), (1.0, 0.95, 0.88))
        self._area("fill", face, (-8.0, 1.0, 6.5), (6.0, 700), (0.88, 0.93, 1.0))
        self._area("rim left", face, (-5.0, 5.0, -6.0), (3.0, 330), (1.0, 0.98, 0.96))
        self._area("rim right", face, (6.0, 4.0, -6.0), (3.0, 330), (0.9, 0.95, 1.0))
        mouth = self._area("mouth", face, (0.2, -1.6, 11.0), (2.0, 190), (1.0, 0.97, 0.93))
        mouth.visible_glossy = False

    def _area(
        self,
        name: str,
        face: Float,
        offset: Colour,
        size_power: tuple[float, float],
        colour: Colour,
    ) -> Any:
        light = bpy.data.lights.new(name, "AREA")
        light.size, light.energy = size_power
        light.color = colour
        thing = bpy.data.objects.new(name, light)
        thing.location = (face + np.array(offset)).tolist()
        towards = Vector((-np.array(offset)).tolist())
        thing.rotation_euler = towards.to_track_quat("-Z", "Y").to_euler()
        self._scene.collection.objects.link(thing)
        return thing


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
